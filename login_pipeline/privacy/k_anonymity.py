"""How many users share what the table says of a login in clear: its k-anonymity (Sweeney, 2002).

masked_ip and masked_device_id are left out: without the key nobody can hold a known value against them.
"""

from typing import NamedTuple

from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase


class GroupSizes(NamedTuple):
    """Groups of equal device_type, locale, app_version and create_date; in the order of checks.sql."""

    groups: int
    smallest_group: int
    smallest_group_of_users: int
    groups_below_k: int
    rows_below_k: int


def group_sizes(database: LoginDatabase, k: int) -> GroupSizes:
    """The smallest group in rows and in users, and what is in groups of fewer than `k` users; reads all rows.

    Raises:
        ConfigurationError: the database cannot be reached.
        DatabaseError: PostgreSQL refused.
    """
    with database.transaction() as cursor:
        cursor.execute(statements.checks.group_sizes, {"k": k})
        return GroupSizes(*(cursor.fetchone() or (0, 0, 0, 0, 0)))
