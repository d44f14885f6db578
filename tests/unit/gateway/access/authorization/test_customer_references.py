"""Whose customer a reference means."""

from uuid import uuid4

import pytest
from graphql import GraphQLObjectType, build_schema

from gateway.access.authorization.customer_references import (
    check_form,
    check_own,
    find_references,
    is_own,
    names_customers,
)
from services.chassis.errors import InvalidCustomerRef
from services.chassis.principal import Forbidden, Principal
from services.contracts.enums import Role
from services.contracts.identity import derive_customer_id

ID = str(uuid4())
EMAIL = {"type": "email", "value": "ann@example.com"}
VISITOR = {"type": "anonymous_id", "value": "v-1"}
VISITOR_ID = str(derive_customer_id("anonymous_id", "v-1"))


@pytest.mark.parametrize(
    ("own", "reference"),
    [
        (EMAIL, {"identity": EMAIL}),
        (EMAIL, {"identity": {"type": "email", "value": " Ann@Example.com "}}),
        (EMAIL, {"identity": EMAIL, "id": None}),
        (VISITOR, {"identity": VISITOR}),
        (VISITOR, {"id": VISITOR_ID}),
        (VISITOR, {"id": VISITOR_ID.upper(), "identity": VISITOR}),
        ({"id": ID}, {"id": ID}),
        ({"id": VISITOR_ID}, {"identity": VISITOR}),
    ],
)
def test_a_caller_names_its_own_customer_in_any_way_that_proves_it(
    own: dict[str, str], reference: dict[str, object]
) -> None:
    assert is_own(own, reference)


@pytest.mark.parametrize(
    ("own", "reference"),
    [
        (EMAIL, {}),
        (EMAIL, {"id": None, "identity": None}),
        (EMAIL, {"identity": {"type": "email", "value": "bob@example.com"}}),
        (EMAIL, {"identity": {"type": "user_id", "value": "ann@example.com"}}),
        (EMAIL, {"id": ID}),
        (EMAIL, {"id": ID, "identity": EMAIL}),
        (VISITOR, {"id": VISITOR_ID, "identity": EMAIL}),
        (VISITOR, {"id": ID, "identity": VISITOR}),
        (VISITOR, {"identity": {"type": "device", "value": "v-1"}}),
        (VISITOR, {"id": "v-1"}),
        ({"id": ID}, {"identity": EMAIL}),
        ({"id": ID}, {"id": "ID"}),
        ({"id": "no uuid"}, {"id": "no uuid"}),
        ({}, {"identity": EMAIL}),
        ({}, {}),
        (
            {"type": "anonymous_id", "value": "undefined"},
            {"identity": {"type": "anonymous_id", "value": "undefined"}},
        ),
        (VISITOR, {"identity": {"type": "device", "value": "null"}}),
    ],
)
def test_anybody_else_is_not_he(own: dict[str, str], reference: dict[str, object]) -> None:
    assert not is_own(own, reference)


SCHEMA = build_schema("""
type Query {
  ask(ref: CustomerRef, nested: Outer, many: [[CustomerRef!]], other: Loop, n: Int): Int
}
input CustomerRef @oneOf { id: ID, identity: IdentityInput }
input IdentityInput { type: String!, value: String! }
input Outer { inner: Inner!, note: String }
input Inner { who: CustomerRef, identities: [IdentityInput!] }
input Loop { again: Loop, name: String }
""")
QUERY = SCHEMA.query_type
assert isinstance(QUERY, GraphQLObjectType)
ARGUMENTS = QUERY.fields["ask"].args


def test_arguments_that_can_name_a_customer_are_found_by_their_type() -> None:
    found = {name for name, argument in ARGUMENTS.items() if names_customers(argument.type)}

    assert found == {"ref", "nested", "many"}


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("ref", {"identity": VISITOR}),
        ("nested", {"inner": {"who": {"identity": VISITOR}}}),
        ("many", [[{"identity": EMAIL}], [{"identity": VISITOR}]]),
    ],
)
def test_another_customer_is_found_wherever_they_are_named(argument: str, value: object) -> None:
    ann = Principal(Role.APP, "app", tuple(EMAIL.items()))

    *_, other = find_references(value, ARGUMENTS[argument].type)
    with pytest.raises(Forbidden, match=r"Query\.ask names another") as refusal:
        check_own(ann, "Query.ask", other)

    assert "identity of type 'email'" in refusal.value.hint
    assert "v-1" not in str(refusal.value)


def test_naming_nobody_in_an_optional_argument_is_fine() -> None:
    nobody = {"inner": {"identities": [VISITOR]}}

    assert not any(list(find_references(None, argument.type)) for argument in ARGUMENTS.values())
    assert not list(find_references(nobody, ARGUMENTS["nested"].type))


@pytest.mark.parametrize(
    ("argument", "value", "named"),
    [
        ("ref", {}, "nothing"),
        ("ref", {"id": None}, r"`id` \(null\)"),
        ("ref", {"id": "1", "identity": None}, r"`id` and `identity` \(null\)"),
        ("ref", {"id": "1", "identity": EMAIL}, "`id` and `identity`"),
        ("nested", {"inner": {"who": {}}}, "nothing"),
        ("many", [[{"id": "1"}], [{}]], "nothing"),
        ("many", {}, "nothing"),
    ],
)
def test_whoever_is_named_twice_or_not_at_all_is_refused_without_their_address(
    argument: str, value: object, named: str
) -> None:
    with pytest.raises(InvalidCustomerRef, match=rf"\$x names a customer by {named}\.") as refused:
        check_form("$x", value, ARGUMENTS[argument].type)

    assert "exactly one" in refused.value.hint
    assert "ann@example.com" not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [None, 1, "x", [], {"id": "1"}, {"identity": 1}, {"name": "x"}, {"id": "1", "nam": "x"}],
)
def test_a_value_of_another_shape_is_not_judged(value: object) -> None:
    check_form("$x", value, ARGUMENTS["ref"].type)
    check_form("$x", {"inner": {"who": value}}, ARGUMENTS["nested"].type)
