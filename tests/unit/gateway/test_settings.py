"""The gateway's settings."""

import pytest

from gateway.settings import GatewaySettings


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAAK_GATEWAY_WRITE_KEYS", " one, two ,,")
    monkeypatch.setenv("RAAK_CORS_ORIGINS", "https://shop.example")

    settings = GatewaySettings()

    assert settings.write_keys == ("one", "two")
    assert settings.cors_origins == ("https://shop.example",)


def test_without_a_variable_nobody_may_send_events() -> None:
    assert GatewaySettings().write_keys == ()


def test_write_keys_are_neither_logged_nor_printed() -> None:
    settings = GatewaySettings(write_keys=("wk_secret",))

    assert "wk_secret" not in str(settings.public()) + repr(settings)


def test_the_limits_are_those_that_were_set() -> None:
    settings = GatewaySettings(max_depth=3, max_page_size=7)

    assert (settings.limits.depth, settings.limits.page_size) == (3, 7)


def test_a_service_may_have_a_deadline_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAAK_GATEWAY_SUBGRAPH_DEADLINES_MS", "decision=500, journey = 3000,")

    assert GatewaySettings().deadlines_s == {"decision": 0.5, "journey": 3.0}


@pytest.mark.parametrize("written", ["decision", "decision=soon", "decision=1"])
def test_a_deadline_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("RAAK_GATEWAY_SUBGRAPH_DEADLINES_MS", written)

    with pytest.raises(ValueError, match="subgraph_deadlines_ms"):
        GatewaySettings()
