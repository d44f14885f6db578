"""Markings: what guards, prices and tags the parts of the graph."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

NOT_IDEMPOTENT = "not-idempotent"
"""The @tag of a field that must not be asked twice, though it stands in a query: it is another each
time, and leaves a trace. On a type: of all its fields.
"""

AnyOf: TypeAlias = frozenset[frozenset[str]]
"""One of these sets must be had whole; empty: nothing is asked."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """What @authenticated, @requiresScopes and @policy ask of who wants a field or type."""

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
class Markings:
    """What subgraphs say of coordinates (`Type`, `Type.field`, `Type.field(argument:)`) beside how
    to resolve them.
    """

    requirements: Mapping[str, Requirement] = field(default_factory=dict)
    """By `Type` and `Type.field`. Where several subgraphs ask something, all of it is asked."""
    costs: Mapping[str, int] = field(default_factory=dict)
    """@cost, by `Type`, `Type.field` (of input types, too) and `Type.field(argument:)`."""
    list_sizes: Mapping[str, ListSize] = field(default_factory=dict)
    """By `Type.field`."""
    tags: Mapping[str, frozenset[str]] = field(default_factory=dict)
