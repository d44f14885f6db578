"""A server gets a token for a page, and the page reaches its one customer with it."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from gateway import store
from gateway.access.authentication.api_keys import ApiKey, create_key
from gateway.access.authorization.roles import Roles
from gateway.surfaces.tokens import SCOPE
from infra.instance import make_keys
from services.chassis.database import open_database
from services.contracts.enums import Role
from tests.integration.gateway.test_in_production import (
    NOW,
    SECRET,
    DatabaseUrlFor,
    House,
    standing,
)
from tests.waiting import until

GRANTED = Roles.read().resolve_grant
VISITOR = {"type": "anonymous_id", "value": "v-42"}


def new_key(*scopes: str) -> tuple[str, ApiKey]:
    return create_key(
        SECRET, GRANTED, name="shop", role=Role.AGENT, scopes=frozenset(scopes), now=NOW
    )


SHOP, SHOP_KEY = new_key(SCOPE)
OTHER, OTHER_KEY = new_key("decisions:make")


@pytest.fixture(scope="module")
async def house(
    key_files: tuple[Path, Path],
    database_url_for: DatabaseUrlFor,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("tokens")
    async with database_url_for("gateway") as url:
        async with open_database(url) as database, database.transaction() as connection:
            for key in (SHOP_KEY, OTHER_KEY):
                await store.add_key(connection, key)
        tokens, audit = make_keys(folder).tokens, folder / "audit.jsonl"
        more: dict[str, Any] = {"token_signing_key_file": tokens, "audit_file": audit}
        async with standing(key_files, url, **more) as house:
            await until(house.is_ready)
            yield house


async def ask(house: House, value: Any, **headers: str) -> httpx.Response:
    return await house.client.post("/tokens", json=value, headers=headers)


async def test_a_page_asks_the_graph_with_the_token_its_server_got(house: House) -> None:
    answer = await ask(house, {"customer": VISITOR}, **{"X-API-Key": SHOP})

    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    asked = await house.client.post("/graphql", json={"query": "{ segments }"}, headers=headers)

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert asked.status_code != 401  # it is known; in production it may ask what is registered
    assert asked.json()["errors"][0]["extensions"]["code"] == "OPERATION_NOT_REGISTERED"


@pytest.mark.parametrize(
    ("value", "headers", "status", "code"),
    [
        ({"customer": VISITOR}, {}, 401, "UNAUTHENTICATED"),
        ({"customer": VISITOR}, {"X-API-Key": OTHER}, 403, "FORBIDDEN"),
        ({"customer": VISITOR, "role": "admin"}, {"X-API-Key": SHOP}, 400, "INVALID_TOKEN_REQUEST"),
        ({"customer": {}}, {"X-API-Key": SHOP}, 400, "INVALID_TOKEN_REQUEST"),
    ],
)
async def test_who_may_not_have_a_token_is_told_why(
    house: House, value: Any, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await ask(house, value, **headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["hint"]


async def test_a_token_gets_no_token(house: House) -> None:
    answer = await ask(house, {"customer": VISITOR}, Authorization=f"Bearer {house.token}")

    assert answer.status_code == 401
    assert "X-API-Key" in answer.json()["error"]["hint"]


EXAMPLES = Path(__file__).parents[3] / "examples" / "tokens"


@pytest.mark.parametrize(
    ("command", "file"), [("node", "token.mjs"), ("python3", "token.py"), ("php", "token.php")]
)
async def test_the_page_of_tokens_holds_in_every_language_that_is_here(
    house: House, command: str, file: str
) -> None:
    program = sys.executable if command == "python3" else shutil.which(command)
    if program is None:
        pytest.skip(f"{command} is not on this machine: {file} was not tried")
    child = await asyncio.create_subprocess_exec(
        program,
        str(EXAMPLES / file),
        "v-42",
        env={**os.environ, "RAAK_URL": str(house.client.base_url), "RAAK_API_KEY": SHOP},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await child.communicate()

    claims = jwt.decode(output.decode().strip(), options={"verify_signature": False})
    assert (claims["role"], claims["customer"]) == ("visitor", VISITOR)
