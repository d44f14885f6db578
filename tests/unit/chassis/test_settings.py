"""Where a process gets its settings from, and what it may tell of them."""

from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from services.chassis.settings import ServiceSettings


class OvenSettings(ServiceSettings):
    """A service that is nobody's."""

    process: ClassVar[str] = "oven"

    heat: int = Field(default=180, ge=50, le=300, description="degrees Celsius")


def test_a_processs_own_variable_wins_over_the_one_all_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAAK_HEAT", "100")
    monkeypatch.setenv("RAAK_OVEN_HEAT", "200")
    monkeypatch.setenv("RAAK_STOVE_HEAT", "250")

    assert OvenSettings().heat == 200


def test_a_shared_variable_holds_where_a_process_has_none_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAAK_HEAT", "100")

    assert OvenSettings().heat == 100


def test_without_variables_the_defaults_hold() -> None:
    settings = OvenSettings()

    assert settings.heat == 180
    assert settings.database == "postgresql://127.0.0.1:8005/raak_oven"


def test_an_own_database_wins_over_the_shared_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAAK_DATABASE_SERVER_URL", "postgresql://shared")
    monkeypatch.setenv("RAAK_OVEN_DATABASE_URL", "postgresql://own/bread")

    assert OvenSettings().database == "postgresql://own/bread"


def test_a_value_out_of_bounds_is_refused_by_field_and_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAAK_OVEN_HEAT", "301")

    with pytest.raises(ValidationError, match=r"heat\s.*less than or equal to 300"):
        OvenSettings()


def test_a_refused_value_is_not_repeated_for_it_may_be_a_secret() -> None:
    with pytest.raises(ValidationError) as refusal:
        OvenSettings(nats_url=["s3cret"])

    assert "s3cret" not in str(refusal.value)


def test_settings_do_not_change_while_a_process_runs() -> None:
    settings = OvenSettings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.heat = 200  # type: ignore[misc]


def test_no_secret_is_in_what_may_be_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_SERVER_URL", "DATABASE_URL", "NATS_URL", "OTLP_ENDPOINT"):
        monkeypatch.setenv(f"RAAK_{name}", f"x://raak:s3cret@{name}")

    settings = OvenSettings()

    assert "s3cret" not in repr(settings)
