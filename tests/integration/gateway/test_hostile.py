"""Subgraphs that misbehave over real sockets: each is one clear error, in time, without a trace."""

import asyncio
import gc
import gzip
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from gateway.supergraph import (
    ExecutionOptions,
    HttpTransport,
    ResilientTransport,
    RoutingTransport,
    Transport,
    compose,
    execute,
    plan_document,
)
from gateway.supergraph.transport.circuit_breaker import ResilienceSettings
from gateway.supergraph.transport.transport import request_deadline
from tests.integration.gateway.misbehaving import (
    Behaviour,
    Misbehaving,
    answers,
    misbehaving,
    says,
    says_and_leaves,
)
from tests.unit.gateway.supergraph import shop
from tests.waiting import WITHIN_S, until

SUPERGRAPH = compose(shop.SDLS)
PLAN = plan_document(SUPERGRAPH, "{ customers { id offers { id } } version }")
MAX_BYTES = 100_000
NEVER_S = 3_600.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GOOD = orjson.dumps({"data": {"_entities": [{"offers": [{"id": "o1"}]}] * 3}})
UNAVAILABLE, LATE, INVALID = (
    "SUBGRAPH_UNAVAILABLE",
    "SUBGRAPH_TIMEOUT",
    "SUBGRAPH_INVALID_RESPONSE",
)


def chunked(*chunks: bytes) -> list[bytes]:
    return [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]


def deep(levels: int) -> bytes:
    return b'{"data": {"_entities": ' + b"[" * levels + b"]" * levels + b"}}"


@asynccontextmanager
async def shop_with(
    behaviour: Behaviour, **options: Any
) -> AsyncIterator[tuple[Transport, Misbehaving]]:
    """The shop, whose offers misbehave."""
    options = {"within_s": 0.4, "max_response_bytes": MAX_BYTES, **options}
    async with (
        misbehaving(behaviour) as server,
        HttpTransport({"offers": server.url}, **options) as http,
    ):
        yield RoutingTransport({"offers": http}, shop.InProcess()), server


def codes(answer: dict[str, Any]) -> set[str]:
    return {error["extensions"]["code"] for error in answer.get("errors", ())}


BEHAVIOURS: dict[str, tuple[Behaviour, str]] = {
    "leaves at once": (says_and_leaves(), UNAVAILABLE),
    "says nothing": (says(), LATE),
    "half a head": (says(HEAD[:20]), LATE),
    "half a head, then leaves": (says_and_leaves(HEAD[:20]), UNAVAILABLE),
    "a head, then silence": (says(HEAD + b"Content-Length: 9\r\n\r\n"), LATE),
    "half a body": (says(HEAD + b"Content-Length: 99\r\n\r\n" + GOOD[:40]), LATE),
    "half a body, then leaves": (
        says_and_leaves(HEAD + b"Content-Length: 99\r\n\r\n" + GOOD[:40]),
        UNAVAILABLE,
    ),
    "half of its chunks, then leaves": (
        says_and_leaves(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *chunked(GOOD[:40])),
        UNAVAILABLE,
    ),
    "chunks that are none": (
        says(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + GOOD),
        UNAVAILABLE,
    ),
    "drips": (says(HEAD + b"Content-Length: 999\r\n\r\n", *[b" "] * 99, pause_s=0.05), LATE),
    "drips headers": (says(HEAD, *[b"X-A: b\r\n"] * 99, pause_s=0.05), LATE),
    "no HTTP": (says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), UNAVAILABLE),
    "TLS": (says(b"\x15\x03\x01\x00\x02\x02\x46"), UNAVAILABLE),
    "another length twice": (
        says(HEAD + b"Content-Length: 5\r\nContent-Length: 9\r\n\r\n" + GOOD),
        UNAVAILABLE,
    ),
    "length and chunks": (
        says(HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + GOOD),
        UNAVAILABLE,
    ),
    "endless 100 Continue": (says(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 99, pause_s=0.05), LATE),
    "switches protocols": (
        says(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" * 2),
        UNAVAILABLE,
    ),
    "too large, announced": (
        says(HEAD + b"Content-Length: 99999999\r\n\r\n" + b" " * (MAX_BYTES + 1)),
        INVALID,
    ),
    "too large, in chunks": (
        says(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
            *chunked(*[b" " * 10_000] * (MAX_BYTES // 10_000 + 1)),
        ),
        INVALID,
    ),
    "too large, until it leaves": (
        says_and_leaves(HEAD + b"\r\n" + b" " * (MAX_BYTES + 1)),
        INVALID,
    ),
    "a gzip bomb": (
        answers(gzip.compress(b" " * 50_000_000), extra="Content-Encoding: gzip\r\n"),
        INVALID,
    ),
    "good, but packed": (answers(gzip.compress(GOOD), extra="Content-Encoding: gzip\r\n"), INVALID),
    "no content": (answers(b"", "204 No Content"), INVALID),
    "nothing new": (answers(b"", "304 Not Modified"), INVALID),
    "a redirect": (answers(b"", "302 Found", extra="Location: http://127.0.0.1:9/\r\n"), INVALID),
    "a redirect that says it": (answers(b'{"message": "moved"}', "301 Moved"), INVALID),
    "unauthorized": (answers(b"<html>", "401 Unauthorized"), INVALID),
    "a page of a proxy": (answers(b"<html>", "502 Bad Gateway", "text/html"), UNAVAILABLE),
    "500 without a body": (answers(b"", "500 Oops"), UNAVAILABLE),
    "503": (answers(b"{}", "503 Busy", extra="Retry-After: 9\r\n"), UNAVAILABLE),
    "empty": (answers(b""), INVALID),
    "a page": (answers(b"<html>", content_type="text/html"), INVALID),
    "no UTF-8": (answers(b'{"data": {"_entities": "\xff\xfe"}}'), INVALID),
    "UTF-16": (answers(GOOD.decode().encode("utf-16")), INVALID),
    "half of JSON": (answers(GOOD[:-9]), INVALID),
    "JSON and more": (answers(GOOD + GOOD), INVALID),
    "NaN": (answers(b'{"data": {"_entities": [NaN]}}'), INVALID),
    "a number that is infinite": (answers(b'{"data": {"_entities": [1e999]}}'), INVALID),
    "deep": (answers(deep(900)), INVALID),
    "too deep to be read": (answers(deep(40_000)), INVALID),
    "a number": (answers(b"7"), INVALID),
    "null": (answers(b"null"), INVALID),
    "a list": (answers(b"[%s]" % GOOD), INVALID),
    "neither data nor errors": (answers(b"{}"), INVALID),
    "data is a list": (answers(b'{"data": [1]}'), INVALID),
    "errors is an object": (answers(b'{"data": {}, "errors": {"message": "x"}}'), INVALID),
    "errors is a string": (answers(b'{"errors": "no"}'), INVALID),
    "too few entities": (answers(b'{"data": {"_entities": [{}]}}'), INVALID),
    "too many entities": (answers(b'{"data": {"_entities": [{}, {}, {}, {}]}}'), INVALID),
    "entities are an object": (answers(b'{"data": {"_entities": {}}}'), INVALID),
    "no entities": (answers(b'{"data": {}}'), INVALID),
}


@pytest.mark.parametrize("name", BEHAVIOURS)
async def test_each_misbehaviour_has_its_own_error_in_time(name: str) -> None:
    behaviour, expected = BEHAVIOURS[name]
    tasks = len(asyncio.all_tasks())

    within_s = 0.4 if expected == LATE else NEVER_S
    async with (
        shop_with(behaviour, within_s=within_s) as (transport, server),
        asyncio.timeout(WITHIN_S),
    ):
        answer = await execute(PLAN, None, transport)
        again = await execute(PLAN, None, transport)

    for found in (answer, again):
        assert [customer["id"] for customer in found["data"]["customers"]] == ["1", "2", "3"]
        assert [customer["offers"] for customer in found["data"]["customers"]] == [None] * 3
        assert codes(found) == {expected}
        assert "127.0.0.1" not in str(found)
    await server.wait_for_close()
    assert len(asyncio.all_tasks()) <= tasks


async def test_a_subgraph_that_recovers_is_believed_again_on_a_fresh_connection() -> None:
    async with shop_with(says(HEAD + b"Content-Length: 9999\r\n\r\n" + GOOD)) as (
        transport,
        server,
    ):
        late = await execute(PLAN, None, transport)
        server.behaviour = answers(GOOD)
        good = await execute(PLAN, None, transport)

    assert codes(late) == {LATE}
    assert "errors" not in good
    assert good["data"]["customers"][0]["offers"] == [{"id": "o1"}]


async def test_an_answer_nobody_asked_for_is_not_taken_for_the_next_one() -> None:
    evil = GOOD.replace(b"o1", b"evil")
    twice = b"".join(b"%sContent-Length: %d\r\n\r\n%s" % (HEAD, len(b), b) for b in (GOOD, evil))

    async with shop_with(says(twice)) as (transport, _):
        found = [await execute(PLAN, None, transport) for _ in range(5)]

    offers = {offer["id"] for f in found for c in f["data"]["customers"] for offer in c["offers"]}
    assert offers == {"o1"}


async def test_what_is_cancelled_closes_its_connection() -> None:
    async with shop_with(says(), within_s=NEVER_S) as (transport, server):
        asking = asyncio.create_task(execute(PLAN, None, transport))
        await server.wait_for_request()

        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

        await server.wait_for_close()


async def test_at_the_requests_deadline_nothing_is_left_running() -> None:
    tasks = len(asyncio.all_tasks())

    async with shop_with(says(), within_s=NEVER_S) as (transport, server):
        async with asyncio.timeout(WITHIN_S):
            answer = await execute(PLAN, None, transport, ExecutionOptions(within_s=1.0))

        await server.wait_for_close()

    assert codes(answer) == {LATE}
    assert answer["data"]["version"] == "1"
    assert len(asyncio.all_tasks()) <= tasks


async def test_what_would_only_begin_after_the_deadline_is_not_sent() -> None:
    planned = plan_document(
        SUPERGRAPH,
        'mutation { rename(id: "1", name: "Ada") { id } reprice(id: "o1", price: 100) { id } }',
    )
    transport = shop.InProcess()
    fetch = transport.fetch

    async def slow(*args: Any, **options: Any) -> Any:
        reply = await fetch(*args, **options)
        deadline = request_deadline.get()
        assert deadline is not None
        await until(lambda: asyncio.get_running_loop().time() > deadline)
        return reply

    transport.fetch = slow  # type: ignore[method-assign]

    answer = await execute(planned, None, transport, ExecutionOptions(within_s=0.5))

    assert [name for name, _ in transport.sent] == ["customers"]
    assert codes(answer) == {LATE}


async def test_hundreds_of_misbehaving_answers_leak_no_memory() -> None:
    behaviour = answers(b'{"data": {"_entities": [' + b'"' + b"x" * 50_000 + b'"' + b"]}}")

    async with shop_with(behaviour) as (transport, _):

        async def measure_growth_after(requests: int) -> int:
            for _ in range(requests):
                await execute(PLAN, None, transport)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            growth = -await measure_growth_after(20) + await measure_growth_after(100)
        finally:
            tracemalloc.stop()

    assert growth < 500_000, "less than ten of the hundred answers"


async def test_a_service_that_hangs_costs_little_and_is_found_soon_when_it_is_back() -> None:
    """Nothing is worse than to hang: each client waits until its deadline."""
    async with (
        misbehaving(answers(GOOD)) as server,
        HttpTransport({"offers": server.url}, within_s=2.0) as http,
    ):
        now = asyncio.get_running_loop().time()
        resilient = ResilientTransport(
            http, settings=ResilienceSettings(open_s=0.2, max_open_s=0.4), clock=lambda: now
        )
        transport = RoutingTransport({"offers": resilient}, shop.InProcess())

        async def ask() -> set[str]:
            return codes(await execute(PLAN, None, transport))

        before = [await ask() for _ in range(10)]
        server.behaviour = says()

        hanging = await asyncio.gather(*(ask() for _ in range(20)))
        state_then, requests = resilient.circuit_states()["offers"], len(server.requests)
        while_open = [await ask() for _ in range(50)]
        server.behaviour = answers(GOOD)
        requests_while_open = len(server.requests) - requests
        now += 0.4
        after = [await ask() for _ in range(10)]

    assert hanging == [{LATE}] * 20
    assert state_then == "open"
    assert while_open == [{UNAVAILABLE}] * 50
    assert requests_while_open == 0
    assert not any(before + after)
    assert resilient.circuit_states()["offers"] == "closed"


async def test_a_connection_that_breaks_off_is_tried_again_for_queries_only() -> None:
    leaves = says_and_leaves()
    good = answers(GOOD)

    async with misbehaving(leaves) as server, HttpTransport({"offers": server.url}) as http:
        transport = RoutingTransport({"offers": ResilientTransport(http)}, shop.InProcess())

        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await (leaves if len(server.requests) == 1 else good)(reader, writer)

        server.behaviour = once
        query = await execute(PLAN, None, transport)
        server.requests.clear()
        mutation = await execute(
            plan_document(SUPERGRAPH, 'mutation { reprice(id: "o1", price: 100) { id } }'),
            None,
            transport,
        )

        assert "errors" not in query
        assert codes(mutation) == {UNAVAILABLE}
        assert len(server.requests) == 1
