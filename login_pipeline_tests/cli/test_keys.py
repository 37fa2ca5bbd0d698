"""login-pipeline keys generate and keys status."""

import errno
import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest

from login_pipeline.masking.keys import read_key_ring
from login_pipeline.masking.methods import hmac_sha256_masks
from login_pipeline_tests.bodies import valid
from login_pipeline_tests.conftest import MASKING_KEY, Command, Pipeline


def today() -> date:
    return datetime.now(UTC).date()


def test_new_key_is_one_that_is_taken(command: Command) -> None:
    code, out, _ = command("keys", "generate")
    ring = read_key_ring(out)
    assert code == 0
    assert ring.active.made_on in (today(), today() - timedelta(days=1))  # at midnight
    assert ring.older == ()


def test_new_key_comes_before_the_configured_ones(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_MASKING_KEY", MASKING_KEY)
    code, out, _ = command("keys", "generate", "--add")
    ring = read_key_ring(out)
    assert code == 0
    assert [key.secret.hex() for key in ring.older] == [MASKING_KEY]


def test_key_file_is_for_this_user_only_and_is_never_lost(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    assert command("keys", "generate", "--output", str(file))[0] == 0
    assert file.stat().st_mode & 0o777 == 0o600
    first = read_key_ring(file.read_text())
    with monkeypatch.context() as of_another_ring:
        of_another_ring.setenv("LOGIN_MASKING_KEY", MASKING_KEY)
        for replacing in ((), ("--add",)):
            code, _, err = command("keys", "generate", *replacing, "--output", str(file))
            assert (code, f"{file} holds keys that would be lost" in err) == (2, True)
    assert read_key_ring(file.read_text()) == first
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", str(file))
    file.write_text(file.read_text(), encoding="utf-8-sig")  # as an editor may save it
    assert command("keys", "generate", "--add", "--output", str(file))[0] == 0
    assert read_key_ring(file.read_text()).older == (first.active,)
    assert [each.name for each in tmp_path.iterdir()] == ["keys"]


def test_key_file_keeps_its_owner_group_and_mode_and_the_links_to_it(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, link = tmp_path / "elsewhere" / "keys", tmp_path / "link"
    file.parent.mkdir()
    link.symlink_to(Path("elsewhere") / "keys")
    assert command("keys", "generate", "--output", str(link))[0] == 0
    assert file.stat().st_mode & 0o777 == 0o600
    owner = (12345, 54321) if os.geteuid() == 0 else (os.getuid(), [os.getgid(), *os.getgroups()][-1])
    os.chown(file, *owner)
    file.chmod(0o640)
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", str(link))
    assert command("keys", "generate", "--add", "--output", str(link))[0] == 0
    assert link.is_symlink()
    after = file.stat()
    assert (after.st_uid, after.st_gid, after.st_mode & 0o777) == (*owner, 0o640)
    assert len(read_key_ring(file.read_text()).older) == 1
    assert [each.name for each in file.parent.iterdir()] == ["keys"]


def test_key_file_whose_owner_cannot_be_kept_is_left_as_it_is(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    assert command("keys", "generate", "--output", str(file))[0] == 0
    there = file.read_text()
    monkeypatch.setenv("LOGIN_MASKING_KEY_SOURCE", str(file))
    # Root may give a file to anybody, so the refusal is made here.
    monkeypatch.setattr(os, "fchown", Mock(side_effect=PermissionError(errno.EPERM, "Operation not permitted")))
    code, _, err = command("keys", "generate", "--add", "--output", str(file))
    assert code == 2
    assert "cannot be written: Operation not permitted; run this as the user whose file it is" in err
    assert file.read_text() == there
    assert [each.name for each in tmp_path.iterdir()] == ["keys"]


def test_key_file_and_its_folder_are_on_the_disk_when_it_is_said_to_be_there(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, fsync = tmp_path / "keys", os.fsync
    synced: list[int] = []

    def recorded(opened: int) -> None:
        fsync(opened)
        synced.append(os.fstat(opened).st_ino)

    monkeypatch.setattr(os, "fsync", recorded)
    assert command("keys", "generate", "--output", str(file))[0] == 0
    assert synced == [file.stat().st_ino, tmp_path.stat().st_ino]


def test_status_shows_ids_and_ages_and_never_a_key(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_MASKING_KEY", f"2026-01-01:{MASKING_KEY},{MASKING_KEY[::-1]}")
    ring = read_key_ring(f"2026-01-01:{MASKING_KEY},{MASKING_KEY[::-1]}")
    code, out, _ = command("keys", "status", "--json")
    assert code == 0
    first, second = json.loads(out)["keys"]
    age = (today() - ring.active.made_on).days if ring.active.made_on else None
    assert first == {"id": ring.active.id, "state": "active", "made_on": "2026-01-01", "age_days": age, "rows": None}
    assert (second["id"], second["state"], second["age_days"]) == (ring.older[0].id, "older", None)
    code, text, err = command("keys", "status")
    assert (code, err) == (0, "")
    assert MASKING_KEY not in out + text


def test_status_counts_the_rows_under_each_key(pipeline: Pipeline, command: Command) -> None:
    pipeline.queue.send(valid())
    pipeline.run()
    stranger = hmac_sha256_masks(read_key_ring(MASKING_KEY[::-1]).active)
    pipeline.database.query("INSERT INTO user_logins (masked_ip) VALUES (%s)", stranger.ip("192.0.2.1"))
    code, out, _ = command("keys", "status", "--rows", "--json")
    assert code == 0
    states = {each["state"]: each["rows"] for each in json.loads(out)["keys"]}
    assert states == {"active": 1, "not configured": 1}
