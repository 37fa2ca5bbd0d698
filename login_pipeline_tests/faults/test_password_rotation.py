"""The database's password is rotated as AWS does it while messages are loaded: no run fails.

Secrets Manager is ministack's.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import boto3
import psycopg2
import pytest

from login_pipeline.cli.drain import Totals, drain
from login_pipeline.local.ports import wait_until
from login_pipeline.postgres import retries
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import Pipeline
from login_pipeline_tests.faults.account import Account
from login_pipeline_tests.faults.moments import loading
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.roles import PASSWORD, Roles, roles_of

pytestmark = pytest.mark.direct_database  # PgBouncer keeps sessions that began with the old password

RUNS = 5
BATCH = 5


class Rotation:
    """The steps of AWS's function SecretsManagerRDSPostgreSQLRotationSingleUser, for the password of the runs."""

    def __init__(self, secret: str, roles: Roles, vault: SqsProxy) -> None:
        self._client = boto3.client("secretsmanager")
        self._secret = secret
        self._superuser = roles.superuser
        self._loader = urlsplit(roles.loader.url)
        self._vault = vault
        self._password = secrets.token_urlsafe(12)
        self._old = self._client.create_secret(Name=secret, SecretString=self._json(PASSWORD))["VersionId"]
        self._new = secrets.token_hex(16)

    def create_secret(self) -> None:
        self._client.put_secret_value(
            SecretId=self._secret,
            ClientRequestToken=self._new,
            SecretString=self._json(self._password),
            VersionStages=["AWSPENDING"],
        )

    def set_secret(self) -> None:
        self._superuser.query(f"ALTER ROLE {self._loader.username} PASSWORD '{self._password}'")

    def test_secret(self) -> None:
        url = self._loader._replace(netloc=f"{self._loader.hostname}:{self._loader.port}").geturl()
        psycopg2.connect(url, user=self._loader.username, password=self._password).close()

    def finish_secret(self) -> None:
        self._client.update_secret_version_stage(
            SecretId=self._secret,
            VersionStage="AWSCURRENT",
            MoveToVersionId=self._new,
            RemoveFromVersionId=self._old,
        )

    def asked_for(self, stage: str) -> int:
        """How often the pipeline has read the version with this label."""
        bodies = [json.loads(call.body) for call in self._vault.heard if call.action == "GetSecretValue"]
        return len([body for body in bodies if body["VersionStage"] == stage])

    def _json(self, password: str) -> str:
        return json.dumps({"engine": "postgres", "username": self._loader.username, "password": password})


@pytest.fixture
def rotation(pipeline: Pipeline, aws: str, aws_endpoint: str) -> Iterator[Rotation]:
    """Of the password with which the runs log in, which is in no variable."""
    with roles_of(pipeline.database) as roles, SqsProxy(aws_endpoint) as vault:
        rotation = Rotation(aws, roles, vault)
        pipeline.set(LOGIN_MAINTENANCE_DATABASE_URL=roles.owner.url)
        LoginDatabase(read_settings(), maintenance=True).prepare()
        pipeline.set(
            AWS_ENDPOINT_URL_SECRETS_MANAGER=vault.endpoint,
            LOGIN_DATABASE_URL=roles.loader.url.replace(f":{PASSWORD}@", "@"),
            LOGIN_DATABASE_PASSWORD_SOURCE=f"secretsmanager:{aws}",
        )
        yield rotation
        pipeline.database.end_sessions()


def drain_with(pipeline: Pipeline, account: Account, *steps: Callable[[], None]) -> None:
    """Drains RUNS batches; after each run the next step is made."""
    account.send(RUNS * BATCH)
    pipeline.set(LOGIN_BATCH_SIZE=BATCH)
    left, runs = list(steps), 0

    def step(totals: Totals, _: object) -> None:
        nonlocal runs
        if left and totals.runs > runs:
            runs = totals.runs
            left.pop(0)()

    assert drain(read_settings(), pipeline.instance, step).failures == []
    assert left == []
    account.assert_settled()


def test_no_run_fails_while_a_password_is_rotated_in_the_middle_of_a_drain(
    pipeline: Pipeline, account: Account, rotation: Rotation
) -> None:
    pending: list[int] = []

    def finish() -> None:
        pending.append(rotation.asked_for("AWSPENDING"))
        rotation.finish_secret()

    drain_with(pipeline, account, rotation.create_secret, rotation.set_secret, rotation.test_secret, finish)
    assert pending == [2], "the runs between setSecret and finishSecret log in with AWSPENDING, each once"
    assert rotation.asked_for("AWSPENDING") == 2


def test_no_run_fails_while_the_password_that_the_database_has_is_nowhere(
    pipeline: Pipeline, account: Account, rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where somebody changes it in the database first, or a secret is replicated."""
    monkeypatch.setattr(retries, "PAUSES", (0.05,))

    def finish() -> None:
        wait_until(lambda: rotation.asked_for("AWSPENDING") > 2, seconds=30)
        rotation.create_secret()
        rotation.finish_secret()

    with ThreadPoolExecutor(1) as pool:

        def change() -> None:
            rotation.set_secret()
            pool.submit(finish)

        drain_with(pipeline, account, change)
    assert rotation.asked_for("AWSPENDING") > 2


def test_load_that_is_cut_off_in_a_rotation_logs_in_again(
    pipeline: Pipeline, account: Account, sqs_proxy: SqsProxy, rotation: Rotation
) -> None:
    account.send(BATCH)
    with loading(pipeline, sqs_proxy) as begun:
        rotation.create_secret()
        rotation.set_secret()
        pipeline.database.end_sessions()
    assert begun.result().failures == []
    assert rotation.asked_for("AWSPENDING") == 1
    account.assert_settled()
