"""What parts of the schema cost."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weights:
    """What costs how much where nothing is marked."""

    object: int = 1
    scalar: int = 0
    mutation: int = 10
    assumed_list_size: int = 10
