"""A disk that is full costs an instance no secret, and no word of where it lives."""

from pathlib import Path

import psutil
import pytest

from infra.instance import EmbeddedInstance
from tests.integration.chassis.outages import fill


def test_a_secret_that_there_was_no_room_for_is_made_when_there_is(small_disk: Path) -> None:
    instance = EmbeddedInstance(small_disk, 20_000)
    instance.secret("nats")
    fill(small_disk / "ballast")

    with pytest.raises(OSError, match="No space left"):
        instance.secret("key-secret")
    (small_disk / "ballast").unlink()

    assert len(instance.secret("key-secret")) > 32
    files = list((small_disk / "secrets").iterdir())
    assert {file.name for file in files} == {"nats", "key-secret"}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_an_instance_that_there_was_no_room_to_start_is_found_where_it_was(
    small_disk: Path,
) -> None:
    EmbeddedInstance(small_disk, 20_000).write_note(psutil.Process())
    fill(small_disk / "ballast")

    with pytest.raises(OSError, match="No space left"):
        EmbeddedInstance(small_disk, 30_000).write_note(psutil.Process())

    assert EmbeddedInstance.load(small_disk).port == 20_000
    assert EmbeddedInstance.load(small_disk).is_running()


def test_an_instance_of_which_a_full_disk_has_left_no_note_can_be_started_anew(
    tmp_path: Path,
) -> None:
    (tmp_path / "instance.json").touch()

    assert not EmbeddedInstance(tmp_path, 20_000).is_running()
