"""In production a process that lacks a secret does not start, and says everything it lacks."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from tests.conftest import free_port

ROOT = Path(__file__).parents[3]
SERVICES = ("profile", "decision", "journey", "measurement")
SERVERS = ("RAAK_DATABASE_SERVER_URL", "RAAK_NATS_URL")
WANTED = {
    "gateway": (*SERVERS, "RAAK_GATEWAY_SIGNING_KEY_FILE", "RAAK_GATEWAY_KEY_SECRET"),
    **{f"services.{name}": (*SERVERS, "RAAK_VERIFY_KEY_FILE") for name in SERVICES},
}


def started(module: str, environment: Mapping[str, str]) -> tuple[int, list[dict[str, str]]]:
    """How a process ends that has nothing but this environment, and what it logs."""
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "RAAK_MODE": "production", **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == b""
    return done.returncode, [orjson.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize("module", WANTED)
def test_with_an_empty_environment_a_process_says_all_it_lacks_and_ends(module: str) -> None:
    status, [said] = started(module, {})

    assert status == 1
    assert said["level"] == "CRITICAL"
    assert [variable for variable in WANTED[module] if variable not in said["message"]] == []
    assert said["message"].count("\n  ") == len(WANTED[module])


def test_what_is_set_but_weak_is_told_too_and_no_secret_is_shown(tmp_path: Path) -> None:
    status, [said] = started(
        "gateway",
        {
            "RAAK_DATABASE_SERVER_URL": "postgresql://raak@db:5432",
            "RAAK_NATS_URL": "nats://a:hush-hush@nats:4222,nats://nats-2:4222",
            "RAAK_GATEWAY_SIGNING_KEY_FILE": str(tmp_path / "signing.pem"),
            "RAAK_GATEWAY_KEY_SECRET": "hush-hush",
            "RAAK_GATEWAY_TOKEN_KEY_SET": "http://id.example/keys",
            "RAAK_PORT": str(free_port()),
        },
    )

    assert status == 1
    for part in (
        "RAAK_DATABASE_SERVER_URL has no password",
        "RAAK_NATS_URL has no user",
        "which is no file",
        "RAAK_GATEWAY_KEY_SECRET has 9 characters",
        "RAAK_GATEWAY_TOKEN_KEY_SET is read over http",
    ):
        assert part in said["message"]
    assert "hush" not in said["message"]
