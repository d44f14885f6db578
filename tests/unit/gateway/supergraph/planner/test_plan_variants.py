"""What a plan says beside its requests: its source, whom it is about, what may be asked again."""

from graphql import parse

from gateway.supergraph import Supergraph, plan
from gateway.supergraph.planner.fetch_nodes import Request
from gateway.supergraph.planner.query_plan import Variant
from tests.unit.gateway.supergraph.compose_subgraphs import compose_all

USERS = """
type Query { me: User users: [User!]! named: [Named] next: Int @tag(name: "not-idempotent") }
type Mutation { rename: User }
interface Named { name: String }
type User implements Named @key(fields: "id") { id: ID! name: String home: Home }
type Dog implements Named { name: String }
type Home { street: String }
"""
ORDERS = """
type Query { orders: [Order!]! }
type Subscription { ordered: Order closed: Boolean }
type Order { total: Int by: User! }
type User @key(fields: "id") { id: ID! orders: [Order!]! draw: Int @tag(name: "not-idempotent") }
"""
SUPERGRAPH = compose_all(users=USERS, orders=ORDERS)


def variant(text: str, *denied: str, supergraph: Supergraph = SUPERGRAPH) -> Variant:
    planned = plan(supergraph, parse(text), witness={"User": "id"})
    return planned.variant({}, denied=frozenset(denied))


def requests(text: str) -> list[Request]:
    return [request for stage in variant(text).stages for request in stage.requests]


# Subscriptions


def test_a_subscription_has_one_source_and_the_rest_runs_per_event() -> None:
    planned = plan(SUPERGRAPH, parse("subscription { ordered { total by { name } } }"))

    found = planned.variant({})

    assert planned.is_subscription
    assert found.source is not None
    assert found.source.subgraph == "orders"
    assert found.source.text.endswith("__orders__0 { ordered { total by { raak_id: id } } }")
    (stage,) = found.stages
    assert [(r.subgraph, r.waits_for) for r in stage.requests] == [("users", 0)]


def test_a_subscription_that_one_service_answers_runs_nothing_per_event() -> None:
    found = variant("subscription { ordered { total } }")

    assert [stage.requests for stage in found.stages] == [()]


def test_a_denied_subscription_has_no_source() -> None:
    found = variant("subscription { closed }", "Subscription.closed")

    assert found.source is None
    assert [denial.fields for denial in found.denials] == [(("closed", "closed"),)]


# Witnesses


def test_every_object_of_a_type_is_fetched_with_the_field_that_tells_which_it_is() -> None:
    found = variant("{ me { name } orders { total by { orders { total } } } }")

    texts = [request.text for stage in found.stages for request in stage.requests]
    assert any("me { name raak_id: id }" in text for text in texts)
    assert any("by { orders { total } raak_id: id }" in text for text in texts)
    assert [witness.type_name for witness in found.witnesses] == ["User", "User"]


def test_a_witness_costs_no_request_and_no_second_name() -> None:
    found = variant("{ me { id } }")

    assert len(found.stages[0].requests) == 1
    assert found.stages[0].requests[0].text.endswith("{ me { id } }")
    assert found.witnesses[0].raw_key == "id"


def test_a_witness_is_found_where_the_objects_are() -> None:
    data = {"named": [{"__typename": "User", "raak_id": "1"}, {"__typename": "Dog"}]}

    (witness,) = variant("{ named { name } }").witnesses

    assert [item[witness.raw_key] for item in witness.place.find(data)] == ["1"]


def test_where_the_service_at_hand_lacks_the_field_there_is_no_witness() -> None:
    supergraph = compose_all(
        a='type Query { u: User } type User @key(fields: "no") { no: ID! }',
        b='type User @key(fields: "no") @key(fields: "id") { no: ID! id: ID! }',
    )

    found = variant("{ u { no } }", supergraph=supergraph)

    assert len(found.stages[0].requests) == 1
    assert found.witnesses == ()


def test_a_denied_field_still_tells_which_object_it_is() -> None:
    found = variant("{ me { id } }", "User.id")

    assert [witness.raw_key for witness in found.witnesses] == ["raak_id"]


# Idempotence


def test_only_the_root_of_a_mutation_must_not_be_asked_twice() -> None:
    first, second = requests("mutation { rename { name orders { total } } }")

    assert (first.subgraph, first.is_idempotent) == ("users", False)
    assert (second.subgraph, second.is_idempotent) == ("orders", True)


def test_a_tagged_field_makes_its_request_one_that_must_not_be_asked_twice() -> None:
    assert [r.is_idempotent for r in requests("{ me { name } }")] == [True]
    assert [r.is_idempotent for r in requests("{ me { name } next }")] == [False]
    assert [r.is_idempotent for r in requests("{ me { draw } }")] == [True, False]
