"""Clients without a network, and operations that answer what a test says."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.types import ASGIApp, Message

from gateway.access.authentication.api_keys import ApiKeyCache
from gateway.access.authentication.authenticator import Authenticator
from gateway.access.authentication.caller_tokens import CallerTokens
from gateway.access.authentication.verification_keys import VerificationKey, VerificationKeys
from gateway.live.connections import ClientConnections
from gateway.live.graphql_ws import PROTOCOL, GraphQLOverWebSocket
from gateway.live.settings import LiveSettings
from services.chassis.bodies import BodyLimits
from services.chassis.errors import RaakError
from services.chassis.graphql_http.request import RequestParameters
from services.chassis.principal import Principal
from tests.unit.gateway.small_graph import AGENT, KEY, ROLES

JSON = dict[str, Any]
TOKEN = AGENT["Authorization"]
REFUSED: JSON = {"errors": [{"message": "No.", "extensions": {"code": "NO", "hint": "Don't."}}]}

SETTINGS = LiveSettings(
    body=BodyLimits(10_000, "max_body_bytes", within_s=30),
    connections_per_caller=3,
    operations_per_connection=5,
    init_within_s=30,
    unread_bytes=10_000,
    waiting_activities=10,
    allows_anonymous=True,
)


@dataclass
class Script:
    """Stands for the graph: `one` answers once, `endless` whatever is put into `events`, `refused`
    is refused, `slow` takes until `may_end` is set.
    """

    events: asyncio.Queue[JSON] = field(default_factory=asyncio.Queue)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[str, Principal | None, bool]] = field(default_factory=list)
    under_way: int = 0

    def open(self, asked: RequestParameters, caller: Principal | None, *, may_change: bool) -> Any:
        self.asked.append((asked.document, caller, may_change))
        return _Scripted(self, asked.document, caller)


@dataclass
class _Scripted:
    script: Script
    text: str
    caller: Principal | None
    refusal: RaakError | None = None

    @property
    def is_subscription(self) -> bool:
        return self.text == "endless"

    def trace(self, traceparent: str | None) -> AbstractContextManager[None]:
        return nullcontext()

    async def execute(self) -> AsyncGenerator[JSON, None]:
        self.script.under_way += 1
        try:
            if self.text == "endless":
                while True:
                    yield await self.script.events.get()
            if self.text == "slow":
                await self.script.may_end.wait()
            yield REFUSED if self.text == "refused" else {"data": {self.text: 1}}
        finally:
            self.script.under_way -= 1


def callers() -> Authenticator:
    keys = VerificationKeys(VerificationKey.of(KEY.public_key()))
    return Authenticator(
        CallerTokens(keys, ROLES.resolve_grant), ApiKeyCache("", ROLES.resolve_grant)
    )


class Client:
    """One websocket, as a server would hand it to the application."""

    def __init__(self, app: ASGIApp, headers: dict[str, str], protocols: list[str]) -> None:
        self._coming: asyncio.Queue[JSON] = asyncio.Queue()
        self._going: asyncio.Queue[JSON] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        scope = {
            "type": "websocket",
            "path": "/graphql",
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
            "subprotocols": protocols,
        }
        self._coming.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(app(scope, self._coming.get, self._send))

    async def _send(self, message: Message) -> None:
        await self.reads.wait()
        self._going.put_nowait(dict(message))

    def say(self, kind: str, **more: Any) -> None:
        """Send a message of the protocol."""
        self.raw(text=orjson.dumps({"type": kind, **more}).decode())

    def raw(self, **frame: Any) -> None:
        """Send whatever a socket can carry."""
        self._coming.put_nowait({"type": "websocket.receive", **frame})

    def leave(self) -> None:
        """Go away without a word."""
        self._coming.put_nowait({"type": "websocket.disconnect", "code": 1006})

    def ask(self, id: str, query: str) -> None:
        """Begin an operation."""
        self.say("subscribe", id=id, payload={"query": query})

    async def sent(self) -> JSON:
        """What the server sends next."""
        async with asyncio.timeout(30):
            return await self._going.get()

    async def heard(self) -> JSON:
        """The next message of the protocol."""
        message = await self.sent()
        assert message["type"] == "websocket.send", message
        said: JSON = orjson.loads(message["text"])
        return said

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the close frame, whatever comes before it."""
        while True:
            message = await self.sent()
            if message["type"] == "websocket.close":
                await self.task
                return message["code"], message["reason"]

    async def acknowledged(self, **payload: Any) -> "Client":
        """Come in."""
        self.say("connection_init", payload=payload or {"Authorization": TOKEN})
        assert await self.heard() == {"type": "connection_ack"}
        return self


@dataclass
class House:
    """The endpoint of websockets, and who comes to it."""

    sockets: GraphQLOverWebSocket
    script: Script
    connections: ClientConnections
    app: ASGIApp
    """What clients come to: the sockets, or what stands before them."""
    clients: list[Client] = field(default_factory=list)

    async def connect(
        self, headers: dict[str, str] | None = None, protocols: list[str] | None = None
    ) -> Client:
        """A client whose handshake was accepted."""
        client = Client(self.app, headers or {}, [PROTOCOL] if protocols is None else protocols)
        self.clients.append(client)
        assert (await client.sent())["type"] == "websocket.accept"
        return client

    async def enter(self) -> Client:
        """A client that is acknowledged."""
        return await (await self.connect()).acknowledged()


@asynccontextmanager
async def house(settings: LiveSettings = SETTINGS) -> AsyncIterator[House]:
    """An endpoint that is empty again, and has left no task behind, when the block ends."""
    script, connections = Script(), ClientConnections(settings.connections_per_caller)
    sockets = GraphQLOverWebSocket(script, callers(), connections, settings)  # type: ignore[arg-type]
    before = asyncio.all_tasks()
    here = House(sockets, script, connections, sockets)
    yield here
    for client in here.clients:
        client.leave()
        with suppress(TimeoutError):
            await asyncio.wait_for(client.task, 30)
    assert script.under_way == 0
    assert asyncio.all_tasks() <= before
