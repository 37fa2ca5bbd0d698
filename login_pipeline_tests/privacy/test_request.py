"""What is kept for good of a privacy request names no person."""

import pwd
import socket

import pytest

from login_pipeline.errors import ConfigurationError
from login_pipeline.privacy.request import check_reason, operator


@pytest.mark.parametrize(
    "reason",
    [
        "asked from 192.0.2.7",
        "asked from 192.0.2.7.",
        "2001:db8::1 was seen",
        "seen at [::ffff:192.0.2.7]:443",
        "at ::1",
        "mail of jo@example.com",
        "device 593-47-5928",
        "device 9A1B2C3D-0000-4000-8000-0123456789AB",
        "user-of-request asked",
        "asked by u1",
        "the mask k1234abcd.siv.Zm9v of it",
    ],
)
def test_reason_with_personal_data_is_refused_and_not_quoted(reason: str) -> None:
    with pytest.raises(ConfigurationError, match="name the request instead") as error:
        check_reason(reason, "user-of-request", "u1", "k1234abcd.siv.Zm9v")
    assert reason not in error.value.sentence


@pytest.mark.parametrize(
    "reason",
    [
        "ticket 4711",
        "GDPR-2026/118, at 12:30:45",
        "see v1.2.3: done.",
        "Art. 17 (1)(b)",
        "case 12.5.2026",
        "CS-593-47",
    ],
)
def test_reason_that_names_a_request_is_taken(reason: str) -> None:
    check_reason(reason, "user-of-request", "u1")


def entry(uid: int, shell: str) -> pwd.struct_passwd:
    return pwd.struct_passwd(("account", "x", uid, uid, "", "/", shell))


@pytest.mark.parametrize(
    "user", [entry(0, "/bin/bash"), entry(112, "/bin/bash"), entry(10001, "/usr/sbin/nologin"), None]
)
def test_user_of_the_system_that_is_no_person_s_needs_a_name(
    monkeypatch: pytest.MonkeyPatch, user: pwd.struct_passwd | None
) -> None:
    def getpwuid(uid: int) -> pwd.struct_passwd:
        if user is None:  # as in a container
            raise KeyError(uid)
        return user

    monkeypatch.setattr("pwd.getpwuid", getpwuid)
    with pytest.raises(ConfigurationError, match="is no person's user; say with --by who"):
        operator(None)
    assert operator("Jo Doe").startswith("Jo Doe (")
    for name in (" ", "\udcff", "a\nb", "x" * 101):
        with pytest.raises(ConfigurationError, match="--by is no name"):
            operator(name)


@pytest.mark.parametrize("by", [None, "Jo Doe"])
def test_person_s_user_of_the_system_is_named(monkeypatch: pytest.MonkeyPatch, by: str | None) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda _uid: entry(1000, "/bin/zsh"))
    account = f"account@{socket.gethostname()}"
    assert operator(by) == (f"{by} ({account})" if by else account)
