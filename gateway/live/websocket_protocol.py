"""uvicorn's websocket protocol, with a bound on frames.

uvicorn parses all that has come at once and counts nothing: a client that sends empty frames, or
pings whose pongs it does not read, blocks the event loop for a second, again and again.
"""

from typing import Any

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

CHUNK_BYTES = 4_096
"""Bytes that are parsed before other tasks run: some 700 frames without content, which take ten
milliseconds."""
FRAMES_PER_S = 1_000
"""How many a client may send over time; over HTTP a caller has as many requests."""
FRAME_BURST = 5_000

POLICY_VIOLATION = 1008


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unparsed = memoryview(b"")
        """What has come and is not parsed yet; while there is some, no more is read."""
        self._frames_left: float = FRAME_BURST
        self._counted_at = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Parse what has come, a chunk at a time."""
        if self._unparsed:
            self._unparsed = memoryview(bytes(self._unparsed) + data)
        elif len(data) > CHUNK_BYTES and self.handshake_initiated:
            self._unparsed = memoryview(data)
            self._parse_chunk()
        else:
            super().data_received(data)
        if self._unparsed:
            self.transport.pause_reading()

    def _parse_chunk(self) -> None:
        if self.transport.is_closing():
            self._unparsed = memoryview(b"")
            return
        chunk, self._unparsed = self._unparsed[:CHUNK_BYTES], self._unparsed[CHUNK_BYTES:]
        super().data_received(bytes(chunk))
        if self._unparsed:
            self.loop.call_soon(self._parse_chunk)
        elif not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        """The next message. No more is read while some wait, or may be in the unparsed rest."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            if not self._unparsed:
                self.transport.resume_reading()
        return message

    def handle_events(self) -> None:
        """Handle the frames that have come; close with 1008 when they were too many."""
        self._frames_left -= len(self.conn.events)
        super().handle_events()
        if self._frames_left < 0 and self._is_flooded() and not self.close_sent:
            self.conn.fail(POLICY_VIOLATION, f"Over {FRAMES_PER_S} frames a second.")
            self.handle_parser_exception()

    def _is_flooded(self) -> bool:
        now = self.loop.time()
        self._frames_left += (now - self._counted_at) * FRAMES_PER_S
        self._frames_left = min(self._frames_left, FRAME_BURST)
        self._counted_at = now
        return self._frames_left < 0
