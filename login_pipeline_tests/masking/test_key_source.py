"""Where masking keys are read from; Secrets Manager and Parameter Store are ministack's."""

import errno
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
import trustme
from botocore.stub import Stubber

from login_pipeline.errors import ConfigurationError
from login_pipeline.masking.key_source import masking_keys
from login_pipeline.masking.keys import KeyRing, read_key_ring
from login_pipeline.masking.masker import Masker
from login_pipeline.settings import read_settings
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.faults.tls_proxy import server_context

KEY = secrets.token_hex(32)
RING = read_key_ring(KEY)
Read = Callable[[str | Path], KeyRing]
Refusal = Callable[[str | Path], str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text(KEY)
    return file


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Reads the keys from a place."""

    def read_from(place: str | Path) -> KeyRing:
        monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", str(place))
        return masking_keys(read_settings())

    return read_from


@pytest.fixture
def refusal(read: Read) -> Refusal:
    """The sentence with which a place is refused."""

    def refused(place: str | Path) -> str:
        with pytest.raises(ConfigurationError) as error:
            read(place)
        return error.value.sentence

    return refused


def store(service: str, name: str, value: str) -> None:
    client: Any = boto3.client(service)  # type: ignore[call-overload]
    if service == "ssm":
        client.put_parameter(Name=name, Value=value, Type="SecureString")
    else:
        client.create_secret(Name=name, SecretString=value)


@pytest.mark.parametrize("service", ["secretsmanager", "ssm"])
def test_keys_are_read_from_aws(service: str, aws: str, read: Read, refusal: Refusal) -> None:
    assert f"LOGIN_MASKING_KEY_SOURCE={service}:{aws} does not exist (" in refusal(f"{service}:{aws}")
    store(service, aws, f"{KEY}\n{secrets.token_hex(32)}\n")
    assert read(f"{service}:{aws}").active == RING.active
    assert Masker(read_settings()).masks().ip("192.0.2.1").startswith(f"{RING.active.id}.")


def test_weak_key_is_refused_and_not_quoted(aws: str, refusal: Refusal) -> None:
    store("ssm", aws, "deadbeef" * 8)
    sentence = refusal(f"ssm:{aws}")
    assert "is not random; put into it the output of: login-pipeline keys generate" in sentence
    assert "deadbeef" not in sentence


def test_parameter_in_clear_is_refused(aws: str, refusal: Refusal) -> None:
    boto3.client("ssm").put_parameter(Name=aws, Value=KEY, Type="String")
    assert "is stored in clear, as a String; make a new secret" in refusal(f"ssm:{aws}")


def test_endpoint_that_does_not_respond_or_is_none_is_one_sentence(
    aws: str, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    sentence = refusal(f"secretsmanager:{aws}")
    assert re.match(
        r"Secrets Manager does not answer at http://127\.0\.0\.1:9/? .+ read LOGIN_MASKING_KEY_SOURCE", sentence
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a url")
    assert "AWS_ENDPOINT_URL_SSM or AWS_ENDPOINT_URL is not the URL of an endpoint" in refusal(f"ssm:{aws}")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("AccessDeniedException", "The AWS credentials may not read LOGIN_MASKING_KEY_SOURCE=ssm:key"),
        ("ExpiredTokenException", "AWS does not accept the credentials"),
        ("InternalServerError", "AWS refused to read LOGIN_MASKING_KEY_SOURCE=ssm:key"),
    ],
)
def test_refusal_of_aws_is_one_sentence(
    code: str, says: str, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server at hand refuses so."""
    client = boto3.client("ssm", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")  # noqa: S106
    monkeypatch.setattr("login_pipeline.secret_source.aws_client", lambda *_: client)
    stubber = Stubber(client)
    stubber.add_client_error("get_parameter", code, "a secret")
    with stubber:
        sentence = refusal("ssm:key")
    assert says in sentence
    assert "a secret" not in sentence


def test_certificate_that_is_not_trusted_is_reported_as_one(
    aws: str, aws_endpoint: str, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqsProxy(aws_endpoint, server_context(trustme.CA().issue_cert("127.0.0.1"))) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert f"trusted here signed the certificate of {proxy.endpoint}; name the file" in refusal(f"ssm:{aws}")


def test_keys_are_read_from_a_file_that_is_not_open_to_everybody(file: Path, read: Read, refusal: Refusal) -> None:
    file.chmod(0o640)
    assert read(file).active == RING.active
    for mode in (0o644, 0o602):
        file.chmod(mode)
        assert f"is open to every user of this machine; run: chmod 600 {file}" in refusal(file)


def test_secret_mount_gets_advice_that_can_be_followed(
    file: Path, read: Read, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only root could make a read-only mount.
    monkeypatch.setattr(os, "statvfs", Mock(return_value=SimpleNamespace(f_flag=os.ST_RDONLY)))
    file.chmod(0o444)
    sentence = refusal(file)
    assert re.search(r"is mounted read-only, .+ defaultMode: 0440 in Kubernetes", sentence)
    assert "run: chmod" not in sentence
    file.chmod(0o440)
    assert read(file).active == RING.active
    # Root may read every file, so the refusal is made here.
    monkeypatch.setattr(Path, "read_text", Mock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
    assert re.search(r"cannot be read: Permission denied; it is mounted .+ fsGroup", refusal(file))


def test_file_without_keys_is_one_sentence(file: Path, refusal: Refusal) -> None:
    file.chmod(0o600)
    for content, says in ((b"\xff\xfe", "is no text in UTF-8"), (b"", "has no key in it")):
        file.write_bytes(content)
        assert f"LOGIN_MASKING_KEY_SOURCE={file} {says}" in refusal(file)
    file.unlink()
    assert f"LOGIN_MASKING_KEY_SOURCE={file} cannot be read: No such file or directory" in refusal(file)


@pytest.mark.parametrize("value", ["keys", "ssm:", "vault:x", "./keys"])
def test_source_that_is_none_is_refused(value: str, refusal: Refusal) -> None:
    assert "LOGIN_MASKING_KEY_SOURCE: is neither an absolute path nor" in refusal(value)


def test_two_places_for_the_keys_are_refused(file: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_MASKING_KEY", KEY)
    assert "LOGIN_MASKING_KEY and LOGIN_MASKING_KEY_SOURCE are both set" in refusal(file)
