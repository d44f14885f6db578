"""Whether the services behind the gateway are ready, and whether their clocks agree with ours."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time

import aiohttp

from services.chassis.principal import CLOCK_SKEW_S

log = logging.getLogger(__name__)

CHECK_EVERY_S = 1.0
TIMEOUT = aiohttp.ClientTimeout(total=1.0)
CLOCK_TOLERANCE_S = CLOCK_SKEW_S // 2
"""Smaller differences of clocks do not count: `Date` is in whole seconds, and takes its time."""


@dataclass(frozen=True, slots=True)
class SubgraphStatus:
    """How a service answered last."""

    status: str = "unknown"
    """`ready`, `not ready`, `unreachable`, or `unknown` before the first check."""
    was_ready: bool = False
    """Whether it has been ready since the gateway started."""
    ahead_s: int = 0
    """By how much its clock is ahead of ours (less than 0: behind); 0 where they agree."""


class SubgraphHealth:
    """Checks every service again and again.

    The gateway is ready once each service has been that it started with: before that, it would
    answer half of what it could. It stays ready when one fails, or is added and not there yet,
    for the others' data is worth having; not when none is ready.
    """

    def __init__(self, session: aiohttp.ClientSession, clock: Callable[[], float] = time) -> None:
        self._session = session
        self._clock = clock
        self._urls: Mapping[str, str] = {}
        self._initial: frozenset[str] | None = None
        self.statuses: dict[str, SubgraphStatus] = {}

    def watch(self, urls: Mapping[str, str]) -> None:
        """Check these services from now on, and no others."""
        if self._initial is None:
            self._initial = frozenset(urls)
        self._urls = urls
        self.statuses = {name: self.statuses.get(name, SubgraphStatus()) for name in urls}

    async def run(self) -> None:
        while True:
            await asyncio.gather(*(self._check(*service) for service in self._urls.items()))
            await asyncio.sleep(CHECK_EVERY_S)

    async def _check(self, name: str, url: str) -> None:
        status, ahead_s = await self._fetch_status(f"{url.rstrip('/')}/health/ready")
        if (before := self.statuses.get(name)) is None:
            return
        if ahead_s is None:
            ahead_s = before.ahead_s
        elif bool(ahead_s) != bool(before.ahead_s):
            self._log_clock(name, ahead_s)
        self.statuses[name] = SubgraphStatus(status, before.was_ready or status == "ready", ahead_s)

    async def _fetch_status(self, url: str) -> tuple[str, int | None]:
        """How a service is, and how far its clock is ahead, if it says."""
        try:
            async with self._session.get(url, timeout=TIMEOUT, allow_redirects=False) as response:
                status = "ready" if response.status == 200 else "not ready"
                return status, self._ahead_s(response.headers.get("Date"))
        except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
            return "unreachable", None

    def _ahead_s(self, date: str | None) -> int | None:
        try:
            ahead_s = round(parsedate_to_datetime(date or "").timestamp() - self._clock())
        except (ValueError, OverflowError):
            return None
        return ahead_s if abs(ahead_s) >= CLOCK_TOLERANCE_S else 0

    def _log_clock(self, name: str, ahead_s: int) -> None:
        fields = {"subgraph": name, "ahead_s": ahead_s}
        if ahead_s:
            log.warning("the clock of a service differs from ours", extra={"fields": fields})
        else:
            log.info("the clock of a service agrees with ours again", extra={"fields": fields})

    def not_ready(self) -> list[str]:
        """Why the gateway is not ready, if it is not."""
        if pending := self.pending():
            return [f"Not ready yet since the start: {', '.join(pending)}."]
        if self.statuses and all(one.status != "ready" for one in self.statuses.values()):
            return ["No service is ready."]
        return []

    def clock_differences(self) -> dict[str, str]:
        """The services whose clocks differ from ours, and by how much."""
        return {name: f"{one.ahead_s:+d} s" for name, one in self.statuses.items() if one.ahead_s}

    def pending(self) -> list[str]:
        """The services that have not been ready yet."""
        initial = self._initial or ()
        return [
            name for name, one in self.statuses.items() if name in initial and not one.was_ready
        ]
