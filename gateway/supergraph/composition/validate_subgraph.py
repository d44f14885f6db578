"""The rules that each subgraph follows by itself, beyond what its directives' definitions say."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from graphql import (
    DefinitionNode,
    EnumTypeDefinitionNode,
    FieldDefinitionNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLError,
    InputObjectTypeDefinitionNode,
    InterfaceTypeDefinitionNode,
    ListTypeNode,
    NamedTypeNode,
    NameNode,
    NonNullTypeNode,
    ObjectTypeDefinitionNode,
    ScalarTypeDefinitionNode,
    SelectionSetNode,
    TypeNode,
    UnionTypeDefinitionNode,
    parse,
)

from gateway.supergraph.composition.api_schema import (
    OTHERWISE,
    build_schema,
    find_schema_problems,
    find_unknown_types,
)
from gateway.supergraph.composition.field_set_usage import (
    FieldSetUse,
    field_set_uses,
    selected_on,
    used_coordinates,
)
from gateway.supergraph.composition.spec_links import Arguments
from gateway.supergraph.composition.subgraph_schema import (
    Definition,
    MemberDefinition,
    SubgraphDefinition,
    TypeDefinition,
    is_interface_object,
    owners,
)
from gateway.supergraph.errors import CompositionProblem, Problems, to_sentence
from gateway.supergraph.supergraph import JoinField, Subgraph
from gateway.supergraph.syntax import copy_node, named_type


@dataclass(frozen=True, slots=True)
class SubgraphContext:
    """One subgraph: its definitions, and the join facts derived from them."""

    definition: SubgraphDefinition
    join_facts: Subgraph

    def problem(self, coordinate: str, reason: str, hint: str) -> CompositionProblem:
        """A problem of this subgraph."""
        return CompositionProblem((self.definition.name,), coordinate, reason, hint)

    def fields(self, *kinds: str) -> Iterator[tuple[str, TypeDefinition, MemberDefinition]]:
        """The fields of all types of these kinds, with their coordinates."""
        for type_ in self.definition.types.values():
            if type_.kind in kinds:
                for name, member in type_.members.items():
                    yield f"{type_.name}.{name}", type_, member

    def is_external(self, type_name: str, field_name: str) -> bool:
        """Whether the field, or its type, is marked so."""
        member = self.definition.member(f"{type_name}.{field_name}")
        type_ = self.definition.types.get(type_name)
        return bool(type_ and member and "external" in {*type_.directives, *member.directives})

    def is_external_somewhere(self, type_name: str, field_name: str) -> bool:
        """Whether an implementation of an interface, or a member of a union, has it @external."""
        known = self.join_facts.types.get(type_name)
        return known is not None and any(
            self.is_external(n, field_name) for n in known.possible_types
        )


Rule: TypeAlias = Callable[[SubgraphContext], Problems]


def find_subgraph_problems(context: SubgraphContext) -> Problems:
    """Every rule that one subgraph breaks."""
    yield from find_subgraph_schema_problems(context.definition)
    for rule in RULES:
        yield from rule(context)


# Field sets


def _field_sets_are_plain(context: SubgraphContext) -> Problems:
    """Names only: no alias, no named fragment, no directive, something at every level."""
    for use in field_set_uses(context.join_facts):
        for reason in _find_extras(use.fields.selections):
            yield _in_field_set(context, use, reason, "Write plain names of fields.")


def _find_extras(selections: SelectionSetNode) -> Iterator[str]:
    if not selections.selections:
        yield "it selects nothing."
    for selection in selections.selections:
        if getattr(selection, "directives", None):
            yield "a directive stands in it."
        if isinstance(selection, FragmentSpreadNode):
            yield f"the fragment {selection.name.value!r} stands in it."
        if isinstance(selection, FieldNode) and selection.alias:
            yield f"the alias {selection.alias.value!r} stands in it."
        if below := getattr(selection, "selection_set", None):
            yield from _find_extras(below)


def _keys_and_provided_fields_take_no_arguments(context: SubgraphContext) -> Problems:
    for use in field_set_uses(context.join_facts):
        if use.directive != "@requires":
            for type_name, node in _select_all(context, use.on, use.fields.selections):
                member = context.definition.member(f"{type_name}.{node.name.value}")
                if node.arguments or (member and member.arguments):
                    reason = f"{node.name.value!r} has arguments."
                    yield _in_field_set(context, use, reason, "Use fields without arguments.")


def _keys_hold_no_abstract_types(context: SubgraphContext) -> Problems:
    for use in field_set_uses(context.join_facts):
        if use.directive == "@key":
            for type_name, node in _select_all(context, use.on, use.fields.selections):
                returned = _find_returned_type(context, type_name, node.name.value)
                if returned and returned.kind in ("interface", "union"):
                    reason = f"{node.name.value!r} is of the {returned.kind} {returned.name!r}."
                    yield _in_field_set(context, use, reason, "Use fields of object types.")


def _required_and_provided_fields_are_external(context: SubgraphContext) -> Problems:
    if context.definition.is_federation_1:
        return
    for use in field_set_uses(context.join_facts):
        if use.directive != "@key":
            for coordinate in _find_own_fields(context, use.on, use.fields.selections, outer=False):
                reason = f"{coordinate} is resolved by this subgraph itself."
                hint = f"Mark it @external if another subgraph has it, or drop {use.directive}."
                yield _in_field_set(context, use, reason, hint)


def _find_own_fields(
    context: SubgraphContext, on: str, selections: SelectionSetNode, *, outer: bool
) -> Iterator[str]:
    """The leaves that are not external, nor in something external."""
    for type_name, node in selected_on(selections, on):
        name = node.name.value
        is_external = outer or context.is_external(type_name, name)
        returned = _find_returned_type(context, type_name, name)
        if node.selection_set and returned:
            outside = is_external or context.is_external_somewhere(type_name, name)
            yield from _find_own_fields(context, returned.name, node.selection_set, outer=outside)
        elif not is_external and name != "__typename":
            yield f"{type_name}.{name}"


def _external_fields_are_used(context: SubgraphContext) -> Problems:
    if context.definition.is_federation_1:
        return
    used = used_coordinates(context.join_facts)
    for coordinate, type_, member in context.fields("object"):
        if "external" not in member.directives or coordinate in used:
            continue
        interfaces = (context.definition.types.get(name) for name in type_.interfaces)
        if not any(i and member.node.name.value in i.members for i in interfaces):
            reason = "It is @external, but no @key, @requires, @provides or interface needs it."
            hint = "Remove the field here, or name it where it is needed."
            yield context.problem(coordinate, reason, hint)


def _in_field_set(
    context: SubgraphContext, use: FieldSetUse, reason: str, hint: str
) -> CompositionProblem:
    text = f"{use.directive}(fields: {use.fields.sdl!r}): {reason}"
    return context.problem(use.coordinate, text, hint)


def _select_all(
    context: SubgraphContext, on: str, selections: SelectionSetNode
) -> Iterator[tuple[str, FieldNode]]:
    for type_name, node in selected_on(selections, on):
        yield type_name, node
        returned = _find_returned_type(context, type_name, node.name.value)
        if node.selection_set and returned:
            yield from _select_all(context, returned.name, node.selection_set)


def _find_returned_type(
    context: SubgraphContext, type_name: str, field_name: str
) -> TypeDefinition | None:
    type_ = context.join_facts.types.get(type_name)
    found: JoinField | None = type_.fields.get(field_name) if type_ else None
    return context.definition.types.get(found.type_name) if found else None


# Types and their fields

NOT_ON_INTERFACES = ("external", "requires", "provides", "override", "shareable")


def _interface_fields_are_not_resolved(context: SubgraphContext) -> Problems:
    """Directives on how to resolve a field have no effect on an interface."""
    for coordinate, _, member in context.fields("interface"):
        for name in NOT_ON_INTERFACES:
            if name in member.directives and not context.definition.is_federation_1:
                reason = f"@{name} stands on the field of an interface."
                yield context.problem(coordinate, reason, "Write it in the implementing types.")


def _interface_keys_are_keys_of_implementations(context: SubgraphContext) -> Problems:
    for type_ in context.join_facts.types.values():
        if type_.is_object:
            continue
        for key in type_.keys:
            for name in sorted(type_.possible_types):
                found = context.join_facts.types.get(name)
                if found and key.fields not in [own.fields for own in found.keys]:
                    key_text = f"@key(fields: {key.fields.sdl!r})"
                    reason = f"The interface {type_.name} has a {key_text}, it hasn't."
                    yield context.problem(name, reason, "Give it the same @key.")


def _interface_objects_have_keys(context: SubgraphContext) -> Problems:
    for type_ in context.definition.types.values():
        if is_interface_object(type_) and "key" not in type_.directives:
            reason = "It is an @interfaceObject without a @key."
            yield context.problem(type_.name, reason, "Give it the @key of the interface.")


def _overrides_are_resolved_here(context: SubgraphContext) -> Problems:
    for coordinate, type_, member in context.fields("object"):
        if "override" in member.directives and "external" in {
            *member.directives,
            *type_.directives,
        }:
            reason = "It has @override and is @external."
            yield context.problem(coordinate, reason, "Remove one of the two.")


def _events_have_one_source(context: SubgraphContext) -> Problems:
    for coordinate, type_, member in context.fields("object"):
        if type_.name == "Subscription" and "shareable" in {*member.directives, *type_.directives}:
            reason = "A field of Subscription is @shareable."
            yield context.problem(coordinate, reason, "Let one subgraph send these events.")


# @listSize


def _list_sizes_make_sense(context: SubgraphContext) -> Problems:
    for coordinate, _, member in context.fields("object", "interface"):
        for size in member.directives.get("listSize", ()):
            for reason in _find_list_size_errors(context, member, size):
                yield context.problem(coordinate, f"@listSize: {reason}", "Mend or remove it.")


def _find_list_size_errors(
    context: SubgraphContext, member: MemberDefinition, size: Arguments
) -> Iterator[str]:
    assert isinstance(member.node, FieldDefinitionNode)
    assumed, sized = size.get("assumedSize"), size.get("sizedFields")
    if isinstance(assumed, int) and assumed < 0:
        yield f"assumedSize is {assumed!r}."
    for name in _names(size.get("slicingArguments")):
        argument = member.arguments.get(name)
        if argument is None:
            yield f"it has no argument {name!r}."
        elif _is_list(argument.node.type) or named_type(argument.node.type) != "Int":  # type: ignore[union-attr]
            yield f"the argument {name!r} is no Int."
    if sized is None:
        if not _is_list(member.node.type):
            yield "it returns no list, and no sizedFields say where one is."
        return
    returned = context.definition.types.get(named_type(member.node.type))
    for name in _names(sized):
        found = returned.members.get(name) if returned else None
        if found is None or not _is_list(found.node.type):  # type: ignore[union-attr]
            yield f"{name!r} is no list in what it returns."


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def _is_list(type_: TypeNode) -> bool:
    return isinstance(type_.type if isinstance(type_, NonNullTypeNode) else type_, ListTypeNode)


# The subgraph as a GraphQL schema of its own, whatever the others would add to it

NODES: Mapping[str, type[Any]] = {
    "object": ObjectTypeDefinitionNode,
    "interface": InterfaceTypeDefinitionNode,
    "input_object": InputObjectTypeDefinitionNode,
    "enum": EnumTypeDefinitionNode,
    "union": UnionTypeDefinitionNode,
    "scalar": ScalarTypeDefinitionNode,
}
MACHINERY = parse("type Query { _service: Boolean }").definitions
"""Every subgraph resolves Federation's own queries, so one without others has a Query, too."""


def find_subgraph_schema_problems(subgraph: SubgraphDefinition) -> Problems:
    """Types that it names and doesn't define, types without members, interfaces that aren't
    implemented, and whatever else GraphQL forbids. Directives are validated in the merged schema.
    """
    definitions = [_definition(type_) for type_ in subgraph.types.values()]
    definitions += () if "Query" in subgraph.types else MACHINERY
    owning = partial(owners, {subgraph.name: subgraph})
    unknown = list(find_unknown_types(definitions, owning))
    yield from unknown
    reported = {problem.coordinate for problem in unknown}
    try:
        found = list(find_schema_problems(build_schema(definitions), definitions, owning))
    except (GraphQLError, TypeError) as error:
        # Some errors hide others: a default where none can be, say.
        found = [CompositionProblem((subgraph.name,), "", to_sentence(error.args[0]), OTHERWISE)]
    yield from (problem for problem in found if problem.coordinate not in reported)


def _definition(type_: TypeDefinition) -> DefinitionNode:
    """The type with all its extensions, as one definition."""
    members = tuple(_without_directives(member.node) for member in type_.members.values())
    parts: dict[str, Any] = {
        "fields": members,
        "values": members,
        "interfaces": _named(type_.interfaces),
        "types": _named(type_.union),
    }
    node = NODES[type_.kind]
    taken = {key: part for key, part in parts.items() if key in node.keys}
    definition: DefinitionNode = node(name=NameNode(value=type_.name), **taken)
    return definition


def _without_directives(member: Definition) -> Definition:
    if not isinstance(member, FieldDefinitionNode):
        return copy_node(member, directives=())
    arguments = tuple(copy_node(argument, directives=()) for argument in member.arguments or ())
    return copy_node(member, directives=(), arguments=arguments)


def _named(names: Sequence[str]) -> tuple[NamedTypeNode, ...]:
    return tuple(NamedTypeNode(name=NameNode(value=name)) for name in dict.fromkeys(names))


RULES: tuple[Rule, ...] = (
    _field_sets_are_plain,
    _keys_and_provided_fields_take_no_arguments,
    _keys_hold_no_abstract_types,
    _required_and_provided_fields_are_external,
    _external_fields_are_used,
    _interface_fields_are_not_resolved,
    _interface_keys_are_keys_of_implementations,
    _interface_objects_have_keys,
    _overrides_are_resolved_here,
    _events_have_one_source,
    _list_sizes_make_sense,
)
