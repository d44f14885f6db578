"""How much a caller may ask, and all of them at once."""

from dataclasses import fields

from pydantic import Field

from gateway.access.limits.load_shedding import LoadTuning
from gateway.access.limits.rate_limits import RateLimits
from services.chassis.settings import Networks, ServiceSettings


class CallerSettings(ServiceSettings):
    """How much a caller may ask, and all of them at once."""

    rate_per_s: float = Field(
        default=1_000, gt=0, description="requests a caller may send in a second, in the long run"
    )
    burst: int = Field(default=2_000, ge=1, description="requests a rested caller may send at once")
    cost_per_token: int = Field(
        default=100, ge=1, description="cost of an operation that counts as one more request"
    )
    max_concurrent: int = Field(
        default=100, ge=1, description="requests and subscriptions of a caller under way at once"
    )
    max_failed_authentications: int = Field(
        default=20,
        ge=1,
        description="bad tokens or keys an address may send in a minute before it is suspect",
    )
    signature_checks_per_s: int = Field(
        default=1_000,
        ge=10,
        description="tokens that may have their signature checked for the first time in a second",
    )
    callers_remembered: int = Field(
        default=100_000, ge=100, description="callers whose use is remembered, the latest ones"
    )
    trusted_proxies: Networks = Field(
        default=(), description="networks whose X-Forwarded-For is believed, separated by commas"
    )
    max_in_flight: int = Field(
        default=1_000,
        ge=8,
        description="requests under way at once, however fast they are answered",
    )
    queueing_target_ms: int = Field(
        default=200, ge=1, description="time requests may queue before some are refused"
    )

    @property
    def rates(self) -> RateLimits:
        """How much one caller may ask."""
        return RateLimits(**{f.name: getattr(self, f.name) for f in fields(RateLimits)})

    @property
    def tuning(self) -> LoadTuning:
        """How much load the gateway takes."""
        return LoadTuning(self.max_in_flight, self.queueing_target_ms)
