"""Derive the join facts from the subgraphs' directives, and refuse what contradicts itself."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from graphql import (
    FieldDefinitionNode,
    FieldNode,
    GraphQLSyntaxError,
    SelectionSetNode,
)
from graphql.language import InlineFragmentNode

from gateway.supergraph.errors import Problem
from gateway.supergraph.joins import (
    FieldSet,
    JoinField,
    JoinType,
    Key,
    Label,
    Subgraph,
    named_type,
    selected_fields,
)
from gateway.supergraph.links import Arguments
from gateway.supergraph.reading import MemberDefinition, SubgraphDefinition, TypeDefinition

LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_\-:./]*|percent\((100(\.0+)?|[0-9]{1,2}(\.[0-9]{1,8})?)\)")
COMPOSITES = {"object", "interface", "union"}


@dataclass(slots=True)
class Joiner:
    """Turns definitions into join facts; what is wrong is gathered in `problems`."""

    subgraphs: Mapping[str, SubgraphDefinition]
    problems: list[Problem] = field(default_factory=list)
    _overridden: dict[tuple[str, str], str] = field(default_factory=dict)
    """(subgraph, coordinate) → the subgraph that took the field over."""
    _labels: dict[tuple[str, str], Label] = field(default_factory=dict)
    """(subgraph, coordinate) → while what it resolves the field; on both sides of an @override."""

    def join(self) -> dict[str, Subgraph]:
        """The join facts of every subgraph; look at `problems` before using them."""
        for subgraph in self.subgraphs.values():
            self._note_overrides(subgraph)
        joined = {name: self._join(subgraph) for name, subgraph in self.subgraphs.items()}
        self._check_sharing(joined)
        return joined

    def _note_overrides(self, subgraph: SubgraphDefinition) -> None:
        for coordinate, member in _fields(subgraph):
            for override in member.directives.get("override", ()):
                origin, label = str(override.get("from")), override.get("label")
                if origin == subgraph.name:
                    reason = "It overrides itself."
                    self._refuse(subgraph, coordinate, reason, "Name another subgraph in `from`.")
                elif label is None:
                    self._overridden[origin, coordinate] = subgraph.name
                elif not LABEL.fullmatch(str(label)):
                    reason = f"The label {label!r} of its @override is none."
                    hint = "Use `percent(x)` with x from 0 to 100, or a name like `new-prices`."
                    self._refuse(subgraph, coordinate, reason, hint)
                else:
                    self._labels[subgraph.name, coordinate] = Label(str(label), active=True)
                    self._labels[origin, coordinate] = Label(str(label), active=False)

    def _join(self, subgraph: SubgraphDefinition) -> Subgraph:
        types = {
            name: self._join_type(subgraph, type_)
            for name, type_ in subgraph.types.items()
            if type_.kind in COMPOSITES
        }
        return Subgraph(subgraph.name, types)

    def _join_type(self, subgraph: SubgraphDefinition, type_: TypeDefinition) -> JoinType:
        keys = tuple(self._read_keys(subgraph, type_))
        in_keys = {name for key in keys for name in key.fields.names()}
        return JoinType(
            name=type_.name,
            fields={
                name: self._join_field(subgraph, type_.name, name, member, name in in_keys)
                for name, member in type_.members.items()
            },
            keys=keys,
            possible=frozenset(_possible(subgraph, type_)),
            is_object=type_.kind == "object",
            is_interface_object="interfaceObject" in type_.directives,
        )

    def _read_keys(self, subgraph: SubgraphDefinition, type_: TypeDefinition) -> Iterator[Key]:
        for arguments in type_.directives.get("key", ()):
            fields = self._read_fields(subgraph, type_, type_.name, "@key", arguments)
            if fields:
                yield Key(fields, arguments.get("resolvable") is not False)

    def _join_field(
        self,
        subgraph: SubgraphDefinition,
        type_name: str,
        name: str,
        member: MemberDefinition,
        is_key: bool,
    ) -> JoinField:
        assert isinstance(member.node, FieldDefinitionNode)
        coordinate = f"{type_name}.{name}"
        returned = subgraph.types.get(named_type(member.node.type))
        type_ = subgraph.types[type_name]
        marked = {*member.directives, *type_.directives}
        has_key_anyway = is_key and (type_.is_extension or subgraph.is_federation_1)
        return JoinField(
            name=name,
            type=member.node.type,
            external="external" in marked and not has_key_anyway,
            overridden=(subgraph.name, coordinate) in self._overridden,
            requires=self._selection(subgraph, type_, coordinate, "requires", member),
            provides=self._selection(subgraph, returned, coordinate, "provides", member),
            label=self._labels.get((subgraph.name, coordinate)),
        )

    def _selection(
        self,
        subgraph: SubgraphDefinition,
        on: TypeDefinition | None,
        coordinate: str,
        directive: str,
        member: MemberDefinition,
    ) -> FieldSet | None:
        uses = member.directives.get(directive)
        if not uses:
            return None
        if on is None or on.kind not in COMPOSITES:
            reason = f"@{directive} stands on a field that returns no object."
            self._refuse(subgraph, coordinate, reason, "Remove it.")
            return None
        return self._read_fields(subgraph, on, coordinate, f"@{directive}", uses[0])

    def _read_fields(
        self,
        subgraph: SubgraphDefinition,
        on: TypeDefinition,
        coordinate: str,
        directive: str,
        arguments: Arguments,
    ) -> FieldSet | None:
        text = str(arguments.get("fields", ""))
        try:
            fields = FieldSet.parse(text)
        except GraphQLSyntaxError as error:
            reason = f"The fields of {directive}, {text!r}, can't be read: {error.message}."
            self._refuse(subgraph, coordinate, reason, "Write them as a GraphQL selection.")
            return None
        wrong = list(_unknown(subgraph, on, fields.selections))
        for reason in wrong:
            reason = f"{directive}(fields: {text!r}): {reason}"
            self._refuse(subgraph, coordinate, reason, "Name fields this subgraph defines.")
        return None if wrong else fields

    def _check_sharing(self, joined: Mapping[str, Subgraph]) -> None:
        owners: dict[str, list[str]] = {}
        for name, subgraph in self.subgraphs.items():
            for coordinate, _ in _fields(subgraph):
                owners.setdefault(coordinate, []).append(name)
        for coordinate, names in owners.items():
            self._check_field_sharing(coordinate, names, joined)

    def _check_field_sharing(
        self, coordinate: str, owners: Iterable[str], joined: Mapping[str, Subgraph]
    ) -> None:
        type_name, _, name = coordinate.partition(".")
        if not joined[next(iter(owners))].types[type_name].is_object:
            return
        facts = {owner: joined[owner].types[type_name].fields[name] for owner in owners}
        resolvers = [o for o, fact in facts.items() if not (fact.external or fact.overridden)]
        if not resolvers:
            reason = "It is @external wherever it is defined, so nothing resolves it."
            self._problem(facts, coordinate, reason, "Remove @external in the one that owns it.")
        resolvers = [
            o
            for o in resolvers
            if "external" not in self._marks(o, type_name, name) and not _leaves(facts[o])
        ]
        unshared = [o for o in resolvers if not self._shares(joined[o], type_name, name)]
        if len(resolvers) > 1 and unshared:
            reason = f"It is resolved by {len(resolvers)} subgraphs, but not @shareable in all."
            hint = f"Mark it @shareable in {', '.join(unshared)}, or let one of them own it."
            self._problem(resolvers, coordinate, reason, hint)

    def _shares(self, joined: Subgraph, type_name: str, name: str) -> bool:
        """Whether others may resolve the field, too: marked so, or part of a key, which must
        have the same value everywhere.
        """
        return (
            self.subgraphs[joined.name].is_federation_1
            or "shareable" in self._marks(joined.name, type_name, name)
            or f"{type_name}.{name}" in _key_coordinates(joined)
        )

    def _marks(self, owner: str, type_name: str, name: str) -> set[str]:
        """The directives of a field and of its type."""
        type_ = self.subgraphs[owner].types[type_name]
        return {*type_.directives, *type_.members[name].directives}

    def _refuse(
        self, subgraph: SubgraphDefinition, coordinate: str, reason: str, hint: str
    ) -> None:
        self._problem([subgraph.name], coordinate, reason, hint)

    def _problem(self, owners: Iterable[str], coordinate: str, reason: str, hint: str) -> None:
        self.problems.append(Problem(tuple(owners), coordinate, reason, hint))


def _leaves(found: JoinField) -> bool:
    """Whether a progressive @override is taking the field away from its subgraph."""
    return found.label is not None and not found.label.active


def _fields(subgraph: SubgraphDefinition) -> Iterator[tuple[str, MemberDefinition]]:
    for type_ in subgraph.types.values():
        if type_.kind in {"object", "interface"}:
            for name, member in type_.members.items():
                yield f"{type_.name}.{name}", member


def _key_coordinates(subgraph: Subgraph) -> set[str]:
    """The fields that keys are made of, nested ones included."""
    coordinates: set[str] = set()
    for type_ in subgraph.types.values():
        for key in type_.keys:
            _add_coordinates(subgraph, type_.name, key.fields.selections, coordinates)
    return coordinates


def _add_coordinates(
    subgraph: Subgraph, type_name: str, selections: SelectionSetNode, coordinates: set[str]
) -> None:
    for node in selected_fields(selections):
        found = subgraph.types[type_name].fields.get(node.name.value)
        if found:
            coordinates.add(f"{type_name}.{found.name}")
            if node.selection_set:
                _add_coordinates(subgraph, found.named, node.selection_set, coordinates)


def _possible(subgraph: SubgraphDefinition, type_: TypeDefinition) -> Iterator[str]:
    if type_.kind == "object":
        yield type_.name
    elif type_.kind == "union":
        yield from type_.union
    else:
        for other in subgraph.types.values():
            if other.kind == "object" and type_.name in other.interfaces:
                yield other.name


def _unknown(
    subgraph: SubgraphDefinition, on: TypeDefinition, selections: SelectionSetNode
) -> Iterator[str]:
    """Why a field set can't be selected on a type as this subgraph has it."""
    for selection in selections.selections:
        if isinstance(selection, InlineFragmentNode):
            name = selection.type_condition.name.value if selection.type_condition else on.name
            narrowed = subgraph.types.get(name)
            if narrowed is None:
                yield f"there is no type {name!r}."
            else:
                yield from _unknown(subgraph, narrowed, selection.selection_set)
        elif isinstance(selection, FieldNode) and selection.name.value != "__typename":
            yield from _unknown_field(subgraph, on, selection)


def _unknown_field(
    subgraph: SubgraphDefinition, on: TypeDefinition, selection: FieldNode
) -> Iterator[str]:
    member = on.members.get(selection.name.value)
    if member is None or not isinstance(member.node, FieldDefinitionNode):
        yield f"{on.name} has no field {selection.name.value!r}."
        return
    returned = subgraph.types.get(named_type(member.node.type))
    is_composite = returned is not None and returned.kind in COMPOSITES
    if is_composite != bool(selection.selection_set):
        needs = "needs" if is_composite else "can't have"
        yield f"{selection.name.value!r} {needs} a selection of its own."
    elif returned and selection.selection_set:
        yield from _unknown(subgraph, returned, selection.selection_set)
