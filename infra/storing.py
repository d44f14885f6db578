"""A NATS that listens and stores nothing, as after its disk was full: found out, and restarted."""

import asyncio
from collections.abc import Callable, Sequence

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import StorageType, StreamConfig

from infra.process import Process

EVERY_S = 10.0
WITHIN_S = 5.0
FAILURES = 2
"""In a row: one may be a moment's trouble."""
LONGEST_PAUSE_S = 600.0
PROBE = StreamConfig(
    name="RAAK_PROBE", subjects=["raak.probe"], storage=StorageType.FILE, max_msgs=1
)
TROUBLE = (OSError, TimeoutError, nats.errors.Error, nats.js.errors.Error)


async def refusal(url: str) -> str | None:
    """Why NATS does not store a message now; None if it does, or cannot be reached at all."""
    client = Client()
    try:
        async with asyncio.timeout(WITHIN_S):
            await client.connect(url, allow_reconnect=False, error_cb=_ignore)
    except TROUBLE:
        return None  # it is down, or starting: that is seen elsewhere
    try:
        async with asyncio.timeout(WITHIN_S):
            stream = client.jetstream()
            await stream.add_stream(PROBE)
            await stream.publish("raak.probe", b".")
    except TROUBLE as error:
        return getattr(error, "description", None) or type(error).__name__
    finally:
        await client.close()
    return None


async def _ignore(error: Exception) -> None:
    """What it cannot do is seen by what it does not acknowledge."""


class StoreProbe:
    """Looks now and then whether NATS stores, and starts it again when it does not.

    If that does not help, because the disk is still full, the pauses between restarts grow.
    """

    def __init__(
        self, process: Process, url: str, find: Callable[[str], str | None] | None = None
    ) -> None:
        self._process = process
        self._url = url
        self._find = find or (lambda url: asyncio.run(refusal(url)))
        self._next = 0.0
        self._pause_s = EVERY_S
        self._failures = 0

    def look(self, now: float) -> str | None:
        """Look if it is time to; the reason why NATS was started again, None if it was not."""
        if now < self._next or self._process.status() is not None:
            return None
        self._next = now + EVERY_S
        reason = self._find(self._url)
        if reason is None:
            self._failures, self._pause_s = 0, EVERY_S
            return None
        self._failures += 1
        if self._failures < FAILURES:
            return None
        self._failures = 0
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._next = now + self._pause_s
        self._process.stop()
        self._process.start()
        return reason


def probes(processes: Sequence[Process], url: str) -> list[StoreProbe]:
    """What looks after the NATS among processes, if it is one of them."""
    return [StoreProbe(process, url) for process in processes if process.name == "nats"]
