import pytest

from login_pipeline.errors import ConfigurationError
from login_pipeline.settings import IN_FLIGHT_BUDGET, SETTING_NAMES, Settings, example, read_settings, variable


def problem(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as error:
        read_settings()
    return error.value.sentence


def test_nothing_set_gives_the_defaults() -> None:
    settings = read_settings()
    assert settings.batch_size == 25_000
    assert settings.batch_size * settings.max_concurrent_runs == IN_FLIGHT_BUDGET
    assert settings.queue_url is None


def test_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_BATCH_SIZE", "")
    assert read_settings().batch_size == 25_000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOGIN_BATCH_SIZE", "many"),
        ("LOGIN_BATCH_SIZE", "0"),
        ("LOGIN_VISIBILITY_TIMEOUT", "43201"),
        ("LOGIN_MASKING_METHOD", "md5"),
        ("LOGIN_QUEUE_URL", "logins"),
        ("LOGIN_QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/1/logins.fifo"),
        ("LOGIN_DEAD_LETTER_QUEUE_URL", "arn:aws:sqs:eu-west-1:1:logins"),
        ("LOGIN_DATABASE_URL", "mysql://u:p@h/d"),
        ("LOGIN_MAINTENANCE_DATABASE_URL", "mysql://u:p@h/d"),
        ("LOGIN_DATABASE_PASSWORD_SOURCE", "vault:logins"),
        ("LOGIN_MAINTENANCE_DATABASE_PASSWORD_SOURCE", "ssm:"),
        ("LOGIN_MASKING_KEY_SOURCE", "rds-iam"),
        ("LOGIN_SENSOR_ENABLED", "perhaps"),
    ],
)
def test_wrong_value_is_reported_with_its_variable_and_an_example(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    sentence = problem(monkeypatch, **{name: value})
    assert sentence.startswith(f"{name}: ")
    assert f"for example {name}=" in sentence
    assert "\n" not in sentence


def test_secret_is_never_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "hunter2"  # noqa: S105 - the test's own
    for name in ("LOGIN_DATABASE_URL", "LOGIN_MAINTENANCE_DATABASE_URL"):
        assert secret not in problem(monkeypatch, **{name: f"mysql://u:{secret}@h/d"})
        monkeypatch.setenv(name, f"postgresql://u:{secret}@h/d")
        assert secret not in repr(read_settings())


@pytest.mark.parametrize("password", ["se@cret", "se/cret@", "se?cret@", "se#cret@"])
def test_password_that_libpq_would_quote_as_a_host_is_refused(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    for name in ("LOGIN_DATABASE_URL", "LOGIN_MAINTENANCE_DATABASE_URL"):
        sentence = problem(monkeypatch, **{name: f"postgresql://u:{password}x@h/d"})
        assert f"{name}: " in sentence
        assert "must be percent-encoded" in sentence
        assert "cret" not in sentence
        monkeypatch.delenv(name)


def test_more_messages_in_flight_than_a_queue_allows_are_refused_with_the_arithmetic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sentence = problem(monkeypatch, LOGIN_BATCH_SIZE="30000", LOGIN_MAX_CONCURRENT_RUNS="5")
    assert "30,000 x 5 = 150,000" in sentence


def test_dead_letter_queue_that_is_the_login_queue_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://sqs.eu-west-1.amazonaws.com/1/logins"
    sentence = problem(monkeypatch, LOGIN_QUEUE_URL=url, LOGIN_DEAD_LETTER_QUEUE_URL=url)
    assert sentence.startswith("LOGIN_DEAD_LETTER_QUEUE_URL is the same as LOGIN_QUEUE_URL")


def test_missing_setting_is_reported_with_an_example() -> None:
    with pytest.raises(ConfigurationError, match="LOGIN_QUEUE_URL is not set; for example LOGIN_QUEUE_URL=https://"):
        read_settings().require("queue_url")


@pytest.mark.parametrize(
    ("environment", "region"),
    [
        ({"LOGIN_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/logins"}, "eu-west-1"),
        ({"LOGIN_QUEUE_URL": "https://eu-west-1.queue.amazonaws.com/1/logins"}, "eu-west-1"),
        ({"LOGIN_QUEUE_URL": "http://127.0.0.1:4566/1/logins"}, None),
        ({"LOGIN_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/logins", "AWS_REGION": "eu-west-3"}, "eu-west-3"),
        ({"AWS_DEFAULT_REGION": "us-west-2"}, "us-west-2"),
        ({"AWS_REGION": "us-west-1", "AWS_DEFAULT_REGION": "us-west-2"}, "us-west-1"),
    ],
)
def test_region_is_the_named_one_or_the_queue_s(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], region: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert read_settings().queue_region == region


def test_every_setting_has_a_name_a_description_and_an_example() -> None:
    assert list(SETTING_NAMES) == list(Settings.model_fields)
    for name in SETTING_NAMES:
        assert Settings.model_fields[name].description, variable(name)
        assert example(name), variable(name)
