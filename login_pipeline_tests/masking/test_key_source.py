"""Where masking keys are read from; Secrets Manager and Parameter Store are ministack's."""

import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
import trustme
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from login_pipeline.errors import ConfigurationError
from login_pipeline.local.services import temporary_folder
from login_pipeline.local.sqs import LocalSqs
from login_pipeline.masking import key_source as source
from login_pipeline.masking.key_source import masking_keys
from login_pipeline.masking.keys import read_key_ring
from login_pipeline.masking.masker import Masker
from login_pipeline.settings import read_settings
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.faults.tls_proxy import server_context

KEY = secrets.token_hex(32)
RING = read_key_ring(KEY)
AWS = ["secretsmanager", "ssm"]


@pytest.fixture(scope="module")
def aws_endpoint() -> Iterator[str]:
    with temporary_folder() as folder:
        server = LocalSqs(folder / "aws", services="secretsmanager,ssm")
        try:
            yield server.endpoint
        finally:
            server.stop()


@pytest.fixture
def aws(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws_endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return f"login-pipeline/{secrets.token_hex(4)}"


def store(service: str, name: str, value: str) -> None:
    client: Any = boto3.client(service)  # type: ignore[call-overload]
    if service == "ssm":
        client.put_parameter(Name=name, Value=value, Type="SecureString")
    else:
        client.create_secret(Name=name, SecretString=value)


@pytest.mark.parametrize("service", AWS)
def test_keys_are_read_from_aws(service: str, aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store(service, aws, f"{KEY}\n{secrets.token_hex(32)}\n")
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", f"{service}:{aws}")
    assert masking_keys(read_settings()).active == RING.active
    assert Masker(read_settings()).masks().ip("192.0.2.1").startswith(f"{RING.active.id}.")


@pytest.mark.parametrize("service", AWS)
def test_key_that_aws_does_not_have_is_one_sentence(service: str, aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", f"{service}:{aws}")
    with pytest.raises(ConfigurationError, match=rf"LOGIN_MASKING_KEY_SOURCE={service}:{aws} does not exist \("):
        masking_keys(read_settings())


@pytest.mark.parametrize("service", AWS)
def test_weak_key_in_aws_is_refused_and_not_quoted(service: str, aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store(service, aws, "deadbeef" * 8)
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", f"{service}:{aws}")
    with pytest.raises(
        ConfigurationError, match="is not random; put into it the output of: login-pipeline keys generate"
    ) as refused:
        masking_keys(read_settings())
    assert "deadbeef" not in str(refused.value)


def test_parameter_in_clear_is_refused(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3.client("ssm").put_parameter(Name=aws, Value=KEY, Type="String")
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", f"ssm:{aws}")
    with pytest.raises(ConfigurationError, match="is stored in clear, as a String; make a new key"):
        masking_keys(read_settings())


def test_aws_that_does_not_answer_is_one_sentence(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", f"secretsmanager:{aws}")
    with pytest.raises(ConfigurationError, match=r"AWS does not answer at http://127\.0\.0\.1:9/? .+ read LOGIN_MASK"):
        masking_keys(read_settings())


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("AccessDeniedException", "The AWS credentials may not read LOGIN_MASKING_KEY_SOURCE=ssm:key"),
        ("ExpiredTokenException", "AWS does not accept the credentials"),
        ("InternalServerError", "AWS refused to read LOGIN_MASKING_KEY_SOURCE=ssm:key"),
    ],
)
def test_refusal_of_aws_is_one_sentence(code: str, says: str) -> None:
    """No server at hand refuses so."""
    client = boto3.client("ssm", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")  # noqa: S106
    stubber = Stubber(client)
    stubber.add_client_error("get_parameter", code, "a secret")
    with stubber, pytest.raises(ConfigurationError, match=says) as refused:
        source._from_aws(lambda: str(client.get_parameter(Name="key")), "ssm:key")
    assert not isinstance(refused.value.__cause__, ClientError)
    assert "a secret" not in str(refused.value)


def test_certificate_that_is_not_trusted_is_told_as_one(
    aws: str, aws_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqsProxy(aws_endpoint, server_context(trustme.CA().issue_cert("127.0.0.1"))) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", f"ssm:{aws}")
        with pytest.raises(ConfigurationError, match="is not trusted, so the SDK cannot read LOGIN_MASKING_KEY_SOURCE"):
            masking_keys(read_settings())


def test_endpoint_that_is_no_url_is_one_sentence(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a url")
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", f"ssm:{aws}")
    with pytest.raises(ConfigurationError, match="An AWS_ENDPOINT_URL variable is not the URL of an endpoint"):
        masking_keys(read_settings())


def test_keys_are_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    file.chmod(0o640)
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", str(file))
    assert masking_keys(read_settings()).active == RING.active


@pytest.mark.parametrize("mode", [0o644, 0o602])
def test_file_that_is_open_to_everybody_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    file.chmod(mode)
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", str(file))
    with pytest.raises(ConfigurationError, match=rf"is open to every user of this machine; run: chmod 600 {file}"):
        masking_keys(read_settings())


@pytest.fixture
def read_only_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root could make one."""
    statvfs = os.statvfs

    def read_only(path: Path) -> SimpleNamespace:
        return SimpleNamespace(f_flag=statvfs(path).f_flag | os.ST_RDONLY)

    monkeypatch.setattr(os, "statvfs", read_only)


@pytest.mark.usefixtures("read_only_mount")
def test_secret_mount_that_is_open_to_everybody_gets_advice_that_can_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    file.chmod(0o444)
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", str(file))
    with pytest.raises(
        ConfigurationError, match=r"is mounted read-only, .+ defaultMode: 0440 in Kubernetes"
    ) as refused:
        masking_keys(read_settings())
    assert "run: chmod" not in str(refused.value)
    file.chmod(0o440)
    assert masking_keys(read_settings()).active == RING.active


@pytest.mark.usefixtures("read_only_mount")
def test_secret_mount_of_another_user_gets_advice_that_can_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    file.touch(mode=0o440)
    # Root may read every file, so the refusal is made here.
    monkeypatch.setattr(Path, "read_text", Mock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", str(file))
    with pytest.raises(ConfigurationError, match=r"cannot be read: Permission denied; it is mounted .+ fsGroup"):
        masking_keys(read_settings())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xff\xfe", "is no text in UTF-8"),
        (b"", "has no key in it"),
    ],
)
def test_file_without_keys_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, says: str
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.touch(mode=0o600)
        file.write_bytes(content)
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", str(file))
    with pytest.raises(ConfigurationError, match=f"LOGIN_MASKING_KEY_SOURCE={file} {says}"):
        masking_keys(read_settings())


@pytest.mark.parametrize("value", ["keys", "ssm:", "vault:x", "./keys"])
def test_source_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", value)
    with pytest.raises(ConfigurationError, match="LOGIN_MASKING_KEY_SOURCE: is neither an absolute path nor"):
        masking_keys(read_settings())


def test_two_places_for_the_keys_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_MASKING_KEY", KEY)
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", str(tmp_path / "keys"))
    with pytest.raises(ConfigurationError, match="LOGIN_MASKING_KEY and LOGIN_MASKING_KEY_SOURCE are both set"):
        masking_keys(read_settings())
