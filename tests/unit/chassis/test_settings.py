"""Where a process gets its settings from, and what it may tell of them."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from services.chassis.settings import InvalidSettings, ServiceSettings


class OvenSettings(ServiceSettings):
    """A service that is nobody's."""

    process: ClassVar[str] = "oven"

    heat: int = Field(default=180, ge=50, le=300, description="degrees Celsius")
    secret: str = Field(default="of the house", min_length=8, repr=False, description="a recipe")


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

    with pytest.raises(InvalidSettings, match=r"RAAK_OVEN_HEAT '301': .*less than or equal to 300"):
        OvenSettings()


def test_a_refused_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAAK_OVEN_SECRET", "s3cret")

    with pytest.raises(InvalidSettings, match=r"RAAK_OVEN_SECRET: .* at least 8") as refusal:
        OvenSettings()

    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        ("RAAK_OVEN_HEET", "RAAK_OVEN_HEET is no setting: did you mean RAAK_OVEN_HEAT?"),
        ("RAAK_LOG_LEVLE", "RAAK_LOG_LEVLE is no setting: did you mean RAAK_LOG_LEVEL?"),
        ("RAAK_OVEN_DOOR_COLOUR", "RAAK_OVEN_DOOR_COLOUR is no setting of oven."),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, problem: str
) -> None:
    monkeypatch.setenv(variable, "1")

    with pytest.raises(InvalidSettings) as refusal:
        OvenSettings()

    assert refusal.value.problems == (problem,)


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAAK_OVEN_HEAT", "hot")
    monkeypatch.setenv("RAAK_PORT", "0")

    with pytest.raises(InvalidSettings) as refusal:
        OvenSettings()

    assert len(refusal.value.problems) == 2


def test_variables_of_other_processes_are_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAAK_STOVE_HEET", "1")
    monkeypatch.setenv("RAAK_WINDOWS", "1")

    assert OvenSettings().heat == 180


def test_a_secret_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("long enough\n")
    monkeypatch.setenv("RAAK_OVEN_SECRET_FILE", str(file))

    assert OvenSettings().secret == "long enough"


def test_a_secret_that_is_set_twice_or_in_no_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAAK_OVEN_SECRET_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(InvalidSettings, match=r"RAAK_OVEN_SECRET_FILE is .* cannot be read"):
        OvenSettings()

    monkeypatch.setenv("RAAK_OVEN_SECRET", "long enough")
    with pytest.raises(InvalidSettings, match="are both set: leave one out"):
        OvenSettings()


def test_settings_do_not_change_while_a_process_runs() -> None:
    settings = OvenSettings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.heat = 200  # type: ignore[misc]


def test_an_address_that_cannot_be_read_is_refused_by_its_variable_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAAK_OVEN_DATABASE_URL", "postgresql://raak:s3/cret@db:5432/bread")

    with pytest.raises(InvalidSettings, match=r"RAAK_OVEN_DATABASE_URL: .*%40 is @") as refusal:
        OvenSettings()

    assert "cret" not in str(refusal.value).replace("secret", "")


def test_no_secret_is_in_what_may_be_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_SERVER_URL", "DATABASE_URL", "NATS_URL", "OTLP_ENDPOINT"):
        monkeypatch.setenv(f"RAAK_{name}", f"postgresql://raak:s3cret@{name}")

    settings = OvenSettings()

    assert "s3cret" not in repr(settings)
