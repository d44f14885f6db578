"""What a failing service costs: its own fields, said plainly, and nothing else."""

from typing import Any

import orjson
import pytest

from gateway.supergraph import (
    ExecutionOptions,
    RoutingTransport,
    SubgraphResponse,
    SubgraphTimeout,
    compose,
    execute,
    plan_document,
)
from tests.unit.gateway.supergraph import shop
from tests.unit.gateway.supergraph.compose_subgraphs import compose_all

SUPERGRAPH = compose(shop.SDLS)


def said(answer: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    return [(e["extensions"]["code"], e.get("path")) for e in answer["errors"]]


async def test_a_dead_service_costs_its_own_fields_only() -> None:
    transport = shop.InProcess()
    transport.down.add("offers")

    answer = await execute(
        plan_document(SUPERGRAPH, "{ customers { id offers { id } } }"), None, transport
    )

    assert [found["id"] for found in answer["data"]["customers"]] == ["1", "2", "3"]
    assert {found["offers"] for found in answer["data"]["customers"]} == {None}
    assert said(answer) == [("SUBGRAPH_UNAVAILABLE", ["customers", n, "offers"]) for n in range(3)]
    assert answer["errors"][0]["extensions"]["service"] == "offers"
    assert "Try again" in answer["errors"][0]["extensions"]["hint"]


async def test_a_dead_service_behind_a_required_field_nulls_up_to_what_may_be_null() -> None:
    transport = shop.InProcess()
    transport.down.add("reviews")

    answer = await execute(
        plan_document(SUPERGRAPH, "{ version customers { id reviews { id } } }"), None, transport
    )

    assert answer["data"] is None
    assert {code for code, _ in said(answer)} == {"SUBGRAPH_UNAVAILABLE"}


async def test_a_late_service_is_not_waited_for() -> None:
    transport = RoutingTransport({"offers": shop.Scripted({"offers": 5.0})}, shop.InProcess())
    planned = plan_document(SUPERGRAPH, "{ customers { id offers { id } } }")

    answer = await execute(planned, None, transport, ExecutionOptions(within_s=1.0))

    assert answer["data"]["customers"][0] == {"id": "1", "offers": None}
    assert {code for code, _ in said(answer)} == {"SUBGRAPH_TIMEOUT"}


async def test_a_transports_own_deadline_reads_the_same() -> None:
    transport = shop.Scripted({"offers": SubgraphTimeout("offers")})

    answer = await execute(
        plan_document(SUPERGRAPH, "{ customers { offers { id } } }"), None, transport
    )

    assert {code for code, _ in said(answer)} == {"SUBGRAPH_TIMEOUT"}


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (SubgraphResponse(200, b""), "SUBGRAPH_INVALID_RESPONSE"),
        (SubgraphResponse(200, b"<html>"), "SUBGRAPH_INVALID_RESPONSE"),
        (SubgraphResponse(200, b"[1]"), "SUBGRAPH_INVALID_RESPONSE"),
        (SubgraphResponse(200, b'{"data": 7}'), "SUBGRAPH_INVALID_RESPONSE"),
        (SubgraphResponse(200, b'{"data": {"_entities": {}}}'), "SUBGRAPH_INVALID_RESPONSE"),
        (SubgraphResponse(200, b'{"data": {"_entities": [{}]}}'), "SUBGRAPH_INVALID_RESPONSE"),
        (SubgraphResponse(200, b'{"data": {}}'), "SUBGRAPH_INVALID_RESPONSE"),
        (SubgraphResponse(302, b""), "SUBGRAPH_INVALID_RESPONSE"),
        (SubgraphResponse(502, b"<html>"), "SUBGRAPH_UNAVAILABLE"),
    ],
)
async def test_garbage_is_told_from_absence(reply: SubgraphResponse, code: str) -> None:
    planned = plan_document(SUPERGRAPH, "{ customers { id offers { id } } }")

    answer = await execute(planned, None, shop.Scripted({"offers": reply}))

    assert [found["offers"] for found in answer["data"]["customers"]] == [None] * 3
    assert {found for found, _ in said(answer)} == {code}


@pytest.mark.parametrize("wrong", [7, "x", {"a": 1}, [7], [None], [[{}]], [{"id": None}]])
async def test_data_of_a_wrong_shape_is_cut_out_and_reported(wrong: Any) -> None:
    entities = [{"offers": wrong}] * 3
    reply = SubgraphResponse(200, orjson.dumps({"data": {"_entities": entities}}))
    planned = plan_document(SUPERGRAPH, "{ customers { id offers { id } } }")

    answer = await execute(planned, None, shop.Scripted({"offers": reply}))

    assert [found["offers"] for found in answer["data"]["customers"]] == [None] * 3
    assert {code for code, _ in said(answer)} == {"NULL_IN_NON_NULL_FIELD"}


async def test_an_error_is_repeated_wherever_its_entity_stands() -> None:
    answer = await execute(
        plan_document(SUPERGRAPH, "{ offers { n: number customer { who: secret } } }"),
        None,
        shop.InProcess(),
    )

    assert sorted(e["path"] for e in answer["errors"]) == [
        ["offers", n, "customer", "who"] for n in range(6)
    ]


async def test_only_code_and_hint_of_a_services_error_are_passed_on() -> None:
    answer = await execute(
        plan_document(SUPERGRAPH, '{ customer(id: "1") { secret } }'), None, shop.InProcess()
    )

    assert answer["errors"] == [
        {
            "message": "No secrets of 1.",
            "path": ["customer", "secret"],
            "extensions": {"code": "REFUSED", "hint": "Ask nicely.", "service": "customers"},
        }
    ]


async def test_errors_are_bounded() -> None:
    errors = [{"message": "no", "path": ["customers"]}] * 1_000
    reply = SubgraphResponse(200, orjson.dumps({"data": None, "errors": errors}))

    answer = await execute(
        plan_document(SUPERGRAPH, "{ customers { id } }"), None, shop.Scripted({"customers": reply})
    )

    assert len(answer["errors"]) == 101
    assert answer["errors"][-1]["extensions"]["code"] == "TOO_MANY_ERRORS"


@pytest.mark.parametrize("variables", [None, {}, {"n": None}, {"n": "one"}, {"n": [1]}])
async def test_wrong_variables_are_refused_before_anyone_is_asked(variables: Any) -> None:
    transport = shop.InProcess()
    planned = plan_document(
        SUPERGRAPH, "query ($n: Int!) { customers { offers(limit: $n) { id } } }"
    )

    answer = await execute(planned, variables, transport)

    assert answer.keys() == {"errors"}
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert transport.sent == []


async def test_hidden_enum_values_and_types_never_reach_the_client() -> None:
    supergraph = compose_all(
        a="type Query { e: [E] n: [N] } enum E { A B @inaccessible }"
        " interface N { x: ID } type T implements N { x: ID }"
        " type H implements N @inaccessible { x: ID }"
    )
    data = {"e": ["A", "B"], "n": [{"__typename": "T", "x": "1"}, {"__typename": "H", "x": "2"}]}
    transport = shop.Scripted({"a": SubgraphResponse(200, orjson.dumps({"data": data}))})

    answer = await execute(plan_document(supergraph, "{ e n { x } }"), None, transport)

    assert answer["data"] == {"e": ["A", None], "n": [{"x": "1"}, None]}
    assert "errors" not in answer
