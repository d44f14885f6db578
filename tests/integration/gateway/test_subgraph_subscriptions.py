"""Subscriptions of subgraphs over server-sent events: a real one, and some that misbehave."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from strawberry.asgi import GraphQL
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL

from gateway.supergraph import (
    HttpTransport,
    ResilientTransport,
    RoutingTransport,
    Transport,
    subscribe,
)
from tests.integration.gateway.misbehaving import (
    Behaviour,
    answers,
    misbehaving,
    says,
    says_and_leaves,
)
from tests.integration.gateway.serving import serving
from tests.unit.gateway.supergraph import shop, till
from tests.waiting import WITHIN_S

STORY = till.plan(
    "subscription ($by: [ID!]!, $fails: Boolean) "
    "{ bought(by: $by, fails: $fails) { at by { name offers { title } } } }"
)
SHORT = till.plan("subscription { bought(by: []) { at } }")
OPENING = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
EVENT = b'event: next\ndata: {"data": {"bought": {"at": 1}}}\n\n'
COMPLETE = b"event: complete\ndata:\n\n"
GOOD = {"data": {"bought": {"at": 1}}}


@pytest.fixture(autouse=True, scope="module")
def quiet_services() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@asynccontextmanager
async def a_till() -> AsyncIterator[Transport]:
    """A transport to a real till over HTTP; the shop answers in this process."""
    app = GraphQL(till.SCHEMA, subscription_protocols=[GRAPHQL_SSE_PROTOCOL])
    async with serving(app) as server, HttpTransport({"till": server.url}) as http:
        yield RoutingTransport({"till": ResilientTransport(http)}, shop.InProcess())


async def test_a_strawberry_subgraph_streams_and_the_others_fill_in() -> None:
    async with a_till() as transport:
        found = [a async for a in subscribe(STORY, {"by": ["1", "3"]}, transport)]

    assert [answer["data"]["bought"]["by"]["name"] for answer in found] == ["Ada", "Cleo"]
    assert all(answer["data"]["bought"]["by"]["offers"] for answer in found)
    assert all("errors" not in answer for answer in found)


async def test_what_a_strawberry_subgraph_raises_is_the_last_answer() -> None:
    async with a_till() as transport:
        first, last = [a async for a in subscribe(STORY, {"by": ["1"], "fails": True}, transport)]

    assert first["data"]["bought"]["at"] == 0
    assert last["errors"][0]["message"] == "The till is stuck."
    assert last["errors"][0]["extensions"]["code"] == "REFUSED"


NEVER_S = 3_600.0


async def listen(behaviour: Behaviour, **options: Any) -> list[dict[str, Any]]:
    """All answers of a misbehaving till; they have to come long before its deadlines."""
    options = {"within_s": NEVER_S, "silence_s": NEVER_S, **options}
    async with misbehaving(behaviour) as server:
        async with (
            HttpTransport({"till": server.url}, **options) as transport,
            asyncio.timeout(WITHIN_S),
        ):
            found = [answer async for answer in subscribe(SHORT, None, transport)]
        await server.wait_for_close()
    return found


def patience(expected: str) -> dict[str, float]:
    """Little for what will not come, and much for what will."""
    within_s = 1.0 if expected == "SUBGRAPH_TIMEOUT" else NEVER_S
    return {"within_s": within_s, "silence_s": within_s}


def code(answer: dict[str, Any]) -> str:
    assert "data" not in answer
    (error,) = answer["errors"]
    return str(error["extensions"]["code"])


async def test_a_stream_that_says_it_is_complete_ends_without_an_error() -> None:
    found = await listen(says(OPENING + EVENT + b": ping\n\n" + EVENT + COMPLETE))

    assert found == [GOOD, GOOD]


async def test_events_torn_into_pieces_are_put_together() -> None:
    pieces = [bytes([byte]) for byte in EVENT + COMPLETE]

    found = await listen(says(OPENING, *pieces))

    assert found == [GOOD]


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (says_and_leaves(OPENING + EVENT), "SUBGRAPH_UNAVAILABLE"),
        (says_and_leaves(OPENING + EVENT + EVENT[:20]), "SUBGRAPH_UNAVAILABLE"),
        (says(OPENING + EVENT), "SUBGRAPH_TIMEOUT"),
        (says(OPENING + EVENT + EVENT[:20]), "SUBGRAPH_TIMEOUT"),
        (says(OPENING + EVENT + b"event: next\ndata: <html>\n\n"), "SUBGRAPH_INVALID_RESPONSE"),
        (says(OPENING + EVENT + b"event: next\ndata: [1]\n\n"), "SUBGRAPH_INVALID_RESPONSE"),
        (says(OPENING + EVENT + b"event: next\ndata: \xff\n\n"), "SUBGRAPH_INVALID_RESPONSE"),
        (says(OPENING + EVENT + b"event: next\n\n"), "SUBGRAPH_INVALID_RESPONSE"),
        (says(OPENING + EVENT + b"data: " + b"x" * 20_000), "SUBGRAPH_INVALID_RESPONSE"),
    ],
    ids=str.split(
        "ends ends-within-an-event silent silent-within-an-event html list utf-8 empty endless"
    ),
)
async def test_a_stream_that_goes_wrong_ends_with_its_own_error(
    behaviour: Behaviour, expected: str
) -> None:
    found = await listen(behaviour, max_event_bytes=10_000, **patience(expected))

    assert found[0] == GOOD
    assert code(found[1]) == expected


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (says_and_leaves(), "SUBGRAPH_UNAVAILABLE"),
        (says(), "SUBGRAPH_TIMEOUT"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Type: text/"), "SUBGRAPH_TIMEOUT"),
        (says(OPENING), "SUBGRAPH_TIMEOUT"),
        (says(b"nonsense\r\n\r\n"), "SUBGRAPH_INVALID_RESPONSE"),
        (answers(b"<html>", "500 Oops", "text/html"), "SUBGRAPH_UNAVAILABLE"),
        (answers(b"<html>", "404 Not Found", "text/html"), "SUBGRAPH_INVALID_RESPONSE"),
        (answers(b"", "204 No Content"), "SUBGRAPH_INVALID_RESPONSE"),
        (answers(b"", "302 Found", extra="Location: /there\r\n"), "SUBGRAPH_INVALID_RESPONSE"),
    ],
    ids=str.split("leaves silent half-a-head silent-stream no-http 500 404 204 302"),
)
async def test_a_stream_that_never_begins_is_one_error(behaviour: Behaviour, expected: str) -> None:
    (answer,) = await listen(behaviour, **patience(expected))

    assert code(answer) == expected


async def test_a_subgraph_that_refuses_by_an_ordinary_answer_is_heard() -> None:
    refusal = b'{"errors": [{"message": "No more seats.", "extensions": {"code": "FULL"}}]}'

    (answer,) = await listen(answers(refusal))

    assert answer["data"] is None
    assert answer["errors"][0]["extensions"]["code"] == "FULL"


async def test_signs_of_life_keep_a_silent_stream_open() -> None:
    pings, pause_s, silence_s = [b": ping\n\n"] * 30, 0.1, 2.0
    assert len(pings) * pause_s > silence_s

    found = await listen(
        says(OPENING, *pings, EVENT, COMPLETE, pause_s=pause_s), silence_s=silence_s
    )

    assert found == [GOOD]


async def test_an_event_that_drips_is_cut_off() -> None:
    drops = [b"x"] * 100

    (answer,) = await listen(
        says(OPENING, b"data: ", *drops, pause_s=0.05), **patience("SUBGRAPH_TIMEOUT")
    )

    assert code(answer) == "SUBGRAPH_TIMEOUT"


async def test_cancelling_closes_the_connection() -> None:
    async with (
        misbehaving(says(OPENING + EVENT)) as server,
        HttpTransport({"till": server.url}) as transport,
    ):
        answers_ = subscribe(SHORT, None, transport)
        await anext(answers_)
        waiting = asyncio.ensure_future(anext(answers_))
        await asyncio.sleep(0)

        waiting.cancel()

        await server.wait_for_close()


async def test_many_streams_leave_room_for_fetches() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OPENING + EVENT)

    async with (
        misbehaving(behave) as server,
        HttpTransport({"till": server.url}, connections_per_subgraph=1) as transport,
    ):
        streams = [subscribe(SHORT, None, transport) for _ in range(50)]
        await asyncio.gather(*(anext(stream) for stream in streams))
        server.behaviour = answers(b'{"data": {}}')

        reply = await transport.fetch("till", b"{}", {}, is_idempotent=True)

        assert reply.status == 200
        await asyncio.gather(*(stream.aclose() for stream in streams))
