"""The rules that each subgraph follows by itself, beyond what its directives' definitions say."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeAlias

from graphql import (
    DefinitionNode,
    FieldDefinitionNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLError,
    ListTypeNode,
    NameNode,
    NonNullTypeNode,
    SelectionSetNode,
    TypeNode,
    parse,
)

from gateway.supergraph.composition.api_schema import (
    OTHERWISE,
    build_schema,
    find_schema_problems,
    find_unknown_types,
)
from gateway.supergraph.composition.coordinates import rewrite
from gateway.supergraph.composition.field_set_usage import (
    FieldSetUse,
    field_set_uses,
    select_all,
    selected_on,
    used_coordinates,
)
from gateway.supergraph.composition.spec_links import Arguments
from gateway.supergraph.composition.subgraph_schema import (
    NODES,
    MemberDefinition,
    SubgraphDefinition,
    TypeDefinition,
    is_interface_object,
    named_nodes,
    owners,
)
from gateway.supergraph.errors import CompositionProblem, Problems, to_sentence
from gateway.supergraph.supergraph import JoinField, Subgraph
from gateway.supergraph.syntax import named_type


@dataclass(frozen=True)
class SubgraphContext:
    """One subgraph: its definitions, and the join facts derived from them."""

    definition: SubgraphDefinition
    join_facts: Subgraph

    def problem(self, coordinate: str, reason: str, hint: str) -> CompositionProblem:
        return CompositionProblem((self.definition.name,), coordinate, reason, hint)

    @cached_property
    def used(self) -> frozenset[str]:
        return used_coordinates(self.join_facts)

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
    yield from find_subgraph_schema_problems(context.definition)
    for rule in RULES:
        yield from rule(context)


def _for_field_sets(
    directives: tuple[str, ...],
    find_reasons: Callable[[SubgraphContext, FieldSetUse], Iterator[str]],
    hint: str,
) -> Rule:
    """A rule on the field sets of these directives; `hint` may name the directive."""

    def rule(context: SubgraphContext) -> Problems:
        for use in field_set_uses(context.join_facts):
            if use.directive in directives:
                for reason in find_reasons(context, use):
                    text = f"{use.directive}(fields: {use.fields.sdl!r}): {reason}"
                    yield context.problem(use.coordinate, text, hint.format(use.directive))

    return rule


def _for_fields(
    kinds: tuple[str, ...],
    find_reasons: Callable[[SubgraphContext, TypeDefinition, MemberDefinition], Iterator[str]],
    hint: str,
) -> Rule:

    def rule(context: SubgraphContext) -> Problems:
        for coordinate, type_, member in context.definition.members(*kinds):
            for reason in find_reasons(context, type_, member):
                yield context.problem(coordinate, reason, hint)

    return rule


# Field sets


def _find_extras(_: SubgraphContext, use: FieldSetUse) -> Iterator[str]:
    """Names only: no alias, no named fragment, no directive, something at every level."""
    waiting = [use.fields.selections]
    while waiting:
        selections = waiting.pop(0).selections
        if not selections:
            yield "it selects nothing."
        for selection in selections:
            if getattr(selection, "directives", None):
                yield "a directive stands in it."
            if isinstance(selection, FragmentSpreadNode):
                yield f"the fragment {selection.name.value!r} stands in it."
            if isinstance(selection, FieldNode) and selection.alias:
                yield f"the alias {selection.alias.value!r} stands in it."
            if below := getattr(selection, "selection_set", None):
                waiting.append(below)


def _find_arguments(context: SubgraphContext, use: FieldSetUse) -> Iterator[str]:
    for type_name, node in select_all(context.join_facts, use.on, use.fields.selections):
        member = context.definition.member(f"{type_name}.{node.name.value}")
        if node.arguments or (member and member.arguments):
            yield f"{node.name.value!r} has arguments."


def _find_abstract_types(context: SubgraphContext, use: FieldSetUse) -> Iterator[str]:
    for type_name, node in select_all(context.join_facts, use.on, use.fields.selections):
        returned = _find_returned_type(context, type_name, node.name.value)
        if returned and returned.kind in ("interface", "union"):
            yield f"{node.name.value!r} is of the {returned.kind} {returned.name!r}."


def _find_own_fields(context: SubgraphContext, use: FieldSetUse) -> Iterator[str]:
    if not context.definition.is_federation_1:
        for coordinate in _find_own(context, use.on, use.fields.selections, outer=False):
            yield f"{coordinate} is resolved by this subgraph itself."


def _find_own(
    context: SubgraphContext, on: str, selections: SelectionSetNode, *, outer: bool
) -> Iterator[str]:
    """The leaves that are not external, nor in something external."""
    for type_name, node in selected_on(selections, on):
        name = node.name.value
        is_external = outer or context.is_external(type_name, name)
        returned = _find_returned_type(context, type_name, name)
        if node.selection_set and returned:
            outside = is_external or context.is_external_somewhere(type_name, name)
            yield from _find_own(context, returned.name, node.selection_set, outer=outside)
        elif not is_external and name != "__typename":
            yield f"{type_name}.{name}"


def _find_returned_type(
    context: SubgraphContext, type_name: str, field_name: str
) -> TypeDefinition | None:
    type_ = context.join_facts.types.get(type_name)
    found: JoinField | None = type_.fields.get(field_name) if type_ else None
    return context.definition.types.get(found.type_name) if found else None


# Types and their fields

NOT_ON_INTERFACES = ("external", "requires", "provides", "override", "shareable")
"""They say how a field is resolved, and have no effect on an interface."""


def _find_unused_external(
    context: SubgraphContext, type_: TypeDefinition, member: MemberDefinition
) -> Iterator[str]:
    name = member.node.name.value
    interfaces = (context.definition.types.get(interface) for interface in type_.interfaces)
    if (
        "external" in member.directives
        and not context.definition.is_federation_1
        and f"{type_.name}.{name}" not in context.used
        and not any(interface and name in interface.members for interface in interfaces)
    ):
        yield "It is @external, but no @key, @requires, @provides or interface needs it."


def _find_resolver_directives(
    context: SubgraphContext, _: TypeDefinition, member: MemberDefinition
) -> Iterator[str]:
    for name in NOT_ON_INTERFACES:
        if name in member.directives and not context.definition.is_federation_1:
            yield f"@{name} stands on the field of an interface."


def _find_external_override(
    _: SubgraphContext, type_: TypeDefinition, member: MemberDefinition
) -> Iterator[str]:
    if "override" in member.directives and "external" in {*member.directives, *type_.directives}:
        yield "It has @override and is @external."


def _find_shared_subscription(
    _: SubgraphContext, type_: TypeDefinition, member: MemberDefinition
) -> Iterator[str]:
    if type_.name == "Subscription" and "shareable" in {*member.directives, *type_.directives}:
        yield "A field of Subscription is @shareable."


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


# @listSize


def _find_list_size_errors(
    context: SubgraphContext, _: TypeDefinition, member: MemberDefinition
) -> Iterator[str]:
    for size in member.directives.get("listSize", ()):
        for reason in _check_list_size(context, member, size):
            yield f"@listSize: {reason}"


def _check_list_size(
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
    members = tuple(
        rewrite(member.node, "", lambda *_: {"directives": ()}) for member in type_.members.values()
    )
    parts: dict[str, Any] = {
        "fields": members,
        "values": members,
        "interfaces": named_nodes(type_.interfaces),
        "types": named_nodes(type_.union),
    }
    node = NODES[type_.kind]
    taken = {key: part for key, part in parts.items() if key in node.keys}
    definition: DefinitionNode = node(name=NameNode(value=type_.name), **taken)
    return definition


RULES: tuple[Rule, ...] = (
    _for_field_sets(
        ("@key", "@requires", "@provides"), _find_extras, "Write plain names of fields."
    ),
    _for_field_sets(("@key", "@provides"), _find_arguments, "Use fields without arguments."),
    _for_field_sets(("@key",), _find_abstract_types, "Use fields of object types."),
    _for_field_sets(
        ("@requires", "@provides"),
        _find_own_fields,
        "Mark it @external if another subgraph has it, or drop {}.",
    ),
    _for_fields(
        ("object",), _find_unused_external, "Remove the field here, or name it where it is needed."
    ),
    _for_fields(("interface",), _find_resolver_directives, "Write it in the implementing types."),
    _interface_keys_are_keys_of_implementations,
    _interface_objects_have_keys,
    _for_fields(("object",), _find_external_override, "Remove one of the two."),
    _for_fields(("object",), _find_shared_subscription, "Let one subgraph send these events."),
    _for_fields(("object", "interface"), _find_list_size_errors, "Mend or remove it."),
)
