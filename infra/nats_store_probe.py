"""A NATS that listens and stores nothing, as after its disk was full: found out, and restarted."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import StorageType, StreamConfig

from infra.child_process import Process
from infra.embedded import HEALTH, HEALTH_USER, OPERATOR

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
    """Why NATS does not store messages now; None if it does, or cannot be reached at all.

    A stream that met a full disk takes in nothing more until NATS is started again, while others
    do: so NATS is asked how all of them are, too.
    """
    return await _refusal_of(_store, url, OPERATOR) or await _refusal_of(_ask, url, HEALTH_USER)


async def _refusal_of(
    work: Callable[[Client], Awaitable[str | None]], url: str, user: str
) -> str | None:
    """What keeps a user of NATS from doing some work."""
    client, password = Client(), urlsplit(url).password
    try:
        async with asyncio.timeout(WITHIN_S):
            await client.connect(
                url, user=user, password=password, allow_reconnect=False, error_cb=_ignore
            )
    except TROUBLE:
        return None  # it is down, or starting: that is seen elsewhere
    try:
        async with asyncio.timeout(WITHIN_S):
            return await work(client)
    except TROUBLE as error:
        return getattr(error, "description", None) or type(error).__name__
    finally:
        await client.close()


async def _store(client: Client) -> str | None:
    stream = client.jetstream()
    await stream.add_stream(PROBE)
    await stream.publish("raak.probe", b".")
    return None


async def _ask(client: Client) -> str | None:
    """The fault that NATS knows of, of its own or of a stream."""
    answer = await client.request(HEALTH, timeout=WITHIN_S)
    fault: str | None = json.loads(answer.data)["data"].get("error")
    return fault


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
        with suppress(OSError):  # no memory or no process left: it is dead, and started as all are
            self._process.start()
        return reason


def probes(processes: Sequence[Process], url: str) -> list[StoreProbe]:
    """What looks after the NATS among processes, if it is one of them."""
    return [StoreProbe(process, url) for process in processes if process.name == "nats"]
