"""The page docs/scopes.md: what a caller reaches who has one scope and no other.

Walked over the composed graph by the rules the gateway enforces, for a test to compare with what
was reviewed; written by `make generate`.
"""

from collections import deque
from collections.abc import Iterator, Mapping

from graphql import (
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
)

from gateway.access.authorization.authorization import Authorization
from gateway.access.authorization.roles import Roles
from gateway.supergraph.syntax import ROOTS
from services.chassis.principal import Principal
from services.contracts.enums import Role

OPENING = """\
# What one scope opens

For each scope, everything that a token or key reaches that has it alone: each field of the graph
by the shortest path from a root field. The role is `admin`, which may read every field, so that
nothing but the scope stands in the way; another role reaches less ([roles.md](roles.md)). A caller
with several scopes reaches what each of them opens, and what is marked with one of them below that.

This page is written from the marks in the services' schemas and
`gateway/access/authorization/roles.yaml`, by `make generate`, and a test walks the graph again and
compares. Whoever changes a mark reviews the lines that change here: a line that appears is
something the scope did not open before.
"""


def page(roles: Roles, authorization: Authorization, schema: GraphQLSchema) -> str:
    scopes = sorted(roles.grants[Role.ADMIN].scopes)
    sections = (
        _section(scope, find_paths_with_scope(scope, roles, authorization, schema))
        for scope in scopes
    )
    return "\n".join([OPENING, *(line for section in sections for line in section), ""])


def find_paths_with_scope(
    scope: str, roles: Roles, authorization: Authorization, schema: GraphQLSchema
) -> dict[str, str]:
    """Every `Type.field` an admin reaches by one scope alone, with the shortest path to it."""
    scopes, policies = roles.resolve_grant(Role.ADMIN, frozenset({scope}))
    caller = Principal(Role.ADMIN, "narrowed", scopes=scopes, policies=policies)
    return find_paths(schema, authorization.denied(caller))


def find_paths(schema: GraphQLSchema, denied: frozenset[str]) -> dict[str, str]:
    """Every `Type.field` that can be selected where some are denied, with the shortest path to it.

    A field that returns an interface or union leads to every type it may be of.
    """
    paths: dict[str, str] = {}
    roots = (schema.get_root_type(kind) for kind in ROOTS)
    waiting = deque((root, kind.value) for root, kind in zip(roots, ROOTS, strict=True) if root)
    queued = {root for root, _ in waiting}
    while waiting:
        type_, path = waiting.popleft()
        for name, field in sorted(type_.fields.items()):
            coordinate = f"{type_.name}.{name}"
            if coordinate in denied:
                continue
            paths[coordinate] = f"{path} {name}"
            for below in _objects(schema, get_named_type(field.type)):
                if below not in queued:
                    queued.add(below)
                    waiting.append((below, paths[coordinate]))
    return paths


def _objects(schema: GraphQLSchema, type_: GraphQLNamedType) -> Iterator[GraphQLObjectType]:
    if isinstance(type_, GraphQLObjectType):
        yield type_
    elif is_abstract_type(type_):
        yield from schema.get_possible_types(type_)


ENDPOINTS: Mapping[str, str] = {
    "operations:publish": "POST /operations",
    "tokens:issue": "POST /tokens",
}
"""What scopes open that are asked beside the graph."""


def _section(scope: str, paths: Mapping[str, str]) -> Iterator[str]:
    yield f"## {scope}"
    yield ""
    if endpoint := ENDPOINTS.get(scope):
        yield f"No field of the graph: it opens `{endpoint}`, to an API key only."
        yield ""
        return
    if not paths:
        yield "Nothing by itself: it asks no root field, and adds to what other scopes open."
        yield ""
        return
    yield "| field | shortest path |"
    yield "| --- | --- |"
    for coordinate, path in sorted(paths.items()):
        yield f"| `{coordinate}` | `{path}` |"
    yield ""
