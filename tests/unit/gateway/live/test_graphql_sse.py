"""GraphQL over server-sent events: one operation, one response."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from time import time
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from starlette.types import Receive, Scope, Send

from gateway.access.authentication.caller_tokens import issue_token
from gateway.live import graphql_sse
from gateway.live.connections import ClientConnections
from gateway.live.graphql_sse import GraphQLOverSse, is_event_stream_preferred
from gateway.live.settings import LiveSettings
from services.chassis.errors import Unavailable
from services.chassis.graphql_http.media_types import LEGACY, MODERN
from services.contracts.enums import Role
from tests.unit.gateway.live.clients import REFUSED, SETTINGS, TOKEN, Script, callers
from tests.unit.gateway.small_graph import KEY
from tests.waiting import until

JSON = dict[str, Any]
EVENTS = "text/event-stream"


class Client:
    """One request and its response, as a server would hand them over."""

    def __init__(self, app: Any, scope: JSON, body: bytes) -> None:
        self._coming: asyncio.Queue[JSON] = asyncio.Queue()
        self._going: asyncio.Queue[JSON] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self._coming.put_nowait({"type": "http.request", "body": body})
        self.task = asyncio.create_task(app(scope, self._coming.get, self._send))

    async def _send(self, message: JSON) -> None:
        await self.reads.wait()
        self._going.put_nowait(message)

    async def sent(self) -> JSON:
        async with asyncio.timeout(30):
            return await self._going.get()

    async def begun(self) -> tuple[int, dict[str, str]]:
        """Status and headers."""
        start = await self.sent()
        return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}

    async def event(self) -> bytes:
        """The next piece of the body."""
        piece: bytes = (await self.sent())["body"]
        return piece

    async def rest(self) -> list[bytes]:
        """All pieces until the end."""
        pieces: list[bytes] = []
        while True:
            message = await self.sent()
            if not message.get("more_body"):
                await self.task
                return [*pieces, message["body"]] if message["body"] else pieces
            pieces.append(message["body"])

    def leave(self) -> None:
        self._coming.put_nowait({"type": "http.disconnect"})


@dataclass
class House:
    """The endpoint, and who comes to it."""

    app: GraphQLOverSse
    script: Script
    connections: ClientConnections
    clients: list[Client]

    def ask(self, query: str, token: str = TOKEN, method: str = "POST", **more: str) -> Client:
        headers = {"accept": EVENTS, "authorization": token, "content-type": "application/json"}
        is_get = method == "GET"
        scope = {
            "type": "http",
            "method": method,
            "path": "/graphql",
            "query_string": urlencode({"query": query}).encode() if is_get else b"",
            "headers": [(k.encode(), v.encode()) for k, v in (headers | more).items()],
        }
        client = Client(self.app, scope, b"" if is_get else orjson.dumps({"query": query}))
        self.clients.append(client)
        return client

    async def asking(self, query: str) -> Client:
        """A client whose stream has begun."""
        client = self.ask(query)
        assert (await client.begun())[0] == 200
        return client


async def over_http(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def house(settings: LiveSettings = SETTINGS) -> AsyncIterator[House]:
    """An endpoint that is empty again, and has left no task behind, when the block ends."""
    script, connections = Script(), ClientConnections(settings.connections_per_caller)
    app = GraphQLOverSse(over_http, script, callers(), connections, settings)  # type: ignore[arg-type]
    before = asyncio.all_tasks()
    here = House(app, script, connections, [])
    yield here
    for client in here.clients:
        client.reads.set()
        client.leave()
        await asyncio.wait_for(client.task, 30)
    assert script.under_way == 0
    assert asyncio.all_tasks() <= before


def next_event(answer: JSON) -> bytes:
    return b"event: next\ndata: " + orjson.dumps(answer) + b"\n\n"


COMPLETE = b"event: complete\ndata:\n\n"


async def test_a_query_is_one_event_and_complete() -> None:
    async with house() as here:
        client = here.ask("one")
        status, headers = await client.begun()

        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert headers["cache-control"] == "no-store"
        assert await client.rest() == [next_event({"data": {"one": 1}}), COMPLETE]


async def test_events_come_as_they_happen() -> None:
    async with house() as here:
        client = await here.asking("endless")
        for number in range(3):
            here.script.events.put_nowait({"data": {"n": number}})

            assert await client.event() == next_event({"data": {"n": number}})


async def test_a_refusal_is_sent_as_an_event() -> None:
    async with house() as here:
        client = await here.asking("refused")

        assert await client.rest() == [next_event(REFUSED), COMPLETE]


async def test_only_a_post_may_change_anything() -> None:
    async with house() as here:
        await (await here.asking("one")).rest()
        get = here.ask("one", method="GET")
        await get.begun()
        await get.rest()

        assert [may_change for _, _, may_change in here.script.asked] == [True, False]


@pytest.mark.parametrize(
    ("token", "status"), [("Bearer nonsense", 401), ("Basic eA==", 401), ("", 401)]
)
async def test_a_bad_token_is_refused_by_status(token: str, status: int) -> None:
    async with house() as here:
        client = here.ask("one", token)
        told, headers = await client.begun()

        assert told == status
        assert headers["www-authenticate"] == "Bearer"
        assert b"UNAUTHENTICATED" in b"".join(await client.rest())


async def test_a_body_that_is_no_request_is_refused_by_status() -> None:
    async with house() as here:
        client = here.ask("one", **{"content-type": "text/plain"})

        assert (await client.begun())[0] == 415
        await client.rest()


async def test_refusals_that_clients_act_on_by_status_come_by_status() -> None:
    class Away(Unavailable):
        code = "AWAY"

    async with house() as here:
        opened = here.script.open
        here.script.open = lambda *given, **more: replace(  # type: ignore[method-assign]
            opened(*given, **more), refusal=Away("It is away.", hint="Wait.")
        )
        client = here.ask("one")
        status, headers = await client.begun()

        assert (status, headers["retry-after"]) == (503, "1")
        assert b"AWAY" in b"".join(await client.rest())


async def test_a_silent_stream_says_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphql_sse, "KEEP_ALIVE_S", 0.01)
    async with house() as here:
        client = await here.asking("endless")

        assert await client.event() == b":\n\n"


async def test_a_client_that_leaves_ends_its_operation() -> None:
    async with house() as here:
        client = await here.asking("endless")
        await asyncio.sleep(0)
        client.leave()
        await client.task

        assert here.script.under_way == 0


async def test_a_stream_ends_when_its_token_expires() -> None:
    async with house() as here:
        token = issue_token(KEY, Role.AGENT, "tester", lifetime_s=1, now=time())
        client = here.ask("endless", f"Bearer {token}")
        await client.begun()

        told, complete = await client.rest()

        assert b"UNAUTHENTICATED" in told
        assert complete == COMPLETE


async def test_more_connections_than_a_caller_may_have_are_refused() -> None:
    async with house() as here:
        for _ in range(SETTINGS.connections_per_caller):
            await here.asking("endless")
        client = here.ask("endless")

        assert (await client.begun())[0] == 429
        assert b"max_connections_per_caller" in b"".join(await client.rest())


async def test_a_client_that_reads_nothing_gets_the_reason_and_is_dropped() -> None:
    async with house() as here:
        client = await here.asking("endless")
        client.reads.clear()
        for _ in range(20):
            here.script.events.put_nowait({"data": "x" * 1_000})
        await until(lambda: here.script.under_way == 0)
        client.reads.set()

        *_, last = await client.rest()

        assert b"CLIENT_TOO_SLOW" in last  # and it is not complete: the client may connect again


async def test_a_client_that_never_reads_again_does_not_keep_its_stream() -> None:
    async with house() as here:
        client = await here.asking("endless")
        client.reads.clear()
        for _ in range(20):
            here.script.events.put_nowait({"data": "x" * 1_000})

        async with asyncio.timeout(30):
            await client.task


async def test_when_the_process_stops_a_subscription_ends_without_complete() -> None:
    async with house() as here:
        client = await here.asking("endless")
        await here.connections.drain(within_s=30)

        assert await client.rest() == []


async def test_when_the_process_stops_a_query_is_answered_first() -> None:
    async with house() as here:
        client = await here.asking("slow")
        leaving = asyncio.create_task(here.connections.drain(within_s=30))
        await until(lambda: here.connections.is_draining)
        here.script.may_end.set()
        await leaving

        assert await client.rest() == [next_event({"data": {"slow": 1}}), COMPLETE]


async def test_a_failure_of_ours_is_masked() -> None:
    async with house() as here:
        here.script.events.put_nowait({"data": {1, 2}})  # what cannot be written as JSON
        client = await here.asking("endless")

        told, _ = await client.rest()

        assert b"INTERNAL" in told


@pytest.mark.parametrize(
    ("accept", "is_wanted"),
    [
        (EVENTS, True),
        (f"{EVENTS};q=0.9, application/json;q=0.1", True),
        (f"{EVENTS}, */*", True),
        (f"application/json, {EVENTS};q=0.5", False),
        (f"{EVENTS};q=0", False),
        (f"{EVENTS}, multipart/mixed", True),  # a subscription of urql
        # a query of urql
        (f"{MODERN}, application/graphql+json, {LEGACY}, {EVENTS}, multipart/mixed", False),
        (f"{EVENTS}, application/json", True),
        (f"*/*, {EVENTS};q=0.9", False),
        ("application/json", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_events_are_sent_to_clients_that_prefer_nothing_else(accept: str, is_wanted: bool) -> None:
    assert is_event_stream_preferred({"headers": [(b"accept", accept.encode())]}) is is_wanted


async def test_others_are_answered_over_plain_http() -> None:
    async with house() as here:
        client = here.ask("one", accept="application/json")

        assert (await client.begun())[0] == 418
