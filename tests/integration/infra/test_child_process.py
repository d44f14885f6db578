"""A child of ours is given what it is meant to have."""

from pathlib import Path

import pytest

from infra.child_process import ChildProcess


def test_of_our_own_settings_none_is_handed_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAAK_GATEWAY_KEY_SECRET", "hush-hush")
    monkeypatch.setenv("LANG", "C.UTF-8")
    log = tmp_path / "log"
    child = ChildProcess("child", ["env"], log, lambda: True, {"RAAK_PORT": "8001"})

    child.start()
    assert child.running is not None
    child.running.wait(timeout=60)

    said = log.read_text().splitlines()
    assert {line for line in said if line.startswith("RAAK_")} == {"RAAK_PORT=8001"}
    assert "LANG=C.UTF-8" in said
