"""Limits for guessing credentials, which spare good ones that come from the same address."""

import asyncio
from collections.abc import Hashable
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic

from gateway.access.limits.rate_limits import (
    WORTH_NOTHING_S,
    Clock,
    RateLimited,
    RateLimits,
    TokenBuckets,
)

TURN_WITHIN_S = 1.0
"""How long a token may wait to be checked for the first time."""


class FailedAuthentications:
    """Counts the bad credentials of each address. Past the limit it is suspect: what fails has to
    wait, and fresh tokens have their signatures checked after those of others. A good credential
    passes all the same, though it comes from that address.
    """

    def __init__(self, rates: RateLimits, clock: Clock = monotonic) -> None:
        self._most = rates.max_failed_authentications
        self._buckets = TokenBuckets(self._most / 60, self._most, rates.callers_remembered, clock)

    def is_suspect(self, address: str) -> bool:
        """Whether this address has sent as many bad credentials as it may."""
        return self._buckets.wait(address) >= WORTH_NOTHING_S

    def failed(self, address: str) -> RateLimited | None:
        """Count a bad credential; what to answer instead, if there were too many of them."""
        wait_s = self._buckets.take(address)
        if not wait_s:
            return None
        return RateLimited(
            "Too many requests from this address were not authenticated. The limit is "
            f"{self._most} a minute (max_failed_authentications).",
            hint="Check the token or key, and wait as long as Retry-After says.",
            retry_after_s=wait_s,
        )


@dataclass(slots=True)
class AuthenticationAttempt:
    """The authentication of one request or websocket."""

    address: str
    is_suspect: bool = False
    is_genuine: bool = False
    """Whether what it brought was made by whom we believe, also when that has expired since: then
    it was no guess."""


current_attempt: ContextVar[AuthenticationAttempt | None] = ContextVar(
    "current_attempt", default=None
)
"""That of the request under way; the guard sets it."""


def mark_genuine() -> None:
    """The credential of the request under way is no guess."""
    if (attempt := current_attempt.get()) is not None:
        attempt.is_genuine = True


class SignatureChecks:
    """Bounds how many signatures are checked in a second, in the order in which they came.

    A check costs 100 to 300 µs, so they may not be had without end; tokens that are remembered need
    none. Suspect addresses have a quarter more between them, and each a twentieth: they take
    nothing from the others, and little from one another.
    """

    def __init__(self, rates: RateLimits, clock: Clock = monotonic) -> None:
        per_s, size = rates.signature_checks_per_s, rates.callers_remembered
        self._per_s = per_s

        def buckets(share: float, size: int) -> TokenBuckets:
            return TokenBuckets(max(1.0, per_s * share), max(1.0, per_s * share), size, clock)

        self._everybody = buckets(1, 1)
        self._suspects = buckets(1 / 4, 1)
        self._suspect = buckets(1 / 20, size)

    async def turn(self) -> None:
        """Return when a signature may be checked; raises RateLimited if that would take long."""
        attempt = current_attempt.get()
        counted: list[tuple[TokenBuckets, Hashable]] = [(self._everybody, None)]
        if attempt is not None and attempt.is_suspect:
            counted = [(self._suspects, None), (self._suspect, attempt.address)]
        wait_s = max(buckets.wait(key) for buckets, key in counted)
        if wait_s > TURN_WITHIN_S + WORTH_NOTHING_S:
            raise RateLimited(
                "Too many tokens wait to be checked for the first time. The limit is "
                f"{self._per_s} a second (signature_checks_per_s).",
                hint="Wait as long as Retry-After says; a token that is known never waits.",
                retry_after_s=wait_s - TURN_WITHIN_S,
            )
        for buckets, key in counted:
            buckets.charge(key, 1)
        if wait_s > WORTH_NOTHING_S:
            await asyncio.sleep(wait_s)
