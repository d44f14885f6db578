"""What an operator may set for measurement."""

from typing import ClassVar

from pydantic import Field

from services.chassis.settings import ServiceSettings, Texts


class MeasurementSettings(ServiceSettings):
    """Read from `RAAK_MEASUREMENT_*`, else from `RAAK_*`."""

    process: ClassVar[str] = "measurement"

    port: int = Field(default=8004, ge=1, le=65535, description="port to listen on")
    conversion_events: Texts = Field(
        default=("order_completed",),
        description="names of the events that are conversions, separated by commas",
    )
    currency: str = Field(
        default="EUR",
        pattern="^[A-Z]{3}$",
        description="currency (ISO 4217) of a conversion that names none",
    )
    untrusted_values: bool = Field(
        default=False,
        description="count amounts that browsers and apps state as money; then anybody who has a "
        "write key or a token can report any revenue",
    )
