"""Who shares an address with a guesser, or with slow senders, is answered as ever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.access.authentication.caller_tokens import issue_token
from gateway.access.authentication.service_tokens import load_private_key
from gateway.app import create
from gateway.live.graphql_ws import PROTOCOL
from gateway.settings import GatewaySettings
from services.contracts.enums import Role
from tests.integration.gateway.serving import Server, serving
from tests.waiting import until

SDL = """
extend schema @link(url: "https://specs.apollo.dev/federation/v2.11", import: ["@key"])
type Query { segments: String }
type Mutation { track: String }
"""
QUERY = {"query": "{ segments }"}
WRITE_KEY = "a write key of thirty-two characters"
TRACK = {"anonymousId": "v-1", "event": "looked"}
SLOW_HEAD = (
    "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{credential}"
    "Content-Length: 1000\r\n\r\n{{"
)
SLOW = 150
FAILURES = 20


@dataclass
class Gateway:
    """A gateway of which everybody comes from one address."""

    client: httpx.AsyncClient
    server: Server
    signing_key: Path

    def __post_init__(self) -> None:
        self._names = count()

    def token(self) -> str:
        """A good one that was never seen before."""
        key = load_private_key(self.signing_key.read_text())
        return f"Bearer {issue_token(key, Role.ADMIN, f'caller {next(self._names)}')}"

    async def guess(self) -> int:
        """The status of one more bad token."""
        guess = {"Authorization": f"Bearer guess.{next(self._names)}.x"}
        return (await self.client.post("/graphql", json=QUERY, headers=guess)).status_code

    async def guess_on(self) -> None:
        """Guess until the address is told to wait, however slow the machine is."""
        for _ in range(100 * FAILURES):
            if await self.guess() == 429:
                return
        raise AssertionError("bad tokens never have to wait")

    @asynccontextmanager
    async def slow_bodies(self, path: str, credential: str = "") -> AsyncIterator[None]:
        """As many requests as lock somebody out, none of whose bodies comes to its end."""
        head = SLOW_HEAD.format(path=path, credential=credential).encode()
        opened = [await asyncio.open_connection("127.0.0.1", self.server.port) for _ in range(SLOW)]
        for _, writer in opened:
            writer.write(head)
        await until(lambda: self.server.count_requests() >= SLOW)
        try:
            yield
        finally:
            for _, writer in opened:
                writer.transport.abort()


@asynccontextmanager
async def gateway(key_files: tuple[Path, Path], **settings: Any) -> AsyncIterator[Gateway]:
    async def graphql(request: Request) -> Response:
        return JSONResponse({"data": {"segments": "loyal"}})

    async def collect(request: Request) -> Response:
        return JSONResponse({"success": True})

    routes = [
        Route("/graphql", graphql, methods=["POST"]),
        Route("/collect/v1/{call}", collect, methods=["POST"]),
    ]
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(serving(Starlette(routes=routes)))
        all_settings = GatewaySettings(
            profile_url=service.url,
            signing_key_file=key_files[0],
            caller_key_file=key_files[1],
            write_keys=(WRITE_KEY,),
            max_failed_authentications=FAILURES,
            **settings,
        )
        server = await stack.enter_async_context(serving(create(all_settings, {"profile": SDL})))
        client = httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=30)
        await stack.enter_async_context(client)
        yield Gateway(client, server, key_files[0])


@pytest.fixture(scope="module")
async def open_gateway(key_files: tuple[Path, Path]) -> AsyncIterator[Gateway]:
    async with gateway(key_files) as opened:
        yield opened


@pytest.fixture
async def guessed(open_gateway: Gateway) -> Gateway:
    """A gateway whose one address has just sent as many bad tokens as it may, and one more."""
    await open_gateway.guess_on()
    return open_gateway


async def posts(gateway: Gateway) -> int:
    headers = {"Authorization": gateway.token()}
    return (await gateway.client.post("/graphql", json=QUERY, headers=headers)).status_code


async def gets(gateway: Gateway) -> int:
    headers = {"Authorization": gateway.token()}
    return (await gateway.client.get("/graphql", params=QUERY, headers=headers)).status_code


async def streams(gateway: Gateway) -> int:
    headers = {"Authorization": gateway.token(), "Accept": "text/event-stream"}
    return (await gateway.client.post("/graphql", json=QUERY, headers=headers)).status_code


async def tracks_by_header(gateway: Gateway) -> int:
    auth = (WRITE_KEY, f"{next(gateway._names)}")  # a credential that was not seen before
    return (await gateway.client.post("/v1/track", json=TRACK, auth=auth)).status_code


async def tracks_by_body(gateway: Gateway) -> int:
    body = TRACK | {"writeKey": WRITE_KEY}
    return (await gateway.client.post("/v1/track", json=body)).status_code


async def _connects(gateway: Gateway, headers: dict[str, str], payload: dict[str, str]) -> int:
    url = f"http://127.0.0.1:{gateway.server.port}/graphql"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, protocols=(PROTOCOL,), headers=headers) as socket,
    ):
        await socket.send_json({"type": "connection_init", "payload": payload})
        said = await socket.receive(timeout=30)
        assert said.json()["type"] == "connection_ack"
    return 200


async def connects_by_header(gateway: Gateway) -> int:
    return await _connects(gateway, {"Authorization": gateway.token()}, {})


async def connects_by_payload(gateway: Gateway) -> int:
    return await _connects(gateway, {}, {"Authorization": gateway.token()})


EVERY_DOOR = [
    posts,
    gets,
    streams,
    connects_by_header,
    connects_by_payload,
    tracks_by_header,
    tracks_by_body,
]


@pytest.mark.parametrize("enter", EVERY_DOOR)
async def test_a_good_credential_passes_beside_a_guesser_at_its_address(
    guessed: Gateway, enter: Callable[[Gateway], Awaitable[int]]
) -> None:
    statuses = [await enter(guessed) for _ in range(3)]

    assert statuses == [200] * 3
    await guessed.guess_on()


async def test_bad_tokens_do_not_make_their_own_wait_longer_and_longer(guessed: Gateway) -> None:
    bad = {"Authorization": "Bearer guess.again.x"}
    answers = [
        await guessed.client.post("/graphql", json=QUERY, headers=bad) for _ in range(3 * FAILURES)
    ]

    refused = next(answer for answer in reversed(answers) if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) <= 3
    assert refused.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"


async def test_who_has_an_expired_token_is_told_so_beside_a_guesser(guessed: Gateway) -> None:
    key = load_private_key(guessed.signing_key.read_text())
    headers = {"Authorization": f"Bearer {issue_token(key, Role.ADMIN, 'late', now=1_000_000)}"}

    answer = await guessed.client.post("/graphql", json=QUERY, headers=headers)

    assert answer.status_code == 401
    assert "expired" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("path", "has_credential"),
    [("/v1/track", True), ("/v1/track", False), ("/graphql", True), ("/graphql", False)],
)
async def test_slow_bodies_hold_no_place_that_others_need(
    open_gateway: Gateway, path: str, has_credential: bool
) -> None:
    credential = "Authorization: Basic YSB3cml0ZSBrZXkgb2YgdGhpcnR5LXR3byBjaGFyYWN0ZXJzOg==\r\n"
    if path == "/graphql":
        credential = f"Authorization: {open_gateway.token()}\r\n"
    async with open_gateway.slow_bodies(path, credential if has_credential else ""):
        statuses = {enter.__name__: await enter(open_gateway) for enter in EVERY_DOOR}

    assert set(statuses.values()) == {200}, statuses


@pytest.mark.parametrize("tracks", [tracks_by_header, tracks_by_body])
async def test_an_address_that_sends_too_many_events_uses_up_no_other_address(
    key_files: tuple[Path, Path], tracks: Callable[[Gateway], Awaitable[int]]
) -> None:
    limits = {"rate_per_s": 0.01, "burst": 3, "trusted_proxies": ("127.0.0.1",)}
    async with gateway(key_files, **limits) as opened:
        opened.client.headers["X-Forwarded-For"] = "198.51.100.1"
        flooding = [await tracks(opened) for _ in range(4)]
        opened.client.headers["X-Forwarded-For"] = "198.51.100.2"
        other = await tracks(opened)

    assert flooding == [200, 200, 200, 429]
    assert other == 200
