"""Reads a secret from where a setting says that it is: a file, AWS Secrets Manager or SSM Parameter Store."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from botocore.exceptions import ClientError

from login_pipeline.aws import FAULTS, Fault, aws_client, error_code, explain_sdk_errors
from login_pipeline.errors import ConfigurationError
from login_pipeline.settings import SECRET_STORES, SettingName, Settings, variable

# A file on a read-only mount, as secrets are in containers, gets owner and mode where the mount is declared. Compose
# passes the host's file on as it is. Source: Kubernetes, Secret volumes; Docker, Swarm and Compose secrets.
_MOUNTED = (
    "it is mounted read-only, so let this user read it, and not others, where the mount comes from: fsGroup and "
    "defaultMode: 0440 in Kubernetes, uid and mode: 0400 in Docker Swarm, chown and chmod 400 of the host's file in "
    "Compose"
)


def read_secret(settings: Settings, setting: SettingName, *, stage: str = "AWSCURRENT") -> str:
    """The text at the place that `setting` names; in Secrets Manager the version with the staging label `stage`.

    Raises:
        ConfigurationError: it cannot be read, or others can read it.
    """
    source = settings.require(setting)
    where = f"{variable(setting)}={source}"
    store, _, name = source.partition(":")
    if store not in SECRET_STORES:
        return _in_file(where, Path(source))
    return _in_aws(where, store, name, settings.queue_region, stage)


def _in_file(where: str, file: Path) -> str:
    """Read only where other users of this machine cannot."""
    try:
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ConfigurationError(f"{where} is not a file; name one that has the secret")
        if mode & stat.S_IRWXO:
            remedy = _MOUNTED if _is_mounted_read_only(file) else f"run: chmod 600 {file}"
            raise ConfigurationError(
                f"{where} is open to every user of this machine; {remedy}; and make a new secret where others have "
                "been able to read this one"
            )
        return file.read_text(encoding="utf-8-sig")  # with a byte order mark or without
    except OSError as error:
        denied = isinstance(error, PermissionError) and _is_mounted_read_only(file)
        remedy = _MOUNTED if denied else "name a file that this user may read"
        raise ConfigurationError(f"{where} cannot be read: {error.strerror}; {remedy}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{where} is no text in UTF-8; save it as UTF-8") from None


def _is_mounted_read_only(file: Path) -> bool:
    with suppress(OSError):  # in a folder that this user may not enter
        return bool(os.statvfs(file).f_flag & os.ST_RDONLY)
    return False


def _in_secrets_manager(where: str, name: str, region: str | None, stage: str) -> str:
    secret = aws_client("secretsmanager", region).get_secret_value(SecretId=name, VersionStage=stage)
    return str(secret.get("SecretString", ""))


def _in_parameter_store(where: str, name: str, region: str | None, stage: str) -> str:
    parameter = aws_client("ssm", region).get_parameter(Name=name, WithDecryption=True)["Parameter"]
    if parameter.get("Type") != "SecureString":
        raise ConfigurationError(
            f"{where} is stored in clear, as a {parameter.get('Type')}; make a new secret, and store it as a "
            "SecureString"
        )
    return str(parameter["Value"])


def _in_aws(where: str, store: str, name: str, region: str | None, stage: str) -> str:
    service, read = _STORES[store]
    try:
        with explain_sdk_errors(service, f"read {where}"):
            return read(where, name, region, stage)
    except ClientError as error:
        code = error_code(error)
        fault = FAULTS.get(code)
        if fault is Fault.NOT_FOUND:
            raise ConfigurationError(f"{where} does not exist ({code}); create it, or correct AWS_REGION") from None
        if fault is Fault.NOT_ALLOWED:
            raise ConfigurationError(
                f"The AWS credentials may not read {where} ({code}); allow them secretsmanager:GetSecretValue or "
                "ssm:GetParameter on it, and kms:Decrypt on its key"
            ) from None
        raise ConfigurationError(f"AWS refused to read {where} ({code}); try again") from None


# What a place begins with (SECRET_STORES in settings.py): the service's name, and how it is read.
_STORES = {"secretsmanager": ("Secrets Manager", _in_secrets_manager), "ssm": ("SSM", _in_parameter_store)}
