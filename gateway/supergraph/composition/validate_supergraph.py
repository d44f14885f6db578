"""What subgraphs have to agree on, beyond that their definitions can be merged."""

from collections.abc import Iterator, Mapping

from graphql import (
    GraphQLSchema,
    InputObjectTypeDefinitionNode,
    InputValueDefinitionNode,
    InterfaceTypeDefinitionNode,
    KnownArgumentNamesRule,
    NonNullTypeNode,
    ObjectTypeDefinitionNode,
    ProvidedRequiredArgumentsRule,
    SelectionSetNode,
    ValuesOfCorrectTypeRule,
    parse,
    validate,
)

from gateway.supergraph.composition.composition_context import Rule, Together, implemented, problem
from gateway.supergraph.composition.field_set_usage import selected_on, written_in
from gateway.supergraph.composition.merge_metadata import all_of, implies
from gateway.supergraph.composition.subgraph_schema import is_interface_object, owners
from gateway.supergraph.composition.validate_sharing import (
    every_field_is_resolved,
    external_fields_are_like_the_real_ones,
    fields_of_several_owners_are_shareable,
)
from gateway.supergraph.errors import Problem, sentence
from gateway.supergraph.schema_metadata import Requirement
from gateway.supergraph.supergraph import Subgraph
from gateway.supergraph.syntax import ROOTS, named_type

ARGUMENT_RULES = (KnownArgumentNamesRule, ProvidedRequiredArgumentsRule, ValuesOfCorrectTypeRule)


def disagreements(together: Together) -> Iterator[Problem]:
    """Everything the subgraphs don't agree on."""
    for rule in RULES:
        yield from rule(together)


def unfit_requirements(joined: Mapping[str, Subgraph], whole: GraphQLSchema) -> Iterator[Problem]:
    """The @requires whose arguments don't fit the fields they are for."""
    for name, subgraph in joined.items():
        for written in written_in(subgraph):
            if written.directive == "@requires":
                document = parse(f"fragment required on {written.on} {written.fields.text}")
                for error in validate(whole, document, ARGUMENT_RULES):
                    fields = written.fields.written
                    reason = f"@requires(fields: {fields!r}): {sentence(error.message)}"
                    hint = "Give the arguments that the field takes."
                    yield problem([name], written.coordinate, reason, hint)


# @override and extensions


def _overridden_fields_do_not_override(together: Together) -> Iterator[Problem]:
    for name, subgraph in together.subgraphs.items():
        for type_ in subgraph.types.values():
            for member_name, member in type_.members.items():
                coordinate = f"{type_.name}.{member_name}"
                for use in member.directives.get("override", ()):
                    origin = str(use.get("from"))
                    if origin != name and _overrides(together, origin, coordinate):
                        reason = f"It overrides the field of {origin}, which has @override, too."
                        hint = "Let one of the two own the field."
                        yield problem((name, origin), coordinate, reason, hint)


def _overrides(together: Together, subgraph: str, coordinate: str) -> bool:
    known = together.subgraphs.get(subgraph)
    member = known.member(coordinate) if known else None
    return member is not None and "override" in member.directives


def _extended_types_are_defined(together: Together) -> Iterator[Problem]:
    """In Federation 1 `extend type` names something of another subgraph; in 2 it needn't."""
    for name in together.merged:
        owned = together.owned(name)
        is_root = name in ROOTS.values()
        if not is_root and all(
            together.subgraphs[owner].is_federation_1 and type_.is_extension
            for owner, type_ in owned.items()
        ):
            reason = "It is extended only, and defined nowhere."
            yield problem(owned, name, reason, "Write `type` instead of `extend type` in one.")


def _composed_directives_mean_the_same(together: Together) -> Iterator[Problem]:
    names = {name for subgraph in together.subgraphs.values() for name in subgraph.composed}
    for name in sorted(names):
        owned = {s.name: s.composed.get(name) for s in together.subgraphs.values()}
        origins = {owner: found.origin for owner, found in owned.items() if found}
        if len(set(origins.values())) > 1:
            says = ", ".join(f"{origin} in {owner}" for owner, origin in origins.items())
            reason = f"@composeDirective keeps several @{name}: of {says}."
            yield problem(origins, "", reason, "Import one of them under another name.")


# Interface objects


def _interface_objects_stand_for_an_interface(together: Together) -> Iterator[Problem]:
    for name in together.interfaces:
        owned = together.owned(name)
        if all(is_interface_object(type_) for type_ in owned.values()):
            reason = "It is an @interfaceObject wherever it is defined."
            yield problem(owned, name, reason, "Define the interface in another subgraph.")


def _interface_objects_hide_implementations(together: Together) -> Iterator[Problem]:
    for name, implementations in together.interfaces.items():
        for subgraph in together.subgraphs.values():
            type_ = subgraph.types.get(name)
            known = sorted(subgraph.types.keys() & set(implementations))
            if type_ and is_interface_object(type_) and known:
                reason = f"It is an @interfaceObject, but {', '.join(known)} is defined here, too."
                hint = "Define the interface and its implementations, or the object alone."
                yield problem([subgraph.name], name, reason, hint)


def _entity_interfaces_know_all_implementations(together: Together) -> Iterator[Problem]:
    """Who finds an interface by a key must be able to say which type it is."""
    for name, implementations in together.interfaces.items():
        for subgraph in together.joined.values():
            type_ = subgraph.types.get(name)
            if type_ is None or type_.is_object or not any(k.resolvable for k in type_.keys):
                continue
            if missing := sorted(set(implementations) - type_.possible):
                reason = f"It has a @key, but {', '.join(missing)} implements it elsewhere only."
                hint = f"Define {', '.join(missing)} here as well, or drop the @key."
                yield problem([subgraph.name], name, reason, hint)


# @inaccessible


def _what_is_hidden_is_not_required(together: Together) -> Iterator[Problem]:
    for coordinate, node in _inputs(together):
        is_required = isinstance(node.type, NonNullTypeNode) and not node.default_value
        parent = coordinate.partition("(")[0] if "(" in coordinate else coordinate.partition(".")[0]
        shown = not {parent, parent.partition(".")[0]} & together.hidden
        if is_required and shown and coordinate in together.hidden:
            reason = "It is required and @inaccessible, so clients can't give it."
            hint = "Make it optional, or give it a default."
            yield problem(owners(together.subgraphs, coordinate), coordinate, reason, hint)


def _inputs(together: Together) -> Iterator[tuple[str, InputValueDefinitionNode]]:
    for name, node in together.merged.items():
        if isinstance(node, InputObjectTypeDefinitionNode):
            for given in node.fields or ():
                yield f"{name}.{given.name.value}", given
        elif isinstance(node, ObjectTypeDefinitionNode | InterfaceTypeDefinitionNode):
            for field in node.fields or ():
                for argument in field.arguments or ():
                    yield f"{name}.{field.name.value}({argument.name.value}:)", argument


# Access


def _who_requires_a_guarded_field_is_guarded(together: Together) -> Iterator[Problem]:
    """Else the field would tell what its inputs don't."""
    for name, subgraph in together.joined.items():
        for type_ in subgraph.types.values():
            for field in type_.fields.values():
                if field.requires is None:
                    continue
                coordinate = f"{type_.name}.{field.name}"
                own = _access(together, type_.name, field.name)
                asked = _asked(together, type_.name, field.requires.selections)
                for guarded, requirement in asked:
                    if not implies(own, requirement):
                        reason = f"It @requires {guarded}, but not what {guarded} asks of callers."
                        hint = f"Repeat what guards {guarded}."
                        yield problem([name], coordinate, reason, hint)


def _asked(
    together: Together, on: str, selections: SelectionSetNode
) -> Iterator[tuple[str, Requirement]]:
    for type_name, node in selected_on(selections, on):
        for known in together.interfaces.get(type_name, (type_name,)):
            yield f"{known}.{node.name.value}", _access(together, known, node.name.value)
        field = together.field(f"{type_name}.{node.name.value}")
        if field and node.selection_set:
            yield from _asked(together, named_type(field.type), node.selection_set)


def _access(together: Together, type_name: str, field_name: str) -> Requirement:
    """What is asked for a field: by itself, by the type it is on and the one it returns, and by
    the interfaces of both.
    """
    field = together.field(f"{type_name}.{field_name}")
    places = [type_name, f"{type_name}.{field_name}"]
    if known := together.objects.get(type_name):
        places += [f"{name}{of}" for name in implemented(known) for of in ("", f".{field_name}")]
    if field:
        places.append(named_type(field.type))
    return all_of(together.marker.required(place) for place in places)


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
    _what_is_hidden_is_not_required,
    _who_requires_a_guarded_field_is_guarded,
)
