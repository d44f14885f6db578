"""uvicorn as our processes run it: it warns the application before it stops, and lets nobody stay
who does not take his last bytes.
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

LOOK_EVERY_TICKS = 10  # a tick is 0.1 s


class Server(uvicorn.Server):
    """A uvicorn server. An application may give `drain` with its lifespan's state: it is awaited
    when the process has to stop, before any connection is closed.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._closing_since: dict[Any, float] = {}

    async def on_tick(self, counter: int) -> bool:
        """Look around; uvicorn does so ten times a second."""
        if counter % LOOK_EVERY_TICKS == 0:
            self.cut_off(monotonic())
        return await super().on_tick(counter)

    def cut_off(self, now: float) -> None:
        """Drop connections that have been closing for too long."""
        connections = self.server_state.connections
        closing = [held for held in connections if held.transport.is_closing()]
        self._closing_since = {held: self._closing_since.get(held, now) for held in closing}
        for held, since in self._closing_since.items():
            if now - since > TAKEN_WITHIN_S:
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
