"""Where `raak resync` looks for the databases."""

from pathlib import Path

import pytest

from infra.databases import find_databases
from infra.instance import NoInstance
from infra.processes import SERVICES


def test_the_environment_says_where_databases_are_each_service_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAAK_DATABASE_SERVER_URL", "postgresql://there")
    monkeypatch.setenv("RAAK_JOURNEY_DATABASE_URL", "postgresql://elsewhere/journeys")

    found = {one.process: one.runtime.url for one in find_databases(tmp_path, SERVICES)}

    assert found == {
        "profile": "postgresql://there/raak_profile",
        "decision": "postgresql://there/raak_decision",
        "journey": "postgresql://elsewhere/journeys",
        "measurement": "postgresql://there/raak_measurement",
    }


def test_without_either_an_instance_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(NoInstance):
        find_databases(tmp_path, SERVICES)
