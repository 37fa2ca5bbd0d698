"""The destination's columns, as the Dagster UI shows them."""

import dagster as dg

from login_pipeline.logins.columns import USER_LOGINS, declared_type


def table_schema(*more: dg.TableColumn) -> dg.TableSchema:
    """The columns for the Dagster UI, followed by any more that a DataFrame carries."""
    own = [
        dg.TableColumn(column.name, type=declared_type(column), description=column.description)
        for column in USER_LOGINS
    ]
    return dg.TableSchema(columns=[*own, *more])
