"""PostgreSQL, which does not run as root, in folders that are root's alone: none is opened."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import embedded
from infra.embedded import EmbeddedServerFailed
from services.chassis.database_address import DatabaseAddress
from services.chassis.migrations import connect
from tests.conftest import HASTY, free_port

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another")


def modes(folder: Path) -> dict[Path, int]:
    """The modes of all folders above one."""
    return {parent: parent.stat().st_mode for parent in folder.parents}


def inodes(folder: Path) -> list[tuple[Path, int]]:
    """What a folder holds, so that what is made anew is another."""
    return [(path, path.stat().st_ino) for path in folder.iterdir()]


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A folder that nobody but root may pass through."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def careful() -> Iterator[None]:
    """Root makes files for itself only, as on many machines."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where programs are copied to in this test."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setattr(embedded, "COPIES", Path(folder) / "raak")
        yield Path(folder) / "raak"


@pytest.fixture
def closed_programs(closed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PostgreSQL's programs, installed where its user cannot run them."""
    wheel = embedded.postgres_programs().parents[1]
    site = closed / "site-packages"
    shutil.copytree(wheel / "pginstall18", site / wheel.name / "pginstall18", symlinks=True)
    shutil.copytree(wheel.with_name(f"{wheel.name}.libs"), site / f"{wheel.name}.libs")
    programs = site / wheel.name / "pginstall18" / "bin"
    monkeypatch.setattr(embedded, "postgres_programs", lambda: programs)
    return programs


async def test_data_in_a_closed_folder_are_served_and_the_folder_stays_closed(closed: Path) -> None:
    before = modes(closed / "postgres")

    for _ in ("made", "found again"):
        with embedded.postgres(closed / "postgres", free_port(), "secret", HASTY) as url:
            connection = await connect(DatabaseAddress.parse(f"{url}/postgres"))
            await connection.execute("CREATE TABLE IF NOT EXISTS t AS SELECT 1; CHECKPOINT")
            await connection.close()

    assert modes(closed / "postgres") == before
    assert (closed / "postgres").stat().st_mode & 0o777 == 0o700


async def test_programs_in_a_closed_folder_are_copied_once_and_the_folder_stays_closed(
    closed: Path, closed_programs: Path, copies: Path, careful: None
) -> None:
    before = modes(closed_programs)
    copied = []

    for _ in ("copied", "found again"):
        with embedded.postgres(closed / "postgres", free_port(), "secret", HASTY) as url:
            connection = await connect(DatabaseAddress.parse(f"{url}/postgres"))
            await connection.close()
        copied.append(inodes(copies))

    assert modes(closed_programs) == before
    assert copied[0] == copied[1]
    assert len(copied[0]) == 1


def test_programs_that_cannot_be_copied_are_told_of_and_nothing_is_opened(
    closed: Path, closed_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "COPIES", Path("/proc/raak"))
    before = modes(closed_programs)

    with pytest.raises(
        EmbeddedServerFailed, match="nor can they be copied to /proc/raak"
    ) as refusal:
        embedded.postgres_process(closed / "postgres", free_port(), "secret")

    assert "a folder that others may pass through" in refusal.value.hint
    assert modes(closed_programs) == before


def test_data_that_cannot_be_reached_are_told_of_and_nothing_is_opened(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "CURRENT_FOLDER", "/proc/self/nowhere")  # as without Linux
    before = modes(closed / "postgres")

    with pytest.raises(EmbeddedServerFailed, match="raak-postgres cannot reach") as refusal:
        embedded.postgres_process(closed / "postgres", free_port(), "secret")

    assert "--data" in refusal.value.hint
    assert modes(closed / "postgres") == before
