"""Keys that could not be used are refused before anything is asked of the database."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import GatewaySettings
from infra.keys import create
from services.chassis.errors import RaakError

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
NOWHERE = GatewaySettings(
    key_secret="a secret of the server's, long enough",
    database_url="postgresql://nobody@127.0.0.1:9/none",
)
GOOD: dict[str, Any] = {"name": "shop", "role": "agent", "scopes": [], "days": None, "now": NOW}


async def refusal(settings: GatewaySettings = NOWHERE, **changed: Any) -> RaakError:
    with pytest.raises(RaakError) as refused:
        await create(settings, **{**GOOD, **changed})
    return refused.value


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({"role": "king"}, "NO_SUCH_ROLE", "king"),
        ({"role": "visitor"}, "INVALID_KEY_REQUEST", "speaks for one customer"),
        ({"scopes": ["sky:own"]}, "INVALID_KEY_REQUEST", "sky:own"),
        ({"days": 0}, "INVALID_KEY_REQUEST", "expired already"),
        ({"days": -1}, "INVALID_KEY_REQUEST", "expired already"),
        ({"days": 1e12}, "INVALID_KEY_REQUEST", "1000000000000.0 days"),
        ({"days": float("nan")}, "INVALID_KEY_REQUEST", "nan days"),
    ],
    ids=str,
)
async def test_a_key_nobody_could_use_is_refused(
    changed: dict[str, Any], code: str, said: str
) -> None:
    refused = await refusal(**changed)

    assert refused.code == code
    assert said in refused.problem


async def test_without_a_secret_there_are_no_keys() -> None:
    refused = await refusal(GatewaySettings(key_secret=""))

    assert "RAAK_GATEWAY_KEY_SECRET" in refused.problem


async def test_the_roles_that_count_are_those_that_are_set(tmp_path: Path) -> None:
    file = tmp_path / "roles.yaml"
    file.write_text("roles: {agent: {scopes: [tea:pour], policies: []}}\nfields: {}\n")
    settings = NOWHERE.model_copy(update={"roles_file": file})

    refused = await refusal(settings, scopes=["customers:read"])

    assert refused.hint == "It has tea:pour."
