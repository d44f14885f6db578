"""What a killed parent leaves running is ended by the next start, and by nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra import standalone
from infra.instance import EmbeddedInstance


def sleeper(folder: Path) -> subprocess.Popen[bytes]:
    """A process marked as belonging to the instance in a folder."""
    return subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(3_600)"],
        env={**os.environ, standalone.FOLDER_VARIABLE: str(folder)},
    )


@pytest.fixture
def instance(tmp_path: Path) -> EmbeddedInstance:
    """An instance that was started by a process which is no more."""
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3_600)"])
    instance = EmbeddedInstance(tmp_path, 20_000)
    instance.write_note(psutil.Process(parent.pid))
    parent.kill()
    parent.wait()
    return instance


def test_the_children_of_a_dead_parent_are_ended(
    instance: EmbeddedInstance, tmp_path: Path
) -> None:
    orphan, stranger = sleeper(tmp_path), sleeper(tmp_path / "another")

    standalone.stop_orphans(instance)

    orphan.wait(timeout=60)  # raises when it goes on
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_the_children_of_a_living_parent_are_left_alone(
    instance: EmbeddedInstance, tmp_path: Path
) -> None:
    child = sleeper(tmp_path)
    instance.write_note(psutil.Process())

    standalone.stop_orphans(instance)

    assert child.poll() is None
    child.kill()
    child.wait()
