"""Writes masking keys into a file that other users of this machine cannot read."""

import os
import stat
from contextlib import suppress
from pathlib import Path

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
    incoming = file.with_name(f".{file.name}.incoming")
    try:
        incoming.unlink(missing_ok=True)  # of one that was cut off
        with os.fdopen(os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
            if there:
                os.fchown(stream.fileno(), there.st_uid, there.st_gid)
                os.fchmod(stream.fileno(), stat.S_IMODE(there.st_mode) & ~stat.S_IRWXO)
            stream.write(ring.written())
            stream.flush()
            os.fsync(stream.fileno())
        incoming.replace(file)
        _sync(file.parent)
    except OSError as error:
        with suppress(OSError):
            incoming.unlink(missing_ok=True)
        raise ConfigurationError(
            f"{file} cannot be written: {error.strerror}; run this as the user whose file it is, or name a file in "
            "another folder"
        ) from None


def _sync(folder: Path) -> None:
    """A rename outlives a power cut only once the folder is on the disk, too."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


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
