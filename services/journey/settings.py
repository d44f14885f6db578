"""What an operator may set for journey."""

from typing import ClassVar

from pydantic import Field

from services.chassis.settings import ServiceSettings


class JourneySettings(ServiceSettings):
    """Read from `RAAK_JOURNEY_*`, else from `RAAK_*`."""

    process: ClassVar[str] = "journey"

    port: int = Field(default=8003, ge=1, le=65535, description="port to listen on")
    enter_late_hours: float = Field(
        default=168,
        gt=0,
        le=24 * 365,
        description="how old an event may be and still let its customer into a journey",
    )
    snapshot_patience_ms: int = Field(
        default=2_000,
        ge=0,
        le=20_000,
        description="longest wait for the snapshots that contain a list of events",
    )
    timer_batch: int = Field(
        default=500, ge=1, le=5_000, description="timers fired in one transaction"
    )
