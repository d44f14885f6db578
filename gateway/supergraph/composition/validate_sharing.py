"""Which subgraphs resolve a field: one, or several that share it; and which only repeat it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from graphql import FieldDefinitionNode, print_ast
from graphql.pyutils import did_you_mean, suggestion_list

from gateway.supergraph.composition.composition_context import CompositionContext
from gateway.supergraph.composition.subgraph_schema import MemberDefinition
from gateway.supergraph.errors import CompositionProblem, Problems
from gateway.supergraph.supergraph import JoinField
from gateway.supergraph.syntax import ROOTS, named_type


@dataclass(frozen=True, slots=True)
class FieldOwner:
    """A subgraph that has a field of an object, under this name of its type."""

    subgraph: str
    type_name: str
    join_field: JoinField
    member: MemberDefinition
    directives: frozenset[str]
    """The directives of the field and of its type."""

    @property
    def resolves(self) -> bool:
        """Whether it resolves the field, and keeps doing so whatever labels are active."""
        moves = self.join_field.label is not None and not self.join_field.label.active
        return not (self.join_field.overridden or moves or "external" in self.directives)


def every_field_is_resolved(context: CompositionContext) -> Problems:
    """Some subgraph resolves it: not all of them only repeat it."""
    for coordinate, owners in _fields_with_owners(context):
        nobody = all(owner.join_field.external or owner.join_field.overridden for owner in owners)
        if nobody and coordinate not in context.interface_fields:
            reason = "It is @external wherever it is defined, so nothing resolves it."
            hint = "Remove @external in the one that owns it."
            yield CompositionProblem.of(
                (owner.subgraph for owner in owners), coordinate, reason, hint
            )


def fields_of_several_owners_are_shareable(context: CompositionContext) -> Problems:
    """All that resolve it mark it so. An interface object's field is one of each implementation."""
    for coordinate, owners in _fields_with_owners(context):
        added = [*owners, *_interface_object_owners(context, coordinate)]
        resolvers = [owner for owner in added if owner.resolves]
        unshared = [owner for owner in resolvers if not _is_shareable(context, owner)]
        if len(resolvers) > 1 and unshared:
            reason = f"It is resolved by {len(resolvers)} subgraphs, but not @shareable in all."
            hint = f"Mark it @shareable in {_join_names(unshared)}, or let one of them own it."
            yield CompositionProblem.of(
                (owner.subgraph for owner in resolvers),
                coordinate,
                f"{reason}{_describe_missing_origins(context, resolvers)}",
                f"{hint}{_suggest_key(context, unshared)}",
            )


def _describe_missing_origins(context: CompositionContext, owners: Sequence[FieldOwner]) -> str:
    """Every @override that takes nothing over, for it names a subgraph that isn't there."""
    text = ""
    for owner in owners:
        for use in owner.member.directives.get("override", ()):
            origin, known = str(use.get("from")), sorted(context.subgraphs)
            if origin not in known:
                text += f" @override in {owner.subgraph} names {origin!r}, which isn't there."
                text += did_you_mean(suggestion_list(origin, known))
    return text


def _suggest_key(context: CompositionContext, owners: Sequence[FieldOwner]) -> str:
    """A field that two subgraphs have is often a key that one of them doesn't declare."""
    type_name, name = owners[0].type_name, owners[0].join_field.name
    types = [(o, context.join_facts[o.subgraph].types[o.type_name]) for o in owners]
    keyless = [owner for owner, type_ in types if not type_.keys]
    if type_name in ROOTS.values() or not keyless:
        return ""
    key = f'@key(fields: "{name}")'
    return f" If {type_name} is found by it, write {key} on the type in {_join_names(keyless)}."


def _join_names(owners: Iterable[FieldOwner]) -> str:
    return ", ".join(owner.subgraph for owner in owners)


def _fields_with_owners(context: CompositionContext) -> Iterator[tuple[str, list[FieldOwner]]]:
    owned: dict[str, list[FieldOwner]] = {}
    for name, subgraph in context.join_facts.items():
        for type_, field in subgraph.fields():
            if type_.is_object:
                owner = _find_owner(context, name, type_.name, field)
                owned.setdefault(f"{type_.name}.{field.name}", []).append(owner)
    yield from owned.items()


def _find_owner(
    context: CompositionContext, subgraph: str, type_name: str, join_field: JoinField
) -> FieldOwner:
    type_ = context.subgraphs[subgraph].types[type_name]
    member = type_.members[join_field.name]
    directives = frozenset((*type_.directives, *member.directives))
    return FieldOwner(subgraph, type_name, join_field, member, directives)


def _interface_object_owners(context: CompositionContext, coordinate: str) -> Iterator[FieldOwner]:
    type_name, _, field_name = coordinate.partition(".")
    for interface, implementations in context.interfaces.items():
        if type_name in implementations:
            for name, subgraph in context.join_facts.items():
                known = subgraph.types.get(interface)
                join_field = known.fields.get(field_name) if known else None
                if known and known.is_interface_object and join_field:
                    yield _find_owner(context, name, interface, join_field)


def _is_shareable(context: CompositionContext, owner: FieldOwner) -> bool:
    """Whether others may resolve the field, too: marked so, or part of a key, which must have the
    same value everywhere.
    """
    return (
        context.subgraphs[owner.subgraph].is_federation_1
        or "shareable" in owner.directives
        or f"{owner.type_name}.{owner.join_field.name}" in context.keys[owner.subgraph]
    )


# @external


def external_fields_are_like_the_real_ones(context: CompositionContext) -> Problems:
    """What a subgraph repeats has the type and the arguments that its owner gave it."""
    for coordinate, owners in _fields_with_owners(context):
        real = context.field(coordinate)
        nobody = all(owner.join_field.external for owner in owners)
        if real is None or (nobody and coordinate not in context.interface_fields):
            continue
        for owner in owners:
            if owner.join_field.external:
                for reason in _describe_differences(context, owner, real):
                    hint = "Repeat the field as the subgraph that owns it defines it."
                    yield CompositionProblem.of([owner.subgraph], coordinate, reason, hint)


def _describe_differences(
    context: CompositionContext, owner: FieldOwner, real: FieldDefinitionNode
) -> Iterator[str]:
    own, wanted = print_ast(owner.join_field.type), print_ast(real.type)
    if own != wanted and not _is_narrower(context, owner.join_field, real):
        yield f"It is {own} here, but really {wanted}."
    written = owner.member.arguments
    for argument in real.arguments or ():
        name, type_ = argument.name.value, print_ast(argument.type)
        if name not in written:
            yield f"Its argument {name!r} is missing here."
        elif print_ast(written[name].node.type) not in (type_, type_.removesuffix("!")):  # type: ignore[union-attr]
            yield f"Its argument {name!r} is really {type_}."


def _is_narrower(
    context: CompositionContext, join_field: JoinField, real: FieldDefinitionNode
) -> bool:
    """Whether the merged type is abstract, and this is one of its members."""
    wanted = named_type(real.type)
    alike = print_ast(join_field.type).replace(join_field.type_name, wanted) == print_ast(real.type)
    possible_types = (subgraph.types.get(wanted) for subgraph in context.join_facts.values())
    return alike and any(
        type_ and join_field.type_name in type_.possible_types for type_ in possible_types
    )
