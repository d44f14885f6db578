"""What an operator may set for decision."""

from typing import ClassVar

from pydantic import Field, field_validator

from services.chassis.settings import ServiceSettings, Texts
from services.contracts.enums import OutcomeKind
from services.contracts.trust import SERVER_EVENTS
from services.decision.domain.catalogue import MOST_CENTS


class DecisionSettings(ServiceSettings):
    """Read from `RAAK_DECISION_*`, else from `RAAK_*`."""

    process: ClassVar[str] = "decision"

    port: int = Field(default=8002, ge=1, le=65535, description="port to listen on")
    answer_within_ms: int = Field(
        default=200,
        ge=1,
        le=60_000,
        description="past it, a decision is made without what is known of the customer",
    )
    commit_within_ms: int = Field(
        default=5_000,
        ge=10,
        le=60_000,
        description="past it, a request fails, since its decision may not be durable",
    )
    waiting_decisions: int = Field(
        default=2_000, ge=1, le=100_000, description="requests that may wait for the database"
    )
    batched_decisions: int = Field(
        default=200, ge=1, le=2_000, description="most decisions read or committed together"
    )
    catalogue_check_s: float = Field(
        default=5, gt=0, le=600, description="how often to look for changes that were not announced"
    )
    recently_offered_days: int = Field(
        default=30,
        ge=0,
        le=3_650,
        description="an action offered since is not removed from the catalogue without force",
    )
    clock_tolerance_s: float = Field(
        default=60, ge=0, le=3_600, description="how far a caller's clock may be off"
    )
    server_events: Texts = Field(
        default=SERVER_EVENTS,
        description="events that only servers (API keys) and staff may send, separated by commas, "
        "`*` for any letters; RAAK_SERVER_EVENTS holds for profile and decision",
    )
    server_outcomes: Texts = Field(
        default=(OutcomeKind.CONVERTED.value,),
        description="kinds of outcomes that only servers (API keys) and staff may report, "
        "separated by commas",
    )
    untrusted_value_factor: float = Field(
        default=1.0,
        ge=0,
        le=1_000,
        description="an outcome that a browser or an app reports is worth at most so many times "
        "what its action was worth",
    )
    largest_outcome_cents: int = Field(
        default=100_000_000,
        ge=0,
        le=MOST_CENTS,
        description="most an outcome is worth, from any sender, in minor units",
    )

    @field_validator("server_outcomes")
    @classmethod
    def _kinds(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(OutcomeKind(name.upper()).value for name in names)
