"""uvicorn as our processes run it: it warns the application before it stops, and lets nobody stay
who does not take his last bytes, or does not get to the end of a request's head. What it writes at
once it also sends at once.
"""

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

TAKEN_WITHIN_S = 30.0
"""How long what was written last may wait for its reader once a connection is being closed. TCP
alone waits for as long as the reader answers that he has no room."""

HEAD_WITHIN_S = 10.0
"""How long the head of a request may take to arrive. uvicorn waits for ever, and a thousand
connections that send a byte now and then cost their sender nothing."""

MOST_FILES = 65_536

LOOK_EVERY_TICKS = 10  # a tick is 0.1 s


def _is_closing(held: Any) -> bool:
    closing: bool = held.transport.is_closing()
    return closing


def _sends_head(held: Any) -> bool:
    """Whether a request has begun, or a connection, and its head is not whole. Between requests
    uvicorn has a timer running, and during one its cycle is not complete; websockets have neither.
    """
    if _is_closing(held) or getattr(held, "timeout_keep_alive_task", held) is not None:
        return False
    return held.cycle is None or held.cycle.response_complete


PATIENCE = {_is_closing: TAKEN_WITHIN_S, _sends_head: HEAD_WITHIN_S}


class Together:
    """A transport that sends two writes as one when nothing happens between them, as with the head
    and the body of an answer: that saves a system call of four, and wakes the client once.

    What was written is sent before the event loop turns to anything else.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.inner = transport
        self.is_closing = transport.is_closing
        self._loop = loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, data: bytes) -> None:
        """Send data soon, or with what waits at once."""
        if self._held:
            held, self._held = self._held, b""
            self.inner.writelines((held, data))
        elif data:
            self._held = data
            self._loop.call_soon(self._send)

    def close(self) -> None:
        """Send what waits, and close."""
        self._send()
        self.inner.close()

    def _send(self) -> None:
        held, self._held = self._held, b""
        if held and not self.is_closing():
            self.inner.write(held)


class Http(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(cast(asyncio.Transport, Together(transport, self.loop)))

    def handle_websocket_upgrade(self) -> None:
        """Go on as a websocket, which writes its frames whole."""
        assert isinstance(self.transport, Together)
        self.transport = self.transport.inner
        super().handle_websocket_upgrade()


class Server(uvicorn.Server):
    """A uvicorn server. An application may give `drain` with its lifespan's state: it is awaited
    when the process has to stop, before any connection is closed.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._since: dict[Any, dict[Any, float]] = {keeps_waiting: {} for keeps_waiting in PATIENCE}

    async def on_tick(self, counter: int) -> bool:
        """Look around; uvicorn does so ten times a second."""
        if counter % LOOK_EVERY_TICKS == 0:
            self.cut_off(monotonic())
        return await super().on_tick(counter)

    def cut_off(self, now: float) -> None:
        """Drop connections that have kept us waiting for too long."""
        for keeps_waiting, patience_s in PATIENCE.items():
            before = self._since[keeps_waiting]
            late = filter(keeps_waiting, self.server_state.connections)
            self._since[keeps_waiting] = {held: before.get(held, now) for held in late}
            for held, since in self._since[keeps_waiting].items():
                if now - since > patience_s:
                    held.transport.abort()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let the application say goodbye, and close what is left."""
        for server in self.servers:
            server.close()
        drain = self.lifespan.state.get("drain")
        if drain is not None:
            await drain()
        await super().shutdown(sockets)


def listen(app: ASGIApp, settings: ProcessSettings, **options: Any) -> None:
    """Serve until a signal says to stop. `options` are uvicorn's own."""
    _allow_many_connections()
    logging.getLogger("uvicorn.error").addFilter(_is_for_operators)
    config = configured(
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


def _allow_many_connections() -> None:
    """As many open files as we may have: the usual 1,024 are taken by a thousand slow senders."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else min(most, MOST_FILES)
    if now != resource.RLIM_INFINITY and now < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def configured(app: ASGIApp, **options: Any) -> uvicorn.Config:
    """uvicorn's settings that are always the same. It believes no `X-Forwarded-For`, not even from
    this machine: whom to believe is a setting of the gateway's.
    """
    return uvicorn.Config(
        app,
        http=Http,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        **options,
    )


NOT_FOR_OPERATORS = ('%s - "WebSocket', "Invalid UTF-8 sequence received from client")
"""How uvicorn begins what it says of each websocket, whose address may name a person, and of a
client's mistake, which is told to him by the close code 1007."""


def _is_for_operators(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(NOT_FOR_OPERATORS)
