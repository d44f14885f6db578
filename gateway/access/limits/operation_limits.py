"""How large an operation may be; what is larger is refused before anything is planned for it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import DocumentNode, FragmentDefinitionNode

from gateway.access.selections import SelectionSize
from services.chassis.errors import RaakError

PAGE_ARGUMENTS = ("first", "last", "limit")
"""Arguments that say how many items of a list are wanted."""

MOST = 10**12
"""What is more is not counted exactly: fragments can double a count with every few characters."""

TOKEN = re.compile(
    r'"""(?:[^"\\]|\\"""|\\|"(?!""))*+(?:"""|\Z)'
    r'|"(?:[^"\\\n]|\\.)*+"?'
    r"|#[^\r\n]*+"
    r"|[A-Za-z_]\w*+"
    r"|-?\d++(?:\.\d++)?(?:[eE][+-]?\d++)?"
    r"|\.\.\."
    r"|[^\s,\ufeff]",
    re.ASCII,
)
"""A token of GraphQL, or a comment. It never gives back what it took, so no text is slow."""

NESTING = {"{": 1, "[": 1, "(": 1, "}": -1, "]": -1, ")": -1}


@dataclass(frozen=True, slots=True)
class OperationLimits:
    """The most of each; the settings `max_…` of the gateway."""

    query_chars: int = 20_000
    tokens: int = 2_000
    nesting: int = 50
    depth: int = 12
    aliases: int = 30
    directives: int = 50
    root_fields: int = 10
    fragments: int = 50
    repeats: int = 30
    selections: int = 1_000
    page_size: int = 100
    list_items: int = 1_000
    variable_values: int = 10_000
    cost: int = 20_000
    errors: int = 100


class LimitExceeded(RaakError, code="LIMIT_EXCEEDED"):
    """A request is larger than the gateway takes."""

    def __init__(self, problem: str, limit: str, most: int) -> None:
        super().__init__(
            f"{problem} The limit is {most} (max_{limit}).",
            hint="Ask less at once, in several requests.",
        )


def check_text(text: str, limits: OperationLimits) -> None:
    """Raise LimitExceeded when a document is too long, or nested too deeply, to be read."""
    _check(len(text), "query_chars", limits, "The document has {} characters.")
    tokens = [token for token in TOKEN.findall(text) if token[0] != "#"]
    _check(len(tokens), "tokens", limits, "The document has {} tokens.")
    _check(_nesting(tokens), "nesting", limits, "The document nests brackets {} deep.")


def _nesting(tokens: list[str]) -> int:
    level = deepest = 0
    for token in tokens:
        level += NESTING.get(token, 0)
        deepest = max(deepest, level)
    return deepest


def _check(amount: int, limit: str, limits: OperationLimits, problem: str) -> None:
    most: int = getattr(limits, limit)
    if amount > most:
        size = f"more than {MOST}" if amount >= MOST else str(amount)
        raise LimitExceeded(problem.format(size), limit, most)


MEASURED: Mapping[str, str] = {
    "depth": "The operation is {} levels deep.",
    "aliases": "The operation has {} aliases.",
    "directives": "The operation has {} directives.",
    "root_fields": "The operation has {} root fields.",
    "selections": "The operation selects {} fields and fragments.",
    "repeats": "The operation repeats a field {} times in one selection.",
    "list_items": "The operation has a list of {} items in an argument.",
}
"""The message for each measure of `SelectionSize`; the names are those of limits."""


def check_document(document: DocumentNode, limits: OperationLimits) -> None:
    """Raise LimitExceeded when a document defines too many fragments."""
    fragments = sum(isinstance(d, FragmentDefinitionNode) for d in document.definitions)
    _check(fragments, "fragments", limits, "The document defines {} fragments.")


def check_size(size: SelectionSize, limits: OperationLimits) -> None:
    """Raise LimitExceeded when an operation is too deep or too wide."""
    for measure, problem in MEASURED.items():
        _check(getattr(size, measure), measure, limits, problem)


def check_page(place: str, argument: str, amount: object, limits: OperationLimits) -> None:
    """Raise LimitExceeded when a longer page of a list is requested than is served."""
    if isinstance(amount, int | float):
        _check(int(amount), "page_size", limits, f"{place} is asked for {argument}: {{}}.")


def check_variables(variables: Mapping[str, Any], limits: OperationLimits) -> None:
    """Raise LimitExceeded when the variables of a request hold too much, whatever their types."""
    waiting: list[tuple[Any, int]] = [(variables, 0)]
    values = 0
    while waiting:
        value, level = waiting.pop()
        if not isinstance(value, dict | list):
            continue
        _check(level, "nesting", limits, "The variables are nested {} deep.")
        if isinstance(value, list):
            _check(len(value), "list_items", limits, "The variables have a list of {} items.")
        values += len(value)
        _check(values, "variable_values", limits, "The variables hold {} values or more.")
        inner = value.values() if isinstance(value, dict) else value
        waiting += [(item, level + 1) for item in inner]
