"""Writes masking keys into a file that nobody else can read."""

import os
from contextlib import suppress
from pathlib import Path

from login_pipeline.errors import ConfigurationError
from login_pipeline.keys import KeyRing, read_key_ring


def write_key_file(file: Path, ring: KeyRing) -> None:
    """Puts the file in place whole, for this user only.

    Raises:
        ConfigurationError: it is there with a key that is not in the ring, or it cannot be read or written.
    """
    _keep_what_is_there(file, ring)
    incoming = file.with_name(f".{file.name}.incoming")
    try:
        incoming.unlink(missing_ok=True)  # of one that was cut off
        with os.fdopen(os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
            stream.write(ring.written())
            stream.flush()
            os.fsync(stream.fileno())
        incoming.replace(file)
    except OSError as error:
        with suppress(OSError):
            incoming.unlink(missing_ok=True)
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}; name a file in another folder") from None


def _keep_what_is_there(file: Path, ring: KeyRing) -> None:
    """A key that is lost takes what it has masked with it."""
    try:
        there = read_key_ring(file.read_text(encoding="ascii"))
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}; name another file") from None
    except ValueError:
        raise ConfigurationError(f"{file} is there, and is no file of masking keys; name another file") from None
    if lost := [key.id for key in there if ring.find(key.id) is None]:
        raise ConfigurationError(
            f"{file} holds keys that would be lost ({', '.join(lost)}), and what they have masked needs them; name "
            f"another file, or set LOGIN_MASKING_KEY_SOURCE={file} and add the new key to them with --add"
        )
