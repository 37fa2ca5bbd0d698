"""The ways to the database and to SQS are encrypted, and only the server that is meant is spoken with."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import trustme

from login_pipeline.cli.doctor import Diagnosis, examine
from login_pipeline.local.ports import HOST
from login_pipeline.sqs.errors import endpoint_in_clear
from login_pipeline.sqs.transport.curl import Call, CurlSession
from login_pipeline.sqs.transport.request_template import RequestTemplate
from login_pipeline.transport_security import protection
from login_pipeline_tests.conftest import Database, Pipeline, Servers
from login_pipeline_tests.faults.account import Account, one_sentence
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.faults.tls_postgres import BINARIES, postgres_with_tls
from login_pipeline_tests.faults.tls_proxy import TlsProxy, server_context

BehindTls = Callable[[trustme.LeafCert, str], AbstractContextManager[None]]
ELSEWHERE = "elsewhere.example.com"


@dataclass(frozen=True)
class Authorities:
    """Two certificate authorities that live as long as a test, and their files."""

    right: trustme.CA
    right_file: str
    wrong_file: str


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    right, wrong = trustme.CA(), trustme.CA()
    for authority, name in ((right, "right.pem"), (wrong, "wrong.pem")):
        authority.cert_pem.write_to_path(tmp_path / name)
    return Authorities(right, str(tmp_path / "right.pem"), str(tmp_path / "wrong.pem"))


@pytest.fixture
def sent(pipeline: Pipeline, body: Callable[..., str]) -> Account:
    """A batch on the queue, some of it malformed."""
    account = Account(pipeline, body)
    account.send(12, malformed=2)
    return account


def assert_nothing_was_received(account: Account) -> None:
    taken = account.pipeline.queue.take_all()
    assert [message["Attributes"]["ApproximateReceiveCount"] for message in taken] == ["1"] * 14


def finding(subject: str) -> Diagnosis:
    return {each.subject: each for each in examine()}[subject]


class TestDatabase:
    """By libpq, which verifies certificates itself."""

    @pytest.fixture
    def behind_tls(self, pipeline: Pipeline) -> BehindTls:
        """Puts TLS in front of the database."""

        @contextmanager
        def start(certificate: trustme.LeafCert, options: str) -> Iterator[None]:
            with TlsProxy(pipeline.database.url, certificate) as proxy:
                parts = urlsplit(pipeline.database.url)
                credentials = parts.netloc.rpartition("@")[0]
                pipeline.set(LOGIN_DATABASE_URL=f"postgresql://{credentials}@{HOST}:{proxy.port}{parts.path}?{options}")
                yield

        return start

    @pytest.mark.parametrize("binaries", [None, *BINARIES], ids=lambda file: file.parts[-3] if file else "proxy")
    def test_batch_is_loaded_by_way_of_a_verified_connection(
        self,
        pipeline: Pipeline,
        authorities: Authorities,
        behind_tls: BehindTls,
        sent: Account,
        binaries: Path | None,
    ) -> None:
        """Also by the system's PostgreSQL, where there is one: it speaks TLS itself, as the proxy does."""
        options = f"sslmode=verify-full&sslrootcert={authorities.right_file}"
        certificate = authorities.right.issue_cert(HOST)
        with ExitStack() as stack:
            if binaries:
                pipeline.database = Database(stack.enter_context(postgres_with_tls(binaries.parent, certificate)))
                pipeline.set(LOGIN_DATABASE_URL=f"{pipeline.database.url}?{options}")
            else:
                stack.enter_context(behind_tls(certificate, options))
            sent.drain()
            assert finding("database").well
            assert "(TLS 1.3, certificate verified)" in finding("database").says
            sent.assert_settled()

    @pytest.mark.parametrize(
        ("certificate_for", "file", "says"),
        [
            (HOST, "wrong", "no authority that is trusted here signed the server's certificate; name the file of the "),
            (ELSEWHERE, "right", "the server's certificate is for another host; write the host name that is in it"),
            (HOST, "missing", "sslmode asks for a certificate authority, and its file cannot be read; name it with "),
        ],
    )
    def test_server_that_is_not_the_right_one_gets_nothing_and_no_message_is_received(
        self,
        pipeline: Pipeline,
        authorities: Authorities,
        behind_tls: BehindTls,
        sent: Account,
        certificate_for: str,
        file: str,
        says: str,
    ) -> None:
        root = authorities.right_file.replace("right", file)
        options = f"sslmode=verify-full&sslrootcert={root}"
        with behind_tls(authorities.right.issue_cert(certificate_for), options):
            sentence = one_sentence(pipeline.run())
            assert not finding("database").well
        assert sentence.startswith(f"The database in LOGIN_DATABASE_URL cannot be used: {says}")
        assert_nothing_was_received(sent)

    @pytest.mark.parametrize(
        ("authority", "where", "says"),
        [
            ("right", "LOGIN_DATABASE_URL", None),
            ("right", "PGSSLROOTCERT", None),
            ("wrong", "LOGIN_DATABASE_URL", "no authority that is trusted here signed the server's certificate"),
            ("missing", "LOGIN_DATABASE_URL", "sslrootcert=system asks for the certificate authorities of this"),
        ],
    )
    def test_system_means_the_authorities_of_this_machine(
        self,
        pipeline: Pipeline,
        authorities: Authorities,
        behind_tls: BehindTls,
        monkeypatch: pytest.MonkeyPatch,
        authority: str,
        where: str,
        says: str | None,
    ) -> None:
        """Their file is one of the test's, because nobody signs certificates for a test."""
        for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(variable, raising=False)
        files = ("/no/such/file", authorities.right_file.replace("right", authority))
        monkeypatch.setattr("login_pipeline.database_url.SYSTEM_AUTHORITIES", files)
        options = "sslrootcert=system&sslmode=verify-full" if where == "LOGIN_DATABASE_URL" else ""
        with behind_tls(authorities.right.issue_cert(HOST), options):
            pipeline.set(PGSSLROOTCERT="system" if where == "PGSSLROOTCERT" else None)
            database = finding("database")
            pipeline.set(PGSSLROOTCERT=None)
        assert database.well == (says is None)
        assert (says or "(TLS 1.3, certificate verified)") in database.says

    def test_server_without_tls_is_refused_where_tls_is_asked_for(
        self, pipeline: Pipeline, authorities: Authorities, sent: Account
    ) -> None:
        options = f"?sslmode=verify-full&sslrootcert={authorities.right_file}"
        pipeline.set(LOGIN_DATABASE_URL=pipeline.database.url + options)
        assert one_sentence(pipeline.run()) == (
            "The database in LOGIN_DATABASE_URL cannot be used: the server does not offer TLS, which sslmode asks for; "
            "turn ssl on in its configuration"
        )
        assert_nothing_was_received(sent)

    @pytest.mark.parametrize(
        ("mode", "says"),
        [
            ("require", "(TLS 1.3, certificate not verified: sslmode=verify-full)"),
            ("verify-ca", "(TLS 1.3, certificate verified, for whichever host: sslmode=verify-full)"),
        ],
    )
    def test_doctor_shows_what_is_not_verified(
        self, authorities: Authorities, behind_tls: BehindTls, mode: str, says: str
    ) -> None:
        trusted = f"&sslrootcert={authorities.right_file}" if mode == "verify-ca" else ""
        with behind_tls(authorities.right.issue_cert(ELSEWHERE), f"sslmode={mode}{trusted}"):
            assert finding("database").well
            assert says in finding("database").says

    def test_doctor_finds_no_encryption_wrong_unless_it_is_on_this_machine(
        self, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert finding("database").well
        assert "(not encrypted, on this machine)" in finding("database").says
        monkeypatch.setattr("login_pipeline.transport_security.is_loopback", lambda _host: False)
        assert not finding("database").well
        assert finding("database").says.endswith("(not encrypted): add sslmode=verify-full to LOGIN_DATABASE_URL")

    @pytest.mark.parametrize(
        ("host", "hostaddr", "enough"),
        [
            ("/var/run/postgresql", None, True),
            ("@abstract", None, True),
            ("localhost", None, True),
            ("::1", None, True),
            ("db.example.com", "127.0.0.1", True),
            ("db.example.com", None, False),
            ("localhost", "192.0.2.7", False),
        ],
    )
    def test_only_what_leaves_the_machine_must_be_encrypted(
        self, host: str, hostaddr: str | None, enough: bool
    ) -> None:
        """No server at hand is on another host."""
        info = SimpleNamespace(ssl_in_use=False, host=host, dsn_parameters={"hostaddr": hostaddr, "sslmode": "prefer"})
        assert protection(info).enough == enough  # type: ignore[arg-type]

    def test_maintenance_role_is_examined_where_it_is_named(self, pipeline: Pipeline, authorities: Authorities) -> None:
        assert "maintenance role" not in {each.subject for each in examine()}
        options = f"?sslmode=verify-full&sslrootcert={authorities.right_file}"
        pipeline.set(LOGIN_MAINTENANCE_DATABASE_URL=pipeline.database.url + options)
        assert finding("database").well
        assert "LOGIN_MAINTENANCE_DATABASE_URL cannot be used: the server does not" in finding("maintenance role").says


class TestQueue:
    """By the AWS SDK and by libcurl, which trust the authorities in AWS_CA_BUNDLE."""

    @contextmanager
    def behind_tls(self, pipeline: Pipeline, servers: Servers, authority: trustme.CA, host: str) -> Iterator[SqsProxy]:
        with SqsProxy(servers.sqs_endpoint, server_context(authority.issue_cert(host))) as proxy:
            pipeline.set(AWS_ENDPOINT_URL_SQS=proxy.endpoint)
            yield proxy

    @pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
    def test_queue_is_drained_by_way_of_a_verified_connection(
        self,
        pipeline: Pipeline,
        servers: Servers,
        authorities: Authorities,
        sent: Account,
        variable: str,
    ) -> None:
        with self.behind_tls(pipeline, servers, authorities.right, HOST) as proxy:
            pipeline.set(AWS_CA_BUNDLE=None, REQUESTS_CA_BUNDLE=None)
            pipeline.set(**{variable: authorities.right_file})
            sent.drain()
            assert finding("login queue").well
        sent.assert_settled()
        deletes = [call for call in proxy.heard if call.action == "DeleteMessageBatch"]
        assert not any("amz-sdk-invocation-id" in call.headers for call in deletes)  # boto3's own header

    @pytest.mark.parametrize(
        ("certificate_for", "bundle", "says"),
        [
            (HOST, None, "No authority that is trusted here signed the certificate of {}; name the file "),
            (HOST, "wrong", "No authority that is trusted here signed the certificate of {}; name the file "),
            (ELSEWHERE, "right", "The certificate of {} is for another host; correct AWS_ENDPOINT_URL_SQS"),
            (HOST, "missing", "AWS_CA_BUNDLE names a file of certificates that cannot be read"),
        ],
    )
    def test_server_that_is_not_the_right_one_is_refused_and_no_message_is_received(
        self,
        pipeline: Pipeline,
        servers: Servers,
        authorities: Authorities,
        sent: Account,
        certificate_for: str,
        bundle: str | None,
        says: str,
    ) -> None:
        plain = pipeline.environment["AWS_ENDPOINT_URL_SQS"]
        pipeline.set(AWS_CA_BUNDLE=bundle and authorities.right_file.replace("right", bundle))
        with self.behind_tls(pipeline, servers, authorities.right, certificate_for) as proxy:
            sentence = one_sentence(pipeline.run())
            assert not finding("login queue").well
        pipeline.set(AWS_ENDPOINT_URL_SQS=plain)
        assert sentence.startswith(says.format(proxy.endpoint))
        assert "AWS_CA_BUNDLE" in sentence
        assert_nothing_was_received(sent)

    @pytest.mark.parametrize(
        ("certificate_for", "bundle", "answers"),
        [(HOST, "right", True), (HOST, "wrong", False), (HOST, "missing", False), (ELSEWHERE, "right", False)],
    )
    def test_libcurl_itself_speaks_with_nobody_else(
        self,
        pipeline: Pipeline,
        servers: Servers,
        authorities: Authorities,
        certificate_for: str,
        bundle: str,
        answers: bool,
    ) -> None:
        trusted = CurlSession(5, authorities.right_file.replace("right", bundle))
        with self.behind_tls(pipeline, servers, authorities.right, certificate_for) as proxy:
            call = Call(RequestTemplate(proxy.endpoint, "", [], "", ""), "ReceiveMessage", None)
            (response,) = trusted.send(call, [b"{}"])
        assert (isinstance(response, str) and response.startswith("libcurl ")) != answers

    def test_endpoint_that_does_not_speak_tls_is_one_sentence(self, pipeline: Pipeline, servers: Servers) -> None:
        endpoint = servers.sqs_endpoint.replace("http://", "https://")
        pipeline.set(AWS_ENDPOINT_URL_SQS=endpoint)
        assert one_sentence(pipeline.run()) == (
            f"{endpoint} does not speak TLS as the AWS SDK does; correct AWS_ENDPOINT_URL_SQS"
        )

    @pytest.mark.parametrize(
        ("endpoint", "in_clear"),
        [
            ("https://sqs.eu-west-1.amazonaws.com", False),
            ("http://127.0.0.1:4566", False),
            ("http://[::1]:4566", False),
            ("http://localhost:4566", False),
            ("http://localstack:4566", True),
            ("http://192.0.2.7", True),
        ],
    )
    def test_only_what_leaves_the_machine_must_be_encrypted(self, endpoint: str, in_clear: bool) -> None:
        assert (endpoint_in_clear(endpoint) is not None) == in_clear

    def test_doctor_reports_an_endpoint_in_clear(
        self, pipeline: Pipeline, servers: Servers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert finding("login queue").well
        monkeypatch.setattr("login_pipeline.sqs.errors.is_loopback", lambda _host: False)
        assert not finding("login queue").well
        assert f"come in clear over the network from {servers.sqs_endpoint}; " in finding("login queue").says
