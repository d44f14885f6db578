"""Gather what guards, prices and tags the parts of the graph, and combine what several say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from graphql import GraphQLInterfaceType, GraphQLSchema

from gateway.supergraph.composition.federation_directives import Applied
from gateway.supergraph.composition.spec_links import listed
from gateway.supergraph.schema_metadata import AnyOf, ListSize, Markings, Requirement

NOTHING = Requirement()


def both(one: Requirement, other: Requirement) -> Requirement:
    """All that either of the two asks."""
    return Requirement(
        one.authenticated or other.authenticated,
        _and(one.scopes, other.scopes),
        _and(one.policies, other.policies),
    )


def implies(one: Requirement, other: Requirement) -> bool:
    """Whether who meets `one` meets `other`, too."""
    return both(one, other) == both(one, NOTHING)


def _and(one: AnyOf, other: AnyOf) -> AnyOf:
    """The pairs of both: (a or b) and c is (a and c) or (b and c)."""
    pairs = {a | b for a in one or {frozenset()} for b in other or {frozenset()}}
    least = frozenset(s for s in pairs if not any(s > smaller for smaller in pairs))
    return frozenset() if frozenset() in least else least


@dataclass(slots=True)
class Marker:
    """Notes markings one by one. Noting several at one coordinate combines them: all that is
    required, the highest cost, the largest list, every tag.
    """

    requirements: dict[str, Requirement] = field(default_factory=dict)
    costs: dict[str, int] = field(default_factory=dict)
    list_sizes: dict[str, ListSize] = field(default_factory=dict)
    tags: dict[str, frozenset[str]] = field(default_factory=dict)

    def note(self, coordinate: str, applied: Applied) -> None:
        """Take in the directives that stand at a coordinate in one subgraph."""
        asked = _requirement(applied)
        if asked != NOTHING:
            self.require(coordinate, asked)
        for cost in applied.get("cost", ()):
            weight = int(cost.get("weight", 0))
            self.costs[coordinate] = max(weight, self.costs.get(coordinate, weight))
        for size in applied.get("listSize", ()):
            self.list_sizes[coordinate] = _larger(_size(size), self.list_sizes.get(coordinate))
        if tags := frozenset(str(tag.get("name")) for tag in applied.get("tag", ())):
            self.tags[coordinate] = self.tags.get(coordinate, frozenset()) | tags

    def require(self, coordinate: str, asked: Requirement) -> None:
        """Ask this, too."""
        self.requirements[coordinate] = both(self.required(coordinate), asked)

    def copy(self, origin: str, coordinate: str) -> None:
        """Say of a coordinate what is said of another."""
        noted: tuple[dict[str, Any], ...] = (
            self.requirements,
            self.costs,
            self.list_sizes,
            self.tags,
        )
        for said in noted:
            if origin in said:
                said[coordinate] = said[origin]

    def required(self, coordinate: str) -> Requirement:
        """What is asked so far."""
        return self.requirements.get(coordinate, NOTHING)

    def markings(self) -> Markings:
        """What was noted, in a fixed order."""
        return Markings(
            requirements=dict(sorted(self.requirements.items())),
            costs=dict(sorted(self.costs.items())),
            list_sizes=dict(sorted(self.list_sizes.items())),
            tags=dict(sorted(self.tags.items())),
        )


def _requirement(applied: Applied) -> Requirement:
    scopes: AnyOf = frozenset()
    policies: AnyOf = frozenset()
    for use in applied.get("requiresScopes", ()):
        scopes = _and(scopes, _any_of(use.get("scopes")))
    for use in applied.get("policy", ()):
        policies = _and(policies, _any_of(use.get("policies")))
    return Requirement("authenticated" in applied, scopes, policies)


def _any_of(written: Any) -> AnyOf:
    return _and(
        frozenset(frozenset(map(str, listed(all_of))) for all_of in listed(written)), frozenset()
    )


def _size(arguments: Mapping[str, Any]) -> ListSize:
    return ListSize(
        assumed=arguments.get("assumedSize"),
        slicing_arguments=tuple(listed(arguments.get("slicingArguments"))),
        sized_fields=tuple(listed(arguments.get("sizedFields"))),
        require_one_slicing_argument=arguments.get("requireOneSlicingArgument") is not False,
    )


def _larger(one: ListSize, other: ListSize | None) -> ListSize:
    if other is None:
        return one
    assumed = [size.assumed for size in (one, other) if size.assumed is not None]
    return ListSize(
        assumed=max(assumed, default=None),
        slicing_arguments=_together(other.slicing_arguments, one.slicing_arguments),
        sized_fields=_together(other.sized_fields, one.sized_fields),
        require_one_slicing_argument=(
            one.require_one_slicing_argument and other.require_one_slicing_argument
        ),
    )


def _together(some: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*some, *more)))


def guard_implementations(marker: Marker, whole: GraphQLSchema, *, derived: bool) -> None:
    """Let what is asked of an interface be asked of every implementation instead.

    Plans know object types only, so this is where a guard counts.

    Args:
        derived: Other composers write on an interface all that any implementation asks, for
            routers that look at interfaces. Leave out what is no more than that.
    """
    for interface in whole.type_map.values():
        if isinstance(interface, GraphQLInterfaceType):
            owners = [type_.name for type_ in whole.get_implementations(interface).objects]
            for suffix in ("", *(f".{name}" for name in interface.fields)):
                _hand_down(
                    marker, f"{interface.name}{suffix}", [f"{o}{suffix}" for o in owners], derived
                )


def _hand_down(marker: Marker, coordinate: str, below: Sequence[str], derived: bool) -> None:
    asked = marker.requirements.pop(coordinate, NOTHING)
    if derived and implies(all_of(marker.required(place) for place in below), asked):
        return
    for place in below if asked != NOTHING else ():
        marker.require(place, asked)


def all_of(requirements: Iterable[Requirement]) -> Requirement:
    """What all of them ask together."""
    return reduce(both, requirements, NOTHING)
