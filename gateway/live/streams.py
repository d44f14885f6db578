"""GraphQL over server-sent events, "distinct connections mode": one operation, one response.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.authentication.authenticator import Authenticator
from gateway.graphql_http.endpoint import read_value
from gateway.live.answering import Answering, Operation, errors_of
from gateway.live.connections import (
    ENDED,
    Connections,
    Done,
    GoingAway,
    Gone,
    ended_by,
    while_welcome,
)
from gateway.live.outgoing import Outgoing, TooSlow
from gateway.live.rules import Rules
from services.chassis.bodies import headers_of
from services.chassis.errors import RaakError
from services.chassis.graphql_http import (
    JSON,
    LEGACY,
    MODERN,
    Answer,
    extra_headers,
    preferred,
    read_parameters,
)

EVENTS = "text/event-stream"
NAME = "sse"
ALIVE_S = 12.0
"""After so much silence a comment is sent: proxies close what says nothing for about a minute."""
ALIVE = b":\n\n"
COMPLETE = b"event: complete\ndata:\n\n"
CLOSE_S = 1.0
"""How long a client has to take what is left for him."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
"""The last one keeps nginx from gathering events before it passes them on."""

REFUSED_BEFORE = frozenset({401, 429, 503})
"""Refusals that HTTP clients act on by status. All others are told as the protocol wants it: by an
event, for a browser tells its page nothing about a response that is no stream."""


def wants_events(scope: Scope) -> bool:
    """Whether a request likes nothing better than a stream of events."""
    accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    if EVENTS.encode() not in accept:
        return False
    return preferred(accept.decode("latin-1"), (LEGACY, MODERN, EVENTS)) == EVENTS


class Streams:
    """The endpoint of requests that accept events; others go on to `over_http`."""

    def __init__(
        self,
        over_http: ASGIApp,
        answering: Answering,
        callers: Authenticator,
        connections: Connections,
        rules: Rules,
    ) -> None:
        self._over_http = over_http
        self._answering = answering
        self._callers = callers
        self._connections = connections
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if wants_events(scope):
            await self._stream(scope, receive, send)
        else:
            await self._over_http(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        try:
            caller = await self._callers.authenticate(headers)
            asked = read_parameters(await read_value(scope, receive, headers, self._rules.body))
            operation = self._answering.open(asked, caller, may_change=scope["method"] == "POST")
            if operation.refusal is not None and operation.refusal.status in REFUSED_BEFORE:
                raise operation.refusal
            with self._connections.held_by(caller), self._connections.present(NAME):
                stay = partial(while_welcome, self._callers, headers, caller) if caller else None
                outgoing = Outgoing(self._rules.unread_bytes)
                stream = _Stream(self._connections, operation, receive, send, outgoing)
                await stream.run(stay)
        except RaakError as refusal:
            body = orjson.dumps({"errors": errors_of(refusal)})
            await Answer(refusal.status, body, LEGACY, extra_headers(refusal)).send(send)


class _Stream:
    """One response. Its parts are tasks of one group: the first that fails ends it."""

    def __init__(
        self,
        connections: Connections,
        operation: Operation,
        receive: Receive,
        send: Send,
        outgoing: Outgoing,
    ) -> None:
        self._connections = connections
        self._operation = operation
        self._receive = receive
        self._asgi_send = send
        self._outgoing = outgoing

    async def run(self, stay: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
        """Send all answers. `stay` raises when the caller may not listen any more."""
        await self._asgi_send({"type": "http.response.start", "status": 200, "headers": HEADERS})

        def begin(tasks: asyncio.TaskGroup) -> None:
            tasks.create_task(self._answer())
            tasks.create_task(self._watch())
            tasks.create_task(
                self._outgoing.keep_sending(self._send, silence_s=ALIVE_S, sign_of_life=ALIVE)
            )
            if self._operation.is_subscription:
                tasks.create_task(self._connections.until_we_leave())
            if stay is not None:
                tasks.create_task(stay())

        end = await ended_by(begin)
        ENDED.labels(NAME, type(end).__name__).inc()
        if not isinstance(end, Gone):
            with suppress(TimeoutError, Gone, TooSlow):
                async with asyncio.timeout(CLOSE_S):
                    await self._end(end)

    async def _end(self, end: Exception) -> None:
        """Say why it ends. It is complete only if a client should not ask for it again."""
        if isinstance(end, TooSlow):
            self._outgoing.forget()
        if not isinstance(end, Done | GoingAway):
            self._outgoing.put(_event({"errors": errors_of(end)}))
        if not isinstance(end, TooSlow | GoingAway):
            self._outgoing.put(COMPLETE)
        await self._outgoing.send_all(self._send)
        await self._asgi_send({"type": "http.response.body", "body": b""})

    async def _answer(self) -> None:
        async with aclosing(self._operation.answers()) as answers:
            async for answer in answers:
                self._outgoing.put(_event(answer))
        raise Done

    async def _watch(self) -> None:
        """Notice that the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise Gone

    async def _send(self, piece: bytes) -> None:
        try:
            await self._asgi_send({"type": "http.response.body", "body": piece, "more_body": True})
        except OSError:  # what servers raise once the client has left
            raise Gone from None


def _event(answer: JSON) -> bytes:
    return b"event: next\ndata: %b\n\n" % orjson.dumps(answer)
