"""Messages that are moved to the dead-letter queue: which, once, and with what."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from threading import Event
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from login_pipeline.cli.doctor import examine
from login_pipeline.postgres.copy import MAX_CREDIBLE_REFUSALS
from login_pipeline.sqs.batches import NOT_ATTEMPTED, Entry
from login_pipeline.sqs.queue import SqsQueue
from login_pipeline_tests.conftest import Command, Pipeline
from login_pipeline_tests.exactly_once.stepped_process import KilledError
from login_pipeline_tests.roles import roles_of

Body = Callable[..., str]
REFUSE = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.user_id LIKE 'refused%' THEN "
    "RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$; "
    "CREATE TRIGGER refuse BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION refuse()"
)


@pytest.fixture
def refusing(prepared: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr("login_pipeline.sqs.release_delay.RELEASE_DELAY", 0)
    prepared.database.query(REFUSE)
    return prepared


def test_row_that_only_the_database_refuses_is_quarantined_and_its_neighbours_load(
    refusing: Pipeline, body: Body
) -> None:
    refusing.queue.send(*(body(user_id=f"good {n}") for n in range(9)))
    (refused,) = refusing.queue.send(body(user_id="refused"))
    run = refusing.run()
    assert run.failures == []
    figures = run.metadata["user_logins_table"]
    assert (figures["loaded"], figures["quarantined"], figures["deleted"]) == (9, 1, 10)
    assert len(refusing.database.logins()) == 9
    assert refusing.queue.count() == 0
    (letter,) = refusing.dead_letter_queue.take_all()
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert letter["Body"] == body(user_id="refused")
    assert (attributes["reason"], attributes["original_message_id"]) == ("refused.raise_exception", refused)


def test_table_that_refuses_every_row_sends_no_login_to_the_dead_letter_queue(refusing: Pipeline, body: Body) -> None:
    refusing.queue.send(*(body(user_id=f"refused {n}") for n in range(MAX_CREDIBLE_REFUSALS + 1)))
    run = refusing.run()
    assert "PostgreSQL refused 21 rows (refused.raise_exception)" in run.failures[0]
    assert refusing.queue.count() == 21
    assert refusing.dead_letter_queue.count() == 0
    refusing.database.query("DROP TRIGGER refuse ON user_logins")
    assert refusing.run().metadata["user_logins_table"]["loaded"] == 21


def test_rows_that_are_refused_at_each_delivery_are_moved_although_new_ones_keep_coming(
    refusing: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.ingest.load.DELIVERIES", 3)
    refusing.queue.send(*(body(user_id=f"refused {n}") for n in range(MAX_CREDIBLE_REFUSALS + 1)))
    assert [bool(refusing.run().failures) for _ in range(2)] == [True, True]
    assert refusing.dead_letter_queue.count() == 0
    refusing.queue.send(body(user_id="refused, new"))
    run = refusing.run()
    assert "PostgreSQL refused 1 rows" in run.failures[0]
    assert (refusing.queue.count(), refusing.dead_letter_queue.count()) == (1, MAX_CREDIBLE_REFUSALS + 1)


def test_redrive_policy_that_moves_good_messages_away_is_reported(pipeline: Pipeline) -> None:
    client = pipeline.queue.client
    arn = client.get_queue_attributes(QueueUrl=pipeline.dead_letter_queue.url, AttributeNames=["QueueArn"])
    for deliveries, warned in ((3, True), (10, False)):
        policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": deliveries}
        client.set_queue_attributes(QueueUrl=pipeline.queue.url, Attributes={"RedrivePolicy": json.dumps(policy)})
        says = {finding.subject: finding for finding in examine()}["login queue"]
        assert says.well is not warned
        assert ("raise its maxReceiveCount to 10 or more" in says.says) is warned
        pipeline.run()
        logs = pipeline.instance.all_logs(pipeline.instance.get_runs(limit=1)[0].run_id)
        assert any("moves a message away after 3 deliveries" in entry.user_message for entry in logs) is warned


def test_rejects_of_which_none_can_be_deleted_fail_the_run_and_are_not_moved_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.sqs.release_delay.RELEASE_DELAY", 0)
    pipeline.queue.send("not a login")
    with monkeypatch.context() as broken:
        broken.setattr("login_pipeline.sqs.queue.SqsQueue.delete", lambda *_: {"AccessDenied": 1})
        runs = [pipeline.run(), pipeline.run()]
    assert all("SQS deleted none of 1 messages that are on the dead-letter queue" in run.failures[0] for run in runs)
    run = pipeline.run()
    assert (run.failures, run.metadata["quarantined_logins"]["deleted"]) == ([], 1)
    assert (pipeline.queue.count(), pipeline.dead_letter_queue.count()) == (0, 1)


@pytest.fixture
def unchecked(prepared: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Its runs receive also where the tables are wrong; what they release is back at once."""
    monkeypatch.setattr("login_pipeline.sqs.release_delay.RELEASE_DELAY", 0)
    monkeypatch.setattr("login_pipeline.defs.assets.check_surroundings", lambda *_, **__: None)
    return prepared


NO_PARTITION = "ALTER TABLE user_logins RENAME TO plain; CREATE TABLE user_logins (LIKE plain) PARTITION BY {by}"
ONE_PARTITION = "; CREATE TABLE only_ios PARTITION OF user_logins FOR VALUES IN ('ios')"
# As they partition a table who place its rows by a trigger.
TAKES_NONE = (
    "CREATE FUNCTION place() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; END $$; "
    "CREATE TRIGGER place BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION place()"
)


@pytest.mark.parametrize(
    ("change", "reason", "remedy"),
    [
        (NO_PARTITION.format(by="RANGE (create_date)"), "no_partition", "create the partition for their create_date"),
        (TAKES_NONE.format(does="RETURN NULL"), "skipped_by_trigger", "correct its trigger or constraint"),
        (TAKES_NONE.format(does="RAISE 'no place'"), "raise_exception", "correct its trigger or constraint"),
        (
            TAKES_NONE.format(does="RAISE insufficient_privilege"),
            "insufficient_privilege",
            "change the row-level security policy",
        ),
    ],
    ids=["partition", "left out", "raised", "privilege"],
)
def test_few_logins_that_the_table_cannot_take_stay_on_the_queue_and_the_run_fails(
    unchecked: Pipeline, body: Body, change: str, reason: str, remedy: str
) -> None:
    unchecked.database.query(change)
    unchecked.queue.send(body(), body())
    (failure,) = unchecked.run().failures
    assert f"PostgreSQL refused 2 rows (refused.{reason})" in failure
    assert remedy in failure
    assert (unchecked.queue.count(), unchecked.dead_letter_queue.count()) == (2, 0)


def test_row_without_a_partition_is_quarantined_when_it_came_often_and_its_neighbours_load(
    unchecked: Pipeline, body: Body, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchecked.database.query(NO_PARTITION.format(by="LIST (device_type)") + ONE_PARTITION)
    unchecked.queue.send(body(device_type="android"), *(body(device_type="ios") for _ in range(3)))
    run = unchecked.run()
    assert "PostgreSQL refused 1 rows (refused.no_partition)" in run.failures[0]
    assert run.metadata["user_logins_table"]["loaded"] == 3
    assert (unchecked.queue.count(), unchecked.dead_letter_queue.count()) == (1, 0)
    monkeypatch.setattr("login_pipeline.ingest.load.DELIVERIES", 2)
    assert unchecked.run().failures == []
    assert (unchecked.queue.count(), unchecked.dead_letter_queue.count()) == (0, 1)
    unchecked.database.query("CREATE TABLE others PARTITION OF user_logins DEFAULT")
    assert command("redrive", "--reason", "refused.no_partition")[0] == 0
    assert unchecked.run().failures == []
    assert len(unchecked.database.logins()) == 4


def test_many_rows_that_the_table_does_not_take_stay_though_they_came_often(
    unchecked: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.ingest.load.DELIVERIES", 1)
    unchecked.database.query(NO_PARTITION.format(by="RANGE (create_date)"))
    unchecked.queue.send(*(body() for _ in range(MAX_CREDIBLE_REFUSALS + 1)))
    assert "(refused.no_partition); table user_logins is taken to be wrong" in unchecked.run().failures[0]
    assert (unchecked.queue.count(), unchecked.dead_letter_queue.count()) == (MAX_CREDIBLE_REFUSALS + 1, 0)


UNRECORDED = "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; END $$; "
BEFORE = (
    "CREATE TRIGGER lose BEFORE INSERT ON user_logins_dead_letters FOR EACH ROW "
    "WHEN (NEW.reason = 'not_json') EXECUTE FUNCTION lose()"
)
AT_COMMIT = (
    "CREATE CONSTRAINT TRIGGER lose AFTER INSERT ON user_logins_dead_letters DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW WHEN (NEW.reason = 'not_json') EXECUTE FUNCTION lose()"
)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (UNRECORDED.format(does="RAISE check_violation") + BEFORE, "PostgreSQL refused a statement (check_violation"),
        (UNRECORDED.format(does="RETURN NULL") + BEFORE, "does not keep, or does not show, the records of 1 messages"),
        (UNRECORDED.format(does="RAISE check_violation") + AT_COMMIT, "PostgreSQL refused a statement"),
    ],
    ids=["refused", "left out", "refused at the COMMIT"],
)
def test_message_whose_record_cannot_be_made_is_not_sent(
    unchecked: Pipeline, body: Body, change: str, sentence: str
) -> None:
    unchecked.database.query(change)
    unchecked.queue.send("not a login", body())
    for _ in range(2):
        (failure,) = unchecked.run().failures
        assert sentence in failure
    assert (unchecked.queue.count(), unchecked.dead_letter_queue.count()) == (1, 0)
    assert len(unchecked.database.logins()) == 1
    unchecked.database.query("DROP FUNCTION lose() CASCADE")
    assert unchecked.run().failures == []
    assert (unchecked.queue.count(), unchecked.dead_letter_queue.count()) == (0, 1)


INSERTS = "CREATE POLICY inserts ON user_logins_dead_letters FOR INSERT WITH CHECK ({}); "
SEES = "CREATE POLICY sees ON user_logins_dead_letters FOR SELECT USING ({}); "
REFUSED = "Row-level security applies to the role in LOGIN_DATABASE_URL"


@pytest.mark.parametrize(
    ("policies", "letters", "sentence"),
    [
        (INSERTS.format("true"), 0, REFUSED),
        (SEES.format("true"), 0, REFUSED),
        # Shows a row to the transaction that inserts it, and to no later one.
        (INSERTS.format("true") + SEES.format("sent_at >= now()"), 1, "does not keep, or does not show, the records"),
    ],
    ids=["hidden", "refused", "hidden afterwards"],
)
def test_row_security_on_the_dead_letters_table_sends_no_letter_at_each_delivery(
    unchecked: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch, policies: str, letters: int, sentence: str
) -> None:
    with roles_of(unchecked.database) as roles:
        unchecked.database.query(
            "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO login_pipeline_loader; "
            "ALTER TABLE user_logins_dead_letters ENABLE ROW LEVEL SECURITY; " + policies
        )
        unchecked.set(LOGIN_DATABASE_URL=roles.loader.url)
        unchecked.queue.send("not a login", body())
        with monkeypatch.context() as undeleted:
            undeleted.setattr("login_pipeline.sqs.queue.SqsQueue.delete", lambda *_: {"AccessDenied": 1})
            unchecked.run()
        failures = unchecked.run().failures
        assert (unchecked.queue.count(), unchecked.dead_letter_queue.count()) == (1, letters)
        assert len(unchecked.database.logins()) == 1
        assert sentence in failures[0]


def test_letters_that_sqs_refuses_leave_no_record_and_the_others_theirs(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = SqsQueue.send
    pipeline.queue.send(*["not a login"] * 5)

    def all_but_two(queue: SqsQueue, messages: Sequence[Entry], stop: Event | None = None) -> dict[int, str]:
        return {**send(queue, messages[2:], stop), 0: "InternalError", 1: "InternalError"}

    monkeypatch.setattr(SqsQueue, "send", all_but_two)
    (failure,) = pipeline.run().failures
    assert failure.startswith("2 messages could not be moved to the dead-letter queue (InternalError)")
    assert (pipeline.queue.count(), pipeline.dead_letter_queue.count()) == (2, 3)
    letters = [letter["MessageAttributes"] for letter in pipeline.dead_letter_queue.take_all()]
    originals = {attributes["original_message_id"]["StringValue"] for attributes in letters}
    recorded = pipeline.database.query("SELECT message_id FROM user_logins_dead_letters")
    assert {message_id for (message_id,) in recorded} == originals


def test_reject_that_is_too_large_for_the_dead_letter_queue_is_named_and_costs_no_other_its_move(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.ingest.quarantine.MAX_LETTERS", 1)
    limit_letters(pipeline, 1024)
    large = pipeline.queue.send("x" * 2000, "y" * 2000)
    pipeline.queue.send("not a login")
    (failure,) = pipeline.run().failures
    assert failure.startswith("2 messages could not be moved to the dead-letter queue (InvalidParameterValue) and stay")
    assert all(message_id in failure for message_id in large)
    assert "raise the MaximumMessageSize of LOGIN_DEAD_LETTER_QUEUE_URL" in failure
    assert "sqs:SendMessage" not in failure
    assert (pipeline.queue.count(), pipeline.dead_letter_queue.count()) == (2, 1)


def test_dead_letter_queue_that_takes_smaller_messages_than_the_login_queue_is_a_warning(pipeline: Pipeline) -> None:
    for size, warned in ((1024, True), (262_144, False)):
        limit_letters(pipeline, size)
        says = {finding.subject: finding for finding in examine()}["dead-letter queue"]
        assert (says.well, says.warns) == (True, warned)
        assert ("takes messages of 1,024 bytes and LOGIN_QUEUE_URL of 262,144" in says.says) is warned
        assert pipeline.run().failures == []
        logs = pipeline.instance.all_logs(pipeline.instance.get_runs(limit=1)[0].run_id)
        assert any("takes messages of 1,024 bytes" in entry.user_message for entry in logs) is warned


def limit_letters(pipeline: Pipeline, size: int) -> None:
    """From now on the dead-letter queue takes messages of so many bytes at most."""
    queue = pipeline.dead_letter_queue
    queue.client.set_queue_attributes(QueueUrl=queue.url, Attributes={"MaximumMessageSize": str(size)})


# A piece at a time


@pytest.fixture
def small_pieces(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Four rejects at a time, of fourteen."""
    monkeypatch.setattr("login_pipeline.ingest.quarantine.MAX_LETTERS", 4, raising=False)
    monkeypatch.setattr("login_pipeline.sqs.release_delay.RELEASE_DELAY", 0)
    pipeline.queue.send(*["not a login"] * 14)
    return pipeline


def test_many_messages_are_moved_a_piece_at_a_time(small_pieces: Pipeline) -> None:
    run = small_pieces.run()
    assert run.failures == []
    assert run.metadata["quarantined_logins"]["reasons"] == {"not_json": 14}
    assert (small_pieces.queue.count(), small_pieces.dead_letter_queue.count()) == (0, 14)
    transactions = "SELECT count(DISTINCT sent_at) FROM user_logins_dead_letters"
    assert small_pieces.database.query(transactions) == [(4,)]


def test_signal_among_many_rejects_ends_the_run_after_the_piece_and_releases_the_rest(small_pieces: Pipeline) -> None:
    def end_in_the_second(calls: int) -> None:
        if calls == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with _after_each_send(end_in_the_second), pytest.raises(KeyboardInterrupt):
        small_pieces.run()
    assert (small_pieces.queue.depth(), small_pieces.dead_letter_queue.count()) == ((6, 0), 8)
    assert small_pieces.database.query("SELECT count(*) FROM user_logins_dead_letters") == [(8,)]


def test_death_among_many_rejects_leaves_one_piece_at_most_without_its_records(small_pieces: Pipeline) -> None:
    def die(calls: int) -> None:
        if calls == 3:
            raise KilledError

    with _after_each_send(die):
        small_pieces.run()
    assert small_pieces.dead_letter_queue.count() == 12
    assert small_pieces.database.query("SELECT count(*) FROM user_logins_dead_letters") == [(8,)]
    assert small_pieces.run().failures == []
    assert (small_pieces.queue.count(), small_pieces.dead_letter_queue.count()) == (0, 18)


def test_rejects_for_which_no_time_is_left_go_back(small_pieces: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    late = SimpleNamespace(monotonic=lambda: time.monotonic() + 86_400)
    with _after_each_send(
        lambda calls: calls == 2 and monkeypatch.setattr("login_pipeline.sqs.login_queues.time", late)
    ):
        failures = small_pieces.run().failures
    assert "The run took over 80% of LOGIN_VISIBILITY_TIMEOUT" in failures[0]
    assert (small_pieces.queue.depth(), small_pieces.dead_letter_queue.count()) == ((6, 0), 8)


def test_letters_that_take_long_are_recorded_before_the_database_gives_the_record_up(
    small_pieces: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = SqsQueue.send

    def send_one_until_stopped(queue: SqsQueue, messages: Sequence[Entry], stop: Event) -> dict[int, str]:
        not_sent = send(queue, messages[:1], stop)
        assert stop.wait(60)
        return not_sent | dict.fromkeys(range(1, len(messages)), NOT_ATTEMPTED)

    monkeypatch.setattr(SqsQueue, "send", send_one_until_stopped)
    monkeypatch.setattr("login_pipeline.ingest.quarantine.SEND_SECONDS", 0.05)
    (failure,) = small_pieces.run().failures
    assert failure.startswith("10 messages could not be moved to the dead-letter queue (NotAttempted)")
    assert (small_pieces.queue.count(), small_pieces.dead_letter_queue.count()) == (10, 4)
    assert small_pieces.database.query("SELECT count(*) FROM user_logins_dead_letters") == [(4,)]


def test_sqs_that_takes_no_letter_is_not_asked_for_each_piece(
    small_pieces: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refuse(_queue: SqsQueue, messages: Sequence[Entry], _stop: Event | None = None) -> dict[int, str]:
        asked.append(len(messages))
        return dict.fromkeys(range(len(messages)), "AccessDenied")

    monkeypatch.setattr(SqsQueue, "send", refuse)
    (failure,) = small_pieces.run().failures
    assert failure.startswith("14 messages could not be moved to the dead-letter queue (AccessDenied, NotAttempted)")
    assert (asked, small_pieces.queue.count()) == ([4], 14)


@contextmanager
def _after_each_send(do: Callable[[int], object]) -> Iterator[None]:
    """Calls `do` with the number of times that letters were sent, once they are."""
    send = SqsQueue.send
    calls = count(1)

    def send_and_do(queue: SqsQueue, *arguments: Any) -> dict[int, str]:
        not_sent = send(queue, *arguments)
        do(next(calls))
        return not_sent

    with patch.object(SqsQueue, "send", send_and_do):
        yield
