"""Fields marked @authenticated, @requiresScopes or @policy answer only who has what they ask.

The marks stand in a service's schema, so the composed graph carries them, and whatever router
stands before the services can enforce them. The services do not rely on it: they look at the
principal themselves, whether a field is reached from the root or through `_entities`.
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
"""One of these must be had whole; empty: nothing is asked."""
Resolve: TypeAlias = Callable[..., Any]

ENTITY = "_Entity"
"""The union of what a router may ask for by its key."""
DEFINITION = GraphQLCoreConverter.DEFINITION_BACKREF

STAFF = [["staff"]]
"""The policy that holds for callers who do not speak for one customer."""
CUSTOMERS = [["customers:read"]]
DECISIONS = [["decisions:make"], ["decisions:read"]]
"""Scopes that several services ask. Who has a decision made may read that one."""


def for_staff(description: str | None = None, scopes: Sequence[Sequence[str]] = ()) -> Any:
    """A field of a type that customers see too: how something came about, which they do not."""
    return strawberry.federation.field(
        description=description, policy=STAFF, requires_scopes=scopes
    )


def of_customer(description: str, scopes: Sequence[Sequence[str]] = CUSTOMERS) -> Any:
    """What hangs from a customer, however one came to them; to be null where it is refused."""
    return strawberry.federation.field(description=description, requires_scopes=scopes)


class Unauthorized(RaakError):
    """The caller may not have this field, or what it returns."""

    code = "UNAUTHORIZED_FIELD_OR_TYPE"
    status = 403


def is_met(asked: AnyOf, had: frozenset[str]) -> bool:
    """Whether what a caller has holds one of the sets asked."""
    return not asked or any(had.issuperset(together) for together in asked)


def wording(asked: AnyOf) -> str:
    """The sets asked, for people: `a and b, or c`."""
    return ", or ".join(sorted(" and ".join(sorted(together)) for together in asked))


@dataclass(frozen=True, slots=True)
class Guard:
    """What is asked of who wants a field: all of it."""

    scopes: tuple[AnyOf, ...] = ()
    policies: tuple[AnyOf, ...] = ()
    authenticated: bool = False

    def check(self, principal: Principal | None, coordinate: str) -> None:
        """Raise Unauthorized unless the caller has it all."""
        if principal is None:
            raise _refusal(coordinate, "a caller who has said who he is")
        for asked in self.scopes:
            if not is_met(asked, principal.scopes):
                raise _refusal(coordinate, f"the scope {wording(asked)}")
        for asked in self.policies:
            if not is_met(asked, principal.policies):
                raise _refusal(coordinate, f"the policy {wording(asked)}")


def guard(schema: GraphQLSchema) -> None:
    """Put checks before the resolvers of all marked fields. The others cost what they did."""
    hidden = _behind_unions(schema)
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType):
            for name, field in type_.fields.items():
                asked = _guard(_marks(type_, name, field, is_hidden=type_.name in hidden))
                if asked != Guard():
                    _put_before(field, asked, f"{type_.name}.{name}")
    _guard_entities(schema)


def _behind_unions(schema: GraphQLSchema) -> set[str]:
    """Types that a field can return without naming them. Entities are seen to by `_entities`."""
    unions = (type_ for type_ in schema.type_map.values() if isinstance(type_, GraphQLUnionType))
    return {member.name for union in unions if union.name != ENTITY for member in union.types}


def _guard_entities(schema: GraphQLSchema) -> None:
    """Ask what is written on a type before an entity of it is looked for by its key."""
    entity, query = schema.type_map.get(ENTITY), schema.query_type
    if query is None or not isinstance(entity, GraphQLUnionType):
        return
    guards = {type_.name: _guard(_written(type_)) for type_ in entity.types}
    asked = {name: asked for name, asked in guards.items() if asked != Guard()}
    field = query.fields["_entities"]
    if asked and field.resolve is not None:
        field.resolve = _admitting(field.resolve, asked)


def _admitting(resolve: Resolve, asked: Mapping[str, Guard]) -> Resolve:
    def admitted(
        source: Any, info: GraphQLResolveInfo[Any], representations: list[dict[str, Any]]
    ) -> Any:
        """An entity, or why its caller may not have it, for each key."""
        refused: dict[int, Unauthorized] = {}
        for place, representation in enumerate(representations):
            name = str(representation.get("__typename"))
            try:
                if name in asked:
                    asked[name].check(info.context.principal, name)
            except Unauthorized as refusal:
                refused[place] = refusal
        may = [one for place, one in enumerate(representations) if place not in refused]
        found = iter(resolve(source, info, representations=may))
        return [refused.get(place) or next(found) for place in range(len(representations))]

    return admitted


def _marks(
    type_: GraphQLObjectType, name: str, field: GraphQLField, *, is_hidden: bool
) -> Iterator[object]:
    """What is written on a field and on the type it returns.

    What is written on its own type was seen to where a field returned that type, unless an
    interface or a union hid it.
    """
    declared: list[GraphQLNamedType | GraphQLField] = [field, get_named_type(field.type)]
    if is_hidden or type_.interfaces:
        declared.append(type_)
    for interface in type_.interfaces:
        declared.append(interface)
        if name in interface.fields:
            declared.append(interface.fields[name])
    for one in declared:
        yield from _written(one)


def _written(one: GraphQLNamedType | GraphQLField) -> Iterable[object]:
    return getattr(one.extensions.get(DEFINITION), "directives", None) or ()


def _guard(marks: Iterable[object]) -> Guard:
    marks = list(marks)
    return Guard(
        tuple(mark.scopes for mark in marks if isinstance(mark, RequiresScopes)),
        tuple(mark.policies for mark in marks if isinstance(mark, Policy)),
        any(isinstance(mark, Authenticated) for mark in marks),
    )


def _put_before(field: GraphQLField, asked: Guard, coordinate: str) -> None:
    """A subscription is checked before its stream begins."""
    if field.subscribe is not None:
        field.subscribe = _checked(field.subscribe, asked, coordinate)
    else:
        field.resolve = _checked(field.resolve or default_field_resolver, asked, coordinate)


def _checked(resolve: Resolve, asked: Guard, coordinate: str) -> Resolve:
    check = asked.check

    def checked(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        check(info.context.principal, coordinate)
        return resolve(source, info, **arguments)

    return checked


def _refusal(coordinate: str, lacks: str) -> Unauthorized:
    return Unauthorized(
        f"The caller may not have {coordinate}: it asks {lacks}.",
        hint="Use a token of a role that may; docs/roles.md lists them.",
    )
