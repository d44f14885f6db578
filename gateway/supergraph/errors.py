"""What can go wrong between a set of subgraphs and an answer."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

from services.chassis.errors import RaakError


@dataclass(frozen=True, slots=True)
class CompositionProblem:
    """One reason why the subgraphs do not compose."""

    subgraphs: tuple[str, ...]
    coordinate: str
    """`Type`, `Type.field` or `Type.field(argument:)`; empty for the subgraph as a whole."""
    reason: str
    hint: str

    @classmethod
    def of(cls, subgraphs: Iterable[str], coordinate: str, reason: str, hint: str) -> Self:
        return cls(tuple(dict.fromkeys(subgraphs)), coordinate, reason, hint)

    def __str__(self) -> str:
        place = f" {self.coordinate}" if self.coordinate else ""
        return f"[{', '.join(self.subgraphs)}]{place}: {self.reason} {self.hint}"


Problems: TypeAlias = Iterator[CompositionProblem]


def to_sentence(message: str) -> str:
    """A library's message, with a full stop if it has none."""
    return message if message.endswith((".", "?")) else f"{message}."


class CompositionError(RaakError, code="COMPOSITION_FAILED", status=500):
    """The subgraphs do not compose; `problems` holds every reason, not just the first."""

    fact = "The subgraphs do not compose"
    remedy = "Mend the schemas of the services named in brackets."

    def __init__(self, problems: Sequence[CompositionProblem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"- {problem}" for problem in self.problems)
        count = f"{len(self.problems)} problems" if len(self.problems) > 1 else "1 problem"
        super().__init__(f"{self.fact} ({count}):\n{lines}\n", hint=self.remedy)


class SupergraphUnreadable(CompositionError, code="SUPERGRAPH_UNREADABLE"):
    """A supergraph SDL can't be read; `problems` holds every reason."""

    fact = "The supergraph SDL can't be used"
    remedy = "Compose it anew."


class OperationRefused(RaakError, code="GRAPHQL_VALIDATION_FAILED"):
    """A request that can't be answered at all: its answer has errors and no data."""

    def __init__(self, errors: Sequence[dict[str, object]]) -> None:
        super().__init__(
            "; ".join(str(error["message"]) for error in errors),
            hint="Check the operation against the schema.",
        )
        self.errors = tuple(errors)


class NotIdempotentInSubscription(RaakError, code="NOT_IDEMPOTENT_IN_SUBSCRIPTION"):
    """A subscription selects a field that does something each time it is fetched."""

    def __init__(self, coordinates: Sequence[str]) -> None:
        super().__init__(
            f"A subscription would fetch {', '.join(coordinates)} for every event, which does and "
            "stores something each time.",
            hint="Leave it out of the subscription, and send it in a query when you need it.",
        )


class CannotPlan(RaakError, code="OPERATION_CANNOT_BE_PLANNED"):
    """A valid operation no plan was found for, or one too large to plan."""
