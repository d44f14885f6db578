"""Schema metadata: what guards, prices and tags the parts of the graph."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

NOT_IDEMPOTENT = "not-idempotent"
"""The @tag of a query field that must not be fetched twice: its value is another each time, and
a record of it stays. On a type: of all its fields.
"""

AnyOf: TypeAlias = frozenset[frozenset[str]]
"""All members of one of these sets are required; empty: nothing is."""


@dataclass(frozen=True, slots=True)
class AccessRequirement:
    """What @authenticated, @requiresScopes and @policy require of the caller of a field or type."""

    authenticated: bool = False
    scopes: AnyOf = frozenset()
    policies: AnyOf = frozenset()


@dataclass(frozen=True, slots=True)
class ListSize:
    """@listSize: how many items a list may have."""

    assumed: int | None = None
    slicing_arguments: tuple[str, ...] = ()
    sized_fields: tuple[str, ...] = ()
    require_one_slicing_argument: bool = True


@dataclass(frozen=True, slots=True)
class SchemaMetadata:
    """Access, cost, list sizes and tags by coordinate (`Type`, `Type.field`,
    `Type.field(argument:)`).
    """

    requirements: Mapping[str, AccessRequirement] = field(default_factory=dict)
    """By `Type` and `Type.field`. What several subgraphs require is required together."""
    costs: Mapping[str, int] = field(default_factory=dict)
    """@cost, by `Type`, `Type.field` (of input types, too) and `Type.field(argument:)`."""
    list_sizes: Mapping[str, ListSize] = field(default_factory=dict)
    """By `Type.field`."""
    tags: Mapping[str, frozenset[str]] = field(default_factory=dict)
