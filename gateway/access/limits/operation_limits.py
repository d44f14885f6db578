"""How large an operation may be; what is larger is refused before anything is planned for it.

Fragments count wherever they are spread, but each is measured once: measuring takes time in
proportion to the text, even where spreading would grow the operation exponentially.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    ListValueNode,
    Node,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    value_from_ast_untyped,
)
from graphql.language import InlineFragmentNode

from services.chassis.errors import RaakError

INTROSPECTION = frozenset({"__schema", "__type"})
"""Their depth is not measured: the standard introspection query is deep, validation bounds it."""

PAGE_ARGUMENTS = ("first", "last", "limit")
"""Arguments that say how many items of a list are wanted."""

MOST = 10**12
"""Where counting stops: fragments can double a count with every few characters."""

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


class LimitExceeded(RaakError):
    """A request is larger than the gateway takes."""

    code = "LIMIT_EXCEEDED"

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


@dataclass(slots=True)
class SelectionSize:
    """What is measured of a selection. `root_fields` are those of its first level."""

    depth: int = 0
    aliases: int = 0
    directives: int = 0
    root_fields: int = 0
    selections: int = 0
    repeats: int = 0
    """How often one selection set asks the same field, by its response key."""
    list_items: int = 0
    """The longest list written out in an argument."""

    def add(self, other: "SelectionSize") -> "SelectionSize":
        """Make this the size of both selections side by side."""
        self.depth = max(self.depth, other.depth)
        self.aliases = min(self.aliases + other.aliases, MOST)
        self.directives = min(self.directives + other.directives, MOST)
        self.root_fields = min(self.root_fields + other.root_fields, MOST)
        self.selections = min(self.selections + other.selections, MOST)
        self.repeats = max(self.repeats, other.repeats)
        self.list_items = max(self.list_items, other.list_items)
        return self


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


def check_size(
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    limits: OperationLimits,
) -> None:
    """Raise LimitExceeded when an operation is too deep or too wide."""
    try:
        size = _Measure(fragments).of_operation(operation)
    except RecursionError:  # hundreds of levels through fragments: far beyond any limit of depth
        raise LimitExceeded("The operation is nested too deeply.", "depth", limits.depth) from None
    for measure, problem in MEASURED.items():
        _check(getattr(size, measure), measure, limits, problem)


def check_page(place: str, argument: str, amount: object, limits: OperationLimits) -> None:
    """Raise LimitExceeded when a longer page of a list is requested than is served."""
    if isinstance(amount, int):
        _check(amount, "page_size", limits, f"{place} is asked for {argument}: {{}}.")


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


class _Measure:
    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._measured: dict[str, SelectionSize] = {}

    def of_operation(self, operation: OperationDefinitionNode) -> SelectionSize:
        variables = operation.variable_definitions or ()
        defaults = SelectionSize(
            directives=len(operation.directives or ())
            + sum(len(v.directives or ()) for v in variables),
            list_items=measure_longest_list(v.default_value for v in variables if v.default_value),
        )
        return defaults.add(self._of(operation.selection_set))

    def _of(self, selection_set: SelectionSetNode | None) -> SelectionSize:
        if selection_set is None:
            return SelectionSize()
        keys = Counter(_keys(selection_set))
        return SelectionSize(repeats=max(keys.values(), default=0)).add(
            self._inner_size(selection_set)
        )

    def _inner_size(self, selection_set: SelectionSetNode) -> SelectionSize:
        """All selections of a set, of which somebody else counts the repeats."""
        size = SelectionSize()
        for selection in selection_set.selections:
            size.add(self._selection(selection))
        return size

    def _selection(self, selection: SelectionNode) -> SelectionSize:
        directives = selection.directives or ()
        arguments = selection.arguments or () if isinstance(selection, FieldNode) else ()
        values = (a.value for node in (selection, *directives) for a in _arguments(node))
        own = SelectionSize(
            directives=len(directives),
            selections=1,
            list_items=measure_longest_list(values) if arguments or directives else 0,
        )
        return own.add(self._selected_size(selection))

    def _selected_size(self, selection: SelectionNode) -> SelectionSize:
        if isinstance(selection, FragmentSpreadNode):
            return self._fragment(selection.name.value)
        if isinstance(selection, InlineFragmentNode):
            return self._inner_size(selection.selection_set)
        assert isinstance(selection, FieldNode)
        within = self._of(selection.selection_set)
        return SelectionSize(
            1 + (0 if selection.name.value in INTROSPECTION else within.depth),
            min(within.aliases + (selection.alias is not None), MOST),
            within.directives,
            1,
            within.selections,
            within.repeats,
            within.list_items,
        )

    def _fragment(self, name: str) -> SelectionSize:
        """A fragment's size; one that holds itself counts as nothing, validation refuses it."""
        if name not in self._measured:
            self._measured[name] = SelectionSize()
            fragment = self._fragments.get(name)
            self._measured[name] = self._of(fragment.selection_set) if fragment else SelectionSize()
        return self._measured[name]


def _arguments(node: Node) -> Any:
    return getattr(node, "arguments", None) or ()


def _keys(selection_set: SelectionSetNode) -> Iterator[str]:
    """The response keys of a selection, those in inline fragments included."""
    waiting = [selection_set]
    while waiting:
        for selection in waiting.pop().selections:
            if isinstance(selection, FieldNode):
                yield (selection.alias or selection.name).value
            elif isinstance(selection, InlineFragmentNode):
                waiting.append(selection.selection_set)


def measure_longest_list(values: Any) -> int:
    """The length of the longest list in these values as they are written."""
    longest = 0
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, ListValueNode):
            longest = max(longest, len(value.values))
            waiting += value.values
        elif isinstance(value, ObjectValueNode):
            waiting += [field.value for field in value.fields]
    return longest


def variable_defaults(operation: OperationDefinitionNode) -> dict[str, Any]:
    """The defaults of an operation's variables, as plain values."""
    return {
        declared.variable.name.value: value_from_ast_untyped(declared.default_value)
        for declared in operation.variable_definitions or ()
        if declared.default_value is not None
    }


def find_root_fields(
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
