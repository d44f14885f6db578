"""The frames of a websocket, below its messages: uvicorn's, within bounds.

uvicorn takes in all that has come at once and counts nothing: a client who sends empty frames, or
pings whose answers he does not read, holds up everybody for a second, again and again.
"""

from typing import Any

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

TAKEN_AT_ONCE = 4_096
"""Bytes that are taken in before others have their turn: some 700 frames without content, which
take ten milliseconds."""
FRAMES_PER_S = 1_000
"""How many a client may send over time; over HTTP a caller has as many requests."""
FRAMES_AT_ONCE = 5_000

TOO_MANY = 1008


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._rest = memoryview(b"")
        """What has come and is not taken in yet; while there is some, no more is read."""
        self._left: float = FRAMES_AT_ONCE
        self._counted_at = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Take in what has come, a piece at a time."""
        if self._rest:
            self._rest = memoryview(bytes(self._rest) + data)
        elif len(data) > TAKEN_AT_ONCE and self.handshake_initiated:
            self._rest = memoryview(data)
            self._take()
        else:
            super().data_received(data)
        if self._rest:
            self.transport.pause_reading()

    def _take(self) -> None:
        if self.transport.is_closing():
            self._rest = memoryview(b"")
            return
        piece, self._rest = self._rest[:TAKEN_AT_ONCE], self._rest[TAKEN_AT_ONCE:]
        super().data_received(bytes(piece))
        if self._rest:
            self.loop.call_soon(self._take)
        elif not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        """The next message. No more is read while some are here, or might be in the rest."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            if not self._rest:
                self.transport.resume_reading()
        return message

    def handle_events(self) -> None:
        """Handle what has come; close with 1008 when it was too much."""
        self._left -= len(self.conn.events)
        super().handle_events()
        if self._left < 0 and self._is_flooded() and not self.close_sent:
            self.conn.fail(TOO_MANY, f"Over {FRAMES_PER_S} frames a second.")
            self.handle_parser_exception()

    def _is_flooded(self) -> bool:
        now = self.loop.time()
        self._left += (now - self._counted_at) * FRAMES_PER_S
        self._left = min(self._left, FRAMES_AT_ONCE)
        self._counted_at = now
        return self._left < 0
