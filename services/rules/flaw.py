"""A flaw of a definition, with its place in the document."""

from typing import NamedTuple, Self

from services.rules.errors import ConditionError

DocumentPath = tuple[str | int, ...]
"""Where a value is in a document: `("actions", 2, "eligibility", 0)`."""


class Flaw(NamedTuple):
    """A problem at a path; `offset` counts characters into the value there."""

    path: DocumentPath
    problem: str
    hint: str
    offset: int = 0

    @classmethod
    def from_error(cls, error: ConditionError, path: DocumentPath) -> Self:
        return cls(path, error.problem, error.hint, error.column - 1 if error.line == 1 else 0)

    def prefix(self, path: DocumentPath) -> Self:
        """The same flaw, with its path beginning further up in the document."""
        return self._replace(path=(*path, *self.path))
