"""Clients whose connections stay open: how many a caller has, for how long, and how they end."""

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

AUTHENTICATE_EVERY_S = 30.0
"""How long a connection may outlive its API key, or the public key of its token."""

OPEN = Gauge(
    "raak_live_connections", "Clients connected by websocket or event stream", ["protocol"]
)
ENDED = Counter(
    "raak_live_connections_ended",
    "Connections that ended, by what ended them",
    ["protocol", "because"],
)


class TooManyConnections(RaakError, code="LIMIT_EXCEEDED", status=429):
    """A caller has as many connections as it may have."""


class GoingAway(RaakError, code="GOING_AWAY", status=503):
    """This process is being stopped."""


class ClientDisconnected(Exception):
    """The client has left."""


class OperationCompleted(Exception):
    """The operation has sent all its responses."""


class ClientConnections:
    """All clients that are connected now."""

    def __init__(self, per_caller: int) -> None:
        self._per_caller = per_caller
        self._by_caller: Tally[Principal | None] = Tally()
        self._draining = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._number = 0

    @contextmanager
    def track(self, protocol: str) -> Iterator[None]:
        """A client is connected as long as the block lasts."""
        self._number += 1
        self._empty.clear()
        OPEN.labels(protocol).inc()
        try:
            yield
        finally:
            OPEN.labels(protocol).dec()
            self._number -= 1
            if not self._number:
                self._empty.set()

    @contextmanager
    def reserve(self, caller: Principal | None) -> Iterator[None]:
        """A caller has one more connection while the block lasts; raises TooManyConnections."""
        if self._by_caller[caller] >= self._per_caller:
            raise TooManyConnections(
                f"The caller has {self._per_caller} connections (max_connections_per_caller).",
                hint="Use one connection for several operations, or close some.",
            )
        self._by_caller[caller] += 1
        try:
            yield
        finally:
            self._by_caller[caller] -= 1
            if not self._by_caller[caller]:
                del self._by_caller[caller]

    @property
    def is_draining(self) -> bool:
        """Whether every client has to leave."""
        return self._draining.is_set()

    async def raise_when_draining(self) -> None:
        """Raise GoingAway once every client has to leave."""
        await self._draining.wait()
        raise GoingAway("The gateway is being stopped.", hint="Connect again.")

    async def drain(self, within_s: float) -> None:
        """Have every client leave, and wait for that."""
        self._draining.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._empty.wait()


async def watch_authentication(
    callers: Authenticator, headers: Mapping[str, str], caller: Principal
) -> None:
    """Raise NotAuthenticated once a caller's credentials are no longer valid; never return."""
    expires_at = read_expiry(headers)
    while True:
        left_s = AUTHENTICATE_EVERY_S
        if expires_at is not None:
            left_s = min(left_s, expires_at - time())
        await asyncio.sleep(max(0.0, left_s))
        if expires_at is not None and time() >= expires_at:
            raise NotAuthenticated("The token has expired.", hint="Connect with a new one.")
        with suppress(Unavailable, TryLater):  # then nothing can be said against it
            if await callers.authenticate(headers) != caller:
                raise NotAuthenticated(
                    "The caller's rights have changed since it connected.", hint="Connect again."
                )


def read_expiry(headers: Mapping[str, str]) -> float | None:
    """When the token of an authenticated caller expires, in seconds since the epoch.

    None for an API key, which is valid until it is revoked. The signature was verified before.
    """
    with suppress(NotAuthenticated, jwt.InvalidTokenError, KeyError):
        token = parse_bearer(headers["authorization"])
        return float(jwt.decode(token, options={"verify_signature": False})["exp"])
    return None


async def run_until_failure(begin: Callable[[asyncio.TaskGroup], None]) -> Exception:
    """Run the tasks of a connection; the first failure ends them all and is returned."""
    try:
        async with asyncio.TaskGroup() as tasks:
            begin(tasks)
    except ExceptionGroup as failures:
        return failures.exceptions[0]
    return OperationCompleted()
