"""The Parquet files of a backup: the columns that they have, how one is written, verified and read.

Memory holds one row group, however large the file.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from login_pipeline.backup.manifest import BackupFile, file_name
from login_pipeline.errors import BackupError
from login_pipeline.logins.columns import USER_LOGINS

# Rows in memory at once: about 30 MB as Python objects.
ROW_GROUP = 50_000

_ARROW_TYPES = {"character varying": pa.string(), "integer": pa.int32(), "date": pa.date32()}
# The columns of user_logins.
ROWS = pa.schema([pa.field(column.name, _ARROW_TYPES[column.type]) for column in USER_LOGINS])
# The columns of user_logins_inbox.
KEYS = pa.schema(
    [
        pa.field("message_id", pa.string(), nullable=False),
        pa.field("create_date", pa.date32()),
        pa.field("loaded_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
_SCHEMAS = {"user_logins": ROWS, "user_logins_inbox": KEYS}  # an audit table has what columns it has

# Opens a stored file by its name; None where there is none.
Open = Callable[[str], IO[bytes] | None]
# Stores a file's content, to its end, under its name.
Put = Callable[[str, IO[bytes]], None]


def write_file(file: IO[bytes], schema: pa.Schema, rows: Iterable[Sequence[Any]]) -> tuple[int, str]:
    """Writes `rows` to the empty `file` and goes back to its start; returns their count and the file's SHA-256."""
    count = 0
    remaining = iter(rows)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(islice(remaining, ROW_GROUP)):
            columns = [
                pa.array(values, field.type) for values, field in zip(zip(*group, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=ROW_GROUP)
            count += len(group)
    return count, _sha256(file)


def put_rows(put: Put, what: str, schema: pa.Schema, rows: Iterable[Sequence[Any]], content: str) -> BackupFile:
    """Stores `rows` as the file of `what`; `content` is the sum of their hashes.

    Raises:
        BackupError: the temporary folder is full; or what the store raises.
    """
    with scratch() as file:
        try:
            count, sha256 = write_file(file, schema, rows)
        except OSError as error:
            raise BackupError(
                f"The temporary folder cannot be written: {error.strerror}; make room there, or name another in TMPDIR"
            ) from None
        stored = BackupFile(name=file_name(what, sha256), sha256=sha256, count=count, content=content)
        put(stored.name, file)
    return stored


def scratch() -> IO[bytes]:
    """A temporary file without a name: nothing is left of it, however this process ends."""
    return TemporaryFile()


def open_verified(open_stored: Open, file: BackupFile) -> IO[bytes]:
    """Opens a file that is exactly what the backup wrote.

    Raises:
        BackupError: it is missing or damaged.
    """
    stored = open_stored(file.name)
    if stored is None:
        raise BackupError(f"{file.name} is missing in LOGIN_BACKUP_URL; nothing was changed for its date; {_REMEDY}")
    if _sha256(stored) != file.sha256 or not _holds(stored, file):
        stored.close()
        raise BackupError(
            f"{file.name} in LOGIN_BACKUP_URL is damaged: it is not what the manifest says; nothing was changed for "
            f"its date; {_REMEDY}"
        )
    return stored


def read_rows(stored: IO[bytes]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a file, a row group's worth at a time."""
    for batch in pq.ParquetFile(stored).iter_batches(batch_size=ROW_GROUP):
        yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def column_names(stored: IO[bytes]) -> list[str]:
    """The names of a file's columns, in their order."""
    return list(pq.ParquetFile(stored).schema_arrow.names)


_REMEDY = "put back an earlier copy of that file, or of the folder or bucket"


def _sha256(file: IO[bytes]) -> str:
    file.seek(0)
    checksum = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0)
    return checksum


def _holds(stored: IO[bytes], file: BackupFile) -> bool:
    """Whether the columns and the count are those of the manifest."""
    try:
        parquet = pq.ParquetFile(stored)
        schema = _SCHEMAS.get(file.name.split("-", 1)[0], parquet.schema_arrow)
        return bool(parquet.schema_arrow.equals(schema) and parquet.metadata.num_rows == file.count)
    except pa.ArrowException:
        return False
    finally:
        stored.seek(0)
