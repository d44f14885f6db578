"""Servers that tests stop and start again, and disks that tests fill."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from pathlib import Path


class Restartable:
    """A server that can be stopped and started again on the same folder and port."""

    def __init__(self, make: Callable[[], AbstractContextManager[str]]) -> None:
        self._make = make
        self._running: AbstractContextManager[str] | None = None
        self.url = ""

    async def start(self) -> None:
        """Start it; returns when it listens."""
        self._running = self._make()
        self.url = await asyncio.to_thread(self._running.__enter__)

    async def stop(self) -> None:
        """Stop it, if it runs."""
        if self._running is not None:
            running, self._running = self._running, None
            await asyncio.to_thread(running.__exit__, None, None, None)


@asynccontextmanager
async def started(server: Restartable) -> AsyncIterator[Restartable]:
    """The server, running when the block begins and stopped when it ends."""
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def fill(ballast: Path) -> None:
    """Leave no room on a file's disk."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(512))
