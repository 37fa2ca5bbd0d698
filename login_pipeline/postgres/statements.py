"""The SQL statements by the names of their files and their own: `statements.load.stage`.

A name in a file is a line `-- name: NAME` above its statement. Where a statement has `{OTHER.NAME}` it embeds that one.
Each name is written here too, so that mypy knows it; a file that has others is an error at import.
"""

import re
from collections import namedtuple
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_EMBEDDED = re.compile(r"\{(\w+)\.(\w+)\}")


def _read(file: str) -> dict[str, str]:
    return {name: _EMBEDDED.sub(_embedded, statement) for name, statement in _written(file).items()}


def _embedded(name: re.Match[str]) -> str:
    return _EMBEDDED.sub(_embedded, _written(name[1])[name[2]]).rstrip(";")


@cache
def _written(file: str) -> dict[str, str]:
    parts = _NAME.split(files(__package__).joinpath("sql", f"{file}.sql").read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], (statement.strip() for statement in parts[2::2]), strict=True))


_Audit = namedtuple("_Audit", "state columns records stage copy add")
audit = _Audit(**_read("audit"))

_Backup = namedtuple("_Backup", "create identity restored_from has_rows session alone hold rows keys")
backup = _Backup(**_read("backup"))

_Checks = namedtuple(
    "_Checks",
    "rows_that_disagree_with_the_inbox rows_with_an_ip_in_clear group_sizes rows_dated_in_the_future "
    "rows_that_expired what_the_server_logs",
)
checks = _Checks(**_read("checks"))

_Dagster = namedtuple("_Dagster", "purge_check_results purge_observations size")
dagster = _Dagster(**_read("dagster"))

_DeadLetters = namedtuple("_DeadLetters", "create known savepoint record undo count_since")
dead_letters = _DeadLetters(**_read("dead_letters"))

_Erasures = namedtuple(
    "_Erasures",
    "create may_read count_rows erase loads_under_way record proofs all last since subjects_since",
)
erasures = _Erasures(**_read("erasures"))

_Exclusion = namedtuple("_Exclusion", "may_lock hold take")
exclusion = _Exclusion(**_read("exclusion"))

_Expiry = namedtuple("_Expiry", "first_kept dates close is_over delete count")
expiry = _Expiry(**_read("expiry"))

_Inbox = namedtuple("_Inbox", "lock_as_a_load_does create known is_empty other_than_created")
inbox = _Inbox(**_read("inbox"))

_Ledger = namedtuple("_Ledger", "create entries upgrade lock_alone by_date add add_unknown add_lost")
ledger = _Ledger(**_read("ledger"))

_Load = namedtuple("_Load", "stage copy closed index_stage load")
load = _Load(**_read("load"))

_NamedUser = namedtuple("_NamedUser", "stage copy")
named_user = _NamedUser(**_read("named_user"))

_Partitions = namedtuple(
    "_Partitions", "create bounds months first_uncovered missing owner lock add over not_owned drop"
)
partitions = _Partitions(**_read("partitions"))

_Prune = namedtuple("_Prune", "dates lock close_date prune prune_dead_letters")
prune = _Prune(**_read("prune"))

_Restore = namedtuple(
    "_Restore",
    "isolation stage copy_rows copy_keys lock compare comparison add_keys add_rows remove_rows "
    "remove_entry add_entry drop_lost_keys",
)
restore = _Restore(**_read("restore"))

_Rotation = namedtuple("_Rotation", "by_key blocks masks replace mark")
rotation = _Rotation(**_read("rotation"))

_Transaction = namedtuple("_Transaction", "begin see_all_rows limit_time limit_locks cancel")
transaction = _Transaction(**_read("transaction"))

_Unmaskings = namedtuple(
    "_Unmaskings",
    "create record stage_masks copy_masks users_of_masks rows_of_user masks_of_user",
)
unmaskings = _Unmaskings(**_read("unmaskings"))

_UserLogins = namedtuple(
    "_UserLogins",
    "create definition missing may_create missing_rights not_owned without_replica_identity encoding takes_writes "
    "count_rows columns newest",
)
user_logins = _UserLogins(**_read("user_logins"))

# By the role that they give its rights.
grants = _read("grants")
