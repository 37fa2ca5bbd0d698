"""The slips that files, secrets, shells and copied text make: each just works, or is a sentence that names it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from login_pipeline.cli.doctor import examine
from login_pipeline.errors import ConfigurationError
from login_pipeline.local.ports import HOST, free_port
from login_pipeline.local.services import local_services
from login_pipeline.masking.key_source import masking_keys
from login_pipeline.settings import SETTING_NAMES, SettingName, example, read_settings, variable
from login_pipeline_tests.conftest import MASKING_KEY, Pipeline
from login_pipeline_tests.faults.account import one_sentence

SECRET = "hunter2"  # noqa: S105 - the test's own


@pytest.mark.parametrize("name", SETTING_NAMES)
@pytest.mark.parametrize("margin", ["{}\n", "{}\r\n", " {}", "{}\t", "\ufeff{}", "\u00a0{}\n\n"])
def test_blanks_and_line_ends_around_a_setting_of_ours_are_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch, name: SettingName, margin: str
) -> None:
    monkeypatch.setenv(variable(name), example(name))
    expected = getattr(read_settings(), name)
    monkeypatch.setenv(variable(name), margin.format(example(name)))
    assert getattr(read_settings(), name) == expected


@pytest.mark.parametrize("name", SETTING_NAMES)
@pytest.mark.parametrize(
    ("slip", "says"),
    [
        ('"{}"', "has quotes around it"),
        ("'{}'", "has quotes around it"),
        ("\u201c{}\u201d", "has quotes around it"),
        ("{}\u200b{}", "has a line end or another invisible character in it"),
        ("{}\udce9", "has bytes that are no UTF-8"),
        (" \n", "is blank"),
    ],
)
def test_other_slip_in_a_setting_of_ours_is_named_and_its_value_is_not(
    monkeypatch: pytest.MonkeyPatch, name: SettingName, slip: str, says: str
) -> None:
    monkeypatch.setenv(variable(name), slip.format(example(name), SECRET))
    with pytest.raises(ConfigurationError) as error:
        read_settings()
    assert error.value.sentence.startswith(f"{variable(name)}: {says}")
    assert SECRET not in error.value.sentence


def test_line_end_between_two_settings_is_named_and_one_between_keys_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_QUEUE_URL", f"{example('queue_url')}\n{example('queue_url')}")
    with pytest.raises(ConfigurationError, match="LOGIN_QUEUE_URL: has a line end"):
        read_settings()
    monkeypatch.delenv("LOGIN_QUEUE_URL")
    monkeypatch.setenv("LOGIN_MASKING_KEY", f"{MASKING_KEY}\r\n{MASKING_KEY[::-1]}\n")
    assert len(list(masking_keys(read_settings()))) == 2


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("AWS_ACCESS_KEY_ID", f"{SECRET}\n", "begins or ends with a blank or a line end"),
        ("AWS_SECRET_ACCESS_KEY", f" {SECRET}", "begins or ends with a blank or a line end"),
        ("AWS_SESSION_TOKEN", f"{SECRET}\r\n", "begins or ends with a blank or a line end"),
        ("AWS_ACCESS_KEY_ID", f'"{SECRET}"', "has quotes around it"),
        ("AWS_SECRET_ACCESS_KEY", f"{SECRET}\u2013", "has a character that no credential of AWS has"),
        ("AWS_SECRET_ACCESS_KEY", f"{SECRET}\udce9", "has bytes that are no UTF-8"),
        ("AWS_PROFILE", f"{SECRET}\n", "begins or ends with a blank or a line end"),
        ("AWS_ENDPOINT_URL_SQS", f"'http://{SECRET}'", "has quotes around it"),
        ("AWS_CA_BUNDLE", f"/{SECRET}\n", "begins or ends with a blank or a line end"),
        ("AWS_DEFAULT_REGION", "eu-west-1\n", "begins or ends with a blank or a line end"),
        ("HTTPS_PROXY", f"http://u:{SECRET}@127.0.0.1:1\n", "begins or ends with a blank or a line end"),
        ("no_proxy", f"'{SECRET}'", "has quotes around it"),
        ("PGPASSWORD", f"{SECRET}\n", "has a line end"),
        ("PGSSLROOTCERT", f"{SECRET} ", "begins or ends with a blank or a line end"),
        ("PGUSER", f'"{SECRET}"', "has quotes around it"),
    ],
)
def test_slip_in_a_variable_of_the_sdk_s_or_libpq_s_is_named_and_its_value_is_not(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as error:
        read_settings()
    assert error.value.sentence.startswith(f"{name} {says}")
    assert SECRET not in error.value.sentence


def test_slip_is_named_before_anything_is_received(pipeline: Pipeline) -> None:
    pipeline.queue.send("{}")
    pipeline.set(AWS_ACCESS_KEY_ID=f"{SECRET}\n")
    sentence = one_sentence(pipeline.run())
    assert sentence.startswith("AWS_ACCESS_KEY_ID begins or ends with a blank or a line end")
    assert SECRET not in sentence + "".join(finding.says for finding in examine())
    (message,) = pipeline.queue.take_all()
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


@pytest.mark.parametrize(
    ("name", "value"),
    [("PGPASSWORD", " a 'password' "), ("PGOPTIONS", " -c x.y=1"), ("AWS_PROFILE", ""), ("HTTP_PROXY", "")],
)
def test_blanks_and_quotes_that_are_meant_are_taken(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    read_settings()


@pytest.mark.parametrize(
    ("proxy", "says"),
    [
        ("http://loader:{secret}@{host}:{port}", "The proxy that HTTPS_PROXY or HTTP_PROXY names does not answer"),
        ("{host}:{port}", "The proxy that HTTPS_PROXY or HTTP_PROXY names does not answer"),
        ("http://{host}:{secret}", "The AWS SDK cannot call SQS through HTTPS_PROXY or HTTP_PROXY, or with these "),
        ("http://loader:#{secret}@{host}:{port}", "The proxy that HTTPS_PROXY or HTTP_PROXY names does not answer"),
    ],
)
def test_proxy_that_is_dead_or_no_url_is_named(pipeline: Pipeline, proxy: str, says: str) -> None:
    pipeline.set(http_proxy=proxy.format(secret=SECRET, host=HOST, port=free_port()))
    sentence = one_sentence(pipeline.run())
    assert sentence.startswith(says)
    assert SECRET not in sentence
    assert "None" not in sentence


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_file_of_keys_may_have_a_byte_order_mark_and_line_ends(
    pipeline: Pipeline, tmp_path: Path, encoding: str, end: str
) -> None:
    file = tmp_path / "key"
    file.write_bytes(f"{MASKING_KEY}{end}".encode(encoding))
    file.chmod(0o600)
    pipeline.set(LOGIN_MASKING_KEY=None, LOGIN_MASKING_KEY_SOURCE=f"{file}\n")
    assert masking_keys(read_settings()).active.secret.hex() == MASKING_KEY


def _utf_16(file: Path) -> None:
    file.write_bytes(MASKING_KEY.encode("utf-16"))
    file.chmod(0o600)


@pytest.mark.parametrize(
    ("make", "says"),
    [(_utf_16, "is no text in UTF-8; save it as UTF-8"), (Path.mkdir, "is not a file; name one that has the secret")],
)
def test_file_of_keys_in_another_encoding_or_a_folder_is_a_sentence(
    pipeline: Pipeline, tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    make(tmp_path / "key")
    pipeline.set(LOGIN_MASKING_KEY=None, LOGIN_MASKING_KEY_SOURCE=str(tmp_path / "key"))
    with pytest.raises(ConfigurationError) as error:
        masking_keys(read_settings())
    assert error.value.sentence.startswith(f"LOGIN_MASKING_KEY_SOURCE={tmp_path}/key {says}")


def test_file_where_the_folder_of_the_embedded_services_should_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigurationError, match=r"LOGIN_LOCAL_DIR=.* cannot be made: File exists"),
        local_services(tmp_path / "file"),
    ):
        pass
