"""A backup of all databases as of one moment, and an instance made from it."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra import backup, embedded
from infra.instance import LISTENERS, EmbeddedInstance
from infra.processes import SERVICES
from services.chassis.migrations import migrate
from tests.conftest import HASTY
from tests.integration.chassis.sample_events import connect
from tests.stack import free_ports

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
STEP = "INSERT INTO inbox (consumer, event_id) VALUES ($1, gen_random_uuid())"


@pytest.fixture
def instance(tmp_path: Path) -> EmbeddedInstance:
    """An instance that was never started."""
    return new_instance(tmp_path)


def new_instance(folder: Path) -> EmbeddedInstance:
    """One with keys, which are made at their first use."""
    instance = EmbeddedInstance(folder / "raak", free_ports(len(LISTENERS)))
    assert all(key.is_file() for key in instance.keys)
    return instance


def serving(instance: EmbeddedInstance) -> Any:
    """Its PostgreSQL, for a block."""
    folder, port = instance.folder / "postgres", instance.ports["postgres"]
    return embedded.postgres(folder, port, instance.secret("postgres"), HASTY)


async def write(url: str, step: str) -> None:
    """Leave the same mark in all databases, one after the other."""
    for service in SERVICES:
        connection = await connect(f"{url}/raak_{service}")
        await connection.execute(STEP, step)
        await connection.close()


async def read(url: str, query: str) -> list[list[Any]]:
    """A column of each database."""
    found = []
    for service in SERVICES:
        connection = await connect(f"{url}/raak_{service}")
        found.append([row[0] for row in await connection.fetch(query)])
        await connection.close()
    return found


async def make(url: str) -> None:
    """All databases."""
    for service in SERVICES:
        await migrate(service, f"{url}/raak_{service}")


@pytest.fixture(scope="module")
def instance_and_backup(tmp_path_factory: pytest.TempPathFactory) -> tuple[EmbeddedInstance, Path]:
    """An instance that was used before and after a backup, and the backup."""
    folder = tmp_path_factory.mktemp("kept")
    instance, file = new_instance(folder), folder / "raak.backup"
    (instance.folder / "nats").mkdir(parents=True)
    with serving(instance) as url:
        asyncio.run(make(url))
        asyncio.run(write(url, "before"))
        backup.backup(instance, file)
        asyncio.run(write(url, "after"))
    return instance, file


@pytest.mark.parametrize(
    ("mark", "after", "said"),
    [
        (b"global/pg_control", 512, "damaged at 'global/pg_control'"),
        (b"global/pg_control", 0, "damaged at"),
        (b"backup_label", 0, "'.*base.tar' cannot be read"),
        (b'"Files"', 0, "damaged at 'backup_manifest'"),
        (b"base.tar", 0, "'.*raak.backup' cannot be read"),
    ],
)
def test_a_damaged_backup_changes_nothing(
    instance_and_backup: tuple[EmbeddedInstance, Path],
    tmp_path: Path,
    mark: bytes,
    after: int,
    said: str,
) -> None:
    (instance, file), damaged = instance_and_backup, tmp_path / "raak.backup"
    whole = file.read_bytes()
    place = whole.index(mark) + after
    damaged.write_bytes(whole[:place] + b"damage" + whole[place + 6 :])
    before = sorted(instance.folder.iterdir())

    with pytest.raises(backup.BackupFailed, match=said):
        backup.restore(instance, damaged, NOW)

    assert sorted(instance.folder.iterdir()) == before
    assert (instance.folder / "postgres" / "PG_VERSION").is_file()


@pytest.mark.parametrize("step", range(6))
def test_a_restore_cut_off_at_any_step_leaves_what_was_there_or_is_told_of(
    instance_and_backup: tuple[EmbeddedInstance, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    """At the renaming of any of what is put aside and put in its place."""
    instance, file = new_instance(tmp_path), instance_and_backup[1]
    for part in ("postgres", "nats", "secrets"):
        (instance.folder / part).mkdir(exist_ok=True)
    (instance.folder / "secrets" / "postgres").write_text("old")
    steps, rename = iter(range(step)), Path.rename

    def rename_until_cut_off(path: Path, target: Path) -> Path:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_until_cut_off)
    monkeypatch.setattr(backup, "_begin_epochs", begin_none)
    with pytest.raises(KeyboardInterrupt):
        backup.restore(instance, file, NOW)

    if (instance.folder / "postgres").exists():
        assert (instance.folder / "secrets" / "postgres").read_text() == "old"
    else:
        with pytest.raises(backup.RestoreRefused, match="did not end"):
            backup.check_complete(instance.folder)


async def begin_none(*_: Any) -> None:
    """No epochs: a restore that is cut off gets no further."""


def test_a_restored_instance_is_what_it_was_in_a_new_epoch_and_the_later_one_is_put_aside(
    instance_and_backup: tuple[EmbeddedInstance, Path],
) -> None:
    instance, file = instance_and_backup

    aside = backup.restore(instance, file, NOW)

    with serving(instance) as url:
        marks = asyncio.run(read(url, "SELECT consumer FROM inbox"))
        epochs = asyncio.run(read(url, "SELECT number FROM epoch"))
    assert file.stat().st_mode & 0o077 == 0
    assert marks == [["before"]] * 4
    assert epochs == [[1]] * 4
    assert aside is not None
    assert sorted(path.name for path in aside.iterdir()) == ["keys", "nats", "postgres", "secrets"]


@pytest.fixture
def running(instance: EmbeddedInstance) -> EmbeddedInstance:
    """The instance, with a note that this process runs it."""
    instance.write_note(psutil.Process())
    return instance


def test_nothing_is_restored_over_a_running_instance(
    running: EmbeddedInstance, tmp_path: Path
) -> None:
    with pytest.raises(backup.RestoreRefused, match="is running"):
        backup.restore(running, tmp_path / "raak.backup", NOW)


def test_a_file_that_is_no_backup_changes_nothing(
    instance: EmbeddedInstance, tmp_path: Path
) -> None:
    file = tmp_path / "raak.backup"
    file.write_text("no backup")
    (instance.folder / "postgres").mkdir(parents=True)

    with pytest.raises(backup.BackupFailed, match="cannot be read"):
        backup.restore(instance, file, NOW)

    assert (instance.folder / "postgres").is_dir()


def test_a_backup_is_not_written_over_another_file(
    instance: EmbeddedInstance, tmp_path: Path
) -> None:
    file = tmp_path / "raak.backup"
    file.write_text("precious")

    with pytest.raises(backup.BackupFailed, match="there already"):
        backup.backup(instance, file)


def test_a_backup_that_fails_leaves_no_file(instance: EmbeddedInstance, tmp_path: Path) -> None:
    with pytest.raises(backup.BackupFailed, match="pg_basebackup failed"):
        backup.backup(instance, tmp_path / "raak.backup")

    assert [path.name for path in tmp_path.iterdir()] == ["raak"]


def test_a_restore_cut_off_is_not_taken_for_an_empty_instance(instance: EmbeddedInstance) -> None:
    (instance.folder / backup.NEW).mkdir(parents=True)

    with pytest.raises(backup.RestoreRefused, match="did not end"):
        backup.check_complete(instance.folder)
