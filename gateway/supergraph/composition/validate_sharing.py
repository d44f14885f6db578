"""Who resolves a field: one subgraph, or several that share it; and who only repeats it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from graphql import FieldDefinitionNode, print_ast
from graphql.pyutils import did_you_mean, suggestion_list

from gateway.supergraph.composition.composition_context import Together, problem
from gateway.supergraph.composition.subgraph_schema import MemberDefinition
from gateway.supergraph.errors import Problem
from gateway.supergraph.supergraph import JoinField
from gateway.supergraph.syntax import ROOTS, named_type


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


def every_field_is_resolved(together: Together) -> Iterator[Problem]:
    """Somebody answers for it; not all only repeat it."""
    for coordinate, owners in _owned_fields(together):
        nobody = all(owner.fact.external or owner.fact.overridden for owner in owners)
        if nobody and coordinate not in together.interface_fields:
            reason = "It is @external wherever it is defined, so nothing resolves it."
            hint = "Remove @external in the one that owns it."
            yield problem((owner.subgraph for owner in owners), coordinate, reason, hint)


def fields_of_several_owners_are_shareable(together: Together) -> Iterator[Problem]:
    """All who resolve it say so. An interface object's field is one of each implementation."""
    for coordinate, owners in _owned_fields(together):
        added = [*owners, *_added(together, coordinate)]
        resolvers = [owner for owner in added if owner.resolves]
        unshared = [owner for owner in resolvers if not _shares(together, owner)]
        if len(resolvers) > 1 and unshared:
            reason = f"It is resolved by {len(resolvers)} subgraphs, but not @shareable in all."
            hint = f"Mark it @shareable in {_named(unshared)}, or let one of them own it."
            yield problem(
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
    return f" If {type_name} is found by it, write {key} on the type in {_named(keyless)}."


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


# @external


def external_fields_are_like_the_real_ones(together: Together) -> Iterator[Problem]:
    """What a subgraph repeats has the type and the arguments that its owner gave it."""
    for coordinate, owners in _owned_fields(together):
        real = together.field(coordinate)
        nobody = all(owner.fact.external for owner in owners)
        if real is None or (nobody and coordinate not in together.interface_fields):
            continue
        for owner in owners:
            if owner.fact.external:
                for reason in _unlike(together, owner, real):
                    hint = "Repeat the field as the subgraph that owns it defines it."
                    yield problem([owner.subgraph], coordinate, reason, hint)


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
