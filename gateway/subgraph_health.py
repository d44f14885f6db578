"""Watches whether the services behind the gateway answer, and whether their clocks are ours."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time

import aiohttp

from services.chassis.principal import CLOCKS_DIFFER_S

log = logging.getLogger(__name__)

PAUSE_S = 1.0
PATIENCE = aiohttp.ClientTimeout(total=1.0)
TOLD_FROM_S = CLOCKS_DIFFER_S // 2
"""Differences of clocks below that are none: `Date` is in whole seconds, and takes its time."""


@dataclass(frozen=True, slots=True)
class SubgraphStatus:
    """What was last seen of a service."""

    status: str = "unknown"
    """`ready`, `not ready`, `unreachable`, or `unknown` before the first look."""
    was_ready: bool = False
    """Whether it has been ready since the gateway started."""
    ahead_s: int = 0
    """By how much its clock is ahead of ours (less than 0: behind); 0 where they agree."""


class SubgraphHealth:
    """Looks at every service again and again.

    The gateway is ready once each service has been that it started with: before that, it would
    answer half of what it could. It stays ready when one falls away, or is added and not there
    yet, for the others' data is worth having; not when none is ready.
    """

    def __init__(self, session: aiohttp.ClientSession, clock: Callable[[], float] = time) -> None:
        self._session = session
        self._clock = clock
        self._urls: Mapping[str, str] = {}
        self._first: frozenset[str] | None = None
        self.seen: dict[str, SubgraphStatus] = {}

    def follow(self, urls: Mapping[str, str]) -> None:
        """Look at these services from now on, and at no others."""
        if self._first is None:
            self._first = frozenset(urls)
        self._urls = urls
        self.seen = {name: self.seen.get(name, SubgraphStatus()) for name in urls}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.gather(*(self._look(*service) for service in self._urls.items()))
            await asyncio.sleep(PAUSE_S)

    async def _look(self, name: str, url: str) -> None:
        status, ahead_s = await self._status(f"{url.rstrip('/')}/health/ready")
        if (before := self.seen.get(name)) is None:
            return
        if ahead_s is None:
            ahead_s = before.ahead_s
        elif bool(ahead_s) != bool(before.ahead_s):
            self._tell_of_clock(name, ahead_s)
        self.seen[name] = SubgraphStatus(status, before.was_ready or status == "ready", ahead_s)

    async def _status(self, url: str) -> tuple[str, int | None]:
        """How a service is, and how far its clock is ahead, if it says."""
        try:
            async with self._session.get(url, timeout=PATIENCE, allow_redirects=False) as answer:
                status = "ready" if answer.status == 200 else "not ready"
                return status, self._ahead_s(answer.headers.get("Date"))
        except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
            return "unreachable", None

    def _ahead_s(self, date: str | None) -> int | None:
        try:
            ahead_s = round(parsedate_to_datetime(date or "").timestamp() - self._clock())
        except (ValueError, OverflowError):
            return None
        return ahead_s if abs(ahead_s) >= TOLD_FROM_S else 0

    def _tell_of_clock(self, name: str, ahead_s: int) -> None:
        fields = {"subgraph": name, "ahead_s": ahead_s}
        if ahead_s:
            log.warning("the clock of a service differs from ours", extra={"fields": fields})
        else:
            log.info("the clock of a service agrees with ours again", extra={"fields": fields})

    def not_ready(self) -> list[str]:
        """Why the gateway can answer nothing worth having."""
        if awaited := self.awaited():
            return [f"Not ready yet since the start: {', '.join(awaited)}."]
        if self.seen and all(seen.status != "ready" for seen in self.seen.values()):
            return ["No service is ready."]
        return []

    def clocks(self) -> dict[str, str]:
        """The services whose clocks differ from ours, and by how much."""
        return {name: f"{seen.ahead_s:+d} s" for name, seen in self.seen.items() if seen.ahead_s}

    def awaited(self) -> list[str]:
        """The services that have not been ready yet."""
        first = self._first or ()
        return [name for name, seen in self.seen.items() if name in first and not seen.was_ready]
