"""Merge the subgraphs' access requirements, costs, list sizes and tags, by coordinate."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import reduce
from typing import Any

from graphql import GraphQLInterfaceType, GraphQLSchema

from gateway.supergraph.composition.federation_directives import Applied
from gateway.supergraph.composition.spec_links import as_list
from gateway.supergraph.schema_metadata import AccessRequirement, AnyOf, ListSize, SchemaMetadata

NOTHING = AccessRequirement()


def combine(one: AccessRequirement, other: AccessRequirement) -> AccessRequirement:
    return AccessRequirement(
        one.authenticated or other.authenticated,
        _conjoin(one.scopes, other.scopes),
        _conjoin(one.policies, other.policies),
    )


def implies(one: AccessRequirement, other: AccessRequirement) -> bool:
    """Whether a caller that meets `one` meets `other`, too."""
    return combine(one, other) == combine(one, NOTHING)


def _conjoin(one: AnyOf, other: AnyOf) -> AnyOf:
    """The pairs of both: (a or b) and c is (a and c) or (b and c)."""
    pairs = {a | b for a in one or {frozenset()} for b in other or {frozenset()}}
    least = frozenset(s for s in pairs if not any(s > smaller for smaller in pairs))
    return frozenset() if frozenset() in least else least


@dataclass(slots=True)
class MetadataMerger:
    """Takes in metadata directive by directive. Several at one coordinate are combined: all that is
    required, the highest cost, the largest list, every tag.
    """

    requirements: dict[str, AccessRequirement] = field(default_factory=dict)
    costs: dict[str, int] = field(default_factory=dict)
    list_sizes: dict[str, ListSize] = field(default_factory=dict)
    tags: dict[str, frozenset[str]] = field(default_factory=dict)

    def add(self, coordinate: str, applied: Applied) -> None:
        requirement = _requirement(applied)
        if requirement != NOTHING:
            self.require(coordinate, requirement)
        for cost in applied.get("cost", ()):
            weight = int(cost.get("weight", 0))
            self.costs[coordinate] = max(weight, self.costs.get(coordinate, weight))
        for size in applied.get("listSize", ()):
            self.list_sizes[coordinate] = _larger(_size(size), self.list_sizes.get(coordinate))
        if tags := frozenset(str(tag.get("name")) for tag in applied.get("tag", ())):
            self.tags[coordinate] = self.tags.get(coordinate, frozenset()) | tags

    def require(self, coordinate: str, requirement: AccessRequirement) -> None:
        self.requirements[coordinate] = combine(self.requirement_of(coordinate), requirement)

    def copy(self, origin: str, coordinate: str) -> None:
        for part in fields(self):
            known = getattr(self, part.name)
            if origin in known:
                known[coordinate] = known[origin]

    def requirement_of(self, coordinate: str) -> AccessRequirement:
        return self.requirements.get(coordinate, NOTHING)

    def build(self) -> SchemaMetadata:
        return SchemaMetadata(
            **{part.name: dict(sorted(getattr(self, part.name).items())) for part in fields(self)}
        )


def _requirement(applied: Applied) -> AccessRequirement:
    scopes: AnyOf = frozenset()
    policies: AnyOf = frozenset()
    for use in applied.get("requiresScopes", ()):
        scopes = _conjoin(scopes, _any_of(use.get("scopes")))
    for use in applied.get("policy", ()):
        policies = _conjoin(policies, _any_of(use.get("policies")))
    return AccessRequirement("authenticated" in applied, scopes, policies)


def _any_of(written: Any) -> AnyOf:
    return _conjoin(
        frozenset(frozenset(map(str, as_list(all_of))) for all_of in as_list(written)), frozenset()
    )


def _size(arguments: Mapping[str, Any]) -> ListSize:
    return ListSize(
        assumed=arguments.get("assumedSize"),
        slicing_arguments=tuple(as_list(arguments.get("slicingArguments"))),
        sized_fields=tuple(as_list(arguments.get("sizedFields"))),
        require_one_slicing_argument=arguments.get("requireOneSlicingArgument") is not False,
    )


def _larger(one: ListSize, other: ListSize | None) -> ListSize:
    if other is None:
        return one
    assumed = [size.assumed for size in (one, other) if size.assumed is not None]
    return ListSize(
        assumed=max(assumed, default=None),
        slicing_arguments=_union(other.slicing_arguments, one.slicing_arguments),
        sized_fields=_union(other.sized_fields, one.sized_fields),
        require_one_slicing_argument=(
            one.require_one_slicing_argument and other.require_one_slicing_argument
        ),
    )


def _union(some: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*some, *more)))


def guard_implementations(
    metadata: MetadataMerger, full_schema: GraphQLSchema, *, derived: bool
) -> None:
    """Move what an interface requires to every implementation: plans know object types only.

    Args:
        derived: Other composers write on an interface all that any implementation requires, for
            routers that look at interfaces. Leave out what is no more than that.
    """
    for interface in full_schema.type_map.values():
        if isinstance(interface, GraphQLInterfaceType):
            owners = [type_.name for type_ in full_schema.get_implementations(interface).objects]
            for suffix in ("", *(f".{name}" for name in interface.fields)):
                _hand_down(
                    metadata, f"{interface.name}{suffix}", [f"{o}{suffix}" for o in owners], derived
                )


def _hand_down(
    metadata: MetadataMerger, coordinate: str, below: Sequence[str], derived: bool
) -> None:
    requirement = metadata.requirements.pop(coordinate, NOTHING)
    if derived and implies(
        combine_all(metadata.requirement_of(place) for place in below), requirement
    ):
        return
    for place in below if requirement != NOTHING else ():
        metadata.require(place, requirement)


def combine_all(requirements: Iterable[AccessRequirement]) -> AccessRequirement:
    return reduce(combine, requirements, NOTHING)
