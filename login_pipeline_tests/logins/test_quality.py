"""What of a DataFrame does not fit the table is counted by its rule."""

import pandas as pd
import pytest

from login_pipeline.logins.quality import count_misfits
from login_pipeline.logins.transform import mask_logins, raw_messages
from login_pipeline.masking.keys import MaskingKey
from login_pipeline.masking.methods import hmac_sha256_masks
from login_pipeline_tests.bodies import valid


@pytest.fixture
def logins() -> pd.DataFrame:
    bodies = [valid(locale=None), *[valid()] * 5]
    raw = raw_messages([(f"id-{n}", f"id-{n}", f"receipt-{n}", 0, 1, body, body, {}) for n, body in enumerate(bodies)])
    return mask_logins(raw, hmac_sha256_masks(MaskingKey(bytes(range(32))))).logins


def test_logins_fit(logins: pd.DataFrame) -> None:
    assert count_misfits(logins) == {}
    assert count_misfits(logins[:0]) == {}


def test_each_value_that_does_not_fit_is_counted(logins: pd.DataFrame) -> None:
    logins["user_id"] = pd.Series([7, "x" * 129, None, "", "fits", ["a"]], dtype=object)
    logins["locale"] = pd.Series([None, float("nan"), "RU", 7, "x" * 33, ""], dtype=object)
    logins["create_date"] = pd.Series([None, "2026-01-01", *logins["create_date"][2:]], dtype=object)
    logins.loc[[3, 4], "app_version"] = [-1, 2**31]
    assert count_misfits(logins) == {
        "user_id: null": 1,
        "user_id: type": 2,
        "user_id: length": 2,
        "locale: type": 2,
        "locale: length": 2,
        "create_date: null": 1,
        "create_date: type": 1,
        "app_version: range": 2,
    }


def test_columns_that_are_other_ones_do_not_fit(logins: pd.DataFrame) -> None:
    assert count_misfits(logins.assign(more=1)) == {"columns: are other ones": 10}
    assert count_misfits(logins[[*logins.columns[1:], "user_id"]]) == {"columns: are other ones": 9}
