"""The settings of the profile service."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from services.chassis.production import check_secret
from services.chassis.settings import ServiceSettings, Texts
from services.contracts.trust import SERVER_EVENTS
from services.profile.domain.customer import DEFAULT_LIMITS, CustomerLimits


class ProfileSettings(ServiceSettings):
    """Limits of what is recorded, and the pace of recomputing."""

    process: ClassVar[str] = "profile"

    claim_secrets: Texts = Field(
        default=(),
        repr=False,
        description="secrets that signed claims are checked with, separated by commas; none: off",
    )
    longest_claim_s: int = Field(
        default=3_600, ge=60, le=86_400, description="longest life of a signed claim"
    )
    trust_write_keys: bool = Field(
        default=False,
        description="whether events sent with a write key (which is public) may identify a person",
    )
    port: int = Field(default=8001, ge=1, le=65535, description="port to listen on")
    largest_body_bytes: int = Field(
        default=500 * 1024, ge=1024, description="largest body of one collect call"
    )
    largest_event_bytes: int = Field(
        default=32 * 1024, ge=1024, description="largest single event, as JSON"
    )
    future_tolerance_s: int = Field(
        default=300, ge=0, description="how far ahead of our clock an event may lie"
    )
    most_traits: int = Field(
        default=DEFAULT_LIMITS.traits,
        ge=1,
        le=5_000,
        description="most traits that one customer has",
    )
    largest_trait_bytes: int = Field(
        default=DEFAULT_LIMITS.value_bytes,
        ge=64,
        le=256 * 1024,
        description="largest single trait, as JSON",
    )
    largest_traits_bytes: int = Field(
        default=DEFAULT_LIMITS.traits_bytes,
        ge=1024,
        le=512 * 1024,
        description="largest sum of one customer's traits, as JSON",
    )
    most_purposes: int = Field(
        default=DEFAULT_LIMITS.purposes,
        ge=1,
        le=1_000,
        description="most purposes that one customer has a consent for",
    )
    refresh_every_s: float = Field(
        default=1.0, gt=0, le=60, description="pause between looks for customers to recompute"
    )
    refresh_chunk: int = Field(
        default=200, ge=1, le=5_000, description="customers recomputed in one transaction"
    )
    scan_limit: int = Field(
        default=2_000,
        ge=1,
        le=100_000,
        description="most customers one page of `customers(where:)` looks at",
    )
    server_events: Texts = Field(
        default=SERVER_EVENTS,
        description="events that only servers (API keys) and staff may send, separated by commas, "
        "`*` for any letters; RAAK_SERVER_EVENTS holds for profile and decision",
    )

    def find_production_problems(self) -> Iterator[str]:
        """What every service lacks, and secrets of claims that are easy to guess."""
        yield from super().find_production_problems()
        for secret in self.claim_secrets:
            yield from check_secret("RAAK_PROFILE_CLAIM_SECRETS", secret)

    @property
    def customer_limits(self) -> CustomerLimits:
        return CustomerLimits(
            self.most_traits,
            self.largest_trait_bytes,
            self.largest_traits_bytes,
            self.most_purposes,
        )
