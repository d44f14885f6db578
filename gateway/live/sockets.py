"""graphql-transport-ws: any number of operations over one websocket.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md; strawberry's own handler is bound
to a strawberry schema, sends without a bound, and knows neither expiry nor callers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, aclosing, suppress
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from gateway.access.authentication.authenticator import Authenticator
from gateway.live.answering import Answering, Operation, errors_of
from gateway.live.closing import FAILED, Close
from gateway.live.connections import (
    ENDED,
    Connections,
    GoingAway,
    Gone,
    ended_by,
    while_welcome,
)
from gateway.live.outgoing import Outgoing, TooSlow
from gateway.live.rules import Rules
from services.chassis import telemetry
from services.chassis.bodies import headers_of
from services.chassis.errors import RaakError
from services.chassis.graphql_http import BODY, JSON, Form, from_body, read_parameters, told
from services.chassis.principal import Principal

log = logging.getLogger(__name__)

PROTOCOL = "graphql-transport-ws"
NAME = "websocket"
CREDENTIALS = ("authorization", "x-api-key")
"""What the payload of `connection_init` may carry in place of a header: browsers set none."""

MESSAGE = Form("message", BODY.counts | {"type", "id", "payload"}, within="payload")

CLOSE_S = 1.0
"""How long a client has to take what is left for him, and the reason why he is let go."""


class TooManyOperations(RaakError):
    """A socket has as many operations under way as it may."""

    code = "LIMIT_EXCEEDED"


class Sockets:
    """The endpoint of websockets, as an ASGI application."""

    def __init__(
        self, answering: Answering, callers: Authenticator, connections: Connections, rules: Rules
    ) -> None:
        self.answering = answering
        self.callers = callers
        self.connections = connections
        self.rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client as long as he stays."""
        await receive()  # websocket.connect
        if PROTOCOL not in scope["subprotocols"]:
            await send({"type": "websocket.accept"})
            await send(Close(4406, f"Subprotocol not acceptable; speak {PROTOCOL}.").message())
            return
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL})
        with self.connections.present(NAME), ExitStack() as held:
            await _Socket(self, scope, receive, send, held).run()


class _Socket:
    """One client. Its parts are tasks of one group: the first that fails ends it."""

    def __init__(
        self,
        server: Sockets,
        scope: Scope,
        receive: Receive,
        send: Send,
        held: ExitStack,
    ) -> None:
        self._server = server
        self._rules = server.rules
        self._headers = headers_of(scope)
        self._receive = receive
        self._asgi_send = send
        self._held = held
        self._outgoing = Outgoing(server.rules.unread_bytes)
        self._tasks: asyncio.TaskGroup
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        """Those that end by themselves: all but subscriptions."""
        self._has_begun = False
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
        end = await ended_by(self._begin)
        if isinstance(end, Gone):
            ENDED.labels(NAME, "gone").inc()
            return
        closing = Close.because_of(end)
        ENDED.labels(NAME, str(closing.code)).inc()
        if closing.code == FAILED:
            log.error("a socket failed", extra={"fields": {"because": telemetry.describe(end)}})
        with suppress(TimeoutError, Gone, TooSlow):
            async with asyncio.timeout(CLOSE_S):
                if not isinstance(end, TooSlow):
                    await self._outgoing.send_all(self._send)
                await self._sent(closing.message())

    def _begin(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        tasks.create_task(self._read())
        tasks.create_task(self._outgoing.keep_sending(self._send))
        tasks.create_task(self._want_init())
        tasks.create_task(self._say_goodbye())

    async def _send(self, message: bytes) -> None:
        await self._sent({"type": "websocket.send", "text": message.decode()})

    async def _sent(self, message: Message) -> None:
        try:
            await self._asgi_send(message)
        except (OSError, RuntimeError):  # what servers raise once the socket is closed
            raise Gone from None

    def _put(self, kind: str, **more: Any) -> None:
        self._outgoing.put(orjson.dumps({"type": kind, **more}))

    async def _want_init(self) -> None:
        try:
            async with asyncio.timeout(self._rules.init_within_s):
                await self._is_acknowledged.wait()
        except TimeoutError:
            raise Close(4408, "Connection initialisation timeout") from None

    async def _say_goodbye(self) -> None:
        """When we leave, let queries and mutations end first.

        Subscriptions are not said to be complete: clients resume them with the next gateway.
        """
        try:
            await self._server.connections.until_we_leave()
        except GoingAway:
            if self._ending:
                await asyncio.wait(self._ending)
            raise

    # What the client says

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                raise Gone
            text = message.get("text")
            if text is None:
                raise Close(4400, "Messages are text, not binary.")
            await self._handle(text.encode(errors="surrogatepass"))
            await asyncio.sleep(0)  # others have their turn, however many messages came at once

    async def _handle(self, text: bytes) -> None:
        if len(text) > self._rules.body.size:
            raise Close(1009, f"A message has at most {self._rules.body.size} bytes.")
        message = from_body(text, MESSAGE)
        kind = message.get("type") if isinstance(message, dict) else None
        handle = self._handlers.get(kind) if isinstance(kind, str) else None
        if handle is None:
            raise Close(4400, f"This is no message of {PROTOCOL}: its type is {kind!r}.")
        await handle(message)

    async def _init(self, message: JSON) -> None:
        if self._has_begun:
            raise Close(4429, "Too many initialisation requests")
        self._has_begun = True
        given = message.get("payload")
        payload = {} if given is None else given
        if not isinstance(payload, dict):
            raise Close(4400, "The payload of connection_init is not an object.")
        self._headers = _with_credentials(self._headers, payload)
        self._caller = await self._server.callers.authenticate(self._headers)
        if self._caller is None and not self._rules.takes_strangers:
            raise Close(4403, "Forbidden: send a token as `Authorization` in the payload.")
        self._held.enter_context(self._server.connections.held_by(self._caller))
        if self._caller is not None:
            watch = while_welcome(self._server.callers, self._headers, self._caller)
            self._tasks.create_task(watch)
        self._is_acknowledged.set()
        self._put("connection_ack")

    async def _ping(self, message: JSON) -> None:
        self._put("pong", **({"payload": message["payload"]} if "payload" in message else {}))

    async def _pong(self, message: JSON) -> None:
        return None

    async def _subscribe(self, message: JSON) -> None:
        if not self._is_acknowledged.is_set():
            raise Close(4401, "Unauthorized")
        name = _id_of(message)
        asked = read_parameters(message.get("payload"))
        if name in self._operations:
            raise Close(4409, f"Subscriber for {name} already exists")
        if len(self._operations) >= self._rules.operations:
            refusal = TooManyOperations(
                f"The connection has {self._rules.operations} operations under way "
                "(max_operations_per_connection).",
                hint="Wait for some to end.",
            )
            self._put("error", id=name, payload=[told(refusal)])
            return
        if self._server.connections.is_leaving:
            return
        operation = self._server.answering.open(asked, self._caller, may_change=True)
        task = self._operations[name] = self._tasks.create_task(self._answer(name, operation))
        if not operation.is_subscription:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _complete(self, message: JSON) -> None:
        operation = self._operations.pop(_id_of(message), None)
        if operation is not None:
            operation.cancel()

    # What we say

    async def _answer(self, id: str, operation: Operation) -> None:
        try:
            with operation.traced(self._headers.get("traceparent")):
                errors = await self._send_on(id, operation)
        except TypeError as failure:  # an answer that cannot be written as JSON: orjson's bounds
            errors = errors_of(failure)
        finally:
            if self._operations.get(id) is asyncio.current_task():  # else the client reuses it
                del self._operations[id]
        if errors is None:
            self._put("complete", id=id)
        else:
            self._put("error", id=id, payload=errors)

    async def _send_on(self, id: str, operation: Operation) -> list[JSON] | None:
        """Send on what has data; what the operation ends with that has none is given back."""
        errors: list[JSON] | None = None
        async with aclosing(operation.answers()) as answers:
            async for answer in answers:
                if "data" in answer:
                    self._put("next", id=id, payload=answer)
                else:
                    errors = answer["errors"]
        return errors


def _with_credentials(headers: Mapping[str, str], payload: JSON) -> dict[str, str]:
    """The headers; what a payload says of who connects counts instead of what they say."""
    given = {name.lower(): said for name, said in payload.items() if name.lower() in CREDENTIALS}
    if not all(isinstance(said, str) for said in given.values()):
        raise Close(4400, "A token in the payload of connection_init is a text.")
    left_out = CREDENTIALS if given else ()
    return {name: said for name, said in headers.items() if name not in left_out} | given


def _id_of(message: JSON) -> str:
    given = message.get("id")
    if not isinstance(given, str) or not given:
        raise Close(4400, "The message has no `id`.")
    return given
