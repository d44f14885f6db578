"""What a client has still to be sent: never more than so many bytes, whatever he reads."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from services.chassis.errors import RaakError

STUCK_S = 30.0
"""How long one message may wait for the client to make room for it."""


class ClientTooSlow(RaakError):
    """A client does not read what he asked for as fast as it happens."""

    code = "CLIENT_TOO_SLOW"


class OutgoingQueue:
    """Messages on their way to one client. Whoever makes them never waits for him.

    `most_bytes` bounds what waits here; one message alone may be larger. Below lie the buffers of
    the server and of the system, some hundred kilobytes, which fill first.
    """

    def __init__(self, most_bytes: int, stuck_s: float = STUCK_S) -> None:
        self._most = most_bytes
        self._stuck_s = stuck_s
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._news = asyncio.Event()

    def put(self, message: bytes) -> None:
        """Have a message sent; raises ClientTooSlow when too much is waiting already."""
        if self._waiting and self._bytes + len(message) > self._most:
            raise ClientTooSlow(
                f"More than {self._most} bytes wait to be read (max_unread_bytes).",
                hint="Read faster, or ask for less of each event.",
            )
        self._waiting.append(message)
        self._bytes += len(message)
        self._news.set()

    def forget(self) -> None:
        """Leave out what waits."""
        self._waiting.clear()
        self._bytes = 0

    async def send_all(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send what waits now; raises ClientTooSlow when the client takes nothing for too long."""
        while self._waiting:
            message = self._waiting.popleft()
            self._bytes -= len(message)
            try:
                async with asyncio.timeout(self._stuck_s):
                    await send(message)
            except TimeoutError:
                raise ClientTooSlow(
                    f"Nothing was read for {self._stuck_s:.0f} s.", hint="Read what was asked for."
                ) from None

    async def keep_sending(
        self,
        send: Callable[[bytes], Awaitable[None]],
        *,
        silence_s: float | None = None,
        sign_of_life: bytes = b"",
    ) -> None:
        """Send whatever comes until cancelled, and a sign of life after each silence."""
        while True:
            await self.send_all(send)
            self._news.clear()
            try:
                async with asyncio.timeout(silence_s):
                    await self._news.wait()
            except TimeoutError:
                self.put(sign_of_life)
