"""Watches whether the services behind the gateway answer."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

PAUSE_S = 1.0
PATIENCE = aiohttp.ClientTimeout(total=1.0)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was last seen of a service."""

    status: str = "unknown"
    """`ready`, `not ready`, `unreachable`, or `unknown` before the first look."""
    was_ready: bool = False
    """Whether it has been ready since the gateway started."""


class Watch:
    """Looks at every service again and again.

    The gateway is ready once each service has been that it started with: before that, it would
    answer half of what it could. It stays ready when one falls away, or is added and not there
    yet, for the others' data is worth having.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._urls: Mapping[str, str] = {}
        self._first: frozenset[str] | None = None
        self.seen: dict[str, Seen] = {}

    def follow(self, urls: Mapping[str, str]) -> None:
        """Look at these services from now on, and at no others."""
        if self._first is None:
            self._first = frozenset(urls)
        self._urls = urls
        self.seen = {name: self.seen.get(name, Seen()) for name in urls}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.gather(*(self._look(*service) for service in self._urls.items()))
            await asyncio.sleep(PAUSE_S)

    async def _look(self, name: str, url: str) -> None:
        status = await self._status(f"{url.rstrip('/')}/health/ready")
        if (before := self.seen.get(name)) is not None:
            self.seen[name] = Seen(status, before.was_ready or status == "ready")

    async def _status(self, url: str) -> str:
        try:
            async with self._session.get(url, timeout=PATIENCE, allow_redirects=False) as answer:
                return "ready" if answer.status == 200 else "not ready"
        except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
            return "unreachable"

    def awaited(self) -> list[str]:
        """The services that have not been ready yet."""
        first = self._first or ()
        return [name for name, seen in self.seen.items() if name in first and not seen.was_ready]
