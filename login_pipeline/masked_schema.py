"""What a DataFrame must be to fit user_logins, as a pandera schema derived from the destination's columns."""

import sys
from datetime import date
from typing import Any

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from login_pipeline.columns import USER_LOGINS, Column
from login_pipeline.login_event import INT4_MAX


def count_misfits(logins: pd.DataFrame) -> dict[str, int]:
    """How many values break each rule, by `column: rule`; empty for a DataFrame that fits.

    pandera's own report quotes the values, so only its counts leave this function.
    """
    try:
        _SCHEMA.validate(logins, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        rules = cases["column"].fillna("columns").astype(str) + ": " + cases["check"].astype(str)
        return {str(rule): int(count) for rule, count in rules.value_counts().items()}
    return {}


def _is_text(values: "pd.Series[Any]") -> "pd.Series[bool] | bool":
    return _all_are(str, values) or values.map(lambda value: type(value) is str)


def _is_date(values: "pd.Series[Any]") -> "pd.Series[bool] | bool":
    return _all_are(date, values) or values.map(lambda value: type(value) is date)


def _all_are(type_: type, values: "pd.Series[Any]") -> bool:
    """Asked for all values at once, at a tenth of the cost; which of them are not is asked where some are not."""
    return set(map(type, values.tolist())) <= {type_}


def _has_length(least: int, most: int | None) -> pa.Check:
    def fits(values: "pd.Series[Any]") -> "pd.Series[bool] | bool":
        if _all_are(str, values):
            lengths = [*map(len, values.tolist()), least]
            if min(lengths) >= least and max(lengths) <= (most or sys.maxsize):
                return True
        return values.str.len().between(least, most or sys.maxsize)

    return pa.Check(fits, name=f"str_length({least}, {most})")


def _text(max_length: int | None, *, nullable: bool = False) -> pa.Column:
    checks = [pa.Check(_is_text, name="is text"), _has_length(1, max_length)]
    return pa.Column(object, checks, nullable=nullable)


def _pandera_column(column: Column) -> pa.Column:
    if column.type == "integer":
        return pa.Column("int64", pa.Check.in_range(0, INT4_MAX))
    if column.type == "date":
        return pa.Column(object, pa.Check(_is_date, name="is a date"))
    return _text(column.max_length, nullable=column.name == "locale")


_SCHEMA = pa.DataFrameSchema(
    {
        **{column.name: _pandera_column(column) for column in USER_LOGINS},
        "message_id": _text(None),
        "receipt_handle": _text(None),
    },
    strict=True,
    ordered=True,
)
