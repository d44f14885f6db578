"""A NATS that listens and stores nothing, as after its disk was full: detected and restarted."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import urlsplit

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import StorageType, StreamConfig

from infra.child_process import ChildProcess
from infra.embedded import HEALTH, HEALTH_USER, OPERATOR

CHECK_EVERY_S = 10.0
TIMEOUT_S = 5.0
FAILURES = 2
"""In a row: one may be a moment's trouble."""
MAX_PAUSE_S = 600.0
PROBE = StreamConfig(
    name="RAAK_PROBE", subjects=["raak.probe"], storage=StorageType.FILE, max_msgs=1
)
NATS_ERRORS = (OSError, TimeoutError, nats.errors.Error, nats.js.errors.Error)


async def find_store_fault(url: str) -> str | None:
    """Why NATS does not store messages; None if it does, or cannot be reached.

    After a full disk a stream may store nothing until NATS restarts, so all streams are checked.
    """
    return await _find_fault(_store, url, OPERATOR) or await _find_fault(
        _check_health, url, HEALTH_USER
    )


async def _find_fault(
    work: Callable[[Client], Awaitable[str | None]], url: str, user: str
) -> str | None:
    client, password = Client(), urlsplit(url).password
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await client.connect(
                url, user=user, password=password, allow_reconnect=False, error_cb=_ignore_error
            )
    except NATS_ERRORS:
        return None  # it is down, or starting: the supervisor looks after that
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await work(client)
    except NATS_ERRORS as error:
        return getattr(error, "description", None) or type(error).__name__
    finally:
        await client.close()


async def _store(client: Client) -> str | None:
    stream = client.jetstream()
    await stream.add_stream(PROBE)
    await stream.publish("raak.probe", b".")
    return None


async def _check_health(client: Client) -> str | None:
    """The fault that NATS knows of, of its own or of a stream."""
    answer = await client.request(HEALTH, timeout=TIMEOUT_S)
    fault: str | None = json.loads(answer.data)["data"].get("error")
    return fault


async def _ignore_error(error: Exception) -> None:
    """What NATS cannot do shows in what it does not acknowledge."""


class NatsStoreProbe:
    """Restarts a NATS that does not store; the pauses grow while that does not help."""

    def __init__(
        self, process: ChildProcess, url: str, find: Callable[[str], str | None] | None = None
    ) -> None:
        self._process = process
        self._url = url
        self._find = find or (lambda url: asyncio.run(find_store_fault(url)))
        self._next = 0.0
        self._pause_s = CHECK_EVERY_S
        self._failures = 0

    def check(self, now: float) -> str | None:
        """Look if it is time to; the reason why NATS was started again, None if it was not."""
        if now < self._next or self._process.status() is not None:
            return None
        self._next = now + CHECK_EVERY_S
        reason = self._find(self._url)
        if reason is None:
            self._failures, self._pause_s = 0, CHECK_EVERY_S
            return None
        self._failures += 1
        if self._failures < FAILURES:
            return None
        self._failures = 0
        self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)
        self._next = now + self._pause_s
        self._process.stop()
        with suppress(OSError):  # no memory or no process left: it is dead, and started as all are
            self._process.start()
        return reason
