"""The Parquet files of a backup: the columns that they have, how one is written, verified and read.

Memory holds one row group, however large the file.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from login_pipeline.backup.manifest import BackupFile
from login_pipeline.backup.store import BackupStore, no_temporary_file
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


def put_rows(
    store: BackupStore, what: str, schema: pa.Schema, rows: Iterable[Sequence[Any]], content: str
) -> BackupFile:
    """Stores `rows` as the file of `what`; `content` is the sum of their hashes.

    Raises:
        BackupError: the temporary folder is full; or what the store raises.
    """
    count, remaining = 0, iter(rows)
    with TemporaryFile() as file:
        try:
            with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                while group := list(islice(remaining, ROW_GROUP)):
                    columns = zip(zip(*group, strict=True), schema, strict=True)
                    arrays = [pa.array(values, field.type) for values, field in columns]
                    writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=ROW_GROUP)
                    count += len(group)
            sha256 = _sha256(file)
        except OSError as error:
            raise no_temporary_file(error) from None
        # The name says what the file holds, and no two contents share one.
        stored = BackupFile(name=f"{what}-{sha256}.parquet", sha256=sha256, count=count, content=content)
        store.put(stored.name, file)
    return stored


@contextmanager
def open_verified(store: BackupStore, file: BackupFile) -> Iterator[IO[bytes]]:
    """A file that is exactly what the backup wrote, to be read inside.

    Raises:
        BackupError: it is missing or damaged, or cannot be read.
    """
    with store.open(file.name) as stored:
        if stored is None:
            problem = "is missing in LOGIN_BACKUP_URL"
        elif _sha256(stored) != file.sha256:
            problem = "in LOGIN_BACKUP_URL is damaged: it is not what the manifest says"
        else:
            yield stored
            return
    raise BackupError(
        f"{file.name} {problem}; nothing was changed for its date; put back an earlier copy of that file, or of the "
        "folder or bucket"
    )


def read_rows(stored: IO[bytes]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a file, a row group's worth at a time."""
    for batch in pq.ParquetFile(stored).iter_batches(batch_size=ROW_GROUP):
        yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def column_names(stored: IO[bytes]) -> list[str]:
    """The names of a file's columns, in their order."""
    return list(pq.ParquetFile(stored).schema_arrow.names)


def _sha256(file: IO[bytes]) -> str:
    file.seek(0)
    checksum = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0)
    return checksum
