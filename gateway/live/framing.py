"""The frames of a websocket, below its messages: uvicorn's, within bounds.

uvicorn reads all that has come at once and counts nothing: a client who sends empty frames, or
pings whose answers he does not read, holds up everybody for a second, again and again.
"""

from asyncio import BaseTransport
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

READ_BYTES = 4_096
"""What is read before others have their turn: some 700 frames without content, ten milliseconds."""
FRAMES_PER_S = 1_000
"""How many a client may send over time; over HTTP a caller has as many requests."""
FRAMES_AT_ONCE = 5_000

TOO_MANY = 1008


class WebSocket(WebSocketsSansIOProtocol):
    """One connection."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._left: float = FRAMES_AT_ONCE
        self._counted_at = self.loop.time()

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # asyncio's own reads 256 KB

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
