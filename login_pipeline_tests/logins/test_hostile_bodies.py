"""Bodies that are made to do harm, for the parser and the masks alone. `make fuzz` tries a million more."""

import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from types import FrameType

import pytest

from login_pipeline.ingest.redrive import is_reason
from login_pipeline.logins.event import Rejection, is_rejection, parse_login
from login_pipeline_tests.bodies import POISON, valid
from login_pipeline_tests.fuzz.__main__ import fuzz

# The longest message that SQS takes. Source: Amazon SQS Developer Guide, "Amazon SQS message quotas".
MIB = 1024 * 1024


def test_bodies_with_bytes_changed_at_random_break_nothing() -> None:
    outcomes, broken = fuzz(10_000, seed=20260101)
    assert broken == []
    assert outcomes.total() == 10_000
    assert outcomes["login"] > 500
    assert len(outcomes) > 30  # most of the reasons


def test_fuzzer_reports_a_reason_that_quotes_the_body_and_a_row_that_copy_would_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as quoting:
        quoting.setattr("login_pipeline_tests.fuzz.invariants.parse_login", lambda body: Rejection(f"malformed.{body}"))
        assert "may quote" in fuzz(1, seed=1)[1][0]
    monkeypatch.setattr("login_pipeline.postgres.copy._ESCAPED", {})
    assert "or for a column's" in fuzz(2_000, seed=2)[1][0]


def test_each_reason_of_the_contract_is_known_and_no_other_text() -> None:
    assert {poison.reason for poison in POISON if not is_rejection(poison.reason)} == set()
    ours = ["refused.check_violation", "refused.LP001", "older_than_the_inbox", "expired"]
    assert all(is_reason(code) for code in ours)
    others = ["", "ip", "missing", "missing.", "missing.x", "refused", "refused.", "refused.lp001x", "203.0.113.77"]
    assert [code for code in others if is_reason(code)] == []


def _of_length(length: int) -> dict[str, str]:
    """The worst shapes that we know of, of about so many characters each."""
    room = length - len(valid()) - 20
    return {
        "nested arrays": "[" * length,
        "nested objects": '{"":' * (length // 4),
        "closed nested arrays": "[" * (length // 2) + "]" * (length // 2),
        "tiny keys": valid()[:-1] + "," + ",".join(f'"{number:x}":1' for number in range(room // 10)) + "}",
        "the same tiny key": valid()[:-1] + ',"":1' * (room // 5) + "}",
        "empty lists": valid()[:-1] + ',"a":[' + "[]," * (room // 3) + "[]]}",
        "empty objects": valid()[:-1] + ',"a":[' + "{}," * (room // 3) + "{}]}",
        "floats": valid()[:-1] + ',"a":[' + "1e9," * (room // 4) + "1]}",
        "digits": valid()[:-1] + ',"a":' + "9" * room + "}",
        "digits of a fraction": valid()[:-1] + ',"a":0.' + "9" * room + "}",
        "escapes": valid(user_id="\u202e" * (room // 6)),
        "an ip of digits": valid(ip="9" * room),
        "an ip of colons": valid(ip=":" * room),
        "an ip of dots": valid(ip="1." * (room // 2)),
        "an ip in a user_id": valid(user_id=":1" * (room // 2)),
        "a version of digits": valid(app_version="9" * room),
        "a version of parts": valid(app_version="1." * (room // 2)),
        "a version of tags": valid(app_version="1-" + "a." * (room // 2)),
        "a version of hyphens": valid(app_version="1-" + "-" * room + "!"),
        "blanks": valid(user_id=" " * room),
    }


def _peak(parse: Callable[[], object]) -> int:
    """Bytes that were in use at most."""
    tracemalloc.start()
    try:
        parse()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", _of_length(9_999))
def test_memory_and_work_grow_with_the_body_and_no_faster(shape: str) -> None:
    half, whole = _of_length(MIB // 2)[shape], _of_length(MIB)[shape]
    assert MIB * 0.8 < len(whole) <= MIB * 1.01
    peak = _peak(lambda: parse_login(whole))
    assert peak <= 40 * MIB
    assert peak <= 3 * _peak(lambda: parse_login(half)) + 64 * 1024  # a table of keys doubles at once
    shorter, longer = _of_length(MIB // 16)[shape], _of_length(MIB // 8)[shape]
    assert _calls(longer) <= 2.2 * _calls(shorter) + 100


def _calls(body: str) -> int:
    """Calls of Python's and of C's functions: the work, without a clock."""
    counted: Counter[str] = Counter()

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        counted[event] += 1

    sys.setprofile(count)
    try:
        parse_login(body)
    finally:
        sys.setprofile(None)
    return counted["call"] + counted["c_call"]
