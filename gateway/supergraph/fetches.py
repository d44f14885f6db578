"""Turn visits into requests: one per subgraph and level, as text that is ready to be sent."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson
from graphql import (
    GraphQLInterfaceType,
    GraphQLNonNull,
    GraphQLObjectType,
    SelectionSetNode,
    print_ast,
)
from graphql.language import VariableDefinitionNode

from gateway.supergraph.joins import FieldSet, JoinType, Subgraph, selected_fields
from gateway.supergraph.operation import (
    TYPENAME,
    Branch,
    Field,
    Position,
    Tree,
    type_name_of,
)
from gateway.supergraph.routes import Visit

JSON: TypeAlias = dict[str, Any]
ClientPath: TypeAlias = tuple[str | int, ...]
Types: TypeAlias = frozenset[str | None] | None
"""Some types, or all; None among them takes in objects of which the type is not known."""
NOT_IDEMPOTENT = "not-idempotent"
"""The @tag of a field that must not be asked twice, though it stands in a query."""


@dataclass(frozen=True, slots=True)
class Step:
    """One field on the way from the root to the objects of a branch."""

    types: Types
    """Only objects of these types are followed; None follows all."""
    raw_key: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the gathered data the objects of a branch are."""

    branch: Branch
    steps: tuple[Step, ...]
    types: Types

    def find(self, data: JSON) -> list[JSON]:
        """The objects there, in order, lists looked through."""
        found = [data]
        for step in self.steps:
            following: list[JSON] = []
            for item in _of_types(found, step.types):
                _flatten(item.get(step.raw_key), following)
            found = following
        return list(_of_types(found, self.types))

    def find_with_paths(self, data: JSON) -> list[tuple[JSON, ClientPath]]:
        """The same objects in the same order, with their raw paths."""
        found: list[tuple[JSON, ClientPath]] = [(data, ())]
        for step in self.steps:
            following: list[tuple[JSON, ClientPath]] = []
            for item, path in found:
                if step.types is None or type_name_of(item) in step.types:
                    value = item.get(step.raw_key)
                    _flatten_with_paths(value, (*path, step.raw_key), following)
            found = following
        return [
            (item, path)
            for item, path in found
            if self.types is None or type_name_of(item) in self.types
        ]


def _of_types(items: Iterable[JSON], types: Types) -> Iterable[JSON]:
    if types is None:
        return items
    return [item for item in items if type_name_of(item) in types]


def _flatten(value: Any, into: list[JSON]) -> None:
    if isinstance(value, dict):
        into.append(value)
    elif isinstance(value, list):
        for item in value:
            _flatten(item, into)


def _flatten_with_paths(value: Any, path: ClientPath, into: list[tuple[JSON, ClientPath]]) -> None:
    if isinstance(value, dict):
        into.append((value, path))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _flatten_with_paths(item, (*path, i), into)


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a representation, and the raw key it is read from."""

    name: str
    raw_key: str
    is_required: bool
    below: Mapping[str, tuple["Part", ...]] | None
    """For an object, the parts by its type; the empty name stands for the only type."""


class MissingInput(Exception):
    """A representation can't be made, since an input is not there."""


@dataclass(frozen=True, slots=True)
class Source:
    """Objects of one branch, and how each is represented to the subgraph entered."""

    place: Place
    typename: str | None
    """None where the branch has several types: then the object says which."""
    parts: tuple[Part, ...]

    def represent(self, item: JSON) -> JSON | None:
        """What identifies an object to the subgraph; None if too little is known of it."""
        representation: JSON = {TYPENAME: self.typename or item.get(TYPENAME)}
        try:
            for part in self.parts:
                representation[part.name] = _read(part, item)
        except MissingInput:
            return None
        return representation


def _read(part: Part, item: JSON) -> Any:
    try:
        value = item[part.raw_key]
    except KeyError:
        raise MissingInput from None
    if value is None and part.is_required:
        raise MissingInput
    return value if part.below is None else _read_below(part.below, value)


def _read_below(below: Mapping[str, tuple[Part, ...]], value: Any) -> Any:
    if isinstance(value, list):
        return [_read_below(below, item) for item in value]
    if not isinstance(value, dict):
        return value
    if "" in below:
        return {part.name: _read(part, value) for part in below[""]}
    typename = value.get(TYPENAME)
    if typename is None:
        return {part.name: _read(part, value) for part in next(iter(below.values()))}
    parts = below.get(str(typename), ())
    return {TYPENAME: typename} | {part.name: _read(part, value) for part in parts}


@dataclass(frozen=True, slots=True)
class Load:
    """One `_entities` field of a request: entities of all `sources`, selected alike."""

    alias: str
    variable: str
    sources: tuple[Source, ...]


@dataclass(slots=True, eq=False)
class Request:
    """One HTTP request to a subgraph. With `place`, its data belongs to the objects there; with
    `loads`, each entity belongs to the objects it was represented from.
    """

    subgraph: str
    text: str
    variables: tuple[str, ...]
    place: Place | None
    loads: tuple[Load, ...]
    is_idempotent: bool = True
    """Whether asking again can do no harm: no mutation, and no field tagged `not-idempotent`."""
    waits_for: int = 0
    followers: list["Request"] = field(default_factory=list)
    opening: bytes = b""
    """The body up to its variables."""

    def __post_init__(self) -> None:
        self.opening = b'{"query":' + orjson.dumps(self.text) + b',"variables":'


@dataclass(slots=True)
class RequestWriter:
    """Writes the requests of one tree's visits."""

    tree: Tree
    kind: str
    name: str
    variables: Mapping[str, VariableDefinitionNode]

    def write(self, visits: Sequence[Visit]) -> tuple[Request, ...]:
        """Requests in an order in which none comes before one it waits for."""
        grouped: dict[object, list[Visit]] = {}
        for visit in sorted(visits, key=lambda visit: (visit.depth, visit.order)):
            grouped.setdefault(_group(visit), []).append(visit)
        requests = {
            group: self._request(number, members)
            for number, (group, members) in enumerate(grouped.items())
        }
        for group, members in grouped.items():
            sources = {_group(source) for visit in members for source in visit.sources}
            requests[group].waits_for = len(sources)
            for source in sources:
                requests[source].followers.append(requests[group])
        return tuple(requests.values())

    def _request(self, number: int, visits: list[Visit]) -> Request:
        if not visits[0].inputs:
            return self._plain_request(number, visits[0])
        return self._entity_request(number, visits)

    def _plain_request(self, number: int, visit: Visit) -> Request:
        """A request for root fields, at the root or at a field that returns Query."""
        fragments: dict[str, str] = {}
        writer = SelectionWriter({visit}, visit.subgraph, fragments)
        text = writer.object(visit.branch, visit.branch.types[0])
        used = _used_variables([visit])
        at_root = visit.branch.position.parent is None
        return Request(
            visit.subgraph.name,
            self._operation(
                self.kind if at_root else "query", number, visit, self._declared(used), text
            )
            + _definitions(fragments),
            used,
            place_of(visit.branch),
            (),
            is_idempotent=not (at_root and self.kind == "mutation")
            and self._is_idempotent([visit]),
        )

    def _entity_request(self, number: int, visits: list[Visit]) -> Request:
        fragments: dict[str, str] = {}
        by_selection: dict[str, list[Source]] = {}
        for members in _compatible(visits):
            branch = members[0].branch
            source = self._source(branch, members)
            writer = SelectionWriter(set(members), visits[0].subgraph, fragments)
            text = writer.entities(branch, members[0].seen_as)
            by_selection.setdefault(text, []).append(source)
        used = _used_variables(visits)
        prefix = self._free_prefix()
        loads = tuple(
            Load(f"_{n}" if n else "_entities", f"{prefix}{n}", tuple(sources))
            for n, sources in enumerate(by_selection.values())
        )
        selected = " ".join(
            f"{load.alias if load.alias == '_entities' else f'{load.alias}: _entities'}"
            f"(representations: ${load.variable}) {text}"
            for load, text in zip(loads, by_selection, strict=True)
        )
        declared = [*self._declared(used), *(f"${load.variable}: [_Any!]!" for load in loads)]
        text = self._operation("query", number, visits[0], declared, f"{{ {selected} }}")
        return Request(
            visits[0].subgraph.name,
            text + _definitions(fragments),
            used,
            None,
            loads,
            is_idempotent=self._is_idempotent(visits),
        )

    def _is_idempotent(self, visits: Iterable[Visit]) -> bool:
        supergraph = self.tree.supergraph
        return not any(
            NOT_IDEMPOTENT in supergraph.markings.tags.get(f"{name}.{wanted.name}", ())
            for visit in visits
            for wanted in visit.fields
            for type_name in wanted.branch.types
            for name in supergraph.names[type_name].all
        )

    def _operation(
        self, kind: str, number: int, visit: Visit, declared: Sequence[str], selection: str
    ) -> str:
        subgraph = "".join(c if c.isascii() and c.isalnum() else "_" for c in visit.subgraph.name)
        variables = f"({', '.join(declared)})" if declared else ""
        return f"{kind} {self.name}__{subgraph}__{number}{variables} {selection}"

    def _declared(self, used: Iterable[str]) -> list[str]:
        return [print_ast(self.variables[name]) for name in used]

    def _free_prefix(self) -> str:
        prefix = "representations"
        while any(name.startswith(prefix) for name in self.variables):
            prefix = f"_{prefix}"
        return prefix

    def _source(self, branch: Branch, visits: Sequence[Visit]) -> Source:
        """Where the entities of a branch are read from, and how."""
        keys = {id(visit.inputs[0].selections) for visit in visits}
        chosen = {fields: None for visit in visits for fields in visit.inputs}
        selections = [(fields.selections, id(fields.selections) in keys) for fields in chosen]
        return Source(
            place=place_of(branch),
            typename=visits[0].seen_as or (branch.types[0] if len(branch.types) == 1 else None),
            parts=self._parts(branch, selections),
        )

    def _parts(
        self, branch: Branch, selections: Sequence[tuple[SelectionSetNode, bool]]
    ) -> tuple[Part, ...]:
        names = branch.names
        merged: dict[str, tuple[Field, list[tuple[SelectionSetNode, bool]], bool]] = {}
        for selection_set, is_key in selections:
            for node in selected_fields(selection_set, names.all):
                name = node.name.value
                if name == TYPENAME:
                    continue
                wanted = self.tree.input(branch, node)
                required = is_key or self._is_non_null(branch.types[0], name)
                _, below, was_required = merged.get(name, (wanted, [], False))
                if node.selection_set:
                    below.append((node.selection_set, is_key))
                merged[name] = (wanted, below, required or was_required)
        return tuple(
            Part(name, wanted.raw_key, required, self._below(wanted, below))
            for name, (wanted, below, required) in merged.items()
        )

    def _below(
        self, wanted: Field, selections: Sequence[tuple[SelectionSetNode, bool]]
    ) -> Mapping[str, tuple[Part, ...]] | None:
        if wanted.child is None:
            return None
        if not wanted.child.is_abstract:
            return {"": self._parts(wanted.child.branches[0], selections)}
        return {
            name: self._parts(branch, selections)
            for branch in wanted.child.branches
            for name in branch.types
        }

    def _is_non_null(self, type_name: str, field_name: str) -> bool:
        type_ = self.tree.supergraph.whole.type_map[type_name]
        assert isinstance(type_, GraphQLObjectType | GraphQLInterfaceType)
        return isinstance(type_.fields[field_name].type, GraphQLNonNull)


def _group(visit: Visit) -> object:
    """Visits of one group share a request. Roots stay alone: there is one per subgraph."""
    if not visit.inputs:
        return visit
    return visit.subgraph.name, visit.depth


def _compatible(visits: Iterable[Visit]) -> list[list[Visit]]:
    """Visits of one branch together, unless they enter as another type, or need the same input
    with other arguments.
    """
    together: list[tuple[list[Visit], dict[str, str]]] = []
    for visit in visits:
        needed = dict(_arguments(visit.inputs))
        for members, known in together:
            is_alike = (members[0].branch, members[0].seen_as) == (visit.branch, visit.seen_as)
            if is_alike and all(
                known.get(path, arguments) == arguments for path, arguments in needed.items()
            ):
                members.append(visit)
                known.update(needed)
                break
        else:
            together.append(([visit], needed))
    return [members for members, _ in together]


def _arguments(inputs: Iterable[FieldSet]) -> Iterator[tuple[str, str]]:
    """The arguments of every field in these inputs, by the path to it."""
    waiting = [("", fields.selections) for fields in inputs]
    while waiting:
        above, selections = waiting.pop()
        for node in selected_fields(selections):
            path = f"{above}.{node.name.value}"
            yield path, ", ".join(print_ast(argument) for argument in node.arguments or ())
            if node.selection_set:
                waiting.append((path, node.selection_set))


def _used_variables(visits: Iterable[Visit]) -> tuple[str, ...]:
    names = {name for visit in visits for wanted in visit.fields for name in wanted.variables}
    return tuple(sorted(names))


def place_of(branch: Branch) -> Place:
    """Where the objects of a branch are."""
    steps: list[Step] = []
    position = branch.position
    while position.parent is not None:
        parent = position.parent
        steps.append(Step(_filter(parent.branch), parent.raw_key))
        position = parent.branch.position
    return Place(branch, tuple(reversed(steps)), _filter(branch))


def _filter(branch: Branch) -> Types:
    position = branch.position
    if branch.is_generic or len(position.branches) == 1:
        return None
    return frozenset((*branch.types, None) if branch is position.nameless_branch else branch.types)


def _definitions(fragments: Mapping[str, str]) -> str:
    return "".join(f" fragment {name} {text}" for text, name in fragments.items())


@dataclass(slots=True)
class SelectionWriter:
    """Writes what some visits select, for one request. What several types select alike is
    written once, as a fragment, or else the text would double with each level.
    """

    visits: set[Visit]
    subgraph: Subgraph
    fragments: dict[str, str]
    """Name of a fragment by its text, shared by all writers of a request."""
    _written: dict[tuple[Position, str], str] = field(default_factory=dict)

    def entities(self, branch: Branch, seen_as: str | None) -> str:
        """The selection on `_entities` for what the visits fetch of a branch."""
        if seen_as or branch.is_generic:
            guise = self.subgraph.types[seen_as or branch.types[0]]
            return f"{{ ... on {guise.name} {self._position(branch.position, guise)} }}"
        types = [name for name in branch.types if name in self.subgraph.types]
        parts = (f"... on {name} {self.object(branch, name, len(types) > 1)}" for name in types)
        return f"{{ {' '.join(parts)} }}"

    def object(self, branch: Branch, type_name: str, is_shared: bool = False) -> str:
        """`{ … }` for the fields of a branch, on one of its object types."""
        printed = self._fields(branch, self.subgraph.types[type_name], is_shared)
        return f"{{ {' '.join(printed) or TYPENAME} }}"

    def _fields(self, branch: Branch, type_: JoinType, is_shared: bool) -> Iterator[str]:
        for wanted in branch.fields.values():
            if self.visits.isdisjoint(wanted.visits):
                continue
            alias = "" if wanted.raw_key == wanted.name else f"{wanted.raw_key}: "
            printed = f"{alias}{wanted.name}{wanted.arguments}"
            if wanted.child:
                returned = self.subgraph.types[type_.fields[wanted.name].named]
                below = self._position(wanted.child, returned)
                printed += " " + (self._fragment(returned.name, below) if is_shared else below)
            yield printed

    def _fragment(self, type_name: str, selection: str) -> str:
        text = f"on {type_name} {selection}"
        name = self.fragments.setdefault(text, f"Shared{len(self.fragments)}")
        return f"{{ ...{name} }}"

    def _position(self, position: Position, type_: JoinType) -> str:
        """`{ … }` for a position, where the subgraph returns `type_`."""
        key = (position, type_.name)
        if key not in self._written:
            self._written[key] = (
                f"{{ {' '.join(self._abstract(position, type_))} }}"
                if position.is_abstract
                else self.object(position.branches[0], type_.name)
            )
        return self._written[key]

    def _abstract(self, position: Position, type_: JoinType) -> Iterable[str]:
        if type_.is_interface_object:
            return self._nameless(position, type_)
        local = [self.subgraph.types[name] for name in sorted(type_.possible)]
        if any(guise.is_interface_object for guise in local):
            return (f"... on {guise.name} {self._local(position, guise)}" for guise in local)
        generic = position.generics.get(type_.name)
        own = self._fields(generic, type_, False) if generic else ()
        return TYPENAME, *own, *self._branches(position, type_)

    def _nameless(self, position: Position, guise: JoinType) -> Iterable[str]:
        """What is asked of an interface object. Its `__typename` would be the interface's, so it
        goes by another name, and only where there is nothing else to ask.
        """
        branches = [b for b in position.all_branches() if guise.name in b.names.all]
        printed = (text for branch in branches for text in self._fields(branch, guise, False))
        return dict.fromkeys(printed) or (f"raak_typename: {TYPENAME}",)

    def _local(self, position: Position, guise: JoinType) -> str:
        """`{ … }` for objects of a type that a subgraph returns beside interface objects."""
        if guise.is_interface_object:
            return f"{{ {' '.join(self._nameless(position, guise))} }}"
        branches = [branch for branch in position.branches if guise.name in branch.types]
        fields = (text for branch in branches for text in self._fields(branch, guise, False))
        return f"{{ {' '.join((TYPENAME, *fields))} }}"

    def _branches(self, position: Position, type_: JoinType) -> Iterator[str]:
        for branch in position.branches:
            types = [name for name in branch.types if name in type_.possible]
            if self._is_alike(branch, type_, types):
                yield from self._fields(branch, type_, False)
                continue
            for name in types:
                fields = self._fields(branch, self.subgraph.types[name], len(types) > 1)
                if printed := " ".join(fields):
                    yield f"... on {name} {{ {printed} }}"

    def _is_alike(self, branch: Branch, type_: JoinType, types: list[str]) -> bool:
        """Whether the branch is all there is here, and the type itself has its fields."""
        if len(types) < len(type_.possible):
            return False
        wanted = [f.name for f in branch.fields.values() if not self.visits.isdisjoint(f.visits)]
        return all(
            name in type_.fields
            and all(
                self.subgraph.types[t].fields[name].named == type_.fields[name].named for t in types
            )
            for name in wanted
        )
