"""What anybody who may send to the queue can put into a message, through the whole pipeline: it is data."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from login_pipeline.cli.drain import Totals
from login_pipeline.cli.output import show_drain, show_redrive, show_rows
from login_pipeline.ingest.redrive import redrive
from login_pipeline.logins.columns import NAMES
from login_pipeline.settings import Envelope, read_settings
from login_pipeline.sqs.message import Message, ReceiveResponse
from login_pipeline_tests.conftest import Pipeline
from login_pipeline_tests.defs.test_assets import stored
from login_pipeline_tests.logs.test_logs import Lines, json_lines

__all__ = ["json_lines"]

Body = Callable[..., str]

# New lines, what steers a terminal, what turns text around, and what is not seen.
UNPRINTABLE = "\r\n\x1b[2J\x1b]0;owned\x07\u202e\u2066\u2028\u2029\x85\x9b31m\u200b\ufeff"
FORGED = f'x"}}{UNPRINTABLE}{{"event": "forged"}}'

METACHARACTERS = [
    *("\\.", "\\N", "a\\.", "\\\\N", "\t", "a\tb", "a\rb", "a\nb", "a\r\nb", "\\", "a\\", "\\t", "\\x41", "\\101"),
    *("'", '"', "''", "`", "$$", "$1", "$tag$", "%", "%s", "%(message_ids)s", "{}", "{0}", "{user_id}", "?", ":a", "@"),
    *("';DROP TABLE user_logins;--", "');--", "E'\\''", "U&'\\0061'", "/*", "*/", "--", ";", "NULL", "null", "\x01"),
    *("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", ",", "|", "a,b", "{a,b}", "(a)", "[red]a[/red]", "<b>", "ü→😀"),
    *(
        "\ufeff",
        "\u202ea",
        "\u2028",
        "\x7f",
        "\x1b[31m",
        "\u0301",
        "\U000e0041",
        "None",
        "nan",
        "true",
        "1e999",
        "a\x85",
    ),
]


def attribute(text: str, kind: str = "String") -> dict[str, Any]:
    return {"DataType": kind, "StringValue": text}


def test_metacharacters_arrive_in_every_text_column_exactly_as_they_were_sent(pipeline: Pipeline, body: Body) -> None:
    texts = [text for text in METACHARACTERS if text.strip()]  # what is blank is no value
    pipeline.queue.send(*(body(user_id=text, device_type=text, locale=text, device_id=text) for text in texts))
    assert pipeline.run().failures == []
    rows = pipeline.database.query("SELECT user_id, device_type, locale FROM user_logins ORDER BY user_id")
    assert sorted(rows) == sorted((text, text, text) for text in texts)
    assert len({row[3] for row in pipeline.database.logins()}) == len(texts)
    assert pipeline.run("user_logins_checks_job").passed


NO_IDS = [
    *("203.0.113.77", "2001:db8::77", "593-47-5928", "the-first-id", "", "x", "0" * 101),
    *("A4E1C2F0-93B7-4D52-8C1E-5F60718293A4", "a4e1c2f0-93b7-4d52-8c1e-5f60718293a4\n", "\\N", "\\.", "%s"),
    *("a4e1c2f0-93b7-4d52-8c1e-5f60718293a4, 2026-01-01", "{a4e1c2f0-93b7-4d52-8c1e-5f60718293a4}", FORGED, "\x00"),
]


def test_text_that_is_no_message_id_is_not_taken_for_one() -> None:
    for text in NO_IDS:
        entry = {
            "MessageId": "its own",
            "ReceiptHandle": "handle",
            "Body": "body",
            "Attributes": {"SentTimestamp": "1767225600000", "ApproximateReceiveCount": "1"},
            "MessageAttributes": {
                "original_message_id": attribute(text),
                "original_sent_timestamp": attribute("1", "Number"),
            },
        }
        (received,) = msgspec.convert({"Messages": [entry]}, ReceiveResponse, strict=False).messages
        message = Message.from_sqs(received, Envelope.AUTO)
        assert (message.message_id, message.sent_timestamp) == ("its own", 1767225600000), text


def hostile(pipeline: Pipeline, body: Body) -> None:
    """Sends what would forge a line, clear a terminal or turn its text around, in every place of a message."""
    fields: dict[str, object] = dict.fromkeys(("user_id", "device_id"), FORGED)
    pipeline.queue.send(body(**fields, device_type=UNPRINTABLE, locale=UNPRINTABLE, **{FORGED: FORGED}))
    pipeline.queue.send(body(ip=FORGED), body(app_version=FORGED), json.dumps({FORGED: FORGED}))
    text = "".join(each for each in FORGED if each >= " " or each in "\r\n\t")  # what SQS takes as it is
    pipeline.queue.send(text)
    names = ("original_message_id", "original_sent_timestamp", "reason", "another")
    pipeline.queue.send(body(), "not a login", **{name: attribute(text) for name in names})


def unescaped(text: str) -> set[str]:
    """What of it is in the text as it is; a line ends with a new line, and that is all it may have."""
    return {each for each in text if not each.isprintable() and each != "\n"} | (
        {"forged"} if "forged" in text else set()
    )


def test_no_text_of_a_message_reaches_a_line_of_the_log(pipeline: Pipeline, body: Body, json_lines: Lines) -> None:
    hostile(pipeline, body)
    assert pipeline.run().failures == []
    lines = json_lines()
    assert unescaped("\n".join(json.dumps(line, ensure_ascii=False) for line in lines)) == set()
    assert {line["event"] for line in lines} == {"received", "loaded", "quarantined", "run_finished"}


def test_no_text_of_a_message_reaches_the_terminal_or_dagster(
    pipeline: Pipeline, body: Body, capfd: pytest.CaptureFixture[str]
) -> None:
    hostile(pipeline, body)
    run = pipeline.run()
    assert run.failures == []
    totals = Totals()
    totals.add(run)
    show_drain(totals)
    pipeline.dead_letter_queue.send("body", reason=attribute("x\n\u202e203.0.113.77"))
    show_redrive(redrive(read_settings(), None, dry_run=True))
    shown = "".join(capfd.readouterr())
    assert "not_a_code" in shown
    assert unescaped(shown) == set()
    assert unescaped(stored(pipeline).replace("\t", "")) == set()
    assert unescaped(str(run.metadata)) == set()


def test_row_is_shown_with_what_a_sender_wrote_escaped(capfd: pytest.CaptureFixture[str]) -> None:
    show_rows([["\x1b[2J\u202e", UNPRINTABLE, "k1.a", "k1.b", "\u2066\r\n[red]", 1, "2026-01-01"]])
    shown = capfd.readouterr().out
    assert unescaped(shown) == set()
    assert len(shown.splitlines()) == 2
    assert all(escaped in shown for escaped in (r"\x1b[2J", r"\x1b]0;owned\x07\u202e", r"\u2066\r\n[red]"))
    assert NAMES[0] in shown


# What the embedded server takes; SQS takes 1 MiB, for which logins/test_hostile_bodies.py has the parser alone.
LONGEST = 256 * 1024


def test_batch_of_long_messages_is_bounded_in_memory_and_not_taken_for_the_last(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.sqs.receive.MAX_CHARACTERS", 5 * LONGEST)
    pipeline.queue.send(*(body(extra="x" * (LONGEST - 300)) for _ in range(25)))
    run = pipeline.run()
    assert run.metadata["raw_sqs_messages"]["dagster/row_count"] == 10  # one call
    assert run.metadata["raw_sqs_messages"]["queue_ran_dry"] is False
    assert len(pipeline.database.logins()) == 10
    assert pipeline.queue.depth() == (15, 0)


def test_the_longest_messages_are_loaded_or_rejected(pipeline: Pipeline, body: Body) -> None:
    room = LONGEST - len(body()) - 20
    tiny = ",".join(f'"{number}":1' for number in range(20_000))
    loaded = [body(extra="x" * room), f"{body()[:-1]},{tiny}}}", f"{body()[:-1]}{' ' * room}}}"]
    rejected = {
        "too_long.user_id": body(user_id="x" * room),
        "not_json": "[" * LONGEST,
        "malformed.ip": body(ip="1" * room),
        "malformed.app_version": body(app_version="1." * (room // 2)),
        "out_of_range.app_version": body(app_version="1" * room),
        "duplicate_key": body()[:-1] + ', "a": 1' * (room // 8) + "}",
    }
    pipeline.queue.send(*loaded, *rejected.values())
    run = pipeline.run()
    assert run.failures == []
    assert run.metadata["quarantined_logins"]["reasons"] == dict.fromkeys(rejected, 1)
    assert run.metadata["user_logins_table"]["loaded"] == len(loaded)
    assert {letter["Body"] for letter in pipeline.dead_letter_queue.take_all()} == set(rejected.values())
