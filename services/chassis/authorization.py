"""Fields with @authenticated, @requiresScopes or @policy answer only callers that satisfy them.

The directives stand in a service's schema, so the composed graph carries them, and any router can
enforce them. The services do not rely on it: they check the principal themselves, whether a field
is reached from the root or through `_entities`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import strawberry
from graphql import (
    GraphQLField,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLUnionType,
    default_field_resolver,
    get_named_type,
)
from strawberry.federation.schema_directives import Authenticated, Policy, RequiresScopes
from strawberry.schema.schema_converter import GraphQLCoreConverter

from services.chassis.errors import RaakError
from services.chassis.principal import Principal

AnyOf: TypeAlias = Collection[Collection[str]]
"""Alternative sets: a caller must have all of one; empty: nothing is required."""
Resolve: TypeAlias = Callable[..., Any]

ENTITY = "_Entity"
"""The union of what a router may ask for by its key."""
DEFINITION = GraphQLCoreConverter.DEFINITION_BACKREF

STAFF = [["staff"]]
"""The policy that holds for callers who do not speak for one customer."""
CUSTOMERS = [["customers:read"]]
DECISIONS = [["decisions:make"], ["decisions:read"]]
"""Scopes that several services require. A caller that has a decision made may read it."""


def staff_field(scopes: Sequence[Sequence[str]] = ()) -> Any:
    """A field of a type that customers see too: how something came about, which they do not."""
    return strawberry.federation.field(policy=STAFF, requires_scopes=scopes)


def customer_field(scopes: Sequence[Sequence[str]] = CUSTOMERS) -> Any:
    """A nullable field of a customer, however they were reached; null where it is refused."""
    return strawberry.federation.field(requires_scopes=scopes)


class Unauthorized(RaakError, code="UNAUTHORIZED_FIELD_OR_TYPE", status=403):
    """The caller may not have this field, or what it returns."""


def is_satisfied(required: AnyOf, had: frozenset[str]) -> bool:
    return not required or any(had.issuperset(alternative) for alternative in required)


def describe_requirement(required: AnyOf) -> str:
    """The required sets, for people: `a and b, or c`."""
    return ", or ".join(sorted(" and ".join(sorted(alternative)) for alternative in required))


@dataclass(frozen=True, slots=True)
class FieldGuard:
    """What a field requires of its caller: all of it."""

    scopes: tuple[AnyOf, ...] = ()
    policies: tuple[AnyOf, ...] = ()
    authenticated: bool = False

    def check(self, principal: Principal | None, coordinate: str) -> None:
        if principal is None:
            raise _refusal(coordinate, "an authenticated caller")
        for required in self.scopes:
            if not is_satisfied(required, principal.scopes):
                raise _refusal(coordinate, f"the scope {describe_requirement(required)}")
        for required in self.policies:
            if not is_satisfied(required, principal.policies):
                raise _refusal(coordinate, f"the policy {describe_requirement(required)}")


def guard_fields(schema: GraphQLSchema) -> None:
    hidden = _union_members(schema)
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType):
            for name, field in type_.fields.items():
                required = _read_guard(
                    _directives_of(type_, name, field, is_hidden=type_.name in hidden)
                )
                if required != FieldGuard():
                    _wrap_field(field, required, f"{type_.name}.{name}")
    _guard_entity_lookups(schema)


def _union_members(schema: GraphQLSchema) -> set[str]:
    """Types that a field can return without naming them. `_entities` checks entities."""
    unions = (type_ for type_ in schema.type_map.values() if isinstance(type_, GraphQLUnionType))
    return {member.name for union in unions if union.name != ENTITY for member in union.types}


def _guard_entity_lookups(schema: GraphQLSchema) -> None:
    """Check the directives of a type before an entity of it is looked up by its key."""
    entity, query = schema.type_map.get(ENTITY), schema.query_type
    if query is None or not isinstance(entity, GraphQLUnionType):
        return
    guards = {type_.name: _read_guard(_directives(type_)) for type_ in entity.types}
    required = {name: required for name, required in guards.items() if required != FieldGuard()}
    field = query.fields["_entities"]
    if required and field.resolve is not None:
        field.resolve = _check_entities(field.resolve, required)


def _check_entities(resolve: Resolve, required: Mapping[str, FieldGuard]) -> Resolve:
    def resolve_allowed(
        source: Any, info: GraphQLResolveInfo[Any], representations: list[dict[str, Any]]
    ) -> Any:
        """An entity, or why its caller may not have it, for each key."""
        refused: dict[int, Unauthorized] = {}
        for position, representation in enumerate(representations):
            name = str(representation.get("__typename"))
            try:
                if name in required:
                    required[name].check(info.context.principal, name)
            except Unauthorized as refusal:
                refused[position] = refusal
        may = [one for position, one in enumerate(representations) if position not in refused]
        found = iter(resolve(source, info, representations=may))
        return [refused.get(position) or next(found) for position in range(len(representations))]

    return resolve_allowed


def _directives_of(
    type_: GraphQLObjectType, name: str, field: GraphQLField, *, is_hidden: bool
) -> Iterator[object]:
    """The directives of a field and its type, and of its parent where no field named that one."""
    declared: list[GraphQLNamedType | GraphQLField] = [field, get_named_type(field.type)]
    if is_hidden or type_.interfaces:
        declared.append(type_)
    for interface in type_.interfaces:
        declared.append(interface)
        if name in interface.fields:
            declared.append(interface.fields[name])
    for one in declared:
        yield from _directives(one)


def _directives(one: GraphQLNamedType | GraphQLField) -> Iterable[object]:
    return getattr(one.extensions.get(DEFINITION), "directives", None) or ()


def _read_guard(directives: Iterable[object]) -> FieldGuard:
    directives = list(directives)
    return FieldGuard(
        tuple(
            directive.scopes for directive in directives if isinstance(directive, RequiresScopes)
        ),
        tuple(directive.policies for directive in directives if isinstance(directive, Policy)),
        any(isinstance(directive, Authenticated) for directive in directives),
    )


def _wrap_field(field: GraphQLField, required: FieldGuard, coordinate: str) -> None:
    """A subscription is checked before its stream begins."""
    if field.subscribe is not None:
        field.subscribe = _check_first(field.subscribe, required, coordinate)
    else:
        field.resolve = _check_first(field.resolve or default_field_resolver, required, coordinate)


def _check_first(resolve: Resolve, required: FieldGuard, coordinate: str) -> Resolve:
    check = required.check

    def check_and_resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        check(info.context.principal, coordinate)
        return resolve(source, info, **arguments)

    return check_and_resolve


def _refusal(coordinate: str, lacks: str) -> Unauthorized:
    return Unauthorized(
        f"The caller may not have {coordinate}: it requires {lacks}.",
        hint="Use a token of a role that may; docs/roles.md lists them.",
    )
