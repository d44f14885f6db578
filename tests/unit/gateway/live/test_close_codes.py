"""What closes a websocket, with which code, and whether its reason says what to do."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.live.close_codes import INTERNAL_ERROR, MAX_REASON_BYTES, CloseWebSocket
from gateway.live.connections import GoingAway, TooManyConnections
from gateway.live.outgoing_queue import ClientTooSlow
from services.chassis.errors import RaakError, Unavailable
from services.chassis.graphql_http.request import MalformedRequest
from services.chassis.principal import NotAuthenticated
from tests.unit.gateway.live.clients import SETTINGS, TOKEN, house


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (MalformedRequest, 4400),
        (NotAuthenticated, 4403),
        (TooManyConnections, 4429),
        (ClientTooSlow, 1013),
        (Unavailable, 1013),
        (GoingAway, 1001),
        (RaakError, INTERNAL_ERROR),
    ],
)
def test_what_ends_a_socket_decides_its_code_and_the_reason_has_the_remedy(
    kind: type[RaakError], code: int
) -> None:
    closing = CloseWebSocket.from_error(kind("It is so.", hint="Do this."))

    assert (closing.code, closing.reason) == (code, "It is so. Do this.")


@pytest.mark.parametrize(
    ("problem", "hint", "reason"),
    [
        ("x" * 60, "y" * 62, "x" * 60 + " " + "y" * 62),
        ("x" * 60, "y" * 63, "x" * 60),
        ("é" * 70, "", "é" * 61),
        ("\ud800", "", "? "),
    ],
    ids=["just fits", "no room for the remedy", "too long", "no UTF-8"],
)
def test_a_reason_is_no_longer_than_a_frame_holds(problem: str, hint: str, reason: str) -> None:
    message = CloseWebSocket.from_error(ClientTooSlow(problem, hint=hint)).message()

    assert message["reason"] == reason
    assert len(message["reason"].encode()) <= MAX_REASON_BYTES


async def test_a_client_of_another_protocol_is_closed_with_the_reason() -> None:
    for protocols in ([], ["graphql-ws"]):
        async with house() as here:
            client = await here.connect(protocols=protocols)

            assert (await client.closed())[0] == 4406


async def test_a_client_that_does_not_authenticate_in_time_is_closed() -> None:
    async with house(replace(SETTINGS, init_within_s=0.01)) as here:
        client = await here.connect()

        assert await client.closed() == (4408, "Connection initialisation timeout")


async def test_a_client_that_subscribes_before_it_is_acknowledged_is_closed() -> None:
    async with house() as here:
        client = await here.connect()
        client.ask("1", "one")

        assert await client.closed() == (4401, "Unauthorized")


async def test_coming_in_twice_closes_the_socket() -> None:
    async with house() as here:
        client = await here.enter()
        client.say("connection_init", payload={"Authorization": TOKEN})

        assert await client.closed() == (4429, "Too many initialisation requests")


async def test_an_id_in_use_closes_the_socket() -> None:
    async with house() as here:
        client = await here.enter()
        client.ask("a", "endless")
        client.ask("a", "endless")

        assert await client.closed() == (4409, "Subscriber for a already exists")


@pytest.mark.parametrize(
    "frame",
    [
        {"text": ""},
        {"text": "{"},
        {"text": "null"},
        {"text": "[]"},
        {"text": "7"},
        {"text": '"ping"'},
        {"text": "{}"},
        {"text": '{"type": null}'},
        {"text": '{"type": ["ping"]}'},
        {"text": '{"type": "start"}'},
        {"text": '{"type": "\ud800"}'},
        {"text": "[" * 5_000},
        {"text": '{"type": "subscribe"}'},
        {"text": '{"type": "subscribe", "id": ""}'},
        {"text": '{"type": "subscribe", "id": 1, "payload": {"query": "one"}}'},
        {"text": '{"type": "subscribe", "id": "1"}'},
        {"text": '{"type": "subscribe", "id": "1", "payload": null}'},
        {"text": '{"type": "subscribe", "id": "1", "payload": {}}'},
        {"text": '{"type": "subscribe", "id": "1", "payload": {"query": 1}}'},
        {"text": '{"type": "subscribe", "id": "1", "payload": {"query": "one", "variables": []}}'},
        {"text": '{"type": "complete"}'},
        {"text": '{"type": "ping", "type": "ping"}'},
        {"text": '{"type": "subscribe", "id": "1", "id": "2", "payload": {"query": "one"}}'},
        {"bytes": b'{"type": "ping"}'},
        {"bytes": b""},
        {"text": None, "bytes": b"\xff"},
    ],
    ids=lambda frame: str(frame)[:50].encode("ascii", "replace").decode(),
)
async def test_what_is_no_message_closes_the_socket(frame: dict[str, Any]) -> None:
    async with house() as here:
        client = await here.enter()
        client.raw(**frame)

        code, reason = await client.closed()

        assert code == 4400
        assert reason
        assert len(reason.encode()) <= 123


ONCE = "Send each part of a request once."


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ('{"query": "one", "query": "two"}', f"`query` is sent twice. {ONCE}"),
        ('{"query": "one", "qu\\u0065ry": "two"}', f"`query` is sent twice. {ONCE}"),
        (
            '{"query": "one", "variables": {}, "variables": {}}',
            f"`variables` is sent twice. {ONCE}",
        ),
        ('{"query": "one"}, "payload": {"query": "two"}', f"`payload` is sent twice. {ONCE}"),
        ('{"query": 1}', "`query` is a number. It must be a string."),
    ],
)
async def test_a_request_that_can_be_read_in_two_ways_closes_the_socket_with_the_reason(
    payload: str, reason: str
) -> None:
    async with house() as here:
        client = await here.enter()
        client.raw(text=f'{{"type": "subscribe", "id": "1", "payload": {payload}}}')

        assert await client.closed() == (4400, reason)
        assert here.script.asked == []


@pytest.mark.parametrize(
    "payload",
    [
        '{"query": "one", "variables": {"query": 1, "variables": {"query": 2}}}',
        '{"query": "one", "variables": {"id": 1, "list": [{"id": 2}, {"id": 3, "id": 4}]}}',
        '{"query": "one", "more": 1, "more": 2}',
    ],
)
async def test_a_request_that_only_looks_like_it_is_answered(payload: str) -> None:
    async with house() as here:
        client = await here.enter()
        client.raw(text=f'{{"type": "subscribe", "id": "1", "payload": {payload}}}')

        assert (await client.heard())["payload"] == {"data": {"one": 1}}


@pytest.mark.parametrize("payload", [[], "x", 7, {"Authorization": 7}, {"x-api-key": None}])
async def test_a_first_message_that_is_wrong_closes_the_socket(payload: Any) -> None:
    async with house() as here:
        client = await here.connect()
        client.say("connection_init", payload=payload)

        assert (await client.closed())[0] == 4400


async def test_a_message_that_is_too_large_closes_the_socket() -> None:
    async with house() as here:
        client = await here.enter()
        client.say("ping", payload="x" * SETTINGS.body.size)

        assert (await client.closed())[0] == 1009


async def test_a_failure_of_ours_closes_the_socket_without_telling_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with house() as here:
        here.script.open = None  # type: ignore[method-assign, assignment]
        client = await here.enter()
        client.ask("1", "one")

        assert await client.closed() == (4500, "Internal server error")
    assert "a socket failed" in caplog.text


async def test_an_answer_that_cannot_be_written_costs_its_operation_only() -> None:
    async with house() as here:
        client = await here.enter()
        client.ask("1", "endless")
        here.script.events.put_nowait({"data": {1, 2}})
        error = await client.heard()
        client.ask("2", "one")

        assert (error["type"], error["id"]) == ("error", "1")
        assert error["payload"][0]["extensions"]["code"] == "INTERNAL"
        assert (await client.heard())["type"] == "next"
