"""Walk and rewrite definitions by schema coordinate, down to `Type.field(argument:)`."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateway.supergraph.syntax import copy_node

PARTS = {"fields": "{}.{}", "values": "{}.{}", "arguments": "{}({}:)"}
"""Where a definition or member holds its parts, and the coordinates of these."""


def walk(node: Any, coordinate: str) -> Iterator[tuple[str, Any]]:
    """A definition, its members and their arguments, each after what holds it."""
    yield coordinate, node
    for key, pattern in PARTS.items():
        for part in getattr(node, key, None) or ():
            yield from walk(part, pattern.format(coordinate, part.name.value))


def rewrite(
    node: Any, coordinate: str, change: Callable[[str, Any], Mapping[str, Any] | None]
) -> Any:
    """A copy of a definition in which `change` says what becomes of it, its members and their
    arguments: other values for some of their keys, or None to leave one out.
    """
    changes = change(coordinate, node)
    if changes is None:
        return None
    parts: dict[str, tuple[Any, ...]] = {}
    for key, pattern in PARTS.items():
        if found := getattr(node, key, None):
            rewritten = (
                rewrite(part, pattern.format(coordinate, part.name.value), change) for part in found
            )
            parts[key] = tuple(part for part in rewritten if part is not None)
    return copy_node(node, **parts, **changes)
