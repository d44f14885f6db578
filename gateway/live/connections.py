"""The clients that stay: how many of each caller, how long each may, and how they are let go."""

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from time import time

import jwt
from prometheus_client import Counter, Gauge

from gateway.access.authentication.authenticator import Authenticator, parse_bearer
from gateway.access.limits.rate_limits import TryLater
from services.chassis.errors import RaakError, Unavailable
from services.chassis.principal import NotAuthenticated, Principal

CHECKED_AGAIN_S = 30.0
"""How long a revoked key, or the token of a key that is gone, may go on listening."""

OPEN = Gauge("raak_live_connections", "Clients connected over a protocol that stays", ["protocol"])
ENDED = Counter(
    "raak_live_connections_ended", "Clients gone, by what ended them", ["protocol", "because"]
)


class TooManyConnections(RaakError):
    """A caller holds as many connections as he may."""

    code = "LIMIT_EXCEEDED"
    status = 429


class GoingAway(RaakError):
    """This process is being stopped."""

    code = "GOING_AWAY"
    status = 503


class Gone(Exception):
    """The client is not there any more."""


class Done(Exception):
    """All that was asked has been answered."""


class Connections:
    """All clients that are connected now."""

    def __init__(self, per_caller: int) -> None:
        self._per_caller = per_caller
        self._of: Tally[Principal | None] = Tally()
        self._leaving = asyncio.Event()
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._here = 0

    @contextmanager
    def present(self, protocol: str) -> Iterator[None]:
        """A client is here as long as the block lasts."""
        self._here += 1
        self._nobody.clear()
        OPEN.labels(protocol).inc()
        try:
            yield
        finally:
            OPEN.labels(protocol).dec()
            self._here -= 1
            if not self._here:
                self._nobody.set()

    @contextmanager
    def held_by(self, caller: Principal | None) -> Iterator[None]:
        """A caller holds one connection as long as the block lasts; raises TooManyConnections."""
        if self._of[caller] >= self._per_caller:
            raise TooManyConnections(
                f"The caller holds {self._per_caller} connections (max_connections_per_caller).",
                hint="Use one connection for several operations, or close some.",
            )
        self._of[caller] += 1
        try:
            yield
        finally:
            self._of[caller] -= 1
            if not self._of[caller]:
                del self._of[caller]

    @property
    def is_leaving(self) -> bool:
        """Whether everybody has to go."""
        return self._leaving.is_set()

    async def until_we_leave(self) -> None:
        """Raise GoingAway once everybody has to go."""
        await self._leaving.wait()
        raise GoingAway("The gateway is being stopped.", hint="Connect again.")

    async def drain(self, within_s: float) -> None:
        """Ask everybody to leave, and wait for them."""
        self._leaving.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._nobody.wait()


async def while_welcome(
    callers: Authenticator, headers: Mapping[str, str], caller: Principal
) -> None:
    """Return never; raise NotAuthenticated when what a caller came with is no longer good."""
    until = expires_at(headers)
    while True:
        left = CHECKED_AGAIN_S if until is None else min(CHECKED_AGAIN_S, until - time())
        await asyncio.sleep(max(0.0, left))
        if until is not None and time() >= until:
            raise NotAuthenticated("The token has expired.", hint="Connect with a new one.")
        with suppress(Unavailable, TryLater):  # then nothing can be said against it
            if await callers.authenticate(headers) != caller:
                raise NotAuthenticated(
                    "The caller may do other things than when he connected.", hint="Connect anew."
                )


def expires_at(headers: Mapping[str, str]) -> float | None:
    """When the token of a caller who was let in expires, in seconds since the epoch.

    None for an API key, which is good until it is revoked. The token was checked: not here.
    """
    with suppress(NotAuthenticated, jwt.InvalidTokenError, KeyError):
        token = parse_bearer(headers["authorization"])
        return float(jwt.decode(token, options={"verify_signature": False})["exp"])
    return None


async def ended_by(begin: Callable[[asyncio.TaskGroup], None]) -> Exception:
    """What ended a connection: the failure of the first of its tasks; the others end with it."""
    try:
        async with asyncio.TaskGroup() as tasks:
            begin(tasks)
    except ExceptionGroup as failures:
        return failures.exceptions[0]
    return Done()
