"""Writes masking keys into a file that nobody else can read."""

import os
from pathlib import Path

from login_pipeline.errors import ConfigurationError
from login_pipeline.keys import KeyRing


def written(ring: KeyRing) -> str:
    """The keys as they are read again, one a line, the active one first: secrets in clear."""
    return "".join(f"{key.written()}\n" for key in ring)


def write_key_file(file: Path, ring: KeyRing, *, replace: bool) -> None:
    """Puts the file in place whole, for this user only.

    Raises:
        ConfigurationError: it is there and was not to be replaced, or the folder cannot be written.
    """
    incoming = file.with_name(f".{file.name}.incoming")
    try:
        if file.exists() and not replace:
            raise ConfigurationError(
                f"{file} is there already, and what its keys have masked needs them; name another file, or add the new "
                f"key to them with --add"
            )
        descriptor = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(written(ring))
            stream.flush()
            os.fsync(stream.fileno())
        incoming.replace(file)
    except FileExistsError:
        raise ConfigurationError(f"{incoming} is there, of one that was cut off; remove it and try again") from None
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}; name a file in another folder") from None
