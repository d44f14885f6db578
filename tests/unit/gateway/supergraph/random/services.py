"""The services of a world, each in this process and strict; and the world as one schema."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import orjson
from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLResolveInfo,
    GraphQLSchema,
    NameNode,
    ObjectTypeDefinitionNode,
    ObjectTypeExtensionNode,
    SchemaExtensionNode,
    SelectionSetNode,
    build_ast_schema,
    execute_sync,
    get_named_type,
    is_composite_type,
    parse,
    validate,
)
from graphql.language import REMOVE, Visitor, visit

from gateway.supergraph import SubgraphResponse
from gateway.supergraph.field_sets import selected_fields
from tests.unit.gateway.supergraph.random.world import (
    EACH,
    JSON,
    ROOTS,
    FailedError,
    Type,
    World,
    names_in,
    same,
    selected,
)

TYPE_KEY = "its_type"
MACHINERY = "scalar _Any type _Service { sdl: String! } "
Path = tuple[str | int, ...]


class StrictError(Exception):
    """A service was asked for what it can't know."""


class DeniedError(Exception):
    """A caller asked for what it may not have."""


@dataclass
class Ledger:
    """What the mutations of one run did, in order."""

    done: list[tuple[str, str]] = field(default_factory=list)

    def resolve(self, world: World, source: JSON, name: str, arguments: Mapping[str, Any]) -> Any:
        """A field's value; that of a mutation tells how many were done before it."""
        if source["__typename"] == "Mutation":
            self.done.append((name, same(arguments)))
            if world.types["Mutation"].fields[name].is_leaf:
                return len(self.done)
        return world.resolve(source, name, arguments)


class Whole:
    """The world as one schema, which graphql-core executes."""

    def __init__(self, world: World, schema: GraphQLSchema) -> None:
        self._world = world
        self.schema = schema
        self.ledger = Ledger()

    def answer(
        self,
        document: DocumentNode,
        variables: JSON,
        denied: frozenset[str] = frozenset(),
        failing: frozenset[Path] = frozenset(),
    ) -> JSON:
        """The answer as it has to be, if all that is at these paths fails."""
        self.ledger = Ledger()

        def resolve(source: JSON | None, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
            if f"{info.parent_type.name}.{info.field_name}" in denied:
                raise DeniedError
            source = source or _root(info)
            value = self.ledger.resolve(self._world, source, info.field_name, arguments)
            return self._complete(value, tuple(info.path.as_list()), failing)

        result = execute_sync(
            self.schema, document, variable_values=variables, field_resolver=resolve
        )
        errors = [error.formatted for error in result.errors or ()]
        return {"data": result.data} | ({"errors": errors} if errors else {})

    def _complete(self, value: Any, path: Path, failing: frozenset[Path]) -> Any:
        if path in failing:
            return FailedError()
        if isinstance(value, list):
            return [self._complete(item, (*path, i), failing) for i, item in enumerate(value)]
        is_object = isinstance(value, dict) and "__typename" in value
        return None if is_object and self._world.types[value["__typename"]].is_hidden else value


class _Typed(Visitor):
    """Asks for the type of each object, too."""

    def leave_selection_set(self, node: SelectionSetNode, *_: Any) -> Any:
        typename_field = FieldNode(
            name=NameNode(value="__typename"), alias=NameNode(value=TYPE_KEY), directives=()
        )
        return SelectionSetNode(selections=(*node.selections, typename_field))


def typed(document: DocumentNode) -> DocumentNode:
    """The operation, asking for the type of each object as `TYPE_KEY`."""
    changed: DocumentNode = visit(document, _Typed())
    return changed


@dataclass(frozen=True)
class Sent:
    """A request as a service got it."""

    subgraph: str
    query: str
    variables: JSON


class Services:
    """A transport to the services of a world. They refuse whatever isn't theirs to answer."""

    def __init__(self, world: World, labels: frozenset[str] = frozenset()) -> None:
        self.sent: list[Sent] = []
        self.ledger = Ledger()
        self._world = world
        self._labels = labels
        self._services: dict[str, _Service] = {}

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> SubgraphResponse:
        request = orjson.loads(body)
        sent = Sent(subgraph, request["query"], request["variables"])
        self.sent.append(sent)
        answer = self._service(subgraph).answer(sent, self.ledger)
        return SubgraphResponse(200, orjson.dumps(answer))

    def _service(self, name: str) -> "_Service":
        if name not in self._services:
            self._services[name] = _Service(self._world, name, self._labels)
        return self._services[name]

    def schemas(self) -> dict[str, GraphQLSchema]:
        """The schemas of those who were asked."""
        return {name: service.schema for name, service in self._services.items()}

    def stream(
        self, subgraph: str, body: bytes, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[AsyncIterator[JSON]]:
        raise AssertionError("nothing happens in these worlds")


class _Service:
    """One service: it resolves what it owns, and holds representations against its keys."""

    def __init__(self, world: World, name: str, labels: frozenset[str]) -> None:
        self._world = world
        self._name = name
        self._labels = labels
        self.schema = served(world.sdl(name))

    def answer(self, sent: Sent, ledger: Ledger) -> JSON:
        document = parse(sent.query)
        if wrong := validate(self.schema, document):
            raise AssertionError(f"{self._name} was asked {sent.query}: {wrong}")

        def resolve(source: JSON | None, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
            if info.field_name == "_entities":
                return [
                    self._entity(representation) for representation in arguments["representations"]
                ]
            source = source or _root(info)
            self._check(source, info)
            value = ledger.resolve(self._world, source, info.field_name, arguments)
            if not is_composite_type(get_named_type(info.return_type)):
                return value
            return _with(value, tuple(self._provided_below(source, info.field_name)))

        result = execute_sync(
            self.schema,
            document,
            variable_values=sent.variables,
            field_resolver=resolve,
            type_resolver=lambda value, *_: self._local_name(value["__typename"]),
        )
        for error in result.errors or ():
            if not isinstance(error.original_error, FailedError):
                raise AssertionError(f"{self._name} was asked {sent}: {error}")
        errors = [error.formatted for error in result.errors or ()]
        return {"data": result.data} | ({"errors": errors} if errors else {})

    def _local_name(self, type_name: str) -> str:
        if type_name in self._world.known[self._name]:
            return type_name
        return next(
            abstract.name
            for abstract in self._world.abstracts.values()
            if abstract.object_in == self._name and type_name in abstract.members
        )

    # What it may be asked

    def _check(self, source: JSON, info: GraphQLResolveInfo[Any]) -> None:
        type_ = self._world.types[source["__typename"]]
        found = type_.fields[info.field_name]
        where = f"{type_.name}.{found.name}"
        if self._name not in found.owners:
            in_key = found.name in type_.key_fields(self._name) or info.parent_type.name == "N0"
            provided = [node.name.value for node in self._provided(source)]
            if found.name not in provided and not (in_key and not found.owners):
                raise StrictError(f"{where} is not resolved here")
        elif self._name not in found.resolvers(self._labels):
            raise StrictError(f"{where} was taken over")
        elif found.requires:
            needed = self._world.select(source, selected(found.requires))
            if not _holds(needed, source.get("given")):
                raise StrictError(f"{where} needs {needed}, not {source.get('given')}")

    def _provided(self, source: JSON) -> Iterator[FieldNode]:
        names = {source["__typename"], *self._world.types[source["__typename"]].interfaces}
        for selections in source.get("provided", ()):
            yield from selected_fields(selections, names)

    def _provided_below(self, source: JSON, name: str) -> Iterator[SelectionSetNode]:
        found = self._world.types[source["__typename"]].fields[name]
        if text := found.provides.get(self._name):
            yield selected(text)
        for node in self._provided(source):
            if node.name.value == name and node.selection_set:
                yield node.selection_set

    # Entities

    def _entity(self, representation: JSON) -> JSON | Exception:
        name = representation["__typename"]
        types = self._world.members_in(self._name, name)
        found = [
            entity
            for type_name in types
            for entity in self._entities(type_name, name, representation)
        ]
        if len(found) != 1:
            return StrictError(f"{representation} is no representation of one {name}")
        return found[0] | {"given": representation}

    def _entities(
        self, type_name: str, interface_object: str, representation: JSON
    ) -> Iterator[JSON]:
        type_ = self._world.types[type_name]
        for n in range(EACH):
            entity = {"__typename": type_name, "n": n}
            keys = (selected(key) for key in self._keys(type_, interface_object))
            if any(_holds(self._world.select(entity, key), representation) for key in keys):
                self._check_nothing_else(entity, interface_object, representation)
                yield entity

    def _keys(self, type_: Type, interface_object: str) -> Iterable[str]:
        if interface_object != type_.name:
            return [str(self._world.abstracts[interface_object].key)]
        return [key for key, resolvable in type_.keys[self._name].items() if resolvable]

    def _check_nothing_else(
        self, entity: JSON, interface_object: str, representation: JSON
    ) -> None:
        """A representation holds what is a key here, or required here, and nothing else."""
        type_ = self._world.types[entity["__typename"]]
        wanted = [*self._keys(type_, interface_object)]
        wanted += [
            found.requires
            for found in type_.fields.values()
            if found.requires and self._name in found.owners
        ]
        names = {name for text in wanted for name in names_in(text)}
        if more := representation.keys() - names - {"__typename"}:
            raise StrictError(f"nobody needs {more} of {representation}")


def served(sdl: str) -> GraphQLSchema:
    """A service's executable schema: its own, with what Federation adds to it."""
    document = visit(parse(sdl), _Plain())
    entities = [
        definition.name.value
        for definition in parse(sdl).definitions
        if isinstance(definition, ObjectTypeDefinitionNode)
        and any(d.name.value == "key" for d in definition.directives or ())
    ]
    added = "_service: _Service!"
    union = ""
    if entities:
        union = f"union _Entity = {' | '.join(entities)}"
        added += " _entities(representations: [_Any!]!): [_Entity]!"
    has_query = any(
        getattr(d, "name", None) and d.name.value == "Query" for d in document.definitions
    )
    machinery = f"{MACHINERY} {union} {'extend ' if has_query else ''}type Query {{ {added} }}"
    definitions = (*document.definitions, *parse(machinery).definitions)
    return build_ast_schema(DocumentNode(definitions=definitions), assume_valid_sdl=True)


class _Plain(Visitor):
    """Leaves out directives, and defines what is only extended."""

    def enter_directive(self, *_: Any) -> Any:
        return REMOVE

    def enter_schema_extension(self, node: SchemaExtensionNode, *_: Any) -> Any:
        return REMOVE

    def leave_object_type_extension(self, node: ObjectTypeExtensionNode, *_: Any) -> Any:
        return ObjectTypeDefinitionNode(
            name=node.name, interfaces=node.interfaces, directives=(), fields=node.fields
        )


def _root(info: GraphQLResolveInfo[Any]) -> JSON:
    assert info.parent_type.name in ROOTS
    return {"__typename": info.parent_type.name, "n": 0}


def _with(value: Any, provided: tuple[SelectionSetNode, ...]) -> Any:
    if isinstance(value, list):
        return [_with(item, provided) for item in value]
    return value and value | {"provided": provided}


def _holds(needed: Any, representation: Any) -> bool:
    """Whether all that is needed is given, as it is."""
    if isinstance(needed, dict) and isinstance(representation, dict):
        return all(
            name in representation and _holds(value, representation[name])
            for name, value in needed.items()
        )
    if isinstance(needed, list) and isinstance(representation, list):
        return len(needed) == len(representation) and all(map(_holds, needed, representation))
    return bool(needed == representation)
