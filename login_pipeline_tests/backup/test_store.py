"""The two stores keep the same promises; S3 is ministack's."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import pytest

from login_pipeline.backup.export import back_up
from login_pipeline.backup.restore import restore
from login_pipeline.backup.store import BackupStore, FolderStore, S3Store, backup_store
from login_pipeline.errors import BackupError, ConfigurationError
from login_pipeline.settings import read_settings
from login_pipeline_tests.backup.fixtures import Kept
from login_pipeline_tests.conftest import ministack

BUCKET = "backups"


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    with ministack("s3") as endpoint:
        yield endpoint


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plain client, on an empty bucket."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    for each in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=each["Key"])
    return client


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackupStore:
    monkeypatch.setenv(
        "LOGIN_BACKUP_URL", str(tmp_path / "backup") if request.param == "folder" else f"s3://{BUCKET}/some/prefix/"
    )
    return backup_store(read_settings())


def test_what_is_put_is_read_listed_replaced_and_deleted(store: BackupStore) -> None:
    with store.open("a") as nothing:
        assert nothing is None
    store.put("a", BytesIO(b"first"))
    store.put("b", BytesIO(b"\x00" * 9_000_000))  # on S3 more than one part
    store.put("a", BytesIO(b"second"))
    with store.open("a") as opened:
        assert opened is not None
        assert (opened.read(), opened.seek(3), opened.read()) == (b"second", 3, b"ond")
    assert store.names() == {"a", "b"}
    store.delete(["b", "never there"])
    assert store.names() == {"a"}


def test_write_that_was_killed_does_not_block_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ".incoming-a").write_bytes(b"half")
    FolderStore(tmp_path).put("a", BytesIO(b"whole"))
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a", b"whole")]


def test_backup_on_s3_is_restored(kept: Kept, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="elsewhere", Body=b"")
    store = S3Store(BUCKET, "logins", None)
    back_up(kept.resource, store)
    kept.load([("new", "ios", "m", "m", None, 1, None)], "later")
    back_up(kept.resource, store)
    rows, keys = kept.rows(), kept.keys()
    kept.query("DROP TABLE user_logins, user_logins_inbox")
    assert restore(kept.resource, store).complete
    assert (kept.rows(), kept.keys()) == (rows, keys)
    assert len(s3.list_objects_v2(Bucket=BUCKET, Prefix="logins/")["Contents"]) == 9
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="elsewhere")["KeyCount"] == 1


def test_missing_bucket_is_one_sentence(s3: Any) -> None:
    with pytest.raises(ConfigurationError, match="s3://not-there/ names a bucket that does not exist"):
        S3Store("not-there", "", None).put("a", BytesIO(b""))


def test_s3_that_does_not_answer_is_one_sentence(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    says = r"S3 does not answer at http://127\.0\.0\.1:9 .+ use LOGIN_BACKUP_URL=s3://backups"
    with pytest.raises(ConfigurationError, match=says), S3Store(BUCKET, "", None).open("a"):
        pass


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("AccessDenied", r"S3 refuses s3:GetObject on .* \(AccessDenied\); allow"),
        ("403", r"S3 refuses s3:GetObject on .* \(403\); allow"),
        ("InvalidAccessKeyId", r"AWS does not accept the credentials \(InvalidAccessKeyId\)"),
    ],
)
def test_refused_credentials_are_one_sentence(s3: Any, code: str, says: str) -> None:
    """ministack refuses nobody, so the answer is AWS's own, given by the SDK's stubber."""
    from botocore.stub import Stubber

    store = S3Store(BUCKET, "", None)
    with Stubber(store._client) as answers:
        answers.add_client_error("get_object", code, http_status_code=403)
        with pytest.raises(ConfigurationError, match=says), store.open("a"):
            pass


@pytest.mark.parametrize("place", ["file", "no/parent", "/proc/no"])
def test_folder_that_cannot_be_one_is_one_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"LOGIN_BACKUP_URL=.* cannot be used: "):
        FolderStore(tmp_path / place).put("a", BytesIO(b""))


def test_full_disk_is_one_sentence_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path)
    store.put("a", BytesIO(b"first"))

    def fsync(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(BackupError, match="failed: No space left on device; the last manifest holds"):
        store.put("a", BytesIO(b"second"))
    assert (tmp_path / "a").read_bytes() == b"first"


@pytest.mark.parametrize("name", ["manifest.json", "user_logins-2026-01-05-*.parquet"])
def test_file_that_the_disk_does_not_give_back_is_one_sentence(kept: Kept, name: str) -> None:
    kept.back_up()
    (file,) = kept.folder.glob(name)
    file.unlink()
    file.symlink_to("/proc/self/mem")  # can be opened; a read fails as on a broken disk
    with pytest.raises(BackupError, match=f"LOGIN_BACKUP_URL={kept.folder} failed: Input/output error"):
        kept.restore()


@pytest.mark.parametrize("url", ["relative/folder", "s3://", "s3://Bucket", "s3://key:secret@bucket/x", "gs://bucket"])
def test_url_of_another_kind_is_refused_and_not_quoted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_BACKUP_URL", url)
    with pytest.raises(ConfigurationError) as refused:
        backup_store(read_settings())
    assert refused.value.sentence.startswith("LOGIN_BACKUP_URL: is neither s3://bucket/prefix nor an absolute path")
    assert "secret" not in refused.value.sentence
