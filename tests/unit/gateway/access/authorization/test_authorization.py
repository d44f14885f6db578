"""Which fields a caller may not have, by the file of roles and by the marks in the schema."""

from dataclasses import replace

import pytest
from graphql import build_schema

from gateway.access.authorization.authorization import Authorization
from gateway.access.authorization.roles import Roles
from gateway.supergraph.schema_metadata import AccessRequirement, SchemaMetadata
from gateway.supergraph.supergraph import Supergraph
from services.chassis.principal import Principal
from services.contracts.enums import Role

SCHEMA = build_schema("""
type Query { customer: Customer, recipes: [Recipe!], anything: Anything, secret: Int, new: Int }
type Customer { id: ID!, orders: [Order!], card: Sold }
type Order { id: ID!, margin: Int, recipe: Recipe }
type Recipe { text: String }
type Card implements Sold { price: Int, owner: String }
interface Sold { price: Int }
union Anything = Recipe | Order
""")
ROLES = Roles.parse("""
roles:
  agent: {scopes: [orders, cards, books], policies: [staff]}
  analyst: {scopes: [orders], policies: []}
readers:
  all: [agent, analyst]
fields:
  Query: {customer: all, recipes: all, anything: all, secret: [admin]}
  Customer: {id: all, orders: all, card: all}
  Order: {id: all, margin: [agent], recipe: all}
  Recipe: {text: all}
  Card: {price: all, owner: all}
""")
REQUIREMENTS = {
    "Customer.orders": AccessRequirement(scopes=frozenset({frozenset({"orders"})})),
    "Order.margin": AccessRequirement(scopes=frozenset({frozenset({"books", "orders"})})),
    "Recipe": AccessRequirement(policies=frozenset({frozenset({"staff"})})),
    "Sold": AccessRequirement(scopes=frozenset({frozenset({"cards"}), frozenset({"till"})})),
    "Sold.price": AccessRequirement(scopes=frozenset({frozenset({"till"}), frozenset({"books"})})),
    "Customer.id": AccessRequirement(authenticated=True),
}
AUTHORIZATION = Authorization.over(
    Supergraph(SCHEMA, SCHEMA, "", {}, SchemaMetadata(requirements=REQUIREMENTS)), ROLES
)


def caller(role: Role, narrowed_to: frozenset[str] | None = None) -> Principal:
    scopes, policies = ROLES.resolve_grant(role, narrowed_to)
    return Principal(role, "somebody", scopes=scopes, policies=policies)


AGENT = caller(Role.AGENT)


def test_who_may_read_all_and_has_all_is_denied_only_what_nobody_is_named_for() -> None:
    assert AUTHORIZATION.denied(AGENT) == {"Query.secret", "Query.new"}


def test_the_file_and_the_marks_count_both() -> None:
    denied = AUTHORIZATION.denied(caller(Role.ANALYST))

    assert "Order.margin" in denied, "the file denies it"
    assert "Customer.card" in denied, "it returns what asks a scope it lacks"
    assert "Customer.orders" not in denied


def test_one_of_several_sets_is_enough_and_each_counts_whole() -> None:
    def without(scope: str) -> frozenset[str]:
        return AUTHORIZATION.denied(replace(AGENT, scopes=AGENT.scopes - {scope}))

    assert "Order.margin" in without("books")
    assert "Order.margin" in without("orders")
    assert "Card.price" in without("books")
    assert "Card.owner" not in without("books")
    assert {"Card.owner", "Card.price", "Customer.card"} <= without("cards")


def test_a_type_that_asks_something_denies_what_returns_it_and_what_it_has() -> None:
    denied = AUTHORIZATION.denied(replace(AGENT, policies=frozenset()))

    assert {"Query.recipes", "Order.recipe"} <= denied
    assert "Query.anything" not in denied, "it may return something else"
    assert "Recipe.text" in denied, "and there it must not be had"


def test_a_token_narrowed_to_few_scopes_reaches_little() -> None:
    denied = AUTHORIZATION.denied(caller(Role.AGENT, frozenset({"cards"})))

    assert {"Customer.orders", "Order.margin", "Card.price"} <= denied
    assert "Card.owner" not in denied


def test_a_role_the_file_does_not_name_is_denied_everything() -> None:
    assert AUTHORIZATION.denied(caller(Role.VISITOR)) == AUTHORIZATION.requirements.keys()


def test_it_is_worked_out_once_for_callers_alike() -> None:
    other = replace(AGENT, subject="somebody else")

    assert AUTHORIZATION.denied(AGENT) is AUTHORIZATION.denied(other)


@pytest.mark.parametrize(
    ("principal", "coordinate", "hint"),
    [
        (AGENT, "Query.secret", "'agent' may not have it; these may: admin"),
        (AGENT, "Query.new", "these may: none"),
        (replace(AGENT, scopes=frozenset()), "Order.margin", "the scope books and orders"),
        (replace(AGENT, policies=frozenset()), "Query.recipes", "the policy staff"),
    ],
)
def test_a_refusal_says_what_is_lacking(principal: Principal, coordinate: str, hint: str) -> None:
    refusal = AUTHORIZATION.refusal(principal, coordinate)

    assert refusal.code == "UNAUTHORIZED_FIELD_OR_TYPE"
    assert coordinate in refusal.problem
    assert hint in refusal.hint
