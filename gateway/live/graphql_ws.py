"""graphql-transport-ws: any number of operations over one websocket.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md; strawberry's own handler is bound
to a strawberry schema, buffers without a bound, and knows neither expiry nor callers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, aclosing, suppress
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from gateway.access.authentication.authenticator import Authenticator
from gateway.live.close_codes import INTERNAL_ERROR, CloseWebSocket
from gateway.live.connections import (
    ENDED,
    ClientConnections,
    ClientDisconnected,
    GoingAway,
    run_until_failure,
    watch_authentication,
)
from gateway.live.operation_stream import OperationStream, OperationStreams, format_failure
from gateway.live.outgoing_queue import ClientTooSlow, OutgoingQueue
from gateway.live.settings import LiveSettings
from services.chassis import telemetry
from services.chassis.bodies import read_headers
from services.chassis.errors import RaakError
from services.chassis.graphql_http.request import (
    BODY,
    JSON,
    RequestFormat,
    parse_body,
    read_parameters,
)
from services.chassis.graphql_http.response import format_error
from services.chassis.principal import Principal

log = logging.getLogger(__name__)

PROTOCOL = "graphql-transport-ws"
NAME = "websocket"
CREDENTIALS = ("authorization", "x-api-key")
"""What the payload of `connection_init` may carry in place of a header: browsers set none."""

MESSAGE = RequestFormat(
    "message", BODY.unique_names | {"type", "id", "payload"}, nested_name="payload"
)

CLOSE_S = 1.0
"""How long a client has to read the last messages and the reason of the close."""


class TooManyOperations(RaakError, code="LIMIT_EXCEEDED"):
    """A socket has as many operations under way as it may."""


@dataclass(frozen=True, slots=True)
class GraphQLOverWebSocket:
    """The endpoint of websockets, as an ASGI application."""

    streams: OperationStreams
    callers: Authenticator
    connections: ClientConnections
    settings: LiveSettings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if PROTOCOL not in scope["subprotocols"]:
            await send({"type": "websocket.accept"})
            close = CloseWebSocket(4406, f"Subprotocol not acceptable; speak {PROTOCOL}.")
            await send(close.message())
            return
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL})
        with self.connections.track(NAME), ExitStack() as resources:
            await _Connection(self, scope, receive, send, resources).run()


class _Connection:
    """One client. Its tasks are one group: the first that fails ends it."""

    def __init__(
        self,
        endpoint: GraphQLOverWebSocket,
        scope: Scope,
        receive: Receive,
        send: Send,
        resources: ExitStack,
    ) -> None:
        self._endpoint = endpoint
        self._settings = endpoint.settings
        self._headers = read_headers(scope)
        self._receive = receive
        self._send = send
        self._resources = resources
        self._outgoing = OutgoingQueue(endpoint.settings.unread_bytes)
        self._tasks: asyncio.TaskGroup
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._finite: set[asyncio.Task[None]] = set()
        """Queries and mutations: they end by themselves."""
        self._is_initialised = False
        self._is_acknowledged = asyncio.Event()
        self._caller: Principal | None = None
        self._handlers: Mapping[str, Callable[[JSON], Awaitable[None]]] = {
            "connection_init": self._init,
            "ping": self._ping,
            "pong": self._pong,
            "subscribe": self._subscribe,
            "complete": self._complete,
        }

    async def run(self) -> None:
        end = await run_until_failure(self._begin)
        if isinstance(end, ClientDisconnected):
            ENDED.labels(NAME, "gone").inc()
            return
        closing = CloseWebSocket.from_error(end)
        ENDED.labels(NAME, str(closing.code)).inc()
        if closing.code == INTERNAL_ERROR:
            log.error("a socket failed", extra={"fields": {"because": telemetry.describe(end)}})
        with suppress(TimeoutError, ClientDisconnected, ClientTooSlow):
            async with asyncio.timeout(CLOSE_S):
                if not isinstance(end, ClientTooSlow):
                    await self._outgoing.send_all(self._send_text)
                await self._send_message(closing.message())

    def _begin(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        tasks.create_task(self._read())
        tasks.create_task(self._outgoing.send_forever(self._send_text))
        tasks.create_task(self._require_init())
        tasks.create_task(self._drain())

    async def _send_text(self, text: bytes) -> None:
        await self._send_message({"type": "websocket.send", "text": text.decode()})

    async def _send_message(self, message: Message) -> None:
        try:
            await self._send(message)
        except (OSError, RuntimeError):  # what servers raise once the socket is closed
            raise ClientDisconnected from None

    def _put(self, kind: str, **more: Any) -> None:
        self._outgoing.put(orjson.dumps({"type": kind, **more}))

    async def _require_init(self) -> None:
        try:
            async with asyncio.timeout(self._settings.init_within_s):
                await self._is_acknowledged.wait()
        except TimeoutError:
            raise CloseWebSocket(4408, "Connection initialisation timeout") from None

    async def _drain(self) -> None:
        """When the process stops, let queries and mutations end first.

        Subscriptions are not completed: clients resume them with the next gateway.
        """
        try:
            await self._endpoint.connections.raise_when_draining()
        except GoingAway:
            if self._finite:
                await asyncio.wait(self._finite)
            raise

    # Messages of the client

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                raise ClientDisconnected
            text = message.get("text")
            if text is None:
                raise CloseWebSocket(4400, "Messages are text, not binary.")
            await self._handle(text.encode(errors="surrogatepass"))
            await asyncio.sleep(0)  # let other tasks run, however many messages came at once

    async def _handle(self, text: bytes) -> None:
        if len(text) > self._settings.body.size:
            raise CloseWebSocket(1009, f"A message has at most {self._settings.body.size} bytes.")
        message = parse_body(text, MESSAGE)
        kind = message.get("type") if isinstance(message, dict) else None
        handle = self._handlers.get(kind) if isinstance(kind, str) else None
        if handle is None:
            raise CloseWebSocket(4400, f"This is no message of {PROTOCOL}: its type is {kind!r}.")
        await handle(message)

    async def _init(self, message: JSON) -> None:
        if self._is_initialised:
            raise CloseWebSocket(4429, "Too many initialisation requests")
        self._is_initialised = True
        payload = {} if message.get("payload") is None else message["payload"]
        if not isinstance(payload, dict):
            raise CloseWebSocket(4400, "The payload of connection_init is not an object.")
        self._headers = _with_credentials(self._headers, payload)
        self._caller = await self._endpoint.callers.authenticate(self._headers)
        if self._caller is None and not self._settings.allows_anonymous:
            raise CloseWebSocket(4403, "Forbidden: send a token as `Authorization` in the payload.")
        self._resources.enter_context(self._endpoint.connections.reserve(self._caller))
        if self._caller is not None:
            self._tasks.create_task(
                watch_authentication(self._endpoint.callers, self._headers, self._caller)
            )
        self._is_acknowledged.set()
        self._put("connection_ack")

    async def _ping(self, message: JSON) -> None:
        self._put("pong", **({"payload": message["payload"]} if "payload" in message else {}))

    async def _pong(self, message: JSON) -> None:
        return None

    async def _subscribe(self, message: JSON) -> None:
        if not self._is_acknowledged.is_set():
            raise CloseWebSocket(4401, "Unauthorized")
        operation_id = _read_id(message)
        parameters = read_parameters(message.get("payload"))
        if operation_id in self._operations:
            raise CloseWebSocket(4409, f"Subscriber for {operation_id} already exists")
        if len(self._operations) >= (most := self._settings.operations_per_connection):
            refusal = TooManyOperations(
                f"The connection has {most} operations under way (max_operations_per_connection).",
                hint="Wait for some to end.",
            )
            self._put("error", id=operation_id, payload=[format_error(refusal)])
            return
        if self._endpoint.connections.is_draining:
            return
        operation = self._endpoint.streams.open(parameters, self._caller, may_change=True)
        task = self._tasks.create_task(self._execute(operation_id, operation))
        self._operations[operation_id] = task
        if not operation.is_subscription:
            self._finite.add(task)
            task.add_done_callback(self._finite.discard)

    async def _complete(self, message: JSON) -> None:
        operation = self._operations.pop(_read_id(message), None)
        if operation is not None:
            operation.cancel()

    # Messages to the client

    async def _execute(self, id: str, operation: OperationStream) -> None:
        try:
            with operation.trace(self._headers.get("traceparent")):
                errors = await self._send_responses(id, operation)
        except TypeError as failure:  # a response beyond the bounds of orjson
            errors = format_failure(failure)
        finally:
            if self._operations.get(id) is asyncio.current_task():  # else the client reuses it
                del self._operations[id]
        if errors is None:
            self._put("complete", id=id)
        else:
            self._put("error", id=id, payload=errors)

    async def _send_responses(self, id: str, operation: OperationStream) -> list[JSON] | None:
        """Send the responses that have data; returns the errors of a last one that has none."""
        errors: list[JSON] | None = None
        async with aclosing(operation.execute()) as responses:
            async for response in responses:
                if "data" in response:
                    self._put("next", id=id, payload=response)
                else:
                    errors = response["errors"]
        return errors


def _with_credentials(headers: Mapping[str, str], payload: JSON) -> dict[str, str]:
    """The headers; credentials in a payload replace theirs."""
    credentials = {
        name.lower(): value for name, value in payload.items() if name.lower() in CREDENTIALS
    }
    if not all(isinstance(value, str) for value in credentials.values()):
        raise CloseWebSocket(4400, "A token in the payload of connection_init is not a string.")
    dropped = CREDENTIALS if credentials else ()
    return {name: value for name, value in headers.items() if name not in dropped} | credentials


def _read_id(message: JSON) -> str:
    value = message.get("id")
    if not isinstance(value, str) or not value:
        raise CloseWebSocket(4400, "The message has no `id`.")
    return value
