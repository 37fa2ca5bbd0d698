"""The runs, and Dagster's storage as deploy/dagster-rds-iam.yaml has it, log in with tokens of IAM and no password."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import trustme
import yaml

from login_pipeline.errors import ConfigurationError
from login_pipeline.local.ports import HOST
from login_pipeline.local.postgres import LocalPostgres
from login_pipeline.local.services import temporary_folder
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import RDS_IAM, read_settings
from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import Database, Pipeline
from login_pipeline_tests.faults.account import Account
from login_pipeline_tests.faults.rds import RdsProxy
from login_pipeline_tests.faults.sts import sts_server

USER = "logins_run"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalPostgres]:
    """It lets USER in without a password."""
    with temporary_folder() as folder:
        server = LocalPostgres(folder / "postgresql")
        try:
            rules = folder / "postgresql" / "data" / "pg_hba.conf"
            rules.write_text(f"host all {USER} {HOST}/32 trust\n{rules.read_text()}")
            Database(server.url("postgres")).query(f"CREATE ROLE {USER} LOGIN; SELECT pg_reload_conf()")
            for name in ("logins", "dagster"):
                Database(server.create_database(name)).query(f"ALTER DATABASE {name} OWNER TO {USER}")
            yield server
        finally:
            server.stop()


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, Path]:
    authority, file = trustme.CA(), tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(file)
    return authority, file


@pytest.fixture
def rds(server: LocalPostgres, authority: tuple[trustme.CA, Path]) -> Iterator[RdsProxy]:
    with RdsProxy(server.url("logins"), authority[0].issue_cert(HOST)) as proxy:
        yield proxy


@pytest.fixture
def on_rds(pipeline: Pipeline, server: LocalPostgres, rds: RdsProxy, authority: tuple[trustme.CA, Path]) -> Pipeline:
    pipeline.database = Database(server.url("logins"))
    pipeline.set(
        LOGIN_DATABASE_URL=f"postgresql://{USER}@{HOST}:{rds.port}/logins?sslmode=verify-full&sslrootcert={authority[1]}",
        LOGIN_DATABASE_PASSWORD_SOURCE=RDS_IAM,
    )
    return pipeline


def refusal() -> str:
    with pytest.raises(ConfigurationError) as error:
        LoginDatabase(read_settings()).where()
    return error.value.sentence


def test_batch_is_loaded_by_a_role_without_a_password(
    on_rds: Pipeline, rds: RdsProxy, body: Callable[..., str]
) -> None:
    account = Account(on_rds, body)
    account.send(5)
    account.drain()
    account.assert_settled()
    assert {token["DBUser"] for token in rds.tokens} == {USER}


def test_each_connection_has_a_token_of_its_own(on_rds: Pipeline, rds: RdsProxy) -> None:
    database = LoginDatabase(read_settings())
    for key in ("KEY1", "KEY2"):
        on_rds.set(AWS_ACCESS_KEY_ID=key)
        database.where()
    assert [token["X-Amz-Credential"].partition("/")[0] for token in rds.tokens] == ["KEY1", "KEY2"]


@pytest.mark.parametrize("options", ["", "?sslmode=prefer", "?sslmode=disable"])
def test_token_is_not_made_where_the_url_does_not_encrypt(on_rds: Pipeline, rds: RdsProxy, options: str) -> None:
    on_rds.set(LOGIN_DATABASE_URL=f"postgresql://{USER}@{HOST}:{rds.port}/logins{options}")
    assert refusal() == (
        "LOGIN_DATABASE_PASSWORD_SOURCE=rds-iam needs TLS, and LOGIN_DATABASE_URL does not insist on it; add "
        "sslmode=verify-full"
    )
    assert rds.tokens == []


@pytest.mark.parametrize("who", [HOST, f"{USER}@{HOST},{HOST}"])
def test_url_for_which_no_token_can_be_made_is_one_sentence(on_rds: Pipeline, who: str) -> None:
    on_rds.set(LOGIN_DATABASE_URL=f"postgresql://{who}/logins?sslmode=require")
    assert (
        refusal() == "LOGIN_DATABASE_PASSWORD_SOURCE=rds-iam needs one host and a user in LOGIN_DATABASE_URL; add them"
    )


def test_token_that_rds_does_not_take_is_one_sentence(on_rds: Pipeline, rds: RdsProxy) -> None:
    rds.allows = False
    assert refusal() == (
        "The database in LOGIN_DATABASE_URL cannot be used: the server does not accept the user and the password; "
        "GRANT rds_iam TO the role, and allow the AWS credentials rds-db:connect as that role"
    )
    assert len(rds.tokens) == 1


def test_no_credentials_are_one_sentence(on_rds: Pipeline, tmp_path: Path) -> None:
    on_rds.set(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None, AWS_EC2_METADATA_DISABLED="true")
    assert refusal().startswith("No AWS credentials were found; ")
    profiles = tmp_path / "config"
    profiles.write_text(
        "[default]\nrole_arn = arn:aws:iam::123456789012:role/runs\nsource_profile = source\n"
        "[profile source]\naws_access_key_id = test\naws_secret_access_key = test\n"
    )
    with sts_server(refuses=True) as endpoint:
        on_rds.set(AWS_CONFIG_FILE=str(profiles), AWS_ENDPOINT_URL_STS=endpoint)
        sentence = refusal()
    assert sentence.startswith("AWS gives no credentials for LOGIN_DATABASE_PASSWORD_SOURCE=rds-iam (AccessDenied); ")


def test_dagster_keeps_its_records_by_the_example(
    on_rds: Pipeline, rds: RdsProxy, authority: tuple[trustme.CA, Path], tmp_path: Path
) -> None:
    text = (ROOT / "deploy" / "dagster-rds-iam.yaml").read_text(encoding="utf-8")
    for example, here in {
        "YOUR-POSTGRESQL-HOST": HOST,
        "port: 5432": f"port: {rds.port}",
        "/YOUR-FILE-WITH-THE-AUTHORITIES-OF-RDS": str(authority[1]),
    }.items():
        assert example in text
        text = text.replace(example, here)
    others = yaml.safe_load((ROOT / "deploy" / "dagster.yaml").read_text(encoding="utf-8"))
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({**others, **yaml.safe_load(text)}))
    on_rds.set(DAGSTER_HOME=str(tmp_path), LOGIN_REDIS_URL="redis://127.0.0.1:9/0", LOGIN_MAX_CONCURRENT_RUNS=1)
    with dg.DagsterInstance.get() as instance:
        on_rds.instance = instance
        assert on_rds.run().passed
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]
    assert Database(on_rds.database.url.replace("/logins", "/dagster")).query("SELECT count(*) FROM runs") == [(1,)]
    assert len(rds.tokens) > 2
