"""Random federated graphs with data, and the same graphs as one schema without federation.

A thing is known by its id, `E1:2`: the type and a number. From it follow all its fields, so that
every service, and the schema without services, knows the same world without sharing any state.
What federation can do is drawn together: several keys, fields shared, required and provided,
interfaces entered by key, interface objects, unions that one service knows better than another.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from zlib import crc32

import orjson
from graphql import (
    DocumentNode,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    ObjectTypeDefinitionNode,
    build_ast_schema,
    execute_sync,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_list_type,
    parse,
)

from gateway.supergraph import Reply

LINK = """
extend schema @link(url: "https://specs.apollo.dev/federation/v2.7", import: [
  "@key", "@shareable", "@external", "@requires", "@provides", "@interfaceObject"
])
"""
MACHINERY = "scalar _Any type _Service { sdl: String }"
EACH = 3
"""How many things there are of each type."""

JSON = dict[str, Any]


# Values: everything follows from a thing's id


def chance(*of: object) -> int:
    """A number that is always the same for the same things."""
    return crc32(repr(of).encode())


def thing(type_name: str, number: int) -> JSON:
    return {"__typename": type_name, "id": f"{type_name}:{number}"}


def scalar(thing_id: str, name: str, *, is_nullable: bool) -> str | None:
    if is_nullable and chance(thing_id, name) % 5 == 0:
        return None
    return f"{name} of {thing_id}"


@dataclass(frozen=True)
class Scalar:
    """A text field; `needs` is a field of another service that its value is made of."""

    name: str
    owners: tuple[str, ...]
    is_nullable: bool
    needs: str | None = None

    def printed(self) -> str:
        return "String" if self.is_nullable else "String!"


@dataclass(frozen=True)
class Connection:
    """A field that returns things, of one type, an interface or a union."""

    name: str
    owner: str
    target: str
    is_list: bool
    provides: str | None = None

    def printed(self) -> str:
        provides = f' @provides(fields: "{self.provides}")' if self.provides else ""
        type_ = f"[{self.target}!]!" if self.is_list else self.target
        return f"{self.name}: {type_}{provides}"


@dataclass
class Entity:
    """A type of things, with its fields; where it is known by `code` only, and by both keys."""

    name: str
    home: str
    scalars: list[Scalar] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    by_code: set[str] = field(default_factory=set)


@dataclass
class World:
    """A graph, and where each part of it is."""

    services: tuple[str, ...]
    entities: dict[str, Entity] = field(default_factory=dict)
    unions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    implementations: tuple[str, ...] = ()
    """Of the interface `I`; its home is the first service, its interface object in `io`."""
    roots: list[Connection] = field(default_factory=list)

    @property
    def sdls(self) -> dict[str, str]:
        printed = {service: "\n".join(self._print(service)) for service in self.services}
        if self.implementations:
            printed["io"] = (
                'type I @key(fields: "id") @interfaceObject { id: ID! extra: String peers: [I!]! }'
                " type Query { anything: [I!]! }"
            )
        return {service: LINK + sdl for service, sdl in printed.items() if sdl}

    def members(self, target: str) -> tuple[str, ...]:
        """The types that a field of this type may return."""
        if target == "I":
            return self.implementations
        return self.unions.get(target, (target,))

    # Printing one service

    def _print(self, service: str) -> Iterator[str]:
        known = {name for name in self.entities if self._knows(service, name)}
        returned = {c.target for c in self._all_connections() if c.owner == service}
        if "I" in returned or (self.implementations and service == self.services[0]):
            yield 'interface I @key(fields: "id") { id: ID! }'
        for target in sorted(returned & self.unions.keys()):
            yield f"union {target} = {' | '.join(self.unions[target])}"
        for name in sorted(known):
            yield self._print_entity(service, self.entities[name])
        if roots := [c for c in self.roots if c.owner == service]:
            yield f"type Query {{ {' '.join(root.printed() for root in roots)} }}"

    def _all_connections(self) -> Iterator[Connection]:
        yield from self.roots
        for entity in self.entities.values():
            yield from entity.connections

    def _knows(self, service: str, name: str) -> bool:
        entity = self.entities[name]
        owned = any(service in s.owners for s in entity.scalars)
        returned = any(
            c.owner == service and name in self.members(c.target) for c in self._all_connections()
        )
        implements = service == self.services[0] and name in self.implementations
        connects = any(c.owner == service for c in entity.connections)
        return service == entity.home or owned or returned or implements or connects

    def _print_entity(self, service: str, entity: Entity) -> str:
        keys = self._keys(service, entity)
        implements = (
            " implements I"
            if entity.name in self.implementations and service == self.services[0]
            else ""
        )
        marks = " ".join(f'@key(fields: "{key}")' for key in keys)
        fields = [f"{key}: ID!" for key in keys]
        fields += self._print_scalars(service, entity)
        fields += [c.printed() for c in entity.connections if c.owner == service]
        return f"type {entity.name}{implements} {marks} {{ {' '.join(fields)} }}"

    def _print_scalars(self, service: str, entity: Entity) -> Iterator[str]:
        wanted = {s.needs for s in entity.scalars if service in s.owners} | {
            c.provides
            for c in self._all_connections()
            if c.owner == service and c.target == entity.name
        }
        for s in entity.scalars:
            if service in s.owners:
                shared = " @shareable" if len(s.owners) > 1 or self._is_provided(entity, s) else ""
                needs = f' @requires(fields: "{s.needs}")' if s.needs else ""
                yield f"{s.name}: {s.printed()}{shared}{needs}"
            elif s.name in wanted:
                yield f"{s.name}: {s.printed()} @external"

    def _is_provided(self, entity: Entity, s: Scalar) -> bool:
        return any(
            c.target == entity.name and c.provides == s.name for c in self._all_connections()
        )

    def _keys(self, service: str, entity: Entity) -> tuple[str, ...]:
        if service == entity.home:
            return ("id", "code")
        return ("code",) if service in entity.by_code else ("id",)

    # Resolving

    def resolve(self, source: JSON, name: str) -> Any:
        """The value of a field; a service may know only what it was told of `source`."""
        type_name, _, number = str(source.get("id", "")).partition(":")
        if name in ("id", "code"):
            return source["id"] if name == "id" else f"code-{source['id']}"
        if name == "extra":
            return scalar(source["id"], name, is_nullable=True)
        if name == "peers":
            return self._things("I", chance(source["id"], name), is_list=True)
        if source.get("__typename") in (None, "Query"):
            return self._root(name)
        entity = self.entities[type_name]
        for s in entity.scalars:
            if s.name == name:
                return self._scalar(entity, s, source)
        found = next(c for c in entity.connections if c.name == name)
        return self._things(found.target, chance(type_name, number, name), is_list=found.is_list)

    def _scalar(self, entity: Entity, s: Scalar, source: JSON) -> str | None:
        own = scalar(source["id"], s.name, is_nullable=s.is_nullable)
        if s.needs is None:
            return own
        needed = next(other for other in entity.scalars if other.name == s.needs)
        told = source[s.needs] if "told" in source else self._scalar(entity, needed, source)
        return f"{s.name} from {told}"

    def _root(self, name: str) -> Any:
        if name == "anything":
            return self._things("I", 1, is_list=True)
        root = next(root for root in self.roots if root.name == name)
        return self._things(root.target, chance(name), is_list=root.is_list)

    def _things(self, target: str, seed: int, *, is_list: bool) -> Any:
        members = self.members(target)
        if is_list:
            count = seed % (EACH + 1)
            return [
                thing(members[(seed + n) % len(members)], (seed + n) % EACH) for n in range(count)
            ]
        return thing(members[seed % len(members)], seed % EACH) if seed % 6 else None


# Drawing


def draw_world(random: Random) -> World:
    """A graph that composes, by the way it is drawn."""
    services = ("a", "b", "c")[: random.randint(2, 3)]
    world = World(services)
    for n in range(random.randint(2, 4)):
        world.entities[f"E{n}"] = _draw_entity(random, f"E{n}", services)
    names = tuple(world.entities)
    if random.random() < 0.6:
        world.implementations = names[: random.randint(1, len(names))]
    world.unions = {"U": names[: random.randint(1, len(names))]}
    for entity in world.entities.values():
        for n in range(random.randint(0, 2)):
            entity.connections.append(_draw_connection(random, world, f"c{n}"))
    for n in range(random.randint(2, 4)):
        world.roots.append(_draw_connection(random, world, f"r{n}"))
    _forbid_code_where_interfaces_are(world)
    return world


def _draw_entity(random: Random, name: str, services: tuple[str, ...]) -> Entity:
    entity = Entity(name, random.choice(services))
    for n in range(random.randint(1, 4)):
        owners = tuple(sorted(random.sample(services, 2 if random.random() < 0.2 else 1)))
        entity.scalars.append(Scalar(f"s{n}", owners, random.random() < 0.5))
    for n in range(random.randint(0, 2)):
        needed = random.choice(entity.scalars)
        others = [service for service in services if service not in needed.owners]
        if others:
            drawn = Scalar(f"q{n}", (random.choice(others),), False, needed.name)
            entity.scalars.append(drawn)
    entity.by_code = {s for s in services if s != entity.home and random.random() < 0.3}
    return entity


def _draw_connection(random: Random, world: World, name: str) -> Connection:
    owner = random.choice(world.services)
    targets = [*world.entities, "U"]
    if world.implementations and owner == world.services[0]:
        targets.append("I")
    target = random.choice(targets)
    provides = None
    if target in world.entities and random.random() < 0.3:
        provided = random.choice(world.entities[target].scalars)
        provides = provided.name if not provided.needs and owner not in provided.owners else None
    return Connection(name, owner, target, random.random() < 0.6, provides)


def _forbid_code_where_interfaces_are(world: World) -> None:
    """An interface with a key asks that key of its implementations."""
    for name in world.implementations:
        world.entities[name].by_code.discard(world.services[0])


def draw_denied(random: Random, schema: GraphQLSchema) -> frozenset[str]:
    """Some of the fields there are."""
    return frozenset(
        f"{type_.name}.{name}"
        for type_ in schema.type_map.values()
        if isinstance(type_, GraphQLObjectType)
        for name in type_.fields
        if random.random() < 0.1
    )


def draw_operation(random: Random, schema: GraphQLSchema) -> str:
    """A query; invalid if two of its keys happen to conflict."""
    query = schema.query_type
    assert query is not None
    return _draw_selection(random, schema, query, 4)


def _draw_selection(
    random: Random, schema: GraphQLSchema, type_: GraphQLNamedType, depth: int
) -> str:
    parts = ["__typename"] if random.random() < 0.2 or is_abstract_type(type_) else []
    fields = getattr(type_, "fields", {})
    names = [
        name
        for name, found in fields.items()
        if depth > 0 or not is_composite_type(get_named_type(found.type))
    ]
    for name in random.sample(names, min(len(names), random.randint(1, 4))):
        returned = get_named_type(fields[name].type)
        below = ""
        if is_composite_type(returned):
            below = " " + _draw_selection(random, schema, returned, depth - 1)
        alias = f"{random.choice('xyz')}{random.randint(0, 10**6)}: "
        parts.append((alias if random.random() < 0.7 else "") + name + below)
    if is_abstract_type(type_):
        members = schema.get_possible_types(type_)
        for member in random.sample(members, random.randint(0, len(members))):
            below = _draw_selection(random, schema, member, depth - 1)
            parts.append(f"... on {member.name} {below}")
        if random.random() < 0.5 and len(parts) > 1:
            parts.remove("__typename")
    return "{ " + " ".join(parts or ["__typename"]) + " }"


# Serving


def whole(world: World, sdl: str) -> GraphQLSchema:
    """The world without services."""
    return build_ast_schema(parse(sdl), assume_valid_sdl=True)


class DeniedError(Exception):
    """Somebody asked what he may not have."""


def answer_whole(
    world: World, schema: GraphQLSchema, text: str, denied: frozenset[str] = frozenset()
) -> tuple[JSON | None, list[list[str | int]]]:
    """The data, and the paths at which something was denied."""

    def resolve(source: JSON | None, info: GraphQLResolveInfo[Any]) -> Any:
        if f"{info.parent_type.name}.{info.field_name}" in denied:
            raise DeniedError
        return world.resolve(source or {}, info.field_name)

    result = execute_sync(schema, parse(text), field_resolver=resolve)
    return result.data, [error.path or [] for error in result.errors or ()]


class Services:
    """A transport to the services of a world, each in this process."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._schemas = {name: _served(sdl) for name, sdl in world.sdls.items()}
        self.asked: list[tuple[str, JSON]] = []

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> Reply:
        request = orjson.loads(body)
        self.asked.append((subgraph, request))
        schema = self._schemas[subgraph]

        def resolve(source: JSON | None, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
            if info.field_name == "_entities":
                return [self._entity(schema, r) for r in arguments["representations"]]
            value = self._world.resolve(source or {}, info.field_name)
            return _as_seen(value, info)

        result = execute_sync(
            schema, parse(request["query"]), None, None, request["variables"], None, resolve
        )
        answer: JSON = {"data": result.data}
        if result.errors:
            answer["errors"] = [error.formatted for error in result.errors]
        return Reply(200, orjson.dumps(answer))

    def stream(
        self, subgraph: str, body: bytes, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[AsyncIterator[JSON]]:
        raise AssertionError("nothing happens in these worlds")

    def _entity(self, schema: GraphQLSchema, representation: JSON) -> JSON:
        told = dict(representation)
        told["id"] = told.get("id") or str(told["code"]).removeprefix("code-")
        if is_abstract_type(schema.type_map[told["__typename"]]):
            told["__typename"] = told["id"].partition(":")[0]
        return told | {"told": True}


def _as_seen(value: Any, info: GraphQLResolveInfo[Any]) -> Any:
    """Things as a service names their types: all alike, where it knows but an interface object."""
    returned = get_named_type(info.return_type)
    if not isinstance(returned, GraphQLObjectType) or not is_composite_type(returned):
        return value
    if is_list_type(getattr(info.return_type, "of_type", info.return_type)):
        return [item | {"__typename": returned.name} for item in value]
    return value and value | {"__typename": returned.name}


def _served(sdl: str) -> GraphQLSchema:
    document = parse(sdl)
    entities = [
        definition.name.value
        for definition in document.definitions
        if isinstance(definition, ObjectTypeDefinitionNode) and definition.directives
    ]
    machinery = MACHINERY + (f" union _Entity = {' | '.join(entities)}" if entities else "")
    asked = "_service: _Service! " + (
        "_entities(representations: [_Any!]!): [_Entity]!" if entities else ""
    )
    root = "extend type" if "type Query" in sdl else "type"
    added = parse(f"{machinery} {root} Query {{ {asked} }}")
    return build_ast_schema(
        DocumentNode(definitions=(*document.definitions, *added.definitions)),
        assume_valid_sdl=True,
    )
