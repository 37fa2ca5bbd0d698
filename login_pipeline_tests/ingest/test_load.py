"""A batch is loaded some rows at a time: how many, and what is left when the time is up."""

from collections.abc import Callable

import pytest

from login_pipeline.ingest.load import MAX_ROWS, next_size
from login_pipeline.sqs.release_delay import release_delay
from login_pipeline_tests.conftest import Pipeline

Body = Callable[..., str]


@pytest.mark.parametrize(
    ("size", "seconds", "seconds_left", "following"),
    [
        (10, 0.01, 700, 100),  # ten times as many at most
        (1000, 0.1, 700, MAX_ROWS),
        (10, 10, 20, 5),  # a row a second: a quarter of the time that is left
        (10, 100, 8, 1),
        (5000, 0.0, 700, MAX_ROWS),
    ],
)
def test_next_transaction_takes_a_part_of_the_time_that_is_left(
    size: int, seconds: float, seconds_left: float, following: int
) -> None:
    assert next_size(size, seconds, seconds_left) == following


def test_message_that_is_released_again_and_again_waits_longer_and_longer() -> None:
    assert [release_delay(count) for count in (1, 2, 3, 4, 7, 8, 1000)] == [10, 20, 40, 80, 640, 900, 900]


def test_released_message_comes_again_by_how_often_it_came(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "login_pipeline.sqs.login_queues.release_delay", lambda receive_count: 600 * (receive_count - 1)
    )
    monkeypatch.setattr("login_pipeline.defs.assets.mask_logins", None)
    pipeline.queue.send(body())
    pipeline.run()
    assert pipeline.queue.depth() == (1, 0)
    pipeline.run()
    assert pipeline.queue.depth() == (0, 1)


def test_twin_that_the_batch_left_out_comes_again_soon_however_often_it_came(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.sqs.login_queues.release_delay", lambda receive_count: receive_count - 1)
    twin = {
        "original_message_id": {"DataType": "String", "StringValue": "a4e1c2f0-93b7-4d52-8c1e-5f60718293a4"},
        "original_sent_timestamp": {"DataType": "Number", "StringValue": "1767225599999"},
    }
    pipeline.queue.send(body(), body(), **twin)
    with monkeypatch.context() as broken:
        broken.setattr("login_pipeline.sqs.login_queues.release_delay", lambda _receive_count: 0)
        broken.setattr("login_pipeline.defs.assets.mask_logins", None)
        pipeline.run()
    assert pipeline.run().failures == []
    assert pipeline.queue.depth() == (1, 0)
