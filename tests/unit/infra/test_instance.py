"""What each process of an embedded Raak is given of the environment it was started from."""

from pathlib import Path

import pytest

from infra.instance import EmbeddedInstance
from infra.processes import PROCESSES, SERVICES

OUTER = {
    "RAAK_LOG_LEVEL": "DEBUG",
    "RAAK_PROFILE_SCAN_LIMIT": "5",
    "RAAK_GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8",
    "RAAK_KEY_SECRET": "the gateway's, said as if all had it",
    "RAAK_DATABASE_SERVER_URL": "postgresql://superuser:secret@db",
    "RAAK_TOKEN": "of whoever typed",
    "HOME": "/root",
}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_gets_the_settings_that_are_its_own(name: str, tmp_path: Path) -> None:
    environment = EmbeddedInstance(tmp_path, 8_000).environment(name, OUTER)

    assert environment["RAAK_LOG_LEVEL"] == "DEBUG"
    assert ("RAAK_PROFILE_SCAN_LIMIT" in environment) == (name == "profile")
    assert ("RAAK_GATEWAY_TRUSTED_PROXIES" in environment) == (name == "gateway")
    assert ("RAAK_KEY_SECRET" in environment) == (name == "gateway")
    assert environment.keys().isdisjoint({"RAAK_DATABASE_SERVER_URL", "RAAK_TOKEN", "HOME"})


def test_only_the_gateway_is_told_where_the_key_is_that_signs(tmp_path: Path) -> None:
    instance = EmbeddedInstance(tmp_path, 8_000)

    for service in SERVICES:
        environment = instance.environment(service, {})
        assert not [variable for variable in environment if "GATEWAY" in variable]
        assert environment["RAAK_VERIFY_KEY_FILE"].endswith("verify.pem")
    assert instance.environment("gateway", {})["RAAK_GATEWAY_SIGNING_KEY_FILE"]


def test_each_process_comes_as_itself(tmp_path: Path) -> None:
    instance = EmbeddedInstance(tmp_path, 8_000)
    environment = {name: instance.environment(name, {}) for name in PROCESSES}

    for name in PROCESSES:
        of = f"RAAK_{name.upper()}"
        assert environment[name][f"{of}_DATABASE_URL"].startswith(f"postgresql://raak_{name}:")
        assert environment[name][f"{of}_NATS_URL"].startswith(f"nats://{name}:")
    passwords = [instance.secret(path.name) for path in (tmp_path / "secrets").iterdir()]
    assert len(set(passwords)) == len(passwords)
