"""The whole process over HTTP and a real bus: the door, the limits, and what others hear."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest
from nats.aio.msg import Msg
from uuid_utils.compat import uuid7

from services.chassis.bus import Bus
from services.contracts.decision import DecisionSeriesNeeded
from services.contracts.enums import Role
from services.contracts.profile import CustomerChanged, EventRecorded, EventSetAside
from services.profile.app import create
from services.profile.domain.customer import Customer
from services.profile.domain.segment_definitions import SegmentDefinitions
from services.profile.settings import ProfileSettings
from services.rules import parse
from tests.integration.conftest import Headers, Running, send
from tests.integration.profile.conftest import identify, track
from tests.waiting import until


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """The running process, with the token the gateway forwards write keys with."""
    async with running(create, ProfileSettings, Role.APP) as client:
        yield client


async def post(client: httpx.AsyncClient, call: str, body: bytes, **headers: str) -> Any:
    """Post a body; status and answer."""
    answer = await client.post(f"/collect/v1/{call}", content=body, headers=headers)
    return answer.status_code, answer.json()


def one(**fields: Any) -> bytes:
    """A track call of now, as JSON."""
    event = track(at=datetime.now(UTC), **fields)
    return orjson.dumps({k: v for k, v in event.items() if k != "type"})


async def test_json_is_read_whatever_the_content_type_says(client: httpx.AsyncClient) -> None:
    accepted = {"success": True, "accepted": 1, "duplicates": 0, "rejected": []}
    form = "application/x-www-form-urlencoded"

    assert await post(client, "track", one()) == (200, accepted)
    assert await post(client, "track", one(), **{"Content-Type": "text/plain"}) == (200, accepted)
    assert await post(client, "track", one(), **{"Content-Type": form}) == (200, accepted)
    encoded = str(httpx.QueryParams({"data": one().decode()})).encode()
    assert await post(client, "track", encoded, **{"Content-Type": form}) == (200, accepted)


@pytest.mark.parametrize(
    ("call", "body", "status", "code", "problem"),
    [
        ("track", b'{"event": "x",}', 400, "PROFILE_INVALID_BODY", "line 1, column 14"),
        ("track", b'{"event": "\xff"}', 400, "PROFILE_INVALID_BODY", "byte 11 is 0xff"),
        ("track", b"", 400, "PROFILE_INVALID_BODY", "line 1"),
        ("batch", b"[]", 400, "PROFILE_INVALID_BODY", "`batch`"),
        ("trak", b"{}", 404, "PROFILE_UNKNOWN_CALL", "'trak'"),
        pytest.param(
            "batch", b" " * 512_001, 413, "PROFILE_BODY_TOO_LARGE", "512001 bytes", id="too large"
        ),
    ],
)
async def test_what_cannot_be_read_is_refused_with_its_place(
    client: httpx.AsyncClient, call: str, body: bytes, status: int, code: str, problem: str
) -> None:
    answered, answer = await post(client, call, body)

    assert (answered, answer["success"], answer["error"]["code"]) == (status, False, code)
    assert problem in answer["error"]["problem"]


async def test_a_body_without_a_length_is_read_no_further_than_the_limit(
    client: httpx.AsyncClient,
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 100_000

    answer = await client.post("/collect/v1/batch", content=endless())

    assert answer.status_code == 413
    assert "512000" in answer.json()["error"]["problem"]


async def test_one_bad_event_alone_is_an_error_of_the_request(client: httpx.AsyncClient) -> None:
    nobody = await post(client, "track", b'{"event": "x"}')
    large = await post(client, "track", one(properties={"x": "y" * 33_000}))

    assert (nobody[0], nobody[1]["rejected"][0]["code"]) == (400, "PROFILE_NO_IDENTITY")
    assert (large[0], large[1]["rejected"][0]["code"]) == (413, "PROFILE_EVENT_TOO_LARGE")
    assert nobody[1]["success"] is False


async def test_only_the_gateways_senders_may_collect(
    client: httpx.AsyncClient, headers: Headers
) -> None:
    visitor = await post(client, "track", one(), **headers(Role.VISITOR))
    nobody = await post(client, "track", one(), Authorization="Bearer forged")

    assert (visitor[0], visitor[1]["error"]["code"]) == (403, "FORBIDDEN")
    assert (nobody[0], nobody[1]["error"]["code"]) == (401, "UNAUTHENTICATED")


async def test_what_others_need_reaches_them_with_the_snapshot(
    client: httpx.AsyncClient, bus: Bus
) -> None:
    heard: list[CustomerChanged] = []

    async def hear(message: Msg) -> None:
        heard.append(CustomerChanged.from_cloudevent(message.data))
        await message.ack()

    await bus.subscribe("decision", CustomerChanged.fact, hear)
    await post(client, "track", one(anonymousId="v"))
    needed = DecisionSeriesNeeded(
        event_id=uuid7(),
        customer_id=None,
        occurred_at=datetime.now(UTC),
        version=1,
        series=tuple(s.to_json() for s in parse("events.count('product_viewed') > 1").needs.series),
    )
    await bus.ensure_streams([DecisionSeriesNeeded])
    await send(bus, needed)

    await until(lambda: any(snapshot.series for snapshot in heard))
    assert heard[-1].series['"product_viewed"']["count"] == 1
    assert heard[-1].version == 2


async def test_an_event_that_fails_by_our_fault_is_tried_again_buried_and_replayed(
    client: httpx.AsyncClient, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: asyncio.Queue[EventRecorded] = asyncio.Queue()
    event, attempts = one(anonymousId="poison"), 0

    def fail(definitions: SegmentDefinitions, customer: Customer, now: Any) -> None:
        nonlocal attempts
        attempts += 1
        raise ArithmeticError("secret")

    async def hear(message: Msg) -> None:
        await heard.put(EventRecorded.from_cloudevent(message.data))
        await message.ack()

    await bus.subscribe("journey", EventRecorded.fact, hear)
    with monkeypatch.context() as broken:
        broken.setattr(SegmentDefinitions, "assign_segments", fail)
        status, answer = await post(client, "track", event)

        async def has_letters() -> bool:
            return bool(await bus.list_dead_letters())

        await until(has_letters)
    [letter] = await bus.list_dead_letters()
    await bus.replay(letter)
    async with asyncio.timeout(60):
        recorded = await heard.get()
    again = await post(client, "track", event)

    assert (status, answer["rejected"][0]["code"]) == (500, "PROFILE_NOT_RECORDED")
    assert (attempts, letter.fact) == (1 + 5, EventSetAside.fact)
    assert "ArithmeticError" in letter.reason
    assert "secret" not in letter.reason
    assert recorded.message_id == orjson.loads(event)["messageId"]
    assert (again[1]["accepted"], again[1]["duplicates"]) == (0, 1)


PUBLISH = "mutation ($yaml: String!) { publishSegment(yaml: $yaml) { key } }"
COUNT = """{ segment(key: "seen") { customerCount } }"""
WITHDRAW = """
mutation { setConsent(input: {
  customer: {identity: {type: "user_id", value: "big"}}, purpose: "email", status: DENIED
}) { id } }
"""


async def ask(client: httpx.AsyncClient, query: str, **variables: Any) -> Any:
    """The data of an answer without errors."""
    body = {"query": query, "variables": variables}
    answer = (await client.post("/graphql", json=body)).json()
    assert "errors" not in answer, answer
    return answer["data"]


async def test_thirty_five_identifies_of_31_kb_hold_up_nobody(running: Running, bus: Bus) -> None:
    heard: list[CustomerChanged] = []

    async def hear(message: Msg) -> None:
        heard.append(CustomerChanged.from_cloudevent(message.data))
        await message.ack()

    yes = {"consent": {"categoryPreferences": {"email": True}}}
    yaml = "{key: seen, name: Seen, condition: \"events.count('product_viewed') >= 1\"}"
    async with running(create, ProfileSettings, Role.ADMIN) as client:
        await bus.subscribe("decision", CustomerChanged.fact, hear)
        await post(client, "track", one(userId="big", context=yes))
        accepted = []
        for number in range(35):
            traits = {f"t{number}-{piece}": "x" * 990 for piece in range(31)}
            events = [
                identify(at=datetime.now(UTC), userId="big", traits=traits),
                track(at=datetime.now(UTC), userId=f"u{number}"),
            ]
            _, answer = await post(client, "batch", orjson.dumps({"batch": events}))
            accepted.append(answer["accepted"])

        await ask(client, PUBLISH, yaml=yaml)

        async def all_are_counted() -> bool:
            return bool((await ask(client, COUNT))["segment"]["customerCount"] == 36)

        await until(all_are_counted)
        ready = await client.get("/health/ready")
        await ask(client, WITHDRAW)

        await until(lambda: any(one.consents == {"email": False} for one in heard))

    assert accepted == [2, 2] + [1] * 33
    assert ready.json() == {"status": "ready"}
