"""What an operator may set for measurement."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from services.chassis.settings import ServiceSettings


class MeasurementSettings(ServiceSettings):
    """Read from `RAAK_MEASUREMENT_*`, else from `RAAK_*`."""

    process: ClassVar[str] = "measurement"

    port: int = Field(default=8004, ge=1, le=65535, description="port to listen on")
    conversion_events: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("order_completed",),
        description="names of the events that are conversions, separated by commas",
    )
    currency: str = Field(
        default="EUR",
        pattern="^[A-Z]{3}$",
        description="currency (ISO 4217) of a conversion that names none",
    )

    @field_validator("conversion_events", mode="before")
    @classmethod
    def _separated_by_commas(cls, names: Any) -> Any:
        if not isinstance(names, str):
            return names
        return tuple(name.strip() for name in names.split(",") if name.strip())
