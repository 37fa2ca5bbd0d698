"""Every setting, typed, read from the environment and from nowhere else.

The AWS SDK reads its own variables too (credentials, profiles, roles, AWS_ENDPOINT_URL_SQS).
"""

import re
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from login_pipeline.database_url import url_problem
from login_pipeline.errors import ConfigurationError
from login_pipeline.setting_text import slip, slip_of_others, without_margin

# Messages a standard queue allows in flight; at the limit a long poll returns nothing and no error.
#
# Source: Amazon SQS Developer Guide, "Amazon SQS standard queue quotas".
MAX_IN_FLIGHT = 120_000
# A day more than SQS keeps a message.
MIN_INBOX_DAYS = 15
# What all runs together may hold, in messages: the limit less room for other consumers.
IN_FLIGHT_BUDGET = 100_000

# Where a secret can be beside a file: AWS Secrets Manager, and Systems Manager Parameter Store.
SECRET_STORES = ("secretsmanager", "ssm")
# What a password's source can be, too: a token of IAM, made for each connection.
RDS_IAM = "rds-iam"

_QUEUE_URL = re.compile(r"https?://[^/\s]+/\S+")
_BUCKET_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/?#]+)*/?")
_REDIS_URL = re.compile(r"rediss?://[^/\s]+(/[0-9]+)?(\?\S*)?")
# In clear on this machine only.
_WEBHOOK_URL = re.compile(r"https://[!-~]+|http://(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?(/[!-~]*)?")
_TOPIC = re.compile(r"sns:arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}")
_QUEUE_URL_REGION = re.compile(r"https://(?:sqs\.([a-z0-9-]+)|([a-z0-9-]+)\.queue)\.amazonaws\.com")


AnySettings = TypeVar("AnySettings", bound="LogSettings")
# Each field of Settings, so that mypy knows the name of a setting where one is named.
SettingName = Literal[
    "log_format",
    "alert_url",
    "sensor_enabled",
    "visibility_timeout",
    "queue_url",
    "dead_letter_queue_url",
    "database_url",
    "database_password_source",
    "maintenance_database_url",
    "maintenance_database_password_source",
    "masking_method",
    "masking_key",
    "masking_key_source",
    "envelope",
    "batch_size",
    "max_concurrent_runs",
    "run_interval",
    "sqs_calls",
    "inbox_days",
    "retention_days",
    "run_history_days",
    "min_group_size",
    "backup_url",
    "redis_url",
    "local_dir",
    "region",
]
SETTING_NAMES: tuple[SettingName, ...] = get_args(SettingName)


class MaskingMethod(StrEnum):
    """How ip and device_id are masked."""

    HMAC_SHA256 = "hmac-sha256"
    AES_SIV = "aes-siv"
    SHA256 = "sha256"


class Envelope(StrEnum):
    """Which envelopes are opened."""

    AUTO = "auto"
    NONE = "none"
    SNS = "sns"
    EVENTBRIDGE = "eventbridge"


class LogFormat(StrEnum):
    """The format of the lines on stderr."""

    TEXT = "text"
    JSON = "json"


class LogSettings(BaseSettings):
    """What a process needs to know before it can tell what else is wrong."""

    model_config = SettingsConfigDict(
        env_prefix="LOGIN_", env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _has_no_slip(cls, text: Any, info: ValidationInfo) -> Any:
        """What comes with a value by mistake is left out around it, and refused where it may change it."""
        if not isinstance(text, str):
            return text
        text = without_margin(text)
        if not text:
            raise ValueError("is blank; unset it")
        # Masking keys are separated by blanks and line ends.
        if problem := slip(" ".join(text.split()) if info.field_name == "masking_key" else text):
            raise ValueError(problem)
        return text

    log_format: LogFormat = Field(
        LogFormat.TEXT,
        description="text for a person, or json: one JSON object per line on stderr.",
        examples=["json"],
    )

    def require(self, name: SettingName) -> str:
        """The value of setting `name`, a text.

        Raises:
            ConfigurationError: it is not set.
        """
        value = getattr(self, name)
        if value is None:
            raise ConfigurationError(f"{variable(name)} is not set; for example {variable(name)}={example(name)}")
        return str(value.get_secret_value() if isinstance(value, SecretStr) else value)


class LoadSettings(LogSettings):
    """What Dagster needs to know when it loads definitions, before any run."""

    sensor_enabled: bool = Field(
        False,
        description="Start the sensors and the schedules when Dagster first loads them.",
        examples=["true"],
    )
    visibility_timeout: int = Field(
        900,
        ge=30,
        le=43_200,
        description="Seconds a received message stays invisible to other runs. A run that takes longer is terminated.",
        examples=["900"],
    )


class AlertSettings(LogSettings):
    """What it takes to say that another setting is wrong."""

    alert_url: SecretStr | None = Field(
        None,
        description="Where to say that something is wrong: the URL of a webhook that takes JSON as Slack's do, or "
        "sns:ARN for a topic of SNS.",
        examples=["https://hooks.example.com/services/login-alerts"],
    )

    @field_validator("alert_url")
    @classmethod
    def _is_a_webhook_or_a_topic(cls, url: SecretStr | None) -> SecretStr | None:
        text = "" if url is None else url.get_secret_value()
        if url is not None and not _WEBHOOK_URL.fullmatch(text) and not _TOPIC.fullmatch(text):
            raise ValueError("is neither the https:// URL of a webhook nor sns:ARN of a standard topic")
        return url


class Settings(LoadSettings, AlertSettings):
    """The settings of one process. Times are in seconds, sizes in messages."""

    queue_url: str | None = Field(
        None,
        description="URL of the SQS queue with the login messages.",
        examples=["https://sqs.eu-west-1.amazonaws.com/123456789012/logins"],
    )
    dead_letter_queue_url: str | None = Field(
        None,
        description="URL of the SQS queue for messages that cannot be loaded.",
        examples=["https://sqs.eu-west-1.amazonaws.com/123456789012/logins-dead-letter"],
    )
    database_url: SecretStr | None = Field(
        None,
        description="libpq URL of the database with table user_logins.",
        examples=["postgresql://loader:password@db.example.com:5432/analytics"],
    )
    database_password_source: str | None = Field(
        None,
        description="Where to read the password of LOGIN_DATABASE_URL instead: an absolute path, secretsmanager:NAME, "
        "ssm:NAME or rds-iam.",
        examples=["secretsmanager:login-pipeline/database"],
    )
    maintenance_database_url: SecretStr | None = Field(
        None,
        description="libpq URL of the role that may create, update and delete: for prepare, prune, expire, restore, "
        "forget, unmask, keys rotate and backup --accept-losses. Defaults to LOGIN_DATABASE_URL.",
        examples=["postgresql://maintenance:password@db.example.com:5432/analytics"],
    )
    maintenance_database_password_source: str | None = Field(
        None,
        description="Where to read the password of LOGIN_MAINTENANCE_DATABASE_URL instead, likewise.",
        examples=["secretsmanager:login-pipeline/maintenance-database"],
    )
    masking_method: MaskingMethod = Field(
        MaskingMethod.HMAC_SHA256,
        description="hmac-sha256 (keyed), aes-siv (keyed, reversible), or sha256 (no key: an ip is found again in "
        "minutes).",
        examples=["hmac-sha256"],
    )
    masking_key: SecretStr | None = Field(
        None,
        description="Secret masking keys, 64 or more hexadecimal digits each. The first one masks.",
        examples=["the output of: login-pipeline keys generate"],
    )
    masking_key_source: str | None = Field(
        None,
        description="Where to read the masking keys instead: an absolute path, secretsmanager:NAME or ssm:NAME.",
        examples=["secretsmanager:login-pipeline/masking-key"],
    )
    envelope: Envelope = Field(
        Envelope.AUTO,
        description="Which envelopes to open around a login: auto (those of SNS and EventBridge), sns, eventbridge, or "
        "none. A message without one is read as it is.",
        examples=["auto"],
    )
    batch_size: int = Field(
        25_000,
        ge=1,
        le=IN_FLIGHT_BUDGET,
        description="Maximum messages per run. 25,000 take about 75 MB and stay invisible to other consumers until "
        "they are loaded.",
        examples=["25000"],
    )
    max_concurrent_runs: int = Field(
        4,
        ge=1,
        le=1000,
        description="Maximum concurrent runs that the sensor requests, over all hosts. As many again wait in "
        "Dagster's queue, if that has no higher limit.",
        examples=["4"],
    )
    run_interval: int = Field(
        60,
        ge=0,
        le=3600,
        description="Seconds after the start of the newest run before the sensor requests a run for less than a full "
        "batch.",
        examples=["60"],
    )
    sqs_calls: int = Field(
        128,
        ge=1,
        le=256,
        description="Maximum concurrent SQS calls, one connection each. A short queue takes fewer.",
        examples=["128"],
    )
    inbox_days: int = Field(
        30,
        ge=MIN_INBOX_DAYS,
        le=3650,
        description="Days the inbox remembers a loaded message. SQS keeps a message for at most 14.",
        examples=["30"],
    )
    retention_days: int | None = Field(
        None,
        ge=1,
        le=36_500,
        description="Days user_logins and its backup keep a login; then its date, or its partition's month, expires. "
        "Empty: nothing expires.",
        examples=["395"],
    )
    run_history_days: int = Field(
        3,
        ge=1,
        le=365,
        description="Days Dagster keeps runs and the depth of the queue. Failed runs are kept ten times as long.",
        examples=["3"],
    )
    min_group_size: int = Field(
        5,
        ge=1,
        description="Minimum users who share device_type, locale, app_version and date. The checks warn about "
        "smaller groups.",
        examples=["5"],
    )
    backup_url: str | None = Field(
        None,
        description="Where to keep backups: the absolute path of a folder, or s3://bucket/prefix.",
        examples=["s3://my-backups/user-logins"],
    )
    redis_url: SecretStr | None = Field(
        None,
        description="URL of the Redis server through which Dagster hands runs to the workers. One host needs none.",
        examples=["rediss://:password@redis.example.com:6379/0"],
    )
    local_dir: str = Field(
        ".login-pipeline",
        description="Folder for the data of the embedded services (demo, dev and tests only).",
        examples=[".login-pipeline"],
    )
    region: str | None = Field(
        None,
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        description="AWS region of the queues. Defaults to the region in LOGIN_QUEUE_URL.",
        examples=["eu-west-1"],
    )

    @field_validator("queue_url", "dead_letter_queue_url")
    @classmethod
    def _is_a_queue_url(cls, url: str | None) -> str | None:
        if url is not None and not _QUEUE_URL.fullmatch(url):
            raise ValueError("is not the URL of a queue")
        if url is not None and url.endswith(".fifo"):
            raise ValueError("is a FIFO queue; name a standard queue")
        return url

    @field_validator("backup_url")
    @classmethod
    def _is_a_folder_or_a_bucket(cls, url: str | None) -> str | None:
        """A relative path would be another folder for the daemon than for the command line."""
        if url is not None and not _BUCKET_URL.fullmatch(url) and not Path(url).is_absolute():
            raise ValueError("is neither s3://bucket/prefix nor an absolute path")
        return url

    @field_validator("redis_url")
    @classmethod
    def _is_a_redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _REDIS_URL.fullmatch(url.get_secret_value()):
            raise ValueError("is not the URL of a Redis server")
        return url

    @field_validator("masking_key_source", "database_password_source", "maintenance_database_password_source")
    @classmethod
    def _is_a_file_or_a_store(cls, source: str | None, info: ValidationInfo) -> str | None:
        store, _, name = (source or "").partition(":")
        more = () if info.field_name == "masking_key_source" else (RDS_IAM,)
        if source is None or Path(source).is_absolute() or (store in SECRET_STORES and name) or source in more:
            return source
        raise ValueError(" nor ".join(("is neither an absolute path", "secretsmanager:NAME", "ssm:NAME", *more)))

    @field_validator("database_url", "maintenance_database_url")
    @classmethod
    def _is_a_libpq_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and (problem := url_problem(url.get_secret_value())):
            raise ValueError(problem)
        return url

    @model_validator(mode="after")
    def _batches_fit_in_flight(self) -> Self:
        in_flight = self.batch_size * self.max_concurrent_runs
        if in_flight > IN_FLIGHT_BUDGET:
            raise ValueError(
                f"LOGIN_BATCH_SIZE x LOGIN_MAX_CONCURRENT_RUNS is {self.batch_size:,} x "
                f"{self.max_concurrent_runs:,} = {in_flight:,} messages in flight, more than the "
                f"{IN_FLIGHT_BUDGET:,} that are safe below the queue's limit of {MAX_IN_FLIGHT:,}; lower one of them"
            )
        return self

    @model_validator(mode="after")
    def _queues_differ(self) -> Self:
        if self.queue_url is not None and self.queue_url == self.dead_letter_queue_url:
            raise ValueError(
                "LOGIN_DEAD_LETTER_QUEUE_URL is the same as LOGIN_QUEUE_URL: malformed messages would go round "
                "forever; name a queue of its own"
            )
        return self

    @property
    def queue_region(self) -> str | None:
        """The region to call SQS in: AWS_REGION, else the one in the queue's URL, else the SDK decides."""
        named = _QUEUE_URL_REGION.match(self.queue_url or "")
        return self.region or (named and (named[1] or named[2])) or None


def variable(name: SettingName) -> str:
    """The environment variable that setting `name` is read from."""
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"LOGIN_{name.upper()}"


def example(name: SettingName) -> str:
    """A value that setting `name` could have."""
    return str((Settings.model_fields[name].examples or [""])[0])


def read_settings() -> Settings:
    """The settings in this process's environment.

    Raises:
        ConfigurationError: a value, or one that the AWS SDK or libpq reads, cannot be used; the sentence names the
            variable, never a secret.
    """
    if problem := slip_of_others():
        raise ConfigurationError(problem)
    return _read(Settings)


def read_load_settings() -> LoadSettings:
    """Those that Dagster needs when it loads definitions; another wrong setting does not keep it from that.

    Raises:
        ConfigurationError: as `read_settings`.
    """
    return _read(LoadSettings)


def read_alert_settings() -> AlertSettings:
    """That which says where alerts go; another wrong setting does not keep it from being said there.

    Raises:
        ConfigurationError: as `read_settings`.
    """
    return _read(AlertSettings)


def read_log_settings() -> LogSettings:
    """Those that say how errors are reported; another wrong setting does not keep it from being reported so.

    Raises:
        ConfigurationError: as `read_settings`.
    """
    return _read(LogSettings)


def _read(settings: type[AnySettings]) -> AnySettings:
    try:
        return settings()
    except ValidationError as error:
        raise ConfigurationError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    field = str(problem["loc"][0])
    name = next(name for name in SETTING_NAMES if field in {name, variable(name)})
    return f"{variable(name)}: {message[0].lower()}{message[1:]}; for example {variable(name)}={example(name)}"
