"""What an operator may set for decision."""

from typing import ClassVar

from pydantic import Field

from services.chassis.settings import ServiceSettings


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
        default=5, gt=0, le=600, description="how often to look for news that was not announced"
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
