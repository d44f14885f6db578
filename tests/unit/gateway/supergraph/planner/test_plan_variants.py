"""What a plan says beside its requests: its source, whom it is about, what may be asked again."""

from graphql import parse

from gateway.supergraph import Supergraph, plan
from gateway.supergraph.planner.fetch_nodes import FetchNode
from gateway.supergraph.planner.query_plan import PlanVariant
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


def variant(text: str, *denied: str, supergraph: Supergraph = SUPERGRAPH) -> PlanVariant:
    planned = plan(supergraph, parse(text), entity_id_fields={"User": "id"})
    return planned.variant({}, denied=frozenset(denied))


def requests(text: str) -> list[FetchNode]:
    return [request for stage in variant(text).stages for request in stage.fetches]


# Subscriptions


def test_a_subscription_has_one_source_and_the_rest_runs_per_event() -> None:
    planned = plan(SUPERGRAPH, parse("subscription { ordered { total by { name } } }"))

    found = planned.variant({})

    assert planned.is_subscription
    assert found.source_fetch is not None
    assert found.source_fetch.subgraph == "orders"
    assert found.source_fetch.operation.endswith(
        "__orders__0 { ordered { total by { raak_id: id } } }"
    )
    (stage,) = found.stages
    assert [(r.subgraph, r.dependency_count) for r in stage.fetches] == [("users", 0)]


def test_a_subscription_that_one_service_answers_runs_nothing_per_event() -> None:
    found = variant("subscription { ordered { total } }")

    assert [stage.fetches for stage in found.stages] == [()]


def test_a_denied_subscription_has_no_source() -> None:
    found = variant("subscription { closed }", "Subscription.closed")

    assert found.source_fetch is None
    assert [denial.fields for denial in found.denied_fields] == [(("closed", "closed"),)]


# Witnesses


def test_every_object_of_a_type_is_fetched_with_the_field_that_tells_which_it_is() -> None:
    found = variant("{ me { name } orders { total by { orders { total } } } }")

    texts = [request.operation for stage in found.stages for request in stage.fetches]
    assert any("me { name raak_id: id }" in text for text in texts)
    assert any("by { orders { total } raak_id: id }" in text for text in texts)
    assert [witness.type_name for witness in found.entity_ids] == ["User", "User"]


def test_a_witness_costs_no_request_and_no_second_name() -> None:
    found = variant("{ me { id } }")

    assert len(found.stages[0].fetches) == 1
    assert found.stages[0].fetches[0].operation.endswith("{ me { id } }")
    assert found.entity_ids[0].subgraph_key == "id"


def test_a_witness_is_found_where_the_objects_are() -> None:
    data = {"named": [{"__typename": "User", "raak_id": "1"}, {"__typename": "Dog"}]}

    (witness,) = variant("{ named { name } }").entity_ids

    assert [item[witness.subgraph_key] for item in witness.path.find(data)] == ["1"]


def test_where_the_service_at_hand_lacks_the_field_there_is_no_witness() -> None:
    supergraph = compose_all(
        a='type Query { u: User } type User @key(fields: "no") { no: ID! }',
        b='type User @key(fields: "no") @key(fields: "id") { no: ID! id: ID! }',
    )

    found = variant("{ u { no } }", supergraph=supergraph)

    assert len(found.stages[0].fetches) == 1
    assert found.entity_ids == ()


def test_a_denied_field_still_tells_which_object_it_is() -> None:
    found = variant("{ me { id } }", "User.id")

    assert [witness.subgraph_key for witness in found.entity_ids] == ["raak_id"]


# Idempotence


def test_only_the_root_of_a_mutation_must_not_be_asked_twice() -> None:
    first, second = requests("mutation { rename { name orders { total } } }")

    assert (first.subgraph, first.is_idempotent) == ("users", False)
    assert (second.subgraph, second.is_idempotent) == ("orders", True)


def test_a_tagged_field_makes_its_request_one_that_must_not_be_asked_twice() -> None:
    assert [r.is_idempotent for r in requests("{ me { name } }")] == [True]
    assert [r.is_idempotent for r in requests("{ me { name } next }")] == [False]
    assert [r.is_idempotent for r in requests("{ me { draw } }")] == [True, False]
