"""The series a service's conditions need: profile computes them and sends them in snapshots."""

from services.contracts.base import Event, Json


class SeriesNeeded(Event):
    """The whole set of event series the sender's conditions need, replacing its earlier one.

    `series` holds `services.rules.Series` in their JSON form. A `version` not above the last one
    received from the same sender is ignored. About no customer.
    """

    version: int
    series: tuple[dict[str, Json], ...]
    grew_in: int = 0
    """The last version that asked for more than the one before it."""
