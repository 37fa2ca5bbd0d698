"""What a DataFrame must be to fit user_logins, as a pandera schema derived from the destination's columns.

Its checks ask about all values of a column at once, at a fraction of the cost; which of them break a rule, and so how
many, is asked only where some do. Nulls are another rule's.
"""

import sys
from contextlib import suppress
from datetime import date
from types import NoneType
from typing import Any

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from login_pipeline.logins.columns import USER_LOGINS, Column
from login_pipeline.logins.event import INT4_MAX


def count_misfits(logins: pd.DataFrame) -> dict[str, int]:
    """How many values break each rule, by `column: rule`; empty for a DataFrame that fits.

    pandera's own report quotes the values, so only its counts leave this function.
    """
    try:
        _SCHEMA.validate(logins, lazy=True, inplace=True)  # it changes nothing, so no copy is needed
    except SchemaErrors as errors:
        cases = errors.failure_cases
        rules = cases["column"].fillna("columns").astype(str) + ": " + cases["check"].astype(str)
        return {str(rule): int(count) for rule, count in rules.value_counts().items()}
    return {}


def _all_are(type_: type) -> pa.Check:
    def are(values: "pd.Series[Any]") -> "pd.Series[bool] | bool":
        at_once = set(map(type, values.tolist())) <= {type_, NoneType}
        return at_once or values.isna() | values.map(lambda value: type(value) is type_)

    return pa.Check(are, name="is text" if type_ is str else f"is a {type_.__name__}", ignore_na=False)


def _has_length(least: int, most: int | None) -> pa.Check:
    longest = most or sys.maxsize

    def fits(values: "pd.Series[Any]") -> "pd.Series[bool] | bool":
        with suppress(TypeError):  # something without a length
            lengths = {len(value) for value in values.tolist() if value is not None}
            if lengths <= {least} or (min(lengths) >= least and max(lengths) <= longest):
                return True
        return values.isna() | values.str.len().between(least, longest)

    return pa.Check(fits, name=f"str_length({least}, {most})", ignore_na=False)


def _text(max_length: int | None, *, nullable: bool = False) -> pa.Column:
    return pa.Column(object, [_all_are(str), _has_length(1, max_length)], nullable=nullable)


def _pandera_column(column: Column) -> pa.Column:
    if column.type == "integer":
        return pa.Column("int64", pa.Check.in_range(0, INT4_MAX))
    if column.type == "date":
        return pa.Column(object, _all_are(date))
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

count_misfits(pd.DataFrame({name: pd.Series(dtype=column.dtype.type) for name, column in _SCHEMA.columns.items()}))
"""pandera imports half of what it needs at its first use: here, so that processes that are forked later have it."""
