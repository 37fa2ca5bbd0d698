"""What to log in to the database with where the URL has no password: a secret that may be rotated, or an IAM token."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TypeVar

from botocore.exceptions import ClientError
from psycopg2.extensions import parse_dsn

from login_pipeline.aws import aws_client, error_code, explain_sdk_errors
from login_pipeline.database_url import trusting_the_system
from login_pipeline.errors import ConfigurationError
from login_pipeline.postgres.errors import PasswordRefusedError
from login_pipeline.postgres.retries import retried
from login_pipeline.postgres.role import Access
from login_pipeline.secret_source import read_secret
from login_pipeline.setting_text import without_margin
from login_pipeline.settings import RDS_IAM, Settings, variable

# How long a password that was just changed may be at no place that is read: a file that Kubernetes mounts follows its
# Secret after about a minute. Source: Kubernetes documentation, "Mounted Secrets are updated automatically".
ROTATION_SECONDS = 60.0
# PostgreSQL's own.
PORT = 5432
# The values of sslmode that send nothing in clear. Source: PostgreSQL documentation, "SSL Mode Descriptions".
_ENCRYPTS = {"require", "verify-ca", "verify-full"}

# Parts of a libpq connection string that replace those of the URL: a password, and maybe a user.
Login = Mapping[str, str]
Result = TypeVar("Result")


class Credentials:
    """Those of LOGIN_DATABASE_PASSWORD_SOURCE, or of the maintenance role's own setting; without one there are none."""

    def __init__(self, settings: Settings, access: Access, *, rotation_seconds: float = ROTATION_SECONDS) -> None:
        """Reads nothing yet; waits so long for a rotation."""
        self._settings = settings
        self._access = access
        self._rotation_seconds = rotation_seconds
        self._source: str | None = getattr(settings, access.password_setting)
        # What the server accepted last.
        self._accepted: Login | None = None

    def log_in(self, connect: Callable[[Login], Result]) -> Result:
        """What `connect` returns for the first login that the server accepts; a rotation is waited for.

        Raises:
            ConfigurationError: there is none, or the server accepts none; what else `connect` raises.
        """
        if self._source is None:
            return connect({})
        if "password" in self._parts():
            raise ConfigurationError(
                f"{self._access.variable} has a password, and {variable(self._access.password_setting)} is set, too; "
                "take one of them away, so that it is plain which password counts"
            )
        if self._source == RDS_IAM:
            return self._log_in([{"password": self._token()}], connect)
        return retried(
            lambda: self._log_in(self._secrets(), connect),
            seconds=self._rotation_seconds,
            passes=lambda error: isinstance(error, PasswordRefusedError),
        )

    def _log_in(self, logins: Iterable[Login], connect: Callable[[Login], Result]) -> Result:
        refused = ""
        for login in logins:
            try:
                connected = connect(login)
            except PasswordRefusedError as error:
                self._accepted, refused = None, error.sentence
            else:
                self._accepted = login
                return connected
        remedy = f"put the role's password into {self._where}"
        if self._source == RDS_IAM:
            remedy = "GRANT rds_iam TO the role, and allow the AWS credentials rds-db:connect as that role"
        raise PasswordRefusedError(f"{refused}; {remedy}")

    def _secrets(self) -> Iterator[Login]:
        """Each is read only where the server did not accept the one before."""
        if self._accepted:
            yield self._accepted
        yield self._secret("AWSCURRENT")
        # The next password, which the database has before AWSCURRENT: there is one while a rotation is under way.
        # Source: AWS Secrets Manager User Guide, "Lambda rotation functions".
        if self._source and self._source.startswith("secretsmanager:"):
            with suppress(ConfigurationError):
                yield self._secret("AWSPENDING")

    def _secret(self, stage: str) -> Login:
        """The password there, alone or in the JSON that RDS keeps, whose user goes with it."""
        text = without_margin(read_secret(self._settings, self._access.password_setting, stage=stage))
        try:
            fields = json.loads(text)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            fields = {"password": text}
        password, user = fields.get("password"), fields.get("username")
        if not password:
            raise ConfigurationError(f"{self._where} has no password in it; put one into it")
        return {"password": str(password), **({"user": str(user)} if user else {})}

    def _token(self) -> str:
        """A password for the next 15 minutes, which AWS's SDK signs and which is sent as it is."""
        host, user, mode = self._part("host"), self._part("user"), self._part("sslmode")
        if mode not in _ENCRYPTS:
            raise ConfigurationError(
                f"{self._where} needs TLS, and {self._access.variable} does not insist on it; add sslmode=verify-full"
            )
        if not host or not user or "," in host:
            raise ConfigurationError(f"{self._where} needs one host and a user in {self._access.variable}; add them")
        try:
            with explain_sdk_errors("RDS", f"make the token of {self._where}"):
                client = aws_client("rds", self._settings.queue_region)
                return str(client.generate_db_auth_token(host, int(self._part("port") or PORT), user))
        except ClientError as error:  # of the service that gives credentials
            raise ConfigurationError(
                f"AWS gives no credentials for {self._where} ({error_code(error)}); check AWS_PROFILE and the role"
            ) from None

    def _part(self, name: str) -> str | None:
        """What libpq takes from the URL, or else from the environment."""
        parts = self._parts()
        return {**parts, **trusting_the_system(parts)}.get(name) or os.getenv(f"PG{name.upper()}")

    def _parts(self) -> dict[str, str]:
        return parse_dsn(self._settings.require(self._access.setting))

    @property
    def _where(self) -> str:
        return f"{variable(self._access.password_setting)}={self._source}"
