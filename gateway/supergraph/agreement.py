"""What subgraphs have to agree on, beyond that their definitions can be merged."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from graphql import (
    DefinitionNode,
    FieldDefinitionNode,
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
    print_ast,
    validate,
)
from graphql.pyutils import did_you_mean, suggestion_list

from gateway.supergraph.errors import Problem, sentence
from gateway.supergraph.joins import JoinField, Requirement, Subgraph, named_type
from gateway.supergraph.markings import Marker, all_of, implies
from gateway.supergraph.reading import (
    ROOTS,
    MemberDefinition,
    SubgraphDefinition,
    is_interface_object,
)
from gateway.supergraph.usage import coordinates, selected_on, written_in

ARGUMENT_RULES = (KnownArgumentNamesRule, ProvidedRequiredArgumentsRule, ValuesOfCorrectTypeRule)


@dataclass(frozen=True)
class Together:
    """All subgraphs: as they were read, the facts derived from them, and what they merge to."""

    subgraphs: Mapping[str, SubgraphDefinition]
    joined: Mapping[str, Subgraph]
    merged: Mapping[str, DefinitionNode]
    hidden: set[str]
    marker: Marker

    @cached_property
    def objects(self) -> Mapping[str, ObjectTypeDefinitionNode]:
        """The merged object types."""
        return {n: t for n, t in self.merged.items() if isinstance(t, ObjectTypeDefinitionNode)}

    @cached_property
    def interfaces(self) -> Mapping[str, tuple[str, ...]]:
        """The object types that implement each merged interface."""
        return {
            name: tuple(o for o, node in self.objects.items() if name in _implemented(node))
            for name, node in self.merged.items()
            if isinstance(node, InterfaceTypeDefinitionNode)
        }

    @cached_property
    def interface_fields(self) -> frozenset[str]:
        """`Interface.field` of all that some subgraph has on an interface, not on an object."""
        return frozenset(
            f"{type_.name}.{name}"
            for subgraph in self.joined.values()
            for type_ in subgraph.types.values()
            if not type_.is_object
            for name in type_.fields
        )

    @cached_property
    def keys(self) -> Mapping[str, frozenset[str]]:
        """The fields that keys are made of, by subgraph."""
        return {
            name: frozenset(
                coordinate
                for type_ in subgraph.types.values()
                for key in type_.keys
                for coordinate in coordinates(subgraph, type_.name, key.fields.selections)
            )
            for name, subgraph in self.joined.items()
        }


Rule: TypeAlias = Callable[[Together], Iterator[Problem]]


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
                    text = written.fields.text[1:-1].strip()
                    reason = f"@requires(fields: {text!r}): {sentence(error.message)}"
                    hint = "Give the arguments that the field takes."
                    yield _problem([name], written.coordinate, reason, hint)


def _implemented(node: ObjectTypeDefinitionNode) -> set[str]:
    return {interface.name.value for interface in node.interfaces or ()}


# Who resolves a field


@dataclass(frozen=True, slots=True)
class Owner:
    """A subgraph that has a field of an object, under this name of its type."""

    subgraph: str
    type_name: str
    fact: JoinField
    member: MemberDefinition
    marks: frozenset[str]
    """The directives of the field and of its type."""

    @property
    def resolves(self) -> bool:
        """Whether it answers for the field, and goes on doing so."""
        leaves = self.fact.label is not None and not self.fact.label.active
        return not (self.fact.overridden or leaves or "external" in self.marks)


def _every_field_is_resolved(together: Together) -> Iterator[Problem]:
    for coordinate, owners in _owned_fields(together):
        is_resolved = not all(owner.fact.external or owner.fact.overridden for owner in owners)
        if not is_resolved and coordinate not in together.interface_fields:
            reason = "It is @external wherever it is defined, so nothing resolves it."
            hint = "Remove @external in the one that owns it."
            yield _problem((owner.subgraph for owner in owners), coordinate, reason, hint)


def _fields_of_several_owners_are_shareable(together: Together) -> Iterator[Problem]:
    """An interface object's field counts as a field of each implementation."""
    for coordinate, owners in _owned_fields(together):
        added = [*owners, *_added(together, coordinate)]
        resolvers = [owner for owner in added if owner.resolves]
        unshared = [owner for owner in resolvers if not _shares(together, owner)]
        if len(resolvers) > 1 and unshared:
            reason = f"It is resolved by {len(resolvers)} subgraphs, but not @shareable in all."
            hint = f"Mark it @shareable in {_named(unshared)}, or let one of them own it."
            yield _problem(
                (owner.subgraph for owner in resolvers),
                coordinate,
                f"{reason}{_misdirected(together, resolvers)}",
                f"{hint}{_missing_key(together, unshared)}",
            )


def _misdirected(together: Together, owners: Sequence[Owner]) -> str:
    """Where an @override takes nothing over, for it names a subgraph that isn't there."""
    said = ""
    for owner in owners:
        for use in owner.member.directives.get("override", ()):
            origin, known = str(use.get("from")), sorted(together.subgraphs)
            if origin not in known:
                meant = did_you_mean(suggestion_list(origin, known))
                said += (
                    f" @override in {owner.subgraph} names {origin!r}, which isn't there.{meant}"
                )
    return said


def _missing_key(together: Together, owners: Sequence[Owner]) -> str:
    """What two subgraphs know of a type is often the key that one forgot."""
    type_name, name = owners[0].type_name, owners[0].fact.name
    types = [(o, together.joined[o.subgraph].types[o.type_name]) for o in owners]
    keyless = [owner for owner, type_ in types if not type_.keys]
    if type_name in ROOTS.values() or not keyless:
        return ""
    key = f'@key(fields: "{name}")'
    return f" If it identifies a {type_name}, write {key} on the type in {_named(keyless)}."


def _named(owners: Iterable[Owner]) -> str:
    return ", ".join(owner.subgraph for owner in owners)


def _owned_fields(together: Together) -> Iterator[tuple[str, list[Owner]]]:
    owned: dict[str, list[Owner]] = {}
    for name, subgraph in together.joined.items():
        for type_ in subgraph.types.values():
            for field in type_.fields.values() if type_.is_object else ():
                owner = _owner(together, name, type_.name, field)
                owned.setdefault(f"{type_.name}.{field.name}", []).append(owner)
    yield from owned.items()


def _owner(together: Together, subgraph: str, type_name: str, fact: JoinField) -> Owner:
    type_ = together.subgraphs[subgraph].types[type_name]
    member = type_.members[fact.name]
    marks = frozenset((*type_.directives, *member.directives))
    return Owner(subgraph, type_name, fact, member, marks)


def _added(together: Together, coordinate: str) -> Iterator[Owner]:
    """The interface objects that have the field, too."""
    type_name, _, field_name = coordinate.partition(".")
    for interface, implementations in together.interfaces.items():
        if type_name in implementations:
            for name, subgraph in together.joined.items():
                known = subgraph.types.get(interface)
                fact = known.fields.get(field_name) if known else None
                if known and known.is_interface_object and fact:
                    yield _owner(together, name, interface, fact)


def _shares(together: Together, owner: Owner) -> bool:
    """Whether others may resolve the field, too: marked so, or part of a key, which must have the
    same value everywhere.
    """
    return (
        together.subgraphs[owner.subgraph].is_federation_1
        or "shareable" in owner.marks
        or f"{owner.type_name}.{owner.fact.name}" in together.keys[owner.subgraph]
    )


# @external and @override


def _external_fields_are_like_the_real_ones(together: Together) -> Iterator[Problem]:
    for coordinate, owners in _owned_fields(together):
        real = _merged_field(together, coordinate)
        if real is None or all(owner.fact.external for owner in owners):
            continue
        for owner in owners:
            if owner.fact.external:
                for reason in _unlike(together, owner, real):
                    hint = "Repeat the field as the subgraph that owns it defines it."
                    yield _problem([owner.subgraph], coordinate, reason, hint)


def _unlike(together: Together, owner: Owner, real: FieldDefinitionNode) -> Iterator[str]:
    own, wanted = print_ast(owner.fact.type), print_ast(real.type)
    if own != wanted and not _is_narrower(together, owner.fact, real):
        yield f"It is {own} here, but really {wanted}."
    written = owner.member.arguments
    for argument in real.arguments or ():
        name, type_ = argument.name.value, print_ast(argument.type)
        if name not in written:
            yield f"Its argument {name!r} is missing here."
        elif print_ast(written[name].node.type) not in (type_, type_.removesuffix("!")):  # type: ignore[union-attr]
            yield f"Its argument {name!r} is really {type_}."


def _is_narrower(together: Together, fact: JoinField, real: FieldDefinitionNode) -> bool:
    """Whether the merged type is abstract, and this is one of its members."""
    wanted = named_type(real.type)
    alike = print_ast(fact.type).replace(fact.named, wanted) == print_ast(real.type)
    possible = (subgraph.types.get(wanted) for subgraph in together.joined.values())
    return alike and any(type_ and fact.named in type_.possible for type_ in possible)


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
                        yield _problem((name, origin), coordinate, reason, hint)


def _overrides(together: Together, subgraph: str, coordinate: str) -> bool:
    known = together.subgraphs.get(subgraph)
    member = known.member(coordinate) if known else None
    return member is not None and "override" in member.directives


def _extended_types_are_defined(together: Together) -> Iterator[Problem]:
    """In Federation 1 `extend type` names something of another subgraph; in 2 it needn't."""
    for name in together.merged:
        owned = {s.name: s.types[name] for s in together.subgraphs.values() if name in s.types}
        is_root = name in ROOTS.values()
        if not is_root and all(
            together.subgraphs[owner].is_federation_1 and type_.is_extension
            for owner, type_ in owned.items()
        ):
            reason = "It is extended only, and defined nowhere."
            yield _problem(owned, name, reason, "Write `type` instead of `extend type` in one.")


def _composed_directives_mean_the_same(together: Together) -> Iterator[Problem]:
    names = {name for subgraph in together.subgraphs.values() for name in subgraph.composed}
    for name in sorted(names):
        owned = {s.name: s.composed.get(name) for s in together.subgraphs.values()}
        origins = {owner: found.origin for owner, found in owned.items() if found}
        if len(set(origins.values())) > 1:
            says = ", ".join(f"{origin} in {owner}" for owner, origin in origins.items())
            reason = f"@composeDirective keeps several @{name}: of {says}."
            yield _problem(origins, "", reason, "Import one of them under another name.")


# Interface objects


def _interface_objects_stand_for_an_interface(together: Together) -> Iterator[Problem]:
    for name in together.interfaces:
        owned = {s.name: s.types[name] for s in together.subgraphs.values() if name in s.types}
        if all(is_interface_object(type_) for type_ in owned.values()):
            reason = "It is an @interfaceObject wherever it is defined."
            yield _problem(owned, name, reason, "Define the interface in another subgraph.")


def _interface_objects_hide_implementations(together: Together) -> Iterator[Problem]:
    for name, implementations in together.interfaces.items():
        for subgraph in together.subgraphs.values():
            type_ = subgraph.types.get(name)
            known = sorted(subgraph.types.keys() & set(implementations))
            if type_ and is_interface_object(type_) and known:
                reason = f"It is an @interfaceObject, but {', '.join(known)} is defined here, too."
                hint = "Define the interface and its implementations, or the object alone."
                yield _problem([subgraph.name], name, reason, hint)


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
                yield _problem([subgraph.name], name, reason, hint)


# @inaccessible


def _what_is_hidden_is_not_required(together: Together) -> Iterator[Problem]:
    for coordinate, node in _inputs(together):
        is_required = isinstance(node.type, NonNullTypeNode) and not node.default_value
        parent = coordinate.partition("(")[0] if "(" in coordinate else coordinate.partition(".")[0]
        shown = not {parent, parent.partition(".")[0]} & together.hidden
        if is_required and shown and coordinate in together.hidden:
            reason = "It is required and @inaccessible, so clients can't give it."
            hint = "Make it optional, or give it a default."
            yield _problem(together.subgraphs, coordinate, reason, hint)


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
                        yield _problem([name], coordinate, reason, hint)


def _asked(
    together: Together, on: str, selections: SelectionSetNode
) -> Iterator[tuple[str, Requirement]]:
    for type_name, node in selected_on(selections, on):
        for known in together.interfaces.get(type_name, (type_name,)):
            yield f"{known}.{node.name.value}", _access(together, known, node.name.value)
        field = _merged_field(together, f"{type_name}.{node.name.value}")
        if field and node.selection_set:
            yield from _asked(together, named_type(field.type), node.selection_set)


def _access(together: Together, type_name: str, field_name: str) -> Requirement:
    """What is asked for a field: by itself, by the type it is on and the one it returns, and by
    the interfaces of both.
    """
    field = _merged_field(together, f"{type_name}.{field_name}")
    places = [type_name, f"{type_name}.{field_name}"]
    for interface in (
        _implemented(together.objects[type_name]) if type_name in together.objects else ()
    ):
        places += [interface, f"{interface}.{field_name}"]
    if field:
        places.append(named_type(field.type))
    return all_of(together.marker.required(place) for place in places)


def _merged_field(together: Together, coordinate: str) -> FieldDefinitionNode | None:
    type_name, _, field_name = coordinate.partition(".")
    for field in getattr(together.merged.get(type_name), "fields", None) or ():
        if field.name.value == field_name:
            return field  # type: ignore[no-any-return]
    return None


def _problem(subgraphs: Iterable[str], coordinate: str, reason: str, hint: str) -> Problem:
    return Problem(tuple(dict.fromkeys(subgraphs)), coordinate, reason, hint)


RULES: tuple[Rule, ...] = (
    _every_field_is_resolved,
    _fields_of_several_owners_are_shareable,
    _external_fields_are_like_the_real_ones,
    _overridden_fields_do_not_override,
    _extended_types_are_defined,
    _composed_directives_mean_the_same,
    _interface_objects_stand_for_an_interface,
    _interface_objects_hide_implementations,
    _entity_interfaces_know_all_implementations,
    _what_is_hidden_is_not_required,
    _who_requires_a_guarded_field_is_guarded,
)
