"""Server-sent events as GraphQL over SSE uses them, read from pieces that end anywhere."""

import re
from collections.abc import Iterator

LINE_ENDS = re.compile(rb"\r\n|\r|\n")


class StreamEventTooLarge(Exception):
    """One event is larger than `max_bytes`."""


class EventStreamReader:
    """Takes a stream in pieces and gives its events, each a name and its data."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._line: list[bytes] = []
        """The pieces of a line that has not ended yet."""
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._ended_in_return = False

    @property
    def is_inside_event(self) -> bool:
        """Whether an event has begun and not ended."""
        return bool(self._line or self._name or self._data)

    def feed(self, piece: bytes) -> Iterator[tuple[str, bytes]]:
        """The events that end in this piece; raises StreamEventTooLarge after those before it."""
        if not piece:
            return
        is_torn = self._ended_in_return and piece.startswith(b"\n")
        self._ended_in_return = piece.endswith(b"\r")
        first, *more = LINE_ENDS.split(piece[1:] if is_torn else piece)
        self._append(first)
        for following in more:
            yield from self._end_line()
            self._append(following)

    def _append(self, part: bytes) -> None:
        if part:
            self._line.append(part)
            self._size += len(part)
            if self._size > self._max_bytes:
                raise StreamEventTooLarge

    def _end_line(self) -> Iterator[tuple[str, bytes]]:
        line = b"".join(self._line)
        self._line.clear()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            yield from self._end_event()
        elif name == b"data":
            self._data.append(value)
        else:
            if name == b"event":
                self._name = value.decode(errors="replace")
            self._size -= len(line)  # comments and unknown fields take no room

    def _end_event(self) -> Iterator[tuple[str, bytes]]:
        if self._name or self._data:
            yield self._name, b"\n".join(self._data)
        self._name, self._size = "", 0
        self._data.clear()
