"""Keeps what C libraries print out of stderr: libpq warns there, as text, also of what a server says while it connects.

psycopg2 has a connection's notices only from then on. Their text is kept back, because a server's can quote anything.
"""

import ctypes
import os
import platform
from contextlib import suppress
from functools import cache

# Source: PostgreSQL's dbcommands.c and postinit.c; libpq's fe-connect.c.
_WARNINGS = {
    "collation version": "The collation of a database is of another version than the server's; rebuild what "
    "is sorted by it, such as indexes on text, then run ALTER DATABASE ... REFRESH COLLATION VERSION",
    "password file": "libpq does not use the password file, because others may read it or it is no file; chmod 600",
}


class CStderr:
    """Where C's `stderr` goes instead: a pipe, from which it is taken when somebody asks."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._out, into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)  # what nobody takes fills it, and the rest is dropped
        libc = ctypes.CDLL(None)
        libc.fdopen.restype = ctypes.c_void_p
        stream = libc.fdopen(into, b"w")
        libc.setvbuf(ctypes.c_void_p(stream), None, 2, 0)  # _IONBF
        ctypes.c_void_p.in_dll(libc, "stderr").value = stream

    def take(self) -> list[str]:
        """A sentence for each kind of warning that is new: libpq prints the same one at each connection."""
        printed = b""
        with suppress(BlockingIOError):
            while chunk := os.read(self._out, 65_536):
                printed += chunk
        text = printed.decode(errors="replace")
        said = [sentence for words, sentence in _WARNINGS.items() if words in text]
        if text and not said:
            said = ["A C library printed a warning, which is not repeated, because it may quote anything"]
        new = [sentence for sentence in said if sentence not in self._taken]
        self._taken.update(new)
        return new


@cache
def c_stderr() -> CStderr | None:
    """This process's. None where C's `stderr` is no variable, as in other C libraries than glibc."""
    return CStderr() if platform.libc_ver()[0] == "glibc" else None
