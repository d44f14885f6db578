"""The gateway as it stands in production: registered operations only, keys, and a database."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from gateway import store
from gateway.access.authentication.api_keys import create_key
from gateway.access.authentication.caller_tokens import issue_token
from gateway.access.authentication.service_tokens import load_private_key
from gateway.access.authorization.roles import Roles
from gateway.access.limits.registered_operations import RegisteredOperation, hash_document
from gateway.app import create
from gateway.explorer.page_files import MEDIA_TYPES
from gateway.live.graphql_ws import PROTOCOL
from gateway.settings import GatewaySettings
from services.chassis.database import open_database
from services.chassis.principal import Principal
from services.chassis.server import MissingSetting
from services.contracts.enums import Role
from tests.integration.gateway.serving import serving, serving_all, small_services
from tests.unit.gateway.small_graph import SDLS
from tests.waiting import until

NOW = datetime.now(UTC)
SECRET = "what the keys of this test are hashed with"
SEGMENTS = "query Segments { segments }"
TOOL = '"The keys of all segments." query SegmentKeys { segments }'
TEXT, KEY = create_key(
    SECRET, Roles.read().resolve_grant, name="shop", role=Role.AGENT, scopes=None, now=NOW
)
DatabaseUrlFor = Callable[[str], AbstractAsyncContextManager[str]]


@dataclass
class House:
    """A gateway in production, and ways to ask it."""

    client: httpx.AsyncClient
    token: str
    callers: list[Principal]

    async def ask(self, request: dict[str, Any], **headers: str) -> dict[str, Any]:
        headers = headers or {"Authorization": f"Bearer {self.token}"}
        answer: dict[str, Any] = (
            await self.client.post("/graphql", json=request, headers=headers)
        ).json()
        return answer

    async def reason(self) -> str:
        """Why it is not ready; empty when it is."""
        said = (await self.client.get("/health/ready")).json()
        return str(said.get("reason", ""))

    async def is_ready(self) -> bool:
        """Whether it can serve."""
        return not await self.reason()


@asynccontextmanager
async def standing(
    key_files: tuple[Path, Path], database_url: str, **more: Any
) -> AsyncIterator[House]:
    signing, verify = key_files
    callers: list[Principal] = []
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(serving_all(small_services(verify, callers)))
        settings = GatewaySettings(
            mode="production",
            profile_url=behind["profile"].url,
            decision_url=behind["decision"].url,
            signing_key_file=signing,
            caller_key_file=verify,
            database_url=database_url,
            key_secret=SECRET,
            **more,
        )
        gateway = await stack.enter_async_context(serving(create(settings, SDLS)))
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=30)
        )
        token = issue_token(load_private_key(signing.read_text()), Role.AGENT, "tester")
        yield House(client, token, callers)


@pytest.fixture(scope="module")
async def house(
    key_files: tuple[Path, Path], database_url_for: DatabaseUrlFor
) -> AsyncIterator[House]:
    async with database_url_for("gateway") as url:
        async with open_database(url) as database, database.transaction() as connection:
            await store.add_key(connection, KEY)
            registered = [
                RegisteredOperation(text, "shop.graphql", NOW) for text in (SEGMENTS, TOOL)
            ]
            await store.publish(connection, registered, NOW)
        async with standing(key_files, url) as house:
            await until(house.is_ready)
            yield house


def codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer["errors"]]


async def test_a_registered_operation_is_answered_by_its_text_and_by_its_hash(
    house: House,
) -> None:
    by_hash = {"sha256Hash": hash_document(SEGMENTS), "version": 1}
    for request in (
        {"query": SEGMENTS},
        {"documentId": hash_document(SEGMENTS)},
        {"extensions": {"persistedQuery": by_hash}},
        {"query": SEGMENTS, "extensions": {"persistedQuery": by_hash}},
    ):
        assert await house.ask(request) == {"data": {"segments": ["loyal"]}}, request


async def test_it_is_answered_in_another_layout_and_with_type_names(house: House) -> None:
    answer = await house.ask({"query": "query  Segments {\n  segments,\n  __typename\n}\n"})

    assert answer == {"data": {"segments": ["loyal"], "__typename": "Query"}}


async def test_an_assistant_has_the_described_operations_as_tools_and_no_others(
    house: House,
) -> None:
    async def send(method: str, **parameters: Any) -> Any:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        headers = {
            "Authorization": f"Bearer {house.token}",
            "Accept": "application/json, text/event-stream",
        }
        return (await house.client.post("/mcp", json=message, headers=headers)).json()["result"]

    listed = (await send("tools/list"))["tools"]
    called = await send("tools/call", name="segment_keys", arguments={})

    assert [(tool["name"], tool["description"]) for tool in listed] == [
        ("segment_keys", "The keys of all segments.")
    ]
    assert called["structuredContent"]["data"] == {"segments": ["loyal"]}


async def test_an_assistant_without_a_token_is_told_where_its_user_signs_in(
    key_files: tuple[Path, Path], database_url_for: DatabaseUrlFor
) -> None:
    address, issuer = "https://raak.example/desk/mcp", "https://sso.example"
    named = "/.well-known/oauth-protected-resource/desk/mcp"
    async with (
        database_url_for("gateway") as url,
        standing(key_files, url, mcp_url=address, token_issuer=issuer) as house,
    ):
        refusal = await house.client.post("/mcp", json={})
        paths = (named, named.removesuffix("/desk/mcp"))
        told = [(await house.client.get(path)).json() for path in paths]

    challenge = f'Bearer resource_metadata="https://raak.example{named}"'
    assert (refusal.status_code, refusal.headers["www-authenticate"]) == (401, challenge)
    assert told[0] == told[1]
    assert (told[0]["resource"], told[0]["authorization_servers"]) == (address, [issuer])


async def test_nobody_can_be_sent_to_an_issuer_that_is_no_address(
    key_files: tuple[Path, Path],
) -> None:
    settings = GatewaySettings(signing_key_file=key_files[0], mcp_url="https://raak.example/mcp")

    with pytest.raises(MissingSetting, match="'raak', where nobody can sign in"):
        create(settings, SDLS)


async def test_nothing_else_is_answered(house: House) -> None:
    house.callers.clear()

    for text in (
        "query Segments { s: segments }",
        "{ segments }",
        "{ __typename }",
        "{",
        "query Segments { no }",
    ):
        assert codes(await house.ask({"query": text})) == ["OPERATION_NOT_REGISTERED"], text
    assert house.callers == []


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
async def test_a_server_asks_with_its_key(house: House, header: str) -> None:
    house.callers.clear()
    given = {header: f"Bearer {TEXT}" if header == "Authorization" else TEXT}

    assert await house.ask({"query": SEGMENTS}, **given) == {"data": {"segments": ["loyal"]}}

    assert [(c.role, c.subject) for c in house.callers] == [(Role.AGENT, f"key:{KEY.id}")]


async def test_two_credentials_at_once_are_refused(house: House) -> None:
    both = {"Authorization": f"Bearer {house.token}", "X-API-Key": TEXT}

    assert codes(await house.ask({"query": SEGMENTS}, **both)) == ["UNAUTHENTICATED"]


NOWHERE = "postgresql://127.0.0.1:1/raak_gateway"


async def test_without_its_database_the_gateway_knows_tokens_and_is_not_ready(
    key_files: tuple[Path, Path],
) -> None:
    async with standing(key_files, NOWHERE) as house:
        by_key = await house.ask({"query": SEGMENTS}, **{"X-API-Key": TEXT})

        assert codes(by_key) == ["KEYS_UNKNOWN"]
        assert "have not been read" in await house.reason()


APOLLOS = {"extensions": {"persistedQuery": {"sha256Hash": hash_document(SEGMENTS), "version": 1}}}


@pytest.mark.parametrize(
    "request_", [{"query": SEGMENTS}, {"documentId": hash_document(SEGMENTS)}, APOLLOS]
)
async def test_before_they_are_read_a_registered_operation_is_to_be_asked_again(
    key_files: tuple[Path, Path], request_: dict[str, Any]
) -> None:
    params = {k: v if isinstance(v, str) else json.dumps(v) for k, v in request_.items()}
    async with standing(key_files, NOWHERE) as house:
        token = {"Authorization": f"Bearer {house.token}"}
        events = token | {"Accept": "text/event-stream"}

        answers = [
            await house.client.post("/graphql", json=request_, headers=token),
            await house.client.get("/graphql", params=params, headers=token),
            await house.client.post("/graphql", json=request_, headers=events),
        ]
        url = f"{house.client.base_url}/graphql"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, protocols=(PROTOCOL,), headers=token) as socket,
        ):
            await socket.send_json({"type": "connection_init"})
            await socket.receive_json()
            await socket.send_json({"type": "subscribe", "id": "1", "payload": request_})
            refused = await socket.receive_json()

    for answer in answers:
        assert codes(answer.json()) == ["OPERATIONS_UNKNOWN"]
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert refused["type"] == "error"
    assert codes({"errors": refused["payload"]}) == ["OPERATIONS_UNKNOWN"]


@pytest.mark.parametrize("name", ["token", *MEDIA_TYPES])
async def test_nothing_of_the_explorer_is_there(house: House, name: str) -> None:
    origin = str(house.client.base_url).rstrip("/")

    page = await house.client.get("/graphql", headers={"Accept": "text/html"})
    file = await house.client.get(f"/graphql/{name}")
    token = await house.client.post(
        f"/graphql/{name}", json={"role": "admin"}, headers={"Origin": origin}
    )

    assert page.status_code == 406
    assert (file.status_code, token.status_code) == (404, 404)
