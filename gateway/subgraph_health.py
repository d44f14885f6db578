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

    The gateway is ready once each service has been: before that, it would answer half of what it
    could. It stays ready when one falls away, for the others' data is worth having.
    """

    def __init__(self, session: aiohttp.ClientSession, urls: Mapping[str, str]) -> None:
        self._session = session
        self._urls = urls
        self.seen = dict.fromkeys(urls, Seen())

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.gather(*(self._look(name) for name in self._urls))
            await asyncio.sleep(PAUSE_S)

    async def _look(self, name: str) -> None:
        status = await self._status(f"{self._urls[name].rstrip('/')}/health/ready")
        self.seen[name] = Seen(status, self.seen[name].was_ready or status == "ready")

    async def _status(self, url: str) -> str:
        try:
            async with self._session.get(url, timeout=PATIENCE, allow_redirects=False) as answer:
                return "ready" if answer.status == 200 else "not ready"
        except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
            return "unreachable"

    def awaited(self) -> list[str]:
        """The services that have not been ready yet."""
        return [name for name, seen in self.seen.items() if not seen.was_ready]
