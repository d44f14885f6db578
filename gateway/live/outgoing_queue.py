"""Messages that wait to be sent to one client: never more than so many bytes."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from services.chassis.errors import RaakError

SEND_WITHIN_S = 30.0
"""How long one message may wait for the client to make room for it."""


class ClientTooSlow(RaakError, code="CLIENT_TOO_SLOW"):
    """A client does not read its answers as fast as they come."""


class OutgoingQueue:
    """Messages on their way to one client. The tasks that put them there never wait for it.

    `max_bytes` bounds what waits here; a single message may be larger. Below lie the buffers of
    the server and of the system, some hundred kilobytes, which fill first.
    """

    def __init__(self, max_bytes: int, send_within_s: float = SEND_WITHIN_S) -> None:
        self._max_bytes = max_bytes
        self._send_within_s = send_within_s
        self._messages: deque[bytes] = deque()
        self._bytes = 0
        self._has_messages = asyncio.Event()

    def put(self, message: bytes) -> None:
        """Have a message sent; raises ClientTooSlow when too much waits already."""
        if self._messages and self._bytes + len(message) > self._max_bytes:
            raise ClientTooSlow(
                f"More than {self._max_bytes} bytes wait to be read (max_unread_bytes).",
                hint="Read faster, or ask for less of each event.",
            )
        self._messages.append(message)
        self._bytes += len(message)
        self._has_messages.set()

    def clear(self) -> None:
        self._messages.clear()
        self._bytes = 0

    async def send_all(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send what waits now; raises ClientTooSlow when the client reads nothing for too long."""
        while self._messages:
            message = self._messages.popleft()
            self._bytes -= len(message)
            try:
                async with asyncio.timeout(self._send_within_s):
                    await send(message)
            except TimeoutError:
                raise ClientTooSlow(
                    f"The client read nothing for {self._send_within_s:.0f} s.",
                    hint="Read the answers as they come.",
                ) from None

    async def send_forever(
        self,
        send: Callable[[bytes], Awaitable[None]],
        *,
        keep_alive_s: float | None = None,
        keep_alive: bytes = b"",
    ) -> None:
        """Send what comes until cancelled, and `keep_alive` after each silence of so long."""
        while True:
            await self.send_all(send)
            self._has_messages.clear()
            try:
                async with asyncio.timeout(keep_alive_s):
                    await self._has_messages.wait()
            except TimeoutError:
                self.put(keep_alive)
