"""Plans ask as little as they can: of few services, once, at the same time."""

from typing import Any

import pytest
from graphql import parse

from gateway.supergraph import CannotPlan, OperationRefused, compose, execute, plan, plan_document
from services.chassis.errors import UnknownOperation
from tests.unit.gateway.supergraph import shop
from tests.unit.gateway.supergraph.compose_subgraphs import compose_all

SUPERGRAPH = compose(shop.SDLS)


async def send(text: str, variables: dict[str, Any] | None = None) -> list[tuple[str, Any]]:
    """What the services are asked, and with which variables."""
    transport = shop.InProcess()
    answer = await execute(plan(SUPERGRAPH, parse(text)), variables, transport)
    assert "errors" not in answer
    return [(name, request) for name, request in transport.sent]


def requests(text: str, **sdls: str) -> list[str]:
    """The requests of a plan over other services, as text."""
    planned = plan(compose_all(**sdls), parse(text))
    return [r.operation for stage in planned.variant({}).stages for r in stage.fetches]


async def test_equal_representations_are_sent_once() -> None:
    sent = await send("{ offers { customer { name } } }")

    assert [name for name, _ in sent] == ["offers", "customers"]
    assert len(sent[1][1]["variables"]["representations0"]) == len(shop.CUSTOMERS)


async def test_entities_of_one_service_and_level_share_one_request() -> None:
    sent = await send("{ offers { rating items { ... on Book { pages } } } }")

    assert [name for name, _ in sent] == ["offers", "reviews"]
    assert sent[1][1]["query"].count("_entities(") == 2


async def test_a_service_is_not_asked_when_there_is_nothing_to_ask_about() -> None:
    sent = await send('{ customer(id: "9") { offers { title } } }')

    assert [name for name, _ in sent] == ["customers"]


async def test_only_the_variables_a_request_uses_are_sent() -> None:
    text = "query ($id: ID!, $n: Int!) { customer(id: $id) { offers(limit: $n) { id } } }"

    sent = await send(text, {"id": "1", "n": 1})

    assert sent[0][1]["variables"] == {"id": "1"}
    assert sent[1][1]["variables"].keys() == {"n", "representations0"}


async def test_a_skipped_field_is_not_asked_for() -> None:
    text = "query ($x: Boolean!) { customers { id offers @include(if: $x) { id } } }"

    assert len(await send(text, {"x": False})) == 1
    assert len(await send(text, {"x": True})) == 2


def test_a_shared_field_is_fetched_where_something_else_is_fetched_anyway() -> None:
    shared = "type Query { t: T @shareable } type T @shareable { x: ID "

    sent = requests("{ t { x y } }", a=shared + "}", b=shared + "y: ID }")

    assert len(sent) == 1


def test_a_provided_field_needs_no_second_request() -> None:
    sent = requests(
        "{ r { u { name } } }",
        a='type Query { r: R } type R { u: U @provides(fields: "name") }'
        ' type U @key(fields: "id") { id: ID! name: String @external }',
        b='type U @key(fields: "id") { id: ID! name: String @shareable }',
    )

    assert len(sent) == 1


def test_an_overridden_field_is_fetched_from_its_new_owner() -> None:
    sent = requests(
        "{ t { x } }",
        a='type Query { t: T } type T @key(fields: "id") { id: ID! x: ID }',
        b='type T @key(fields: "id") { id: ID! x: ID @override(from: "a") }',
    )

    assert "{ t { raak_id: id } }" in sent[0]
    assert "... on T { x }" in sent[1]


def test_one_input_with_two_arguments_makes_two_representations() -> None:
    sent = requests(
        "{ t { usd eur } }",
        a='type Query { t: T } type T @key(fields: "id") { id: ID! price(in: String): Int }',
        b='type T @key(fields: "id") { id: ID! price(in: String): Int @external'
        """ usd: Int @requires(fields: "price(in: \\"USD\\")")"""
        """ eur: Int @requires(fields: "price(in: \\"EUR\\")") }""",
    )

    assert 'raak_price: price(in: "USD") raak_price__1: price(in: "EUR")' in sent[0]
    assert sent[1].count("_entities(") == 2


def test_inputs_of_unlike_types_are_asked_of_each_type_alone() -> None:
    types = (
        "type A @shareable { n: Int a: Int } type B @shareable { n: Int b: Int } union U = A | B"
    )

    sent = requests(
        "{ t { sum } }",
        a='type Query { t: T } type T @key(fields: "id") { id: ID! u: U } ' + types,
        b='type T @key(fields: "id") { id: ID! u: U @external sum: Int'
        ' @requires(fields: "u { ... on A { n a } ... on B { n b } }") } ' + types,
    )

    assert "... on A { raak_n: n raak_a: a } ... on B { raak_n: n raak_b: b }" in sent[0]


def test_fields_whose_types_conflict_in_a_service_are_asked_under_other_names() -> None:
    sent = requests(
        "{ u { ... on A { x } ... on B { x } } }",
        a="type Query { u: U } union U = A | B type A @shareable { x: ID! }"
        " type B @shareable { x: ID }",
        b="type Query { b: A } type A @shareable { x: ID } ",
    )

    assert "... on A { x } ... on B { x__1: x }" in sent[0]


def test_alike_implementations_are_planned_together() -> None:
    types = " ".join(f"type T{n} implements I {{ x: ID i: I }}" for n in range(50))
    deep = "{ i { x i { x i { x i { x i { x } } } } } }"

    sent = requests(deep, a="type Query { i: I } interface I { x: ID i: I } " + types)

    assert sent[0].count("x") == 5
    assert " on T" not in sent[0]


def test_what_members_of_a_union_select_alike_is_written_once() -> None:
    names = [f"T{n}" for n in range(50)]
    types = " ".join(f"type {name} implements I {{ x: ID u: U }}" for name in names)
    deep = "{ u { ...F } } fragment F on I { x u { ... on I { x u { ... on I { x } } } } }"

    sent = requests(
        deep,
        a=f"type Query {{ u: U }} union U = {' | '.join(names)}"
        f" interface I {{ x: ID u: U }} {types}",
    )

    assert len(sent[0]) < 10_000


def test_an_operation_that_grows_without_bound_is_refused() -> None:
    fragments = " ".join(
        f"fragment F{n} on T {{ a: t {{ ...F{n + 1} }} b: t {{ ...F{n + 1} }} }}" for n in range(20)
    )
    text = "{ t { ...F0 } } " + fragments + " fragment F20 on T { id }"

    with pytest.raises(CannotPlan, match="selects more than"):
        requests(text, a="type Query { t: T } type T { t: T id: ID }")


def test_operations_of_one_document_have_plans_of_their_own() -> None:
    text = "query A { offers { id } } query B { customers { id } }"

    a, b = (plan_document(SUPERGRAPH, text, name).variant({}).stages[0] for name in "AB")

    assert [fetch.subgraph for fetch in a.fetches + b.fetches] == ["offers", "customers"]
    with pytest.raises(UnknownOperation, match="has 2 operations and no operationName was sent"):
        plan_document(SUPERGRAPH, text)
    with pytest.raises(UnknownOperation, match="The document has no single operation 'C'"):
        plan_document(SUPERGRAPH, text, "C")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{ version", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ customers { ...F } } fragment F on Customer { ...F }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ " + "version " * 20_000 + "}", "GRAPHQL_PARSE_FAILED"),
    ],
)
def test_a_refused_operation_says_so(text: str, code: str) -> None:
    with pytest.raises(OperationRefused) as refused:
        plan_document(SUPERGRAPH, text)

    assert refused.value.errors[0]["extensions"]["code"] == code  # type: ignore[index]


def test_a_document_is_valid_as_a_whole_or_not_at_all() -> None:
    with pytest.raises(OperationRefused, match="nothing"):
        plan_document(SUPERGRAPH, "query Q { version } query Other { nothing }", "Q")
    with pytest.raises(OperationRefused, match="never used"):
        plan_document(SUPERGRAPH, "{ version } fragment F on Customer { id }")


def test_what_other_operations_of_a_document_skip_by_makes_no_variants() -> None:
    other = "query B($x: Boolean!) { customers { ...F } } "
    fragment = "fragment F on Customer { id @skip(if: $x) }"

    assert (
        plan_document(SUPERGRAPH, f"query A {{ version }} {other}{fragment}", "A").conditions == ()
    )


def test_an_operation_nested_without_end_is_refused() -> None:
    text = "{ customers " + "{ friends " * 2_000 + "{ id }" + "}" * 2_001

    with pytest.raises((CannotPlan, OperationRefused)):
        plan_document(SUPERGRAPH, text)
