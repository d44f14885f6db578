"""uvicorn with graceful shutdown, timeouts for clients that stall, and coalesced writes."""

import asyncio
import logging
import resource
import socket
from contextlib import suppress
from time import monotonic
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.chassis.settings import ProcessSettings

READ_TIMEOUT_S = 30.0
"""How long what was written last may wait for its reader once a connection is being closed. TCP
alone waits for as long as the reader answers that it has no room."""

HEAD_TIMEOUT_S = 10.0
"""How long the head of a request may take to arrive. uvicorn waits for ever, and a thousand
connections that send a byte now and then cost their sender nothing."""

MAX_FILES = 65_536

CHECK_EVERY_TICKS = 10  # a tick is 0.1 s


def _is_closing(connection: Any) -> bool:
    closing: bool = connection.transport.is_closing()
    return closing


def _is_sending_head(connection: Any) -> bool:
    """Whether the head of a request is incomplete. Between requests uvicorn has a timer, during one
    its cycle is not complete; websockets have neither.
    """
    if (
        _is_closing(connection)
        or getattr(connection, "timeout_keep_alive_task", connection) is not None
    ):
        return False
    return connection.cycle is None or connection.cycle.response_complete


TIMEOUTS = {_is_closing: READ_TIMEOUT_S, _is_sending_head: HEAD_TIMEOUT_S}


class WriteCoalescingTransport:
    """Sends writes of the same turn of the event loop as one: head and body of a response need one
    system call of four less, and the client wakes once.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.inner = transport
        self.is_closing = transport.is_closing
        self._loop = loop
        self._pending = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, data: bytes) -> None:
        if self._pending:
            pending, self._pending = self._pending, b""
            self.inner.writelines((pending, data))
        elif data:
            self._pending = data
            self._loop.call_soon(self._send)

    def close(self) -> None:
        self._send()
        self.inner.close()

    def _send(self) -> None:
        pending, self._pending = self._pending, b""
        if pending and not self.is_closing():
            self.inner.write(pending)


class HttpProtocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(
            cast(asyncio.Transport, WriteCoalescingTransport(transport, self.loop))
        )

    def handle_websocket_upgrade(self) -> None:
        assert isinstance(self.transport, WriteCoalescingTransport)
        self.transport = self.transport.inner
        super().handle_websocket_upgrade()


class Server(uvicorn.Server):
    """A uvicorn server that lets the application `leave` before it listens no more, and `drain`
    before connections close, where it has these.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stalled_since: dict[Any, dict[Any, float]] = {
            is_stalled: {} for is_stalled in TIMEOUTS
        }

    async def on_tick(self, counter: int) -> bool:
        """Abort stalled connections; uvicorn calls this ten times a second."""
        if counter % CHECK_EVERY_TICKS == 0:
            self.abort_stalled(monotonic())
        return await super().on_tick(counter)

    def abort_stalled(self, now: float) -> None:
        for is_stalled, timeout_s in TIMEOUTS.items():
            before = self._stalled_since[is_stalled]
            stalled = filter(is_stalled, self.server_state.connections)
            self._stalled_since[is_stalled] = {
                connection: before.get(connection, now) for connection in stalled
            }
            for connection, since in self._stalled_since[is_stalled].items():
                if now - since > timeout_s:
                    connection.transport.abort()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the application leave, stop listening, let it drain, and close what is left."""
        if not self.force_exit:
            await self._let("leave")
        for server in self.servers:
            server.close()
        await self._let("drain")
        await super().shutdown(sockets)

    async def _let(self, step: str) -> None:
        do = self.lifespan.state.get(step)
        if do is not None:
            await do()


def run_server(app: ASGIApp, settings: ProcessSettings, **options: Any) -> None:
    """Serve until a signal says to stop. `options` are uvicorn's own."""
    _raise_file_limit()
    logging.getLogger("uvicorn.error").addFilter(_is_for_operators)
    config = make_config(
        app,
        host=settings.host,
        port=settings.port,
        timeout_graceful_shutdown=settings.drain_s,
        **options,
    )
    server = Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)


def _raise_file_limit() -> None:
    """As many open files as we may have: the usual 1,024 are taken by a thousand slow senders."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if most == resource.RLIM_INFINITY else min(most, MAX_FILES)
    if now != resource.RLIM_INFINITY and now < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def make_config(app: ASGIApp, **options: Any) -> uvicorn.Config:
    """uvicorn's fixed settings; `X-Forwarded-For` is the gateway's business."""
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        **options,
    )


NOT_FOR_OPERATORS = ('%s - "WebSocket', "Invalid UTF-8 sequence received from client")
"""How uvicorn begins what it says of each websocket, whose address may name a person, and of a
client's mistake, which the close code 1007 says already."""


def _is_for_operators(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(NOT_FOR_OPERATORS)
