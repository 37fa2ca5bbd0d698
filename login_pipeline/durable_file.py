"""Puts a file in place whole or not at all, so that neither a kill nor a power cut leaves a part of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(file: Path) -> Iterator[IO[bytes]]:
    """A new file for this user only, which takes the place of `file` when the block ends without an error.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    incoming = file.with_name(f".incoming-{file.name}")
    incoming.unlink(missing_ok=True)  # of one that was cut off
    try:
        with os.fdopen(os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        incoming.replace(file)
    except BaseException:
        incoming.unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)  # a rename outlives a power cut only once the folder is on the disk, too
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
