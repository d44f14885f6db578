"""What subgraphs have to agree on, once their definitions can be merged."""

from collections.abc import Iterator, Mapping

from graphql import (
    GraphQLSchema,
    InputValueDefinitionNode,
    KnownArgumentNamesRule,
    NonNullTypeNode,
    ProvidedRequiredArgumentsRule,
    SelectionSetNode,
    ValuesOfCorrectTypeRule,
    parse,
    validate,
)

from gateway.supergraph.composition.composition_context import CompositionContext, Rule, implemented
from gateway.supergraph.composition.coordinates import walk
from gateway.supergraph.composition.field_set_usage import field_set_uses, selected_on
from gateway.supergraph.composition.merge_metadata import combine_all, implies
from gateway.supergraph.composition.subgraph_schema import is_interface_object, owners
from gateway.supergraph.composition.validate_sharing import (
    every_field_is_resolved,
    external_fields_are_like_the_real_ones,
    fields_of_several_owners_are_shareable,
)
from gateway.supergraph.errors import CompositionProblem, Problems, to_sentence
from gateway.supergraph.schema_metadata import AccessRequirement
from gateway.supergraph.supergraph import Subgraph
from gateway.supergraph.syntax import ROOTS, named_type

ARGUMENT_RULES = (KnownArgumentNamesRule, ProvidedRequiredArgumentsRule, ValuesOfCorrectTypeRule)


def find_supergraph_problems(context: CompositionContext) -> Problems:
    for rule in RULES:
        yield from rule(context)


def find_requires_problems(
    join_facts: Mapping[str, Subgraph], full_schema: GraphQLSchema
) -> Problems:
    """Every @requires whose arguments don't fit the fields they are for."""
    for name, subgraph in join_facts.items():
        for use in field_set_uses(subgraph):
            if use.directive == "@requires":
                document = parse(f"fragment required on {use.on} {use.fields.text}")
                for error in validate(full_schema, document, ARGUMENT_RULES):
                    fields = use.fields.sdl
                    reason = f"@requires(fields: {fields!r}): {to_sentence(error.message)}"
                    hint = "Give the arguments that the field takes."
                    yield CompositionProblem.of([name], use.coordinate, reason, hint)


# @override and extensions


def _overridden_fields_do_not_override(context: CompositionContext) -> Problems:
    for name, subgraph in context.subgraphs.items():
        for coordinate, _, member in subgraph.members("object", "interface"):
            for use in member.directives.get("override", ()):
                origin = str(use.get("from"))
                if origin != name and _overrides(context, origin, coordinate):
                    reason = f"It overrides the field of {origin}, which has @override, too."
                    hint = "Let one of the two own the field."
                    yield CompositionProblem.of((name, origin), coordinate, reason, hint)


def _overrides(context: CompositionContext, subgraph: str, coordinate: str) -> bool:
    known = context.subgraphs.get(subgraph)
    member = known.member(coordinate) if known else None
    return member is not None and "override" in member.directives


def _extended_types_are_defined(context: CompositionContext) -> Problems:
    """In Federation 1 `extend type` names something of another subgraph; in 2 it needn't."""
    for name in context.merged:
        owned = context.definitions_of(name)
        is_root = name in ROOTS.values()
        if not is_root and all(
            context.subgraphs[owner].is_federation_1 and type_.is_extension
            for owner, type_ in owned.items()
        ):
            reason = "It is extended only, and defined nowhere."
            yield CompositionProblem.of(
                owned, name, reason, "Write `type` instead of `extend type` in one."
            )


def _composed_directives_mean_the_same(context: CompositionContext) -> Problems:
    names = {name for subgraph in context.subgraphs.values() for name in subgraph.composed}
    for name in sorted(names):
        owned = {s.name: s.composed.get(name) for s in context.subgraphs.values()}
        origins = {owner: found.origin for owner, found in owned.items() if found}
        if len(set(origins.values())) > 1:
            says = ", ".join(f"{origin} in {owner}" for owner, origin in origins.items())
            reason = f"@composeDirective keeps several @{name}: of {says}."
            yield CompositionProblem.of(
                origins, "", reason, "Import one of them under another name."
            )


# Interface objects


def _interface_objects_stand_for_an_interface(context: CompositionContext) -> Problems:
    for name in context.interfaces:
        owned = context.definitions_of(name)
        if all(is_interface_object(type_) for type_ in owned.values()):
            reason = "It is an @interfaceObject wherever it is defined."
            yield CompositionProblem.of(
                owned, name, reason, "Define the interface in another subgraph."
            )


def _interface_objects_hide_implementations(context: CompositionContext) -> Problems:
    for name, implementations in context.interfaces.items():
        for subgraph in context.subgraphs.values():
            type_ = subgraph.types.get(name)
            known = sorted(subgraph.types.keys() & set(implementations))
            if type_ and is_interface_object(type_) and known:
                reason = f"It is an @interfaceObject, but {', '.join(known)} is defined here, too."
                hint = "Define the interface and its implementations, or the object alone."
                yield CompositionProblem.of([subgraph.name], name, reason, hint)


def _entity_interfaces_know_all_implementations(context: CompositionContext) -> Problems:
    """Who finds an interface by a key must be able to say which type it is."""
    for name, implementations in context.interfaces.items():
        for subgraph in context.join_facts.values():
            type_ = subgraph.types.get(name)
            if type_ is None or type_.is_object or not any(k.resolvable for k in type_.keys):
                continue
            if missing := sorted(set(implementations) - type_.possible_types):
                reason = f"It has a @key, but {', '.join(missing)} implements it elsewhere only."
                hint = f"Define {', '.join(missing)} here as well, or drop the @key."
                yield CompositionProblem.of([subgraph.name], name, reason, hint)


# @inaccessible


def _inaccessible_inputs_are_optional(context: CompositionContext) -> Problems:
    parts = (part for name, node in context.merged.items() for part in walk(node, name))
    for coordinate, node in parts:
        if not isinstance(node, InputValueDefinitionNode):
            continue
        is_required = isinstance(node.type, NonNullTypeNode) and not node.default_value
        parent = coordinate.partition("(")[0] if "(" in coordinate else coordinate.partition(".")[0]
        is_public = not {parent, parent.partition(".")[0]} & context.inaccessible
        if is_required and is_public and coordinate in context.inaccessible:
            reason = "It is required and @inaccessible, so clients can't give it."
            hint = "Make it optional, or give it a default."
            yield CompositionProblem.of(
                owners(context.subgraphs, coordinate), coordinate, reason, hint
            )


# Access


def _fields_that_require_guarded_ones_are_guarded(context: CompositionContext) -> Problems:
    """Otherwise the field would disclose what its inputs guard."""
    for name, subgraph in context.join_facts.items():
        for type_, field in subgraph.fields():
            if field.requires is None:
                continue
            coordinate = f"{type_.name}.{field.name}"
            own = _access(context, type_.name, field.name)
            inputs = _access_of_inputs(context, type_.name, field.requires.selections)
            for guarded, requirement in inputs:
                if not implies(own, requirement):
                    reason = f"It @requires {guarded}, but not what {guarded} requires of callers."
                    hint = f"Repeat what guards {guarded}."
                    yield CompositionProblem.of([name], coordinate, reason, hint)


def _access_of_inputs(
    context: CompositionContext, on: str, selections: SelectionSetNode | None
) -> Iterator[tuple[str, AccessRequirement]]:
    for type_name, node in selected_on(selections, on) if selections else ():
        for known in context.interfaces.get(type_name, (type_name,)):
            yield f"{known}.{node.name.value}", _access(context, known, node.name.value)
        field = context.field(f"{type_name}.{node.name.value}")
        if field:
            yield from _access_of_inputs(context, named_type(field.type), node.selection_set)


def _access(context: CompositionContext, type_name: str, field_name: str) -> AccessRequirement:
    """What a field requires of callers: by itself, by the type it is on and the one it returns, and
    by the interfaces of both.
    """
    field = context.field(f"{type_name}.{field_name}")
    places = [type_name, f"{type_name}.{field_name}"]
    if known := context.objects.get(type_name):
        places += [f"{name}{of}" for name in implemented(known) for of in ("", f".{field_name}")]
    if field:
        places.append(named_type(field.type))
    return combine_all(context.metadata.requirement_of(place) for place in places)


RULES: tuple[Rule, ...] = (
    every_field_is_resolved,
    fields_of_several_owners_are_shareable,
    external_fields_are_like_the_real_ones,
    _overridden_fields_do_not_override,
    _extended_types_are_defined,
    _composed_directives_mean_the_same,
    _interface_objects_stand_for_an_interface,
    _interface_objects_hide_implementations,
    _entity_interfaces_know_all_implementations,
    _inaccessible_inputs_are_optional,
    _fields_that_require_guarded_ones_are_guarded,
)
