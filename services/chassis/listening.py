"""uvicorn as our processes run it: it warns the application before it stops, and lets nobody stay
who does not take his last bytes, or does not get to the end of a request's head.
"""

import logging
import socket
from contextlib import suppress
from time import monotonic
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from services.chassis.settings import ProcessSettings

TAKEN_WITHIN_S = 30.0
"""How long what was written last may wait for its reader once a connection is being closed. TCP
alone waits for as long as the reader answers that he has no room."""

HEAD_WITHIN_S = 10.0
"""How long the head of a request may take to arrive. uvicorn waits for ever, and a thousand
connections that send a byte now and then cost their sender nothing."""

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
    logging.getLogger("uvicorn.error").addFilter(_tells_no_address)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.drain_s,
        **options,
    )
    server = Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)


def _tells_no_address(record: logging.LogRecord) -> bool:
    """Leave out what uvicorn says of each websocket: the address may name a person."""
    return not str(record.msg).startswith('%s - "WebSocket')
