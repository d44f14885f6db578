"""How often a caller may ask, and how much at once.

A bucket of tokens for each caller, kept as the one moment at which it is full again (the generic
cell rate algorithm: a leaky bucket as a meter, ITU-T I.371). A request needs a token to be looked
at; what it costs beyond that is charged once its price is known, so an expensive request makes the
next ones wait.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Any

from gateway.supergraph.lru import Lru
from services.chassis.errors import RaakError
from services.chassis.principal import Principal

Clock = Callable[[], float]
"""Seconds that never go back."""

WORTH_NOTHING_S = 1e-9
"""What rounding makes of no wait at all."""


class TryLater(RaakError):
    """A request is refused now, and worth sending again after `retry_after_s`."""

    status = 429

    def __init__(self, problem: str, *, hint: str, retry_after_s: float) -> None:
        super().__init__(problem, hint=hint)
        self.retry_after_s = retry_after_s

    def as_json(self) -> dict[str, Any]:
        """With the wait in milliseconds, which the header can't tell."""
        return super().as_json() | {"retryAfterMs": ceil(self.retry_after_s * 1000)}


class RateLimited(TryLater, code="RATE_LIMITED"):
    """A caller asks too often, or too much at once."""


class TokenBuckets:
    """A bucket of tokens for each key: `burst` at most, `rate_per_s` added every second.

    The `size` buckets used last are remembered.
    """

    def __init__(
        self, rate_per_s: float, burst: float, size: int, clock: Clock = monotonic
    ) -> None:
        self._token_s = 1 / rate_per_s
        self._burst = burst
        self._clock = clock
        self._full_at: Lru[float] = Lru(size)

    def wait(self, key: Hashable, tokens: float = 1) -> float:
        """Seconds until there are so many tokens; 0 if they are there."""
        return self._spend(key, tokens)[1]

    def take(self, key: Hashable, tokens: float = 1) -> float:
        """Take tokens if they are there and return 0, else the seconds until they are."""
        full_at, wait_s = self._spend(key, tokens)
        if wait_s >= WORTH_NOTHING_S:
            return wait_s
        self._full_at.put(key, full_at)
        return 0.0

    def charge(self, key: Hashable, tokens: float) -> None:
        """Take tokens whether they are there or not; what is missing has to come in first."""
        self._full_at.put(key, self._spend(key, tokens)[0])

    def _spend(self, key: Hashable, tokens: float) -> tuple[float, float]:
        """When the bucket would be full again without these tokens, and how many seconds it is
        until they are there.
        """
        now = self._clock()
        full_at = max(self._full_at.get(key) or now, now) + tokens * self._token_s
        return full_at, max(0.0, full_at - now - self._burst * self._token_s)


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What one caller may do; the settings of the same names."""

    rate_per_s: float = 1_000
    burst: int = 2_000
    cost_per_token: int = 100
    max_concurrent: int = 100
    max_failed_authentications: int = 20
    signature_checks_per_s: int = 1_000
    callers_remembered: int = 100_000


def caller_key(caller: Principal | None) -> Hashable:
    """What a caller is counted by: its role, its subject, and the customer it speaks for."""
    return None if caller is None else (caller.role, caller.subject, caller.customer)


class RateLimiter:
    """Counts requests by key: that of a caller (`caller_key`), or an address."""

    def __init__(self, rates: RateLimits, clock: Clock = monotonic) -> None:
        self._rates = rates
        self._buckets = TokenBuckets(rates.rate_per_s, rates.burst, rates.callers_remembered, clock)
        self._under_way: dict[Hashable, int] = {}

    def arrive(self, caller: Hashable) -> None:
        """Take a token for a request; raises RateLimited."""
        wait_s = self._buckets.take(caller)
        if wait_s:
            rates = self._rates
            raise RateLimited(
                f"The caller asks too often. The limit is {rates.rate_per_s:g} requests a second, "
                f"{rates.burst} at once (rate_per_s, burst); "
                f"{rates.cost_per_token} of cost count as a request (cost_per_token).",
                hint="Wait as long as Retry-After says.",
                retry_after_s=wait_s,
            )

    def charge(self, caller: Hashable, cost: int) -> None:
        """Count what a request costs beyond its first token."""
        tokens = cost / self._rates.cost_per_token - 1
        if tokens > 0:
            self.charge_tokens(caller, tokens)

    def charge_tokens(self, caller: Hashable, tokens: float) -> None:
        """Take tokens that the next requests have to wait for, a whole bucket of them at most."""
        self._buckets.charge(caller, min(tokens, self._rates.burst))

    def charge_event(self, caller: Hashable, cost: int) -> float:
        """Count an event of a subscription as a request of that cost; the seconds until the next
        one may be taken.
        """
        self.charge_tokens(caller, max(1.0, cost / self._rates.cost_per_token))
        return self._buckets.wait(caller)

    def enter(self, caller: Hashable) -> None:
        """Count a request as under way until `leave`; raises RateLimited."""
        under_way = self._under_way.get(caller, 0)
        if under_way >= self._rates.max_concurrent:
            raise RateLimited(
                f"The caller has {under_way} requests under way. "
                f"The limit is {self._rates.max_concurrent} (max_concurrent).",
                hint="Wait for answers before asking more.",
                retry_after_s=1,
            )
        self._under_way[caller] = under_way + 1

    def leave(self, caller: Hashable) -> None:
        under_way = self._under_way[caller] - 1
        if under_way:
            self._under_way[caller] = under_way
        else:
            del self._under_way[caller]
