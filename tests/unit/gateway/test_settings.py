"""The gateway's settings."""

from pathlib import Path
from typing import Any, Literal

import pytest

from gateway.app import create
from gateway.settings import GatewaySettings
from services.chassis.principal import audience_of
from services.chassis.production import NotForProduction
from services.chassis.settings import InvalidSettings


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

    assert "wk_secret" not in repr(settings)


def test_the_limits_are_those_that_were_set() -> None:
    settings = GatewaySettings(
        max_depth=3, max_page_size=7, burst=5, max_in_flight=9, queueing_target_ms=11
    )

    assert (settings.limits.depth, settings.limits.page_size) == (3, 7)
    assert settings.rates.burst == 5
    assert (settings.tuning.max_in_flight, settings.tuning.queueing_target_ms) == (9, 11)


@pytest.mark.parametrize(
    ("mode", "trusted_only", "registered_only"),
    [
        ("development", None, False),
        ("production", None, True),
        ("development", True, True),
        ("production", False, False),
    ],
)
def test_only_registered_operations_are_answered_in_production_unless_that_is_set(
    mode: Any, trusted_only: bool | None, registered_only: bool
) -> None:
    settings = GatewaySettings(mode=mode, trusted_only=trusted_only)

    assert settings.answers_registered_only is registered_only


@pytest.mark.parametrize("service", ["live", *GatewaySettings().urls])
def test_callers_tokens_may_not_be_for_the_audience_of_a_service(service: str) -> None:
    with pytest.raises(InvalidSettings, match=r"TOKEN_AUDIENCE: .*must differ"):
        GatewaySettings(token_audience=audience_of(service))


def test_a_trusted_proxy_is_a_network_or_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAAK_GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7")
    assert GatewaySettings().trusted_proxies == ("10.0.0.0/8", "192.0.2.7")

    monkeypatch.setenv("RAAK_GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8, our-proxy")
    with pytest.raises(InvalidSettings, match="our-proxy"):
        GatewaySettings()


def test_a_service_may_have_a_deadline_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAAK_GATEWAY_SUBGRAPH_DEADLINES_MS", "decision=500, journey = 3000,")

    assert GatewaySettings().deadlines_s == {"decision": 0.5, "journey": 3.0}


@pytest.mark.parametrize("written", ["decision", "decision=soon", "decision=1"])
def test_a_deadline_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("RAAK_GATEWAY_SUBGRAPH_DEADLINES_MS", written)

    with pytest.raises(InvalidSettings, match="SUBGRAPH_DEADLINES_MS"):
        GatewaySettings()


@pytest.mark.parametrize(("key", "is_told"), [("wk_short", True), ("w" * 32, False)])
def test_write_keys_that_could_be_guessed_are_refused_in_production(
    key: str, is_told: bool
) -> None:
    settings = GatewaySettings(mode="production", write_keys=("a" * 43, key))

    with pytest.raises(NotForProduction) as refusal:
        settings.check_mode()

    said = "RAAK_GATEWAY_WRITE_KEYS (no. 2) has 8 characters: give 32 random ones or more."
    assert (said in refusal.value.problems) == is_told
    assert key not in str(refusal.value)


@pytest.mark.parametrize(
    ("mode", "proxies", "is_told"),
    [("production", (), True), ("production", ("10.0.0.0/8",), False), ("development", (), False)],
)
def test_production_without_trusted_proxies_says_what_that_opens(
    mode: Literal["production", "development"],
    proxies: tuple[str, ...],
    is_told: bool,
    caplog: pytest.LogCaptureFixture,
    key_files: tuple[Path, Path],
) -> None:
    settings = GatewaySettings(mode=mode, trusted_proxies=proxies, signing_key_file=key_files[0])

    create(settings)

    assert ("RAAK_GATEWAY_TRUSTED_PROXIES is not set" in caplog.text) == is_told
