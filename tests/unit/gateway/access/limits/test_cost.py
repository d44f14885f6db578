"""Cost: what an operation may cost at most, from its lists, marks and variables."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from graphql import build_schema, parse

from gateway.access.limits.cost import (
    CostModel,
    CostWeights,
    OperationCost,
    SlicingArgumentRequired,
    check_cost,
)
from gateway.access.limits.operation_limits import MOST, LimitExceeded, OperationLimits
from gateway.access.selections import visit_operation
from gateway.supergraph import Operation
from gateway.supergraph.schema_metadata import ListSize, SchemaMetadata
from tests.unit.gateway.small_graph import InProcess, asking, endpoint

SCHEMA = build_schema("""
type Query {
  shop: Shop
  shops(first: Int = 20, last: Int): [Shop!]!
  people(first: Int, filter: Filter): People!
  byKey(keys: [ID!]!): [Shop!]!
  matrix: [[Shop!]!]!
  thing: Thing
  named: Named
  search(filter: Search, also: [Search!], fast: Boolean): Shop
}
type Mutation { open(name: String): Shop, close: Boolean }
input Filter { limit: Int }
input Search { approximate: Boolean, text: String, deep: Search, any: [Search!] }
type Shop implements Named {
  name(long: Boolean): String
  tags: [String!]!
  tagged: [Town!]
  staff: [Person!]!
  town: Town
}
type Town { name: String }
type People { edges: [Edge!]! nodes: [Person!]! total: Int }
type Edge { node: Person! }
type Person implements Named {
  name(long: Boolean): String
  tagged: [Town!]
  shops(limit: Int): [Shop!]!
}
interface Named { name(long: Boolean): String, tagged: [Town!] }
union Thing = Shop | Person | Town
""")


def price(text: str, metadata: SchemaMetadata | None = None) -> OperationCost:
    return price_by(CostModel(SCHEMA, metadata or SchemaMetadata()), text)


def price_by(model: CostModel, text: str) -> OperationCost:
    operation = Operation.choose(parse(text))
    root, _ = visit_operation(operation, model.schema)
    return model.price(root, operation.defaults)


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


MARKED = SchemaMetadata(
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


SEARCH = SchemaMetadata(
    costs={
        "Query.search": 5,
        "Query.search(filter:)": 15,
        "Query.search(fast:)": -100,
        "Search.approximate": -12,
        "Search.text": 2,
    }
)


Ask = Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]
"""A way to ask `search` with arguments: the text, and the variables."""
TYPES = {"filter": "Search", "also": "[Search!]", "fast": "Boolean"}


def written_out(arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return searching("", {name: written(value) for name, value in arguments.items()}), {}


def in_variables(arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    declared = ", ".join(f"${name}: {TYPES[name]}" for name in arguments)
    return searching(declared, {name: f"${name}" for name in arguments}), arguments


def by_default(arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    declared = ", ".join(f"${n}: {TYPES[n]} = {written(value)}" for n, value in arguments.items())
    return searching(declared, {name: f"${name}" for name in arguments}), {}


def searching(declared: str, arguments: dict[str, str]) -> str:
    given = ", ".join(f"{name}: {value}" for name, value in arguments.items())
    head, given = (f"({part})" if part else "" for part in (declared, given))
    return f"query{head} {{ search{given} {{ staff {{ name }} }} }}"


def written(value: Any) -> str:
    """A value as GraphQL writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {written(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return orjson.dumps(value).decode()


@pytest.mark.parametrize("ask", [written_out, in_variables, by_default])
@pytest.mark.parametrize(
    ("arguments", "cost"),
    [
        ({}, 5),
        ({"filter": {}}, 5 + 15),
        ({"filter": None}, 5),
        ({"filter": {"approximate": True}}, 5 + 15 - 12),
        ({"filter": {"approximate": None}}, 5 + 15),
        ({"filter": {"deep": {"deep": {"approximate": True}}}}, 5 + 15 - 12),
        ({"filter": {"text": "a", "any": [{"text": "b"}, {"text": "c"}]}}, 5 + 15 + 3 * 2),
        ({"filter": {"any": {"text": "b"}}}, 5 + 15 + 2),
        ({"also": [{"text": "a"}, None, {"approximate": True}]}, 5 + 2),
        ({"also": [{"approximate": True}] * 9, "filter": {}}, 5 + 15),
        ({"also": {"approximate": True}}, 0),
        ({"fast": True, "filter": {}}, 0),
    ],
)
def test_arguments_and_input_fields_cost_what_they_are_marked_with(
    ask: Ask, arguments: dict[str, Any], cost: int
) -> None:
    text, given = ask(arguments)

    assert price(text, SEARCH)(given) == cost + 10, "staff is 10, whatever search is"


@pytest.mark.parametrize(
    ("text", "given", "cost"),
    [
        ("query($s: Search) { search(filter: {deep: $s}) { name } }", {"s": {"text": "a"}}, 22),
        ("query($s: Search) { search(also: [$s, {text: \"b\"}]) { name } }",
         {"s": {"text": "a"}}, 9),
        ("query($s: Search) { search(also: [$s]) { name } }", {"s": {"approximate": True}}, 5),
        ("query($t: String) { search(filter: {text: $t}) { name } }", {"t": "a"}, 22),
        ("query($t: String) { search(filter: {text: $t}) { name } }", {"t": None}, 20),
        ("query($t: String) { search(filter: {text: $t}) { name } }", {}, 20),
        ("query($s: Search) { search(filter: $s) { name } }", {"s": "nonsense"}, 20),
        ("query($s: Search) { search(filter: $s) { name } }", {"s": {"any": [[3]], "no": 1}}, 20),
        ("query($s: Search, $t: String) {"
         " search(filter: {text: $t, deep: $s}, also: $s) { name } }",
         {"s": {"text": "a"}, "t": "b"}, 5 + 15 + 2 + 2 + 2),
        ("mutation($n: String) { open(name: $n) { name } }", {"n": "x"}, 10 + 1 + 7),
        ("mutation($n: String) { open(name: $n) { name } }", {}, 10 + 1),
    ],
)  # fmt: skip
def test_input_fields_count_through_variables(text: str, given: dict[str, Any], cost: int) -> None:
    marked = SchemaMetadata(costs={**SEARCH.costs, "Mutation.open(name:)": 7})

    assert price(text, marked)(given) == cost


def test_what_is_not_marked_does_not_make_a_price_move() -> None:
    text = "query($s: Search) { search(filter: $s) { name } }"

    assert price(text, MARKED).is_fixed
    assert not price(text, SEARCH).is_fixed


def test_a_variable_is_looked_through_once_however_often_it_is_used() -> None:
    class CountedList(list[Any]):
        times = 0

        def __iter__(self) -> Any:
            self.times += 1
            return super().__iter__()

    value = CountedList([{"text": "a"}] * 10)
    many = " ".join(f"s{n}: search(also: $s) {{ name }}" for n in range(20))

    asked = price(f"query($s: [Search!]) {{ {many} }}", SEARCH)({"s": value})

    assert (asked, value.times) == (20 * (5 + 10 * 2), 1)


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("{ named { name } }", 2 + 4),
        ("{ named { name(long: true) } }", 2 + 4 + 6),
        ("{ named { ... on Person { name } } }", 2 + 0),
        ("{ thing { __typename } }", 5),
    ],
)
def test_of_an_interface_or_union_the_dearest_type_counts(text: str, cost: int) -> None:
    costs = {"Person": 2, "Town": 5, "Shop.name": 4, "Person.name(long:)": 6}

    assert price(text, SchemaMetadata(costs=costs))({}) == cost


@pytest.mark.parametrize(
    ("sizes", "cost"),
    [
        ({"Shop.tagged": 500}, 1 + 500),
        ({"Shop.tagged": 3}, 1 + 10),
        ({"Shop.tagged": 3, "Person.tagged": 4}, 1 + 4),
        ({"Shop.tagged": 3, "Named.tagged": 5}, 1 + 5),
    ],
)
def test_of_an_interface_the_largest_list_counts(sizes: dict[str, int], cost: int) -> None:
    marked = SchemaMetadata(list_sizes={place: ListSize(assumed=n) for place, n in sizes.items()})

    assert price("{ named { tagged { name } } }", marked)({}) == cost


def test_a_list_that_wants_one_slicing_argument_is_refused_without_it() -> None:
    with pytest.raises(SlicingArgumentRequired, match=r"Query.people has 0 .*filter.limit"):
        price("{ people { nodes { name } } }", MARKED)


def test_weights_are_an_operators_to_set() -> None:
    dear = CostModel(SCHEMA, weights=CostWeights(object=2, scalar=1, assumed_list_size=5))

    assert price_by(dear, "{ shop { staff { name } } }")({}) == 2 + 5 * (2 + 1)


def test_what_costs_too_much_is_told_its_price_and_where_most_of_it_is() -> None:
    asked = price(
        "query($n: Int) { shop { name } people(first: $n) { edges { node { name"
        " mine: shops(limit: 5) { town { name } staff { name } } } } } }"
    )

    with pytest.raises(LimitExceeded) as refusal:
        check_cost(asked, {"n": 100}, OperationLimits(cost=5_000))

    assert refusal.value.problem == (
        "The operation costs 6202, 5000 of it for people.edges.node.shops.staff. "
        "The limit is 5000 (max_cost)."
    )
    check_cost(asked, {"n": 50}, OperationLimits(cost=5_000))


def test_a_size_of_more_digits_than_can_be_read_is_too_much() -> None:
    digits = "9" * 5_000

    assert price(f"{{ shops(first: {digits}) {{ name }} }}")({}) == MOST
    asked = price(f"query($n: Int = {digits}) {{ shops(first: $n) {{ name }} }}")
    assert asked({}) == MOST


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

    cost = {"requested": 1, "dearest": "customer", "dearestCost": 1}
    assert costed.json() == plain.json() | ({"extensions": {"cost": cost}} if told else {})
