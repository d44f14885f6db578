"""What a request is, for judging how long it may wait: its class, and what it is like."""

from collections.abc import Hashable, Mapping, Set
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from services.chassis.definitions import InvalidDefinition, read_yaml
from services.chassis.errors import RaakError

FILE = Path(__file__).with_name("priorities.yaml")


class InvalidPriorities(RaakError, code="INVALID_PRIORITIES", status=500):
    """The file of priorities cannot be read."""


class WorkClass(Enum):
    """What work is for; the later, the more it matters."""

    REPORTING = "reporting"
    DECISIONS = "decisions"
    INGEST = "ingest"


ORDER = {kind: place for place, kind in enumerate(WorkClass)}


@dataclass(frozen=True, slots=True)
class Workload:
    """What a request is, for judging how long it takes: its class, and what it is like."""

    kind: WorkClass
    like: Hashable


class Priorities:
    """The class of each root field, by coordinate; reporting where none is named."""

    def __init__(self, classes: Mapping[str, WorkClass]) -> None:
        self.classes = classes

    @classmethod
    def read(cls, path: Path = FILE) -> "Priorities":
        """The priorities of a file: lists of `Type.field` by class. Raises InvalidPriorities."""
        try:
            by_class = read_yaml(path.read_text()).items()
            return cls({field: WorkClass(name) for name, fields in by_class for field in fields})
        except (InvalidDefinition, AttributeError, TypeError, ValueError) as error:
            raise InvalidPriorities(
                f"The file of priorities cannot be read: {error}",
                hint=f"Write lists of `Type.field` under {', '.join(k.value for k in WorkClass)}.",
            ) from None

    def classify(self, coordinates: Set[str]) -> Workload:
        """What an operation with these root fields is; of several the least important counts."""
        fields = frozenset(field for field in coordinates if ".__" not in field)
        kinds = (self.classes.get(field, WorkClass.REPORTING) for field in fields)
        return Workload(min(kinds, key=ORDER.__getitem__, default=WorkClass.REPORTING), fields)
