"""Cost: what an operation may cost at most, from its lists, marks and variables."""

from time import perf_counter
from typing import Any

import pytest
from graphql import OperationDefinitionNode, build_schema, parse

from gateway.access.cost import (
    Price,
    Pricing,
    SlicingArgumentRequired,
    Weights,
    check_cost,
)
from gateway.access.limits import LimitExceeded, Limits
from gateway.supergraph.joins import ListSize, Markings
from tests.unit.gateway.small_graph import InProcess, asking, endpoint

SCHEMA = build_schema("""
type Query {
  shop: Shop
  shops(first: Int = 20, last: Int): [Shop!]!
  people(first: Int, filter: Filter): People!
  byKey(keys: [ID!]!): [Shop!]!
  matrix: [[Shop!]!]!
  thing: Thing
}
type Mutation { open(name: String): Shop, close: Boolean }
input Filter { limit: Int }
type Shop implements Named { name: String tags: [String!]! staff: [Person!]! town: Town }
type Town { name: String }
type People { edges: [Edge!]! nodes: [Person!]! total: Int }
type Edge { node: Person! }
type Person implements Named { name: String shops(limit: Int): [Shop!]! }
interface Named { name: String }
union Thing = Shop | Person | Town
""")


def price(text: str, markings: Markings | None = None) -> Price:
    document = parse(text)
    [operation] = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    return Pricing(SCHEMA, markings or Markings()).price(document, operation)


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("{ shop { name tags } }", 1),
        ("{ shop { town { name } staff { name } } }", 1 + 1 + 10),
        ("{ shops { name } }", 20),
        ("{ shops(first: 3) { town { name } } }", 6),
        ("{ shops(first: 3, last: 5) { name } }", 5),
        ("{ shops(first: null) { name } }", 10),
        ("{ shops(first: -1) { name } }", 0),
        ("{ matrix { name } }", 100),
        ("{ people(first: 7) { edges { node { name } } total } }", 1 + 7 * 2),
        ("{ people(first: 7) { ...P } } fragment P on People { nodes { name } }", 1 + 7),
        ("{ people(first: 2) { nodes { shops(limit: 3) { name } } } }", 1 + 2 * (1 + 3)),
        ("{ people { edges { node { name } } } }", 1 + 10 * 2),
        ("{ a: shop { name } b: shop { name } }", 2),
        ("mutation { open(name: \"x\") { name } close }", 10 + 1 + 10),
        ("{ thing { ... on Shop { staff { name } } ... on Person { name } } }", 1 + 10),
        ("{ thing { ... on Named { ... on Person { shops { name } } } ...T } }"
         " fragment T on Town { name }", 1 + 10),
        ("{ shop @include(if: false) { staff { name } } }", 0),
        ("{ ... @skip(if: true) { shop { name } } shop @skip(if: false) { name } }", 1),
        ("{ nowhere { no { field } } ...Missing __schema { types { name } } }", 0),
    ],
)  # fmt: skip
def test_objects_cost_one_and_lists_their_sizes(text: str, cost: int) -> None:
    assert price(text)({}) == cost


@pytest.mark.parametrize(
    ("text", "given", "cost"),
    [
        ("query($n: Int) { shops(first: $n) { town { name } } }", {"n": 4}, 8),
        ("query($n: Int = 6) { shops(first: $n) { name } }", {}, 6),
        ("query($n: Int = 6) { shops(first: $n) { name } }", {"n": None}, 10),
        ("query($n: Int) { shops(first: $n) { name } }", {"n": "many"}, 10),
        ("query($n: Int) { shops(first: $n, last: 5) { name } }", {"n": 4}, 5),
        ("query($n: Int) { people(first: $n) { edges { node { name } } } }", {"n": 9.0}, 19),
        ("query($n: Int) { people(first: 2) { nodes { shops(limit: $n) { name } } } }",
         {"n": 50}, 1 + 2 * 51),
        ("query($a: Boolean!) { shop @include(if: $a) { staff { name } } }", {"a": True}, 11),
        ("query($a: Boolean!) { shop @include(if: $a) { staff { name } } }", {"a": False}, 0),
        ("query($a: Boolean = true) { shop @skip(if: $a) { name } }", {}, 0),
        ("query($a: Boolean, $b: Boolean) { shop @skip(if: $a) @include(if: $b) { name } }",
         {"a": False, "b": True}, 1),
        ("query($n: Int) { shop { staff { ...F ...F } } }"
         " fragment F on Person { shops(limit: $n) { name } }", {"n": 2}, 1 + 10 * (1 + 4)),
        ("query($n: Int) { thing { ... on Person { shops(limit: $n) { name } }"
         " ... on Shop { staff { name } } } }", {"n": 50}, 1 + 50),
    ],
)  # fmt: skip
def test_sizes_in_variables_count_as_they_are_given(
    text: str, given: dict[str, Any], cost: int
) -> None:
    assert price(text)(given) == cost


MARKED = Markings(
    costs={
        "Town": 5,
        "Shop.tags": 2,
        "Shop.staff": 3,
        "Mutation.open(name:)": 7,
    },
    list_sizes={
        "Shop.staff": ListSize(assumed=4),
        "Query.byKey": ListSize(slicing_arguments=("keys",)),
        "Query.people": ListSize(
            slicing_arguments=("filter.limit",), sized_fields=("nodes",), assumed=2
        ),
        "Query.shops": ListSize(
            slicing_arguments=("first", "last"), require_one_slicing_argument=False
        ),
    },
)


@pytest.mark.parametrize(
    ("text", "given", "cost"),
    [
        ("{ shop { town { name } } }", {}, 1 + 5),
        ("{ shop { tags } }", {}, 1 + 20),
        ("{ shop { staff { name } } }", {}, 1 + 4 * 3),
        ("{ byKey(keys: [1, 2, 3]) { name } }", {}, 3),
        ("query($k: [ID!]!) { byKey(keys: $k) { name } }", {"k": ["a", "b"]}, 2),
        ("{ people(filter: {limit: 6}) { nodes { name } edges { node { name } } } }", {},
         1 + 6 + 20),
        ("query($n: Int) { people(filter: {limit: $n}) { nodes { name } } }", {"n": 8}, 1 + 8),
        ("query($f: Filter) { people(filter: $f) { nodes { name } } }", {"f": {"limit": 8}}, 9),
        ("query($f: Filter) { people(filter: $f) { nodes { name } } }", {"f": None}, 1 + 2),
        ("{ shops(last: 2) { name } }", {}, 20),
        ("mutation { open(name: \"x\") { name } }", {}, 10 + 7 + 1),
    ],
)  # fmt: skip
def test_marks_of_the_services_take_the_place_of_what_is_usual(
    text: str, given: dict[str, Any], cost: int
) -> None:
    assert price(text, MARKED)(given) == cost


def test_a_list_that_wants_one_slicing_argument_is_refused_without_it() -> None:
    with pytest.raises(SlicingArgumentRequired, match=r"Query.people .* with 0 .*filter.limit"):
        price("{ people { nodes { name } } }", MARKED)


def test_weights_are_an_operators_to_set() -> None:
    document = parse("{ shop { staff { name } } }")
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)

    dear = Pricing(SCHEMA, weights=Weights(object=2, scalar=1, assumed_list_size=5))

    assert dear.price(document, operation)({}) == 2 + 5 * (2 + 1)


def test_what_costs_too_much_is_told_its_price_and_where_most_of_it_is() -> None:
    asked = price(
        "query($n: Int) { shop { name } people(first: $n) { edges { node { name"
        " mine: shops(limit: 5) { town { name } staff { name } } } } } }"
    )

    with pytest.raises(LimitExceeded) as refusal:
        check_cost(asked, {"n": 100}, Limits(cost=5_000))

    assert refusal.value.problem == (
        "The operation costs 6202, 5000 of it for people.edges.node.shops.staff. "
        "The limit is 5000 (max_cost)."
    )
    check_cost(asked, {"n": 50}, Limits(cost=5_000))


def test_fragments_that_would_cost_exponentially_are_priced_at_once() -> None:
    doubling = "".join(
        f"fragment F{n} on Person {{ a: shops(limit: $n) {{ staff {{ ...F{n + 1} }} }}"
        f" b: shops {{ staff {{ ...F{n + 1} }} }} }}"
        for n in range(60)
    )
    text = f"query($n: Int) {{ shop {{ staff {{ ...F0 }} }} }} {doubling}"
    started = perf_counter()

    asked = price(text + " fragment F60 on Person { name }")
    with pytest.raises(LimitExceeded, match=r"costs more than 1000000000000, most of it for shop"):
        check_cost(asked, {"n": 3}, Limits())

    assert perf_counter() - started < 0.5


def test_fragments_that_hold_themselves_end() -> None:
    assert price("{ shop { ...A } } fragment A on Shop { town { name } ...A }")({}) == 2


@pytest.mark.parametrize(("is_open", "told"), [(True, True), (False, False)])
async def test_an_answer_tells_its_cost_on_request_in_development(
    is_open: bool, told: bool
) -> None:
    query = "query($n: Int!) { customer(ref: {id: 1}) { id events(first: $n) } }"
    async with asking(endpoint(InProcess(), is_open=is_open)) as client:
        body = {"query": query, "variables": {"n": 5}}
        plain = await client.post("/graphql", json=body)
        costed = await client.post("/graphql", json=body, headers={"X-Raak-Cost": "1"})

    cost = {"requested": 1, "dearest": "customer", "ofIt": 1}
    assert costed.json() == plain.json() | ({"extensions": {"cost": cost}} if told else {})
