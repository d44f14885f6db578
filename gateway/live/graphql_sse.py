"""GraphQL over server-sent events, "distinct connections mode": one operation, one response.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.authentication.authenticator import Authenticator
from gateway.graphql_http.preflight import read_client_request
from gateway.live.connections import (
    ENDED,
    ClientConnections,
    ClientDisconnected,
    GoingAway,
    OperationCompleted,
    run_until_failure,
    watch_authentication,
)
from gateway.live.operation_stream import OperationStream, OperationStreams, format_failure
from gateway.live.outgoing_queue import ClientTooSlow, OutgoingQueue
from gateway.live.settings import LiveSettings
from services.chassis.bodies import read_headers
from services.chassis.errors import RaakError
from services.chassis.graphql_http.media_types import LEGACY, MODERN, choose_media_type
from services.chassis.graphql_http.request import JSON, read_parameters
from services.chassis.graphql_http.response import HttpResponse, refusal_headers

EVENTS = "text/event-stream"
NAME = "sse"
KEEP_ALIVE_S = 12.0
"""After so much silence a comment is sent: proxies close what is silent for about a minute."""
KEEP_ALIVE = b":\n\n"
COMPLETE = b"event: complete\ndata:\n\n"
CLOSE_S = 1.0
"""How long a client has to read the last responses."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
"""The last one keeps nginx from buffering events."""

END_LABELS: Mapping[type[Exception], str] = {
    OperationCompleted: "Done",
    ClientDisconnected: "Gone",
    ClientTooSlow: "TooSlow",
}
"""The label `because` of the metric of ended connections; for all else, the name of its class."""

REFUSED_BY_STATUS = frozenset({401, 429, 503})
"""Refusals that HTTP clients act on by status. All others come as the protocol wants it: by an
event, for a browser shows its page nothing of a response that is no stream."""


def is_event_stream_preferred(scope: Scope) -> bool:
    """Whether a request accepts nothing better than a stream of events."""
    accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    if EVENTS.encode() not in accept:
        return False
    return choose_media_type(accept.decode("latin-1"), (LEGACY, MODERN, EVENTS)) == EVENTS


@dataclass(frozen=True, slots=True)
class GraphQLOverSse:
    """The endpoint of requests that accept events; others go on to `over_http`."""

    over_http: ASGIApp
    streams: OperationStreams
    callers: Authenticator
    connections: ClientConnections
    settings: LiveSettings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_event_stream_preferred(scope):
            await self._stream(scope, receive, send)
        else:
            await self.over_http(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = read_headers(scope)
        try:
            caller = await self.callers.authenticate(headers)
            value = await read_client_request(scope, receive, headers, self.settings.body)
            parameters = read_parameters(value)
            operation = self.streams.open(parameters, caller, may_change=scope["method"] == "POST")
            if operation.refusal is not None and operation.refusal.status in REFUSED_BY_STATUS:
                raise operation.refusal
            with self.connections.reserve(caller), self.connections.track(NAME):
                await _EventStream(self, headers, operation, receive, send).run()
        except RaakError as refusal:
            body = orjson.dumps({"errors": format_failure(refusal)})
            await HttpResponse(refusal.status, body, LEGACY, refusal_headers(refusal)).send(send)


class _EventStream:
    """One response. Its tasks are one group: the first that fails ends it."""

    def __init__(
        self,
        endpoint: GraphQLOverSse,
        headers: Mapping[str, str],
        operation: OperationStream,
        receive: Receive,
        send: Send,
    ) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._operation = operation
        self._receive = receive
        self._send = send
        self._outgoing = OutgoingQueue(endpoint.settings.unread_bytes)

    async def run(self) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        end = await run_until_failure(self._begin)
        ENDED.labels(NAME, END_LABELS.get(type(end), type(end).__name__)).inc()
        if not isinstance(end, ClientDisconnected):
            with suppress(TimeoutError, ClientDisconnected, ClientTooSlow):
                async with asyncio.timeout(CLOSE_S):
                    await self._end(end)

    def _begin(self, tasks: asyncio.TaskGroup) -> None:
        caller = self._operation.caller
        tasks.create_task(self._execute())
        tasks.create_task(self._wait_for_disconnect())
        tasks.create_task(
            self._outgoing.send_forever(
                self._send_piece, keep_alive_s=KEEP_ALIVE_S, keep_alive=KEEP_ALIVE
            )
        )
        if self._operation.is_subscription:
            tasks.create_task(self._endpoint.connections.raise_when_draining())
        if caller is not None:
            tasks.create_task(watch_authentication(self._endpoint.callers, self._headers, caller))

    async def _end(self, end: Exception) -> None:
        """Send why it ends. It is complete only if a client should not ask for it again."""
        if isinstance(end, ClientTooSlow):
            self._outgoing.clear()
        if not isinstance(end, OperationCompleted | GoingAway):
            self._outgoing.put(_event({"errors": format_failure(end)}))
        if not isinstance(end, ClientTooSlow | GoingAway):
            self._outgoing.put(COMPLETE)
        await self._outgoing.send_all(self._send_piece)
        await self._send({"type": "http.response.body", "body": b""})

    async def _execute(self) -> None:
        async with aclosing(self._operation.execute()) as responses:
            async for response in responses:
                self._outgoing.put(_event(response))
        raise OperationCompleted

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise ClientDisconnected

    async def _send_piece(self, piece: bytes) -> None:
        try:
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        except OSError:  # what servers raise once the client has left
            raise ClientDisconnected from None


def _event(response: JSON) -> bytes:
    return b"event: next\ndata: %b\n\n" % orjson.dumps(response)
