"""Any operation of the real graph as a stream of answers."""

from typing import Any

import pytest

from gateway.access.limits.registered_operations import OperationRegistry
from gateway.graphql_http.persisted_operations import PersistedOperations
from gateway.graphql_http.request_context import REQUESTS
from gateway.live.operation_stream import OperationStreams, format_failure
from services.chassis.graphql_http.request import read_parameters
from services.chassis.principal import Principal
from services.contracts.enums import Role
from tests.callers import caller
from tests.unit.gateway.small_graph import InProcess, graph

JSON = dict[str, Any]


async def answers(
    query: str, who: Principal | None = None, *, may_change: bool = True, down: str = ""
) -> list[JSON]:
    """All answers to an operation."""
    answering = OperationStreams(
        lambda: graph(InProcess(down={down}), is_open=True),
        PersistedOperations(OperationRegistry()),
    )
    asked = read_parameters({"query": query})
    operation = answering.open(asked, who or caller(Role.AGENT), may_change=may_change)
    return [answer async for answer in operation.execute()]


def the_code(answer: JSON) -> str:
    """The code of the only error of an answer that has no data."""
    assert set(answer) == {"errors"}
    [error] = answer["errors"]
    code: str = error["extensions"]["code"]
    return code


async def test_a_query_and_a_mutation_have_one_answer() -> None:
    track = 'mutation { track(input: {customer: {id: "1"}, event: "came"}) }'

    assert await answers("{ segments }") == [{"data": {"segments": ["loyal"]}}]
    assert await answers(track) == [{"data": {"track": "came"}}]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { segments } query B { segments }", "UNKNOWN_OPERATION"),
        ("subscription { segments }", "GRAPHQL_VALIDATION_FAILED"),
    ],
)
async def test_what_cannot_be_asked_is_one_answer_without_data(query: str, code: str) -> None:
    [answer] = await answers(query)

    assert "data" not in answer
    assert answer["errors"][0]["extensions"]["code"] == code


async def test_a_mutation_needs_a_way_on_which_it_may_change_something() -> None:
    track = 'mutation { track(input: {customer: {id: "1"}, event: "came"}) }'

    [answer] = await answers(track, may_change=False)

    assert the_code(answer) == "MUTATION_NOT_ALLOWED"


async def test_a_visitor_reaches_nobody_else() -> None:
    visitor = caller(Role.VISITOR, customer={"type": "anonymous_id", "value": "v"})

    [answer] = await answers('{ customer(ref: {id: "1"}) { id } }', visitor)

    assert the_code(answer) == "FORBIDDEN"


async def test_a_service_that_is_away_costs_its_own_fields() -> None:
    [answer] = await answers('{ segments action(key: "a") }', down="decision")

    assert answer["data"] == {"segments": ["loyal"], "action": None}
    assert answer["errors"][0]["extensions"]["code"] == "SUBGRAPH_UNAVAILABLE"


@pytest.mark.parametrize(
    ("query", "kind", "code"),
    [
        ("{ segments }", "query", "OK"),
        ('{ action(key: "a") }', "query", "SUBGRAPH_UNAVAILABLE"),
        ("{", "none", "GRAPHQL_PARSE_FAILED"),
    ],
)
async def test_an_operation_is_counted_once_by_its_first_error(
    query: str, kind: str, code: str
) -> None:
    counter = REQUESTS.labels(kind, code)
    before = counter._value.get()

    await answers(query, down="decision")

    assert counter._value.get() == before + 1


def test_what_is_not_ours_is_masked() -> None:
    [error] = format_failure(RuntimeError("secret"))

    assert error["extensions"]["code"] == "INTERNAL"
    assert "secret" not in str(error)
