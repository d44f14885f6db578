"""The errors of conditions, each with its line and column."""

from typing import Any

from services.chassis.errors import RaakError


class ConditionError(RaakError, code="RULES_INVALID_CONDITION"):
    """A condition cannot be used as it is written.

    `line` and `column` count characters from 1 and point at the part to change.
    """

    def __init__(
        self, problem: str, *, hint: str, source: str = "", line: int = 1, column: int = 1
    ) -> None:
        super().__init__(problem, hint=hint)
        self.source = source
        self.line = line
        self.column = column

    @property
    def excerpt(self) -> str:
        """The line with the error, and a caret under the column."""
        lines = self.source.split("\n")
        line_text = lines[self.line - 1] if self.line <= len(lines) else ""
        return f"{line_text}\n{' ' * (self.column - 1)}^"

    def __str__(self) -> str:
        position = f"line {self.line}, column {self.column}"
        return f"{self.problem} {self.hint} ({position})\n{self.excerpt}"

    def as_json(self) -> dict[str, Any]:
        return {**super().as_json(), "line": self.line, "column": self.column}


class ConditionSyntaxError(ConditionError, code="RULES_SYNTAX"):
    """The text is not an expression."""


class UnknownName(ConditionError, code="RULES_UNKNOWN_NAME"):
    """A name that does not exist, or not here."""


class NotAllowed(ConditionError, code="RULES_NOT_ALLOWED"):
    """A construct of Python that conditions leave out."""


class KindMismatch(ConditionError, code="RULES_KIND_MISMATCH"):
    """Values of two kinds that cannot be compared or computed, such as a text and a number."""


class InvalidArgument(ConditionError, code="RULES_INVALID_ARGUMENT"):
    """A function was called with something it cannot work with."""


class ConditionTooLarge(ConditionError, code="RULES_LIMIT_EXCEEDED"):
    """The condition is larger than the limits allow."""


class InvalidSeries(RaakError, code="RULES_INVALID_SERIES"):
    """A JSON value is not a series."""
