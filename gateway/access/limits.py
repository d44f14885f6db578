"""How large an operation may be, measured on its text and its tree before anything is planned."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)
from graphql.language import InlineFragmentNode

from services.chassis.errors import RaakError

INTROSPECTION = frozenset({"__schema", "__type"})
"""Not measured below: the standard introspection query is deep, and validation bounds it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most of each; the settings `max_…` of the gateway."""

    query_chars: int = 20_000
    tokens: int = 2_000
    depth: int = 12
    aliases: int = 30
    root_fields: int = 10
    page_size: int = 100


class LimitExceeded(RaakError):
    """A request is larger than the gateway takes."""

    code = "LIMIT_EXCEEDED"

    def __init__(self, problem: str, limit: str, most: int) -> None:
        super().__init__(
            f"{problem} The limit is {most} (max_{limit}).",
            hint="Ask less at once, in several requests.",
        )


@dataclass(frozen=True, slots=True)
class Size:
    """What is measured of a selection. `fields` are those of its first level."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0

    def beside(self, other: "Size") -> "Size":
        """The size of two selections side by side."""
        return Size(
            max(self.depth, other.depth), self.aliases + other.aliases, self.fields + other.fields
        )


def check_text(text: str, limits: Limits) -> None:
    """Raise LimitExceeded when a document is too long to be read."""
    if len(text) > limits.query_chars:
        raise LimitExceeded(
            f"The document has {len(text)} characters.", "query_chars", limits.query_chars
        )


def check_size(
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    limits: Limits,
) -> None:
    """Raise LimitExceeded when an operation is too deep or too wide.

    A fragment counts wherever it is spread, but is measured once: it takes time in proportion to
    the text, even when spreading would grow the operation exponentially.
    """
    size = _Measure(fragments).of(operation.selection_set)
    if size.depth > limits.depth:
        raise LimitExceeded(f"The operation is {size.depth} levels deep.", "depth", limits.depth)
    if size.aliases > limits.aliases:
        raise LimitExceeded(f"The operation has {size.aliases} aliases.", "aliases", limits.aliases)
    if size.fields > limits.root_fields:
        raise LimitExceeded(
            f"The operation has {size.fields} root fields.", "root_fields", limits.root_fields
        )


def check_page(place: str, argument: str, asked: object, limits: Limits) -> None:
    """Raise LimitExceeded when a list is asked for a longer page than is served."""
    if isinstance(asked, int) and asked > limits.page_size:
        raise LimitExceeded(
            f"{place} is asked for {argument}: {asked}.", "page_size", limits.page_size
        )


class _Measure:
    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._measured: dict[str, Size] = {}

    def of(self, selection_set: SelectionSetNode | None) -> Size:
        size = Size()
        for selection in selection_set.selections if selection_set else ():
            size = size.beside(self._selection(selection))
        return size

    def _selection(self, selection: SelectionNode) -> Size:
        if isinstance(selection, FieldNode):
            within = (
                Size()
                if selection.name.value in INTROSPECTION
                else self.of(selection.selection_set)
            )
            return Size(1 + within.depth, within.aliases + (selection.alias is not None), 1)
        if isinstance(selection, FragmentSpreadNode):
            return self._fragment(selection.name.value)
        assert isinstance(selection, InlineFragmentNode)
        return self.of(selection.selection_set)

    def _fragment(self, name: str) -> Size:
        """A fragment's size; one that holds itself counts as nothing, validation refuses it."""
        if name not in self._measured:
            self._measured[name] = Size()
            fragment = self._fragments.get(name)
            self._measured[name] = self.of(fragment.selection_set) if fragment else Size()
        return self._measured[name]


def root_fields(
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    included: Callable[[SelectionNode], bool] = lambda _: True,
) -> Iterator[FieldNode]:
    """The fields an operation asks of the root, those in fragments included."""
    spread: set[str] = set()
    waiting: list[SelectionNode] = list(reversed(operation.selection_set.selections))
    while waiting:
        selection = waiting.pop()
        if not included(selection):
            continue
        if isinstance(selection, FieldNode):
            yield selection
        elif isinstance(selection, InlineFragmentNode):
            waiting += reversed(selection.selection_set.selections)
        elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in spread:
            spread.add(selection.name.value)
            if fragment := fragments.get(selection.name.value):
                waiting += reversed(fragment.selection_set.selections)
