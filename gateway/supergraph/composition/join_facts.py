"""Derive the join facts from the subgraphs' directives, and refuse what contradicts itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from graphql import FieldDefinitionNode, FieldNode, GraphQLSyntaxError, SelectionSetNode
from graphql.language import InlineFragmentNode
from graphql.pyutils import did_you_mean, suggestion_list

from gateway.supergraph.composition.spec_links import Arguments
from gateway.supergraph.composition.subgraph_schema import (
    MemberDefinition,
    SubgraphDefinition,
    TypeDefinition,
    is_interface_object,
)
from gateway.supergraph.errors import CompositionProblem, to_sentence
from gateway.supergraph.field_sets import FieldSet
from gateway.supergraph.override_labels import LABEL, OverrideLabel
from gateway.supergraph.supergraph import JoinField, JoinType, Key, Subgraph
from gateway.supergraph.syntax import named_type

COMPOSITES = {"object", "interface", "union"}


@dataclass(slots=True)
class JoinFactsBuilder:
    """Turns definitions into join facts; what is wrong is gathered in `problems`."""

    subgraphs: Mapping[str, SubgraphDefinition]
    problems: list[CompositionProblem] = field(default_factory=list)
    _overridden: dict[tuple[str, str], str] = field(default_factory=dict)
    """(subgraph, coordinate) → the subgraph that took the field over."""
    _labels: dict[tuple[str, str], OverrideLabel] = field(default_factory=dict)
    """(subgraph, coordinate) → while what it resolves the field; on both sides of an @override."""

    def join(self) -> dict[str, Subgraph]:
        """The join facts of every subgraph; look at `problems` before using them."""
        for subgraph in self.subgraphs.values():
            self._note_overrides(subgraph)
        return {name: self._join(subgraph) for name, subgraph in self.subgraphs.items()}

    def _note_overrides(self, subgraph: SubgraphDefinition) -> None:
        for coordinate, _, member in subgraph.members("object", "interface"):
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
                elif self._has(origin, coordinate):
                    self._labels[subgraph.name, coordinate] = OverrideLabel(str(label), active=True)
                    self._labels[origin, coordinate] = OverrideLabel(str(label), active=False)

    def _has(self, subgraph: str, coordinate: str) -> bool:
        """Whether there is a field to take over; without one an @override says nothing."""
        known = self.subgraphs.get(subgraph)
        return known is not None and known.member(coordinate) is not None

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
            possible_types=frozenset(_possible(subgraph, type_)),
            is_object=type_.kind == "object",
            is_interface_object=is_interface_object(type_),
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
            reason = (
                f"The fields of {directive}, {text!r}, can't be read: {to_sentence(error.message)}"
            )
            self._refuse(subgraph, coordinate, reason, "Write them as a GraphQL selection.")
            return None
        wrong = list(_unknown(subgraph, on, fields.selections))
        for reason in wrong:
            reason = f"{directive}(fields: {text!r}): {reason}"
            self._refuse(subgraph, coordinate, reason, "Name fields this subgraph defines.")
        return None if wrong else fields

    def _refuse(
        self, subgraph: SubgraphDefinition, coordinate: str, reason: str, hint: str
    ) -> None:
        self.problems.append(CompositionProblem((subgraph.name,), coordinate, reason, hint))


def _possible(subgraph: SubgraphDefinition, type_: TypeDefinition) -> Iterator[str]:
    if type_.kind == "object":
        yield type_.name
    elif type_.kind == "union":
        yield from type_.union
    else:
        for other in subgraph.types.values():
            if other.kind == "object" and type_.name in other.interfaces:
                yield other.name


def _never_both(subgraph: SubgraphDefinition, one: TypeDefinition, other: TypeDefinition) -> bool:
    return set(_possible(subgraph, one)).isdisjoint(_possible(subgraph, other))


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
            elif narrowed is not on and _never_both(subgraph, narrowed, on):
                yield f"no {on.name} is ever a {name}."
            else:
                yield from _unknown(subgraph, narrowed, selection.selection_set)
        elif isinstance(selection, FieldNode) and selection.name.value != "__typename":
            yield from _unknown_field(subgraph, on, selection)


def _unknown_field(
    subgraph: SubgraphDefinition, on: TypeDefinition, selection: FieldNode
) -> Iterator[str]:
    member = on.members.get(selection.name.value)
    if member is None or not isinstance(member.node, FieldDefinitionNode):
        suggestion = did_you_mean(suggestion_list(selection.name.value, on.members))
        yield f"{on.name} has no field {selection.name.value!r}.{suggestion}"
        return
    returned = subgraph.types.get(named_type(member.node.type))
    is_composite = returned is not None and returned.kind in COMPOSITES
    if is_composite != bool(selection.selection_set):
        needs = "needs" if is_composite else "can't have"
        yield f"{selection.name.value!r} {needs} a selection of its own."
    elif returned and selection.selection_set:
        yield from _unknown(subgraph, returned, selection.selection_set)
