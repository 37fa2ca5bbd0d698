"""The cycle collector waits while a batch is handled, and only then."""

import gc

import pytest

from login_pipeline.gc_pause import no_cycle_collection


def test_collector_waits_until_the_outer_block_is_left() -> None:
    with no_cycle_collection():
        with no_cycle_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_collector_is_on_again_after_an_error() -> None:
    with pytest.raises(LookupError), no_cycle_collection():
        raise LookupError
    assert gc.isenabled()


def test_collector_that_somebody_turned_off_stays_off() -> None:
    gc.disable()
    try:
        with no_cycle_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
