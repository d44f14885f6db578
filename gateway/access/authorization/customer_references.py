"""Which customers a caller may name: a visitor or app its own only.

Customers are named by arguments of the type `CustomerRef`, at any depth. Their
values are looked at as the services will get them: after variables and defaults are filled in.
Identities that are to be added to a customer are profile's to judge: it knows whose they are.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from graphql import (
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    get_named_type,
    get_nullable_type,
)

from services.chassis.errors import InvalidCustomerRef
from services.chassis.principal import Forbidden, Principal
from services.contracts.identity import (
    ANONYMOUS_TYPES,
    derive_customer_id,
    is_placeholder,
    normalise_value,
)

REFERENCE = "CustomerRef"
FORMS = frozenset({"id", "identity"})
"""Of a reference: it has one of these."""


def names_customers(type_: GraphQLInputType) -> bool:
    """Whether a value of this type can name a customer."""
    return _names_customers(type_, set())


def _names_customers(type_: GraphQLInputType, visited: set[str]) -> bool:
    named = get_named_type(type_)
    if named.name == REFERENCE:
        return True
    if not isinstance(named, GraphQLInputObjectType) or named.name in visited:
        return False
    visited.add(named.name)
    return any(_names_customers(field.type, visited) for field in named.fields.values())


def check_own(principal: Principal, place: str, reference: Mapping[str, Any]) -> None:
    """Raise Forbidden unless the customer named at a place is the caller's own."""
    own = principal.customer_ref or {}
    if not is_own(own, reference):
        raise Forbidden(
            f"The role {principal.role.value!r} reaches its own customer only, and {place} "
            "names another.",
            hint=f"Name the customer as the token does: by its {_form(own)}.",
        )


def check_reference(principal: Principal, place: str, reference: Mapping[str, Any]) -> None:
    """Raise Forbidden for another customer than the caller's own, if it speaks for one, and for an
    identity it may not name customers by.
    """
    if principal.own_customer_only:
        check_own(principal, place, reference)
    elif identity := reference.get("identity"):
        principal.check_lookup(identity["type"])


def _form(own: Mapping[str, str]) -> str:
    return "customer id" if "id" in own else f"identity of type {own.get('type')!r}"


def find_references(value: Any, type_: GraphQLInputType) -> Iterator[Mapping[str, Any]]:
    """Every customer named in the value of an argument, which may not fit its type."""
    kind = get_nullable_type(type_)
    if isinstance(kind, GraphQLList):
        for item in value if isinstance(value, list) else [value]:
            yield from find_references(item, kind.of_type)
    elif isinstance(kind, GraphQLInputObjectType) and isinstance(value, Mapping):
        if kind.name == REFERENCE:
            yield value
            return
        for name, field in kind.fields.items():
            yield from find_references(value.get(name), field.type)


def check_form(place: str, value: Any, type_: GraphQLInputType) -> None:
    """Raise InvalidCustomerRef for a value that names a customer twice, or not at all; what does
    not fit its type otherwise is left to execution.
    """
    for reference in find_references(value, type_):
        is_one = len(reference) == 1 and None not in reference.values()
        if not is_one and reference.keys() <= FORMS:
            raise InvalidCustomerRef(
                f"{place} names a customer by {_describe(reference)}.",
                hint="Pass exactly one: {id: …} or {identity: {type: …, value: …}}.",
            )


def _describe(reference: Mapping[str, Any]) -> str:
    """What a reference has, without the values: they may identify somebody."""
    names = (f"`{name}`{' (null)' * (value is None)}" for name, value in reference.items())
    return " and ".join(names) or "nothing"


def is_own(own: Mapping[str, str], reference: Mapping[str, Any]) -> bool:
    """Whether a reference can only mean the customer `own`.

    What cannot be decided without the services' data (a known identity against an id) is not own.
    """
    by_id, by_identity = reference.get("id"), reference.get("identity")
    if by_id is None and by_identity is None:
        return False
    return (by_id is None or _is_own_id(own, by_id)) and (
        by_identity is None or _is_own_identity(own, by_identity["type"], by_identity["value"])
    )


def _is_own_id(own: Mapping[str, str], text: str) -> bool:
    mine = _id(own)
    return mine is not None and mine == _uuid(text)


def _is_own_identity(own: Mapping[str, str], type: str, value: str) -> bool:
    if is_placeholder(type, value):
        return False
    if own.get("type") == type:
        return normalise_value(type, own["value"]) == normalise_value(type, value)
    mine = _id(own)
    return mine is not None and type in ANONYMOUS_TYPES and mine == derive_customer_id(type, value)


def _id(own: Mapping[str, str]) -> UUID | None:
    if "id" in own:
        return _uuid(own["id"])
    if own.get("type") in ANONYMOUS_TYPES:
        return derive_customer_id(own["type"], own["value"])
    return None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
