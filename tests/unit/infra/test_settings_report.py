"""`raak settings` says what holds and where from, and no variable of one process stops another."""

import pytest

from infra.processes import PROCESS_SETTINGS
from infra.settings_report import list_settings


def test_it_says_what_is_set_and_by_which_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAAK_LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("RAAK_PROFILE_SCAN_LIMIT", "7")

    rows = {(row.process, row.name): row for row in list_settings(with_defaults=False)}

    assert rows["profile", "scan_limit"][2:] == ("7", "RAAK_PROFILE_SCAN_LIMIT")
    assert {process for process, name in rows if name == "log_level"} == set(PROCESS_SETTINGS)


def test_it_hides_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAAK_NATS_URL", "nats://raak:s3cret@nats")

    rows = list(list_settings(with_defaults=True))

    assert {row.value for row in rows if row.name == "nats_url"} == {"•••"}
    assert "s3cret" not in str(rows)


def test_no_variable_of_one_process_stops_another() -> None:
    variables = {
        variable
        for kind in PROCESS_SETTINGS.values()
        for name in kind.model_fields
        for variable in kind.variables(name)
    }

    for kind in PROCESS_SETTINGS.values():
        assert list(kind._find_misspelt(dict.fromkeys(variables, ""))) == [], kind
