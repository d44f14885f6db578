"""Turn visits into requests: one per subgraph and level, as text that is ready to be sent."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson
from graphql import GraphQLNonNull, GraphQLObjectType, SelectionSetNode, print_ast
from graphql.language import VariableDefinitionNode

from gateway.supergraph.joins import JoinType, Subgraph, selected_fields
from gateway.supergraph.operation import TYPENAME, Branch, Field, Position, Tree
from gateway.supergraph.routes import Visit

JSON: TypeAlias = dict[str, Any]
ClientPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One field on the way from the root to the objects of a branch."""

    types: frozenset[str] | None
    """Only objects of these types are followed; None follows all."""
    raw_key: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the gathered data the objects of a branch are."""

    branch: Branch
    steps: tuple[Step, ...]
    types: frozenset[str] | None

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
                if step.types is None or item.get(TYPENAME) in step.types:
                    value = item.get(step.raw_key)
                    _flatten_with_paths(value, (*path, step.raw_key), following)
            found = following
        return [
            (item, path)
            for item, path in found
            if self.types is None or item.get(TYPENAME) in self.types
        ]


def _of_types(items: Iterable[JSON], types: frozenset[str] | None) -> Iterable[JSON]:
    if types is None:
        return items
    return [item for item in items if item.get(TYPENAME) in types]


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
        text = _selection(visit.branch, {visit}, visit.subgraph, visit.branch.types[0])
        used = _used_variables([visit])
        at_root = visit.branch.position.parent is None
        return Request(
            visit.subgraph.name,
            self._operation(
                self.kind if at_root else "query", number, visit, self._declared(used), text
            ),
            used,
            _place(visit.branch),
            (),
        )

    def _entity_request(self, number: int, visits: list[Visit]) -> Request:
        by_selection: dict[str, list[Source]] = {}
        by_branch: dict[Branch, set[Visit]] = {}
        for visit in visits:
            by_branch.setdefault(visit.branch, set()).add(visit)
        for branch, members in by_branch.items():
            source = self._source(branch, members)
            by_selection.setdefault(_entities(branch, members), []).append(source)
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
        return Request(visits[0].subgraph.name, text, used, None, loads)

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

    def _source(self, branch: Branch, visits: set[Visit]) -> Source:
        """Where the entities of a branch are read from, and how."""
        ordered = sorted(visits, key=lambda visit: visit.order)
        keys = {id(visit.inputs[0].selections) for visit in ordered}
        chosen = {fields: None for visit in ordered for fields in visit.inputs}
        selections = [(fields.selections, id(fields.selections) in keys) for fields in chosen]
        return Source(
            place=_place(branch),
            typename=branch.types[0] if len(branch.types) == 1 else None,
            parts=self._parts(branch, selections),
        )

    def _parts(
        self, branch: Branch, selections: Sequence[tuple[SelectionSetNode, bool]]
    ) -> tuple[Part, ...]:
        names = self.tree.supergraph.names[branch.types[0]]
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
        assert isinstance(type_, GraphQLObjectType)
        return isinstance(type_.fields[field_name].type, GraphQLNonNull)


def _group(visit: Visit) -> object:
    """Visits of one group share a request. Roots stay alone: there is one per subgraph."""
    if not visit.inputs:
        return visit
    return visit.subgraph.name, visit.depth


def _used_variables(visits: Iterable[Visit]) -> tuple[str, ...]:
    names = {name for visit in visits for wanted in visit.fields for name in wanted.variables}
    return tuple(sorted(names))


def _place(branch: Branch) -> Place:
    steps: list[Step] = []
    position = branch.position
    while position.parent is not None:
        parent = position.parent
        steps.append(Step(_filter(parent.branch), parent.raw_key))
        position = parent.branch.position
    return Place(branch, tuple(reversed(steps)), _filter(branch))


def _filter(branch: Branch) -> frozenset[str] | None:
    return frozenset(branch.types) if len(branch.position.branches) > 1 else None


def _entities(branch: Branch, visits: set[Visit]) -> str:
    """The selection on `_entities` for what `visits` fetch of a branch."""
    subgraph = next(iter(visits)).subgraph
    parts = (
        f"... on {name} {_selection(branch, visits, subgraph, name)}"
        for name in branch.types
        if name in subgraph.types
    )
    return f"{{ {' '.join(parts)} }}"


def _selection(branch: Branch, visits: set[Visit], subgraph: Subgraph, type_name: str) -> str:
    """`{ … }` for the fields of a branch, on one of its object types."""
    printed = _fields(branch, visits, subgraph, subgraph.types[type_name])
    return f"{{ {' '.join(printed) or TYPENAME} }}"


def _fields(
    branch: Branch, visits: set[Visit], subgraph: Subgraph, type_: JoinType
) -> Iterator[str]:
    for wanted in branch.fields.values():
        if visits.isdisjoint(wanted.visits):
            continue
        alias = "" if wanted.raw_key == wanted.name else f"{wanted.raw_key}: "
        printed = f"{alias}{wanted.name}{wanted.arguments}"
        if wanted.child:
            returned = subgraph.types[type_.fields[wanted.name].named]
            printed += " " + _position(wanted.child, visits, subgraph, returned)
        yield printed


def _position(position: Position, visits: set[Visit], subgraph: Subgraph, type_: JoinType) -> str:
    """`{ … }` for a position, where the subgraph returns `type_`."""
    if not position.is_abstract:
        return _selection(position.branches[0], visits, subgraph, type_.name)
    printed = [TYPENAME]
    for branch in position.branches:
        for name in branch.types:
            fields = (
                " ".join(_fields(branch, visits, subgraph, subgraph.types[name]))
                if name in type_.possible
                else ""
            )
            if fields:
                printed.append(fields if type_.is_object else f"... on {name} {{ {fields} }}")
    return f"{{ {' '.join(printed)} }}"
