"""Several requests in one body: off, or bounded; each with its own answer."""

import asyncio
from typing import Any

import pytest

from gateway.graphql_http.request_context import REQUESTS
from gateway.pipeline.pipeline import RequestPipeline
from tests.unit.gateway.small_graph import InProcess, asking, endpoint, the_error
from tests.unit.over_http import LEGACY, MODERN

ONE = {"query": "{ segments }"}


async def test_batches_are_refused_unless_they_are_switched_on() -> None:
    async with asking(endpoint(InProcess())) as client:
        response = await client.post("/graphql", json=[ONE])

    assert response.status_code == 400
    assert the_error(response)["code"] == "BATCHING_NOT_ALLOWED"


async def test_every_request_has_its_own_answer_in_its_place() -> None:
    batch = [ONE, {"query": "{ nothing }"}, 7, {"query": '{ action(key: "x") }'}]

    async with asking(endpoint(InProcess(), max_batch=4)) as client:
        response = await client.post("/graphql", json=batch)

    first, unknown, malformed, last = response.json()
    assert response.status_code == 200
    assert (first, last) == ({"data": {"segments": ["loyal"]}}, {"data": {"action": "x"}})
    assert unknown["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    assert malformed["errors"][0]["extensions"]["code"] == "MALFORMED_REQUEST"


@pytest.mark.parametrize("accept", [MODERN, LEGACY])
async def test_a_batch_comes_in_the_form_that_is_accepted(accept: str) -> None:
    async with asking(endpoint(InProcess(), max_batch=2)) as client:
        response = await client.post("/graphql", json=[ONE], headers={"Accept": accept})

    assert response.headers["content-type"] == f"{accept}; charset=utf-8"


@pytest.mark.parametrize(
    ("batch", "code"), [([ONE] * 3, "LIMIT_EXCEEDED"), ([], "MALFORMED_REQUEST")]
)
async def test_a_batch_that_is_too_long_or_empty_is_refused_whole(
    batch: list[Any], code: str
) -> None:
    services = InProcess()

    async with asking(endpoint(services, max_batch=2)) as client:
        response = await client.post("/graphql", json=batch)

    assert response.status_code == 400
    assert the_error(response)["code"] == code
    assert services.asked == []


async def test_the_requests_of_a_batch_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    together = asyncio.Barrier(3)

    async def meeting(*_: Any) -> Any:
        await together.wait()
        return {"data": {}}

    monkeypatch.setattr(RequestPipeline, "answer", meeting)
    async with asking(endpoint(InProcess(), max_batch=3)) as client, asyncio.timeout(30):
        response = await client.post("/graphql", json=[ONE] * 3)

    assert response.json() == [{"data": {}}] * 3


async def test_a_bug_in_one_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = RequestPipeline.answer

    async def answer(graph: RequestPipeline, prepared: Any, asked: Any, caller: Any) -> Any:
        if asked.operation_name == "Bad":
            raise ValueError("secret")
        return await whole(graph, prepared, asked, caller)

    monkeypatch.setattr(RequestPipeline, "answer", answer)
    bad = {"query": "query Bad { segments }", "operationName": "Bad"}
    async with asking(endpoint(InProcess(), max_batch=2)) as client:
        response = await client.post("/graphql", json=[bad, ONE])

    assert response.json()[0]["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert response.json()[1] == {"data": {"segments": ["loyal"]}}
    assert "secret" not in response.text


async def test_each_request_of_a_batch_is_counted() -> None:
    before = REQUESTS.labels("query", "OK")._value.get()

    async with asking(endpoint(InProcess(), max_batch=3)) as client:
        await client.post("/graphql", json=[ONE] * 3)

    assert REQUESTS.labels("query", "OK")._value.get() == before + 3


async def test_without_a_good_token_there_is_no_batch_at_all() -> None:
    async with asking(endpoint(InProcess(), max_batch=3)) as client:
        response = await client.post(
            "/graphql", json=[ONE], headers={"Authorization": "Bearer forged"}
        )

    assert response.status_code == 401
    assert the_error(response)["code"] == "UNAUTHENTICATED"


async def test_there_is_no_batch_by_get() -> None:
    async with asking(endpoint(InProcess(), max_batch=3)) as client:
        response = await client.get("/graphql", params={"query": "[]"})

    assert the_error(response)["code"] == "GRAPHQL_PARSE_FAILED"
