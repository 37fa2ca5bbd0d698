"""Where backups are kept: a folder, or a bucket on S3. Both put a file in place whole or not at all."""

import errno
import os
import pwd
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Protocol
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from login_pipeline.aws import FAULTS, Fault, aws_client, error_code, explain_sdk_errors
from login_pipeline.durable_file import replacing
from login_pipeline.errors import BackupError, ConfigurationError, LoginPipelineError
from login_pipeline.settings import Settings

# Keys that one DeleteObjects call takes. Source: Amazon S3 API Reference, DeleteObjects.
_AT_ONCE = 1000


class BackupStore(Protocol):
    """Files by name. Every method raises ConfigurationError or BackupError where the store does not work."""

    def examine(self) -> str:
        """Where it is, and whose; a place that cannot be read or written is an error. Writes nothing."""

    def put(self, name: str, content: IO[bytes]) -> None:
        """Stores `content` to its end, in the place of what had this name."""

    def open(self, name: str) -> AbstractContextManager[IO[bytes] | None]:
        """The file, to be read inside; None where there is none."""

    def names(self) -> set[str]:
        """All names, those of files that were never finished too."""

    def delete(self, names: Iterable[str]) -> None:
        """Deletes the files; one that is not there is well, too."""


def no_temporary_file(error: OSError) -> BackupError:
    """What to do where a file of the backup cannot be written beside it first."""
    return BackupError(
        f"The temporary folder cannot be written: {error.strerror}; make room there, or name another in TMPDIR"
    )


def backup_store(settings: Settings) -> BackupStore:
    """The store that LOGIN_BACKUP_URL names.

    Raises:
        ConfigurationError: it is not set.
    """
    url = settings.require("backup_url")
    if not url.startswith("s3://"):
        return FolderStore(Path(url))
    parts = urlsplit(url)
    return S3Store(parts.netloc, parts.path.strip("/"), settings.queue_region)


class FolderStore:
    """A folder: made where its parent folder is there, and readable for this user only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def examine(self) -> str:
        """The folder, or the one in which the first backup makes it."""
        there = self._folder.exists()
        place = self._folder if there else self._folder.parent
        with self._explained():
            status = place.stat()
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        try:
            owner = pwd.getpwuid(status.st_uid).pw_name
        except KeyError:
            owner = f"user {status.st_uid}"
        whose = f"of {owner}, mode {stat.S_IMODE(status.st_mode):04o}, readable and writable"
        return f"{self._folder}, {whose}" if there else f"{self._folder}, to be made in a folder {whose}"

    def put(self, name: str, content: IO[bytes]) -> None:
        """Writes beside, and renames when all of it is on the disk."""
        with self._explained():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with replacing(self._folder / name) as file:
                shutil.copyfileobj(content, file)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes] | None]:
        """The file itself."""
        with self._explained(), ExitStack() as stack:
            try:
                file = stack.enter_context((self._folder / name).open("rb"))
            except FileNotFoundError:
                file = None
            yield file

    def names(self) -> set[str]:
        """All names in the folder."""
        with self._explained():
            return {each.name for each in self._folder.iterdir()}

    def delete(self, names: Iterable[str]) -> None:
        """One after the other."""
        with self._explained():
            for name in names:
                (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError) as error:
            raise ConfigurationError(
                f"LOGIN_BACKUP_URL={self._folder} cannot be used: {error.strerror}; name a folder that this user may "
                "write in, or one that can be made because its parent is there"
            ) from None
        except OSError as error:
            raise BackupError(
                f"LOGIN_BACKUP_URL={self._folder} failed: {error.strerror}; the last manifest holds; repair the disk "
                "or make room, and run it again"
            ) from None


class S3Store:
    """A prefix of a bucket. Large files go up in parts, and are there only when the last has come."""

    def __init__(self, bucket: str, prefix: str, region: str | None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._where = f"LOGIN_BACKUP_URL=s3://{bucket}/{self._prefix}"
        with self._explained("CreateClient"):
            self._client = aws_client("s3", region)

    def examine(self) -> str:
        """Asks for one name: whether it can be written is not known before something is."""
        with self._explained("ListBucket"):
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        return f"s3://{self._bucket}/{self._prefix}, readable; whether it can be written shows at the next backup"

    def put(self, name: str, content: IO[bytes]) -> None:
        """Uploads it, in parts where it is large."""
        with self._explained("PutObject"):
            self._client.upload_fileobj(content, self._bucket, self._prefix + name)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes] | None]:
        """A copy on this machine's disk: Parquet is read from its end."""
        copy = None
        with ExitStack() as stack:
            with self._explained("GetObject"):
                try:
                    answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
                    # Without a name: nothing is left of it, however this process ends.
                    copy = stack.enter_context(TemporaryFile())
                    shutil.copyfileobj(answer["Body"], copy)
                    copy.seek(0)
                except ClientError as error:
                    if FAULTS.get(error_code(error)) is not Fault.NOT_FOUND:
                        raise
            yield copy

    def names(self) -> set[str]:
        """All names under the prefix."""
        with self._explained("ListBucket"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            return {each["Key"].removeprefix(self._prefix) for page in pages for each in page.get("Contents", ())}

    def delete(self, names: Iterable[str]) -> None:
        """Many in a call."""
        keys = [{"Key": self._prefix + name} for name in names]
        for first in range(0, len(keys), _AT_ONCE):
            with self._explained("DeleteObject"):
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": keys[first : first + _AT_ONCE], "Quiet": True}
                )
            for refused in answer.get("Errors", ()):  # in a response with 200
                raise self._sentence("DeleteObject", str(refused.get("Code")))

    @contextmanager
    def _explained(self, operation: str) -> Iterator[None]:
        try:
            with explain_sdk_errors("S3", f"use {self._where}"):
                yield
        except ClientError as error:
            raise self._sentence(operation, error_code(error)) from None
        except OSError as error:
            raise no_temporary_file(error) from None

    def _sentence(self, operation: str, code: str) -> LoginPipelineError:
        fault = FAULTS.get(code)
        if fault is Fault.NO_BUCKET:
            return ConfigurationError(f"{self._where} names a bucket that does not exist; create it or name another")
        if fault is Fault.NOT_ALLOWED:
            return ConfigurationError(
                f"S3 refuses s3:{operation} on {self._where} ({code}); allow the credentials s3:GetObject, "
                "s3:PutObject, s3:DeleteObject and s3:ListBucket there"
            )
        return BackupError(f"S3 refused {operation} on {self._where} ({code}); the last manifest holds; run it again")
