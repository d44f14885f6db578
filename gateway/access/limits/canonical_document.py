"""The canonical form of a document: the same for every layout, with `__typename` or without.

Clients print documents in their own way, and add `__typename` to know their objects by. Neither
makes another operation of a registered one.
"""

from itertools import takewhile
from typing import Any

from graphql import DocumentNode, FieldNode, SelectionSetNode, Visitor, print_ast, visit

TYPE_NAME = "__typename"


def canonical_text(document: DocumentNode) -> str:
    """A document as it is compared: printed anew, without plain `__typename` fields.

    One with an alias or a directive stays, and so does one that stands alone, since a selection
    cannot be empty.
    """
    return print_ast(visit(document, _TypeNameRemover()))


class _TypeNameRemover(Visitor):
    def enter_selection_set(self, node: SelectionSetNode, *_: Any) -> SelectionSetNode | None:
        others = tuple(each for each in node.selections if not _is_plain_type_name(each))
        if len(others) == len(node.selections):
            return None
        return SelectionSetNode(selections=others or node.selections[:1])


def _is_plain_type_name(node: Any) -> bool:
    return (
        isinstance(node, FieldNode)
        and node.name.value == TYPE_NAME
        and not (node.alias or node.arguments or node.directives)
    )


def list_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def count_common_lines(text: str, other: str) -> int:
    """How many lines two canonical texts begin with in common."""
    pairs = zip(list_lines(text), list_lines(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
