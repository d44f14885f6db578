"""Walk and rewrite definitions by schema coordinate, down to `Type.field(argument:)`."""

from collections.abc import Callable, Iterator, Mapping
from operator import is_not
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
    """A definition in which `change` says what becomes of it, its members and their arguments:
    other values for some of their keys, or None to leave one out. What doesn't change isn't copied.
    """
    changes = change(coordinate, node)
    if changes is None:
        return None
    parts: dict[str, tuple[Any, ...]] = {}
    for key, pattern in PARTS.items():
        found = getattr(node, key, None) or ()
        rewritten = (rewrite(p, pattern.format(coordinate, p.name.value), change) for p in found)
        present = tuple(part for part in rewritten if part is not None)
        if len(present) < len(found) or any(map(is_not, present, found)):
            parts[key] = present
    return copy_node(node, **parts, **changes) if parts or changes else node
