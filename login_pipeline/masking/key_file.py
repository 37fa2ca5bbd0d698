"""Writes masking keys into a file that other users of this machine cannot read."""

import os
import stat
from pathlib import Path

from login_pipeline.durable_file import replacing
from login_pipeline.errors import ConfigurationError
from login_pipeline.masking.keys import KeyRing, read_key_ring


def write_key_file(file: Path, ring: KeyRing) -> None:
    """Puts the file in place whole; a new one is for this user only.

    A file that is there keeps its owner, group and mode, without the rights of others; a link to it stays a link.

    Raises:
        ConfigurationError: it is there with a key that is not in the ring, or it cannot be read or written.
    """
    file = Path(os.path.realpath(file))
    there = _keep_what_is_there(file, ring)
    try:
        with replacing(file) as stream:
            if there:
                os.fchown(stream.fileno(), there.st_uid, there.st_gid)
                os.fchmod(stream.fileno(), stat.S_IMODE(there.st_mode) & ~stat.S_IRWXO)
            stream.write(ring.written().encode("ascii"))
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be written: {error.strerror}; run this as the user whose file it is, or name a file in "
            "another folder"
        ) from None


def _keep_what_is_there(file: Path, ring: KeyRing) -> os.stat_result | None:
    """A key that is lost takes what it has masked with it. Returns whose file it is; None where there is none."""
    try:
        with file.open(encoding="utf-8-sig") as stream:  # as runs read it
            there, status = read_key_ring(stream.read()), os.fstat(stream.fileno())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}; name another file") from None
    except ValueError:
        raise ConfigurationError(f"{file} is there, and is no file of masking keys; name another file") from None
    if lost := [key.id for key in there if ring.find(key.id) is None]:
        raise ConfigurationError(
            f"{file} holds keys that would be lost ({', '.join(lost)}), and what they have masked needs them; name "
            f"another file, or set LOGIN_MASKING_KEY_SOURCE={file} and add the new key to them with --add"
        )
    return status
