"""`login-pipeline dev`, and every way in which a message can go through it: nothing of it is left but in SQS.

One deployment goes through all of it. It is searched while it runs, after a checkpoint, and again when it has leaked
on purpose, in each kind of place: what the search does not find then, it would not have found before.
"""

import os
import re
import signal
import stat
import subprocess
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from login_pipeline.local.services import temporary_folder
from login_pipeline_tests.at_rest.deployment import Deployment
from login_pipeline_tests.at_rest.faults import PLANTS
from login_pipeline_tests.at_rest.sentinels import Sentinel, Sentinels
from login_pipeline_tests.cli.test_dev import COMMAND
from login_pipeline_tests.envelopes import event, gzip_of, notification

pytestmark = pytest.mark.timeout(900)

Found = dict[str, set[str]]

MALFORMED: dict[str, Callable[[Sentinel], str]] = {
    "bad user_id": lambda own: own.login(user_id=own.ipv4),
    "bad app_version": lambda own: own.login(app_version=own.device_id),
    "bad device_type": lambda own: own.login(device_type=own.device_id * 3),
    "bad ip": lambda own: own.login(ip=f"{own.ip}, {own.ipv4}"),
    "bad locale": lambda own: own.login(locale=[own.ipv4]),
    "bad device_id": lambda own: own.login(device_id={own.device_id: own.ip}),
    "cut short": lambda own: own.login()[:-1],
    "twice": lambda own: own.login()[:-1] + f', "ip": "{own.ipv4}"}}',
    "as a key": lambda own: f'{{"{own.ipv4}": "{own.ip}"}}',
}


# What each path's run meets; the next one is started while it ends.
FAULTS = {"error": "raise", "failed check": "unmasked", "killed": "die", "terminated": "wait", "SIGTERM": "wait"}


def go_through(deployment: Deployment, sentinels: Sentinels) -> dict[str, str]:
    """Sends each path's messages and lets it happen; returns how the paths' runs ended."""
    by_the_sensor(deployment, sentinels)
    deployment.stop_sensor()
    statuses = {
        "refused": refused_by_the_database(deployment, sentinels),
        "disk full": disk_full(deployment, sentinels.of("disk full")),
    }
    runs: dict[str, str] = {}
    for path, fault in FAULTS.items():
        deployment.queue.send(sentinels.of(path).login(), sentinels.of(path).login_ipv4())
        runs[path], process = deployment.run_with(fault)
        if path == "terminated":
            deployment.terminate(runs[path])
        if path == "SIGTERM":
            os.kill(process, signal.SIGTERM)
    statuses |= {path: deployment.ended(run_id) for path, run_id in runs.items()}
    commands(deployment, sentinels)
    return statuses


def by_the_sensor(deployment: Deployment, sentinels: Sentinels) -> None:
    sent = sentinels.of("loaded")
    bodies = [sent.login(), sent.login_ipv4()]
    deployment.queue.send(*bodies, *(malformed(sentinels.of(path)) for path, malformed in MALFORMED.items()))
    in_attributes(deployment, sentinels.of("in attributes"))
    in_envelopes(deployment, sentinels.of("in envelopes"))
    assert deployment.drained_by_the_sensor()


def in_attributes(deployment: Deployment, own: Sentinel) -> None:
    """As anybody who may send can set them."""
    values = {"original_message_id": own.ip, "reason": own.device_id, "another": own.ipv4}
    attributes: dict[str, Any] = {name: {"DataType": "String", "StringValue": text} for name, text in values.items()}
    attributes["original_sent_timestamp"] = {"DataType": "Number", "StringValue": "1"}
    deployment.queue.send(own.login(), own.login(ip="no address"), **attributes)


def in_envelopes(deployment: Deployment, own: Sentinel) -> None:
    deployment.queue.send(*(event(own.login(ip=ip)) for ip in (own.ip, "no address")))
    encoded = [gzip_of(own.login(ip=ip)) for ip in (own.ipv4, "no address")]
    deployment.queue.send(*encoded, **{"Content-Encoding": {"DataType": "String", "StringValue": "gzip"}})
    deployment.queue.send(*(notification(own.login(ip=ip), MessageId=str(uuid4())) for ip in (own.ip, "no address")))


def refused_by_the_database(deployment: Deployment, sentinels: Sentinels) -> str:
    """By a constraint, whose DETAIL quotes the row, and by a trigger, which quotes it in its message."""
    deployment.database.query("ALTER TABLE user_logins ADD CHECK (user_id <> 'constraint')")
    deployment.database.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.user_id = 'trigger' THEN RAISE EXCEPTION '%', NEW; END IF; RETURN NEW; END $$; "
        "CREATE TRIGGER refuse BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    beside = sentinels.of("beside a refused one").login()  # without it the table would be taken to be wrong
    deployment.queue.send(sentinels.of("constraint").login(), sentinels.of("trigger").login(), beside)
    return deployment.run()


def disk_full(deployment: Deployment, own: Sentinel) -> str:
    deployment.database.fill_disk()
    deployment.queue.send(own.login(), own.login_ipv4())
    status = deployment.run()
    deployment.database.query("DROP FUNCTION is_full() CASCADE")
    return status


def commands(deployment: Deployment, sentinels: Sentinels) -> None:
    """Redrive, backup, and a drain with wrong settings, as a person at a shell gives them."""
    deployment.queue.send(sentinels.of("wrong settings").login())
    command(deployment, "drain", expect=2, LOGIN_MASKING_KEY=sentinels.of("wrong settings").device_id)
    command(deployment, "redrive", "--reason", "malformed.ip")
    command(deployment, "backup", "--json")


def command(deployment: Deployment, *arguments: str, expect: int = 0, **settings: str) -> None:
    environment = {**os.environ, **deployment.dev.settings(), "TMPDIR": str(deployment.folder / "tmp"), **settings}
    with (deployment.folder / f"output of {arguments[0]}").open("ab") as output:
        ended = subprocess.run([COMMAND, *arguments], env=environment, stdout=output, stderr=output, check=False)
    assert ended.returncode == expect, arguments


# The files that are meant for them, 0600.
SECRETS_ARE_IN = {"masking_key": {"masking_key", "env"}, "postgresql/password": {"postgresql/password", "env"}}


def leaks(found: Found) -> Found:
    """What was found, without the secrets in the files that are meant for them."""
    left = {
        place: {name for name in names if not any(place.endswith(f"/{file}") for file in SECRETS_ARE_IN.get(name, ()))}
        for place, names in found.items()
    }
    return {place: names for place, names in left.items() if names}


TEMPORARY = "/".join(("", "tmp", "tmp"))
PLACES = {
    "print": {"/output"},
    "event": {"public.event_logs"},
    "temporary file": {TEMPORARY},
    "row": {"public.planted", "/data/pg_wal/"},
    "deleted row": {"/data/pg_wal/"},
    "packed address": {"public.addresses", "/data/pg_wal/"},
    "server log": {"/server.log"},
    "backup": {"/backup/planted.parquet"},
    "home": {"/dagster/planted"},
    "exception": {"public.event_logs", "/output"},
}


def test_nothing_is_at_rest_but_in_sqs_and_what_is_leaked_on_purpose_is_found() -> None:
    """One test, because it is one deployment: tests of their own would each be given one by pytest-xdist."""
    with temporary_folder() as folder:
        deployment, sentinels = Deployment(folder), Sentinels()
        try:
            require_ends(go_through(deployment, sentinels))
            assert deployment.alerted()
            killed_with_the_daemon = sentinels.of("daemon killed").login()
            planted_logins = [sentinels.of(f"planted {name}").login() for name in PLANTS]
            search = sentinels.search(deployment.secrets())
            clean = search.places(deployment.everything())
            assert leaks(clean) == {}
            # That they are found in their own files shows that the search knows them.
            assert {name for names in clean.values() for name in names} == set(SECRETS_ARE_IN)
            for file in (*SECRETS_ARE_IN, "env"):
                assert stat.S_IMODE((folder / file).stat().st_mode) == 0o600
            deployment.checkpoint()
            assert leaks(search.places(deployment.files())) == {}
            require_quiet_server_log((folder / "postgresql" / "server.log").read_text())
            loaded = {user_id for (user_id,) in deployment.database.query("SELECT user_id FROM user_logins")}
            assert {"loaded", "in attributes"} <= loaded

            deployment.queue.send(*planted_logins)
            assert deployment.ended(deployment.run_with("leak")[0]) == "FAILURE"
            assert not_found(search.places(deployment.everything())) == {}

            deployment.queue.send(killed_with_the_daemon)
            deployment.run_with("wait")
            deployment.kill_daemon()
            found = search.places(deployment.everything_after_its_end())
            assert not_found(found) == {}
            assert "daemon killed" not in {path for names in found.values() for path in paths(names)}
        finally:
            deployment.stop()
        in_sqs = {path for names in search.places(deployment.sqs()).values() for path in paths(names)}
    # No later run can have loaded these: they are on the dead-letter queue, or were held by a run that was killed. What
    # wrong settings left on the queue, later runs with right ones receive.
    held = {"killed", "daemon killed", "constraint", "trigger", "in attributes"}
    assert {*MALFORMED, *held} - {"bad ip"} - in_sqs == set()


def paths(names: set[str]) -> set[str]:
    return {name.split(",")[0] for name in names}


def not_found(found: Found) -> Found:
    """Where a leak was planted, and the search did not find it."""
    places = {name: [place for place in found if f"planted {name}" in paths(found[place])] for name in PLANTS}
    missing = {
        name: {part for part in PLACES[name] if not any(part in place for place in places[name])} for name in PLANTS
    }
    return {name: parts for name, parts in missing.items() if parts}


def require_quiet_server_log(server_log: str) -> None:
    """PostgreSQL's own log quotes no row."""
    assert "checkpoint" in server_log
    assert [line for line in server_log.splitlines() if re.search(r"k[0-9a-f]{8}\.|ERROR|DETAIL", line)] == []


def require_ends(statuses: dict[str, str]) -> None:
    """Each run ended as it should."""
    assert statuses.pop("SIGTERM") in {"FAILURE", "CANCELED"}  # as Dagster's signal handler gets to it
    assert statuses == {
        "refused": "SUCCESS",
        "disk full": "FAILURE",
        "error": "FAILURE",
        "failed check": "FAILURE",
        "killed": "FAILURE",
        "terminated": "CANCELED",
    }
