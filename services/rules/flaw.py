"""What is wrong with a definition, said where it is wrong."""

from typing import NamedTuple, Self

from services.rules.errors import ConditionError

DocumentPath = tuple[str | int, ...]
"""Where something stands in a document: `("actions", 2, "eligibility", 0)`."""


class Flaw(NamedTuple):
    """What is wrong at a place; `offset` counts characters into the value there."""

    place: DocumentPath
    problem: str
    hint: str
    offset: int = 0

    @classmethod
    def of_condition(cls, error: ConditionError, place: DocumentPath) -> Self:
        """What is wrong with the condition at a place."""
        return cls(place, error.problem, error.hint, error.column - 1 if error.line == 1 else 0)

    def below(self, place: DocumentPath) -> Self:
        """The same flaw, its place told from further up in the document."""
        return self._replace(place=(*place, *self.place))
