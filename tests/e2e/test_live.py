"""An agent's screen: what one customer does and is told elsewhere appears on it within a second."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import pytest

from tests.stack import Stack

JSON = dict[str, Any]
Screen = AsyncIterator[JSON]

ACTIVITY = """
subscription Screen($ref: CustomerRef!) { customerActivity(ref: $ref) {
  kind at
  customer { id segments { key } traits(names: ["town"]) { value } }
  event { name properties }
  changes { traits segmentsEntered }
  decision { channel propositions { rank action { name } reason } }
  outcome { kind action { name } value { cents } }
  journey { journey step phase }
  merge { fromCustomer }
} }"""
IDENTIFY = "mutation($input: IdentifyInput!) { identify(input: $input) { id } }"
TRACK = "mutation($input: TrackInput!) { track(input: $input) { customer { id } } }"
OFFERS = """
query($customer: CustomerRef!) {
  nextBestActions(customer: $customer, channel: WEB, placement: "home") {
    propositions { id action { name } }
  }
}"""
OUTCOME = "mutation($input: OutcomeInput!) { recordOutcome(input: $input) { id } }"

WITHIN_S = 1.0


class Caller:
    """A client of the gateway with one role."""

    def __init__(
        self, stack: Stack, session: aiohttp.ClientSession, role: str, own: str = ""
    ) -> None:
        self._url = f"{stack.instance.url}/graphql"
        self._headers = {"Authorization": f"Bearer {stack.token(role, customer=own)}"}
        self._session = session

    async def ask(self, query: str, **variables: Any) -> JSON:
        """What was asked; there are no errors."""
        body = {"query": query, "variables": variables}
        async with self._session.post(self._url, json=body, headers=self._headers) as response:
            answer: JSON = await response.json()
        assert "errors" not in answer, answer
        data: JSON = answer["data"]
        return data

    @asynccontextmanager
    async def over_sse(self, ref: JSON) -> AsyncIterator[Screen]:
        """Watch a customer over server-sent events."""
        headers = {**self._headers, "Accept": "text/event-stream"}
        body = {"query": ACTIVITY, "variables": {"ref": ref}}
        async with self._session.post(self._url, json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            yield _events(response)

    @asynccontextmanager
    async def over_websocket(self, ref: JSON) -> AsyncIterator[Screen]:
        """Watch a customer over graphql-transport-ws."""
        async with self._session.ws_connect(
            self._url, protocols=["graphql-transport-ws"]
        ) as client:
            await client.send_json({"type": "connection_init", "payload": self._headers})
            assert (await client.receive_json())["type"] == "connection_ack"
            payload = {"query": ACTIVITY, "variables": {"ref": ref}}
            await client.send_json({"type": "subscribe", "id": "screen", "payload": payload})
            yield _messages(client)


async def _events(response: aiohttp.ClientResponse) -> Screen:
    async for line in response.content:
        if line.startswith(b"data: {"):
            yield orjson.loads(line[6:])


async def _messages(client: aiohttp.ClientWebSocketResponse) -> Screen:
    async for message in client:
        said = orjson.loads(message.data)
        assert said["type"] == "next", said
        yield said["payload"]


async def until(screen: Screen, kind: str) -> JSON:
    """The next activity of a kind; it comes in time."""
    async with asyncio.timeout(WITHIN_S):
        async for answer in screen:
            assert "errors" not in answer, answer
            activity: JSON = answer["data"]["customerActivity"]
            if activity["kind"] == kind:
                return activity
    raise AssertionError(f"{kind} never came")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def somebody() -> JSON:
    """How a customer is named whom no other test knows."""
    return {"identity": {"type": "email", "value": f"live-{uuid4()}@example.com"}}


Watch = Callable[[Caller, JSON], AbstractAsyncContextManager[Screen]]


@pytest.mark.parametrize("watch", [Caller.over_sse, Caller.over_websocket])
async def test_what_a_customer_does_is_on_the_agents_screen_within_a_second(
    stack: Stack, session: aiohttp.ClientSession, watch: Watch
) -> None:
    agent, shop = Caller(stack, session, "agent"), Caller(stack, session, "admin")
    ann = somebody()
    await shop.ask(IDENTIFY, input={"customer": ann, "traits": {"town": "Delft"}})

    async with watch(agent, ann) as screen:
        first = await until(screen, "WATCHING")
        assert first["customer"]["traits"] == [{"value": "Delft"}]

        looked = {"customer": ann, "event": "Product Viewed", "properties": {"sku": "jazz-1"}}
        await shop.ask(TRACK, input=looked)
        event = await until(screen, "EVENT")
        assert event["event"] == {"name": "Product Viewed", "properties": {"sku": "jazz-1"}}

        await shop.ask(IDENTIFY, input={"customer": ann, "traits": {"town": "Breda"}})
        change = await until(screen, "PROFILE_CHANGED")
        assert change["changes"]["traits"] == ["town"]
        assert change["customer"]["traits"] == [{"value": "Breda"}]

        offered = (await shop.ask(OFFERS, customer=ann))["nextBestActions"]["propositions"]
        decision = (await until(screen, "DECISION"))["decision"]
        assert decision["channel"] == "WEB"
        assert [p["action"] for p in decision["propositions"]] == [p["action"] for p in offered]
        assert all(proposition["reason"] for proposition in decision["propositions"])

        reaction = {
            "proposition": offered[0]["id"],
            "kind": "ACCEPTED",
            "idempotencyKey": str(uuid4()),
            "value": {"cents": 995, "currency": "USD"},
        }
        await shop.ask(OUTCOME, input=reaction)
        outcome = (await until(screen, "OUTCOME"))["outcome"]
        assert outcome["kind"] == "ACCEPTED"
        assert outcome["action"] == offered[0]["action"]
        assert outcome["value"] == {"cents": 995}


async def test_a_visitor_who_logs_in_is_watched_on_as_who_he_is(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    agent, shop = Caller(stack, session, "agent"), Caller(stack, session, "admin")
    known = somebody()
    visitor = {"identity": {"type": "anonymous_id", "value": f"visitor-{uuid4()}"}}
    ann = (await shop.ask(IDENTIFY, input={"customer": known}))["identify"]["id"]
    seen = (await shop.ask(TRACK, input={"customer": visitor, "event": "Came"}))["track"]

    async with agent.over_sse(visitor) as screen:
        await until(screen, "WATCHING")
        login = {"customer": known, "identities": [visitor["identity"]]}
        await shop.ask(IDENTIFY, input=login)
        merged = await until(screen, "MERGED")
        await until(screen, "WATCHING")
        await shop.ask(TRACK, input={"customer": known, "event": "Cart Viewed"})
        event = await until(screen, "EVENT")

    assert {merged["customer"]["id"], event["customer"]["id"]} == {ann}
    assert merged["merge"]["fromCustomer"] == seen["customer"]["id"]


async def test_a_visitor_watches_himself_and_nobody_else(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    shop = Caller(stack, session, "admin")
    mine, other = f"visitor-{uuid4()}", somebody()
    me = {"identity": {"type": "anonymous_id", "value": mine}}
    await shop.ask(TRACK, input={"customer": me, "event": "Came"})
    await shop.ask(IDENTIFY, input={"customer": other})
    visitor = Caller(stack, session, "visitor", f"anonymous_id={mine}")

    async with visitor.over_sse(me) as screen, visitor.over_sse(other) as forbidden:
        refusal = await anext(aiter(forbidden))
        first = (await anext(aiter(screen)))["data"]["customerActivity"]

    assert "data" not in refusal
    assert refusal["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert first["kind"] == "WATCHING"
    assert first["customer"]["traits"] is None  # not for browsers


async def test_a_visitor_who_just_got_offers_and_did_nothing_yet_is_watched(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    mine = f"visitor-{uuid4()}"
    me = {"identity": {"type": "anonymous_id", "value": mine}}
    shop = Caller(stack, session, "admin")
    visitor = Caller(stack, session, "visitor", f"anonymous_id={mine}")
    await visitor.ask(OFFERS, customer=me)

    async with Caller(stack, session, "agent").over_sse(me) as screen:
        await until(screen, "WATCHING")
        await shop.ask(TRACK, input={"customer": me, "event": "Came"})
        event = await until(screen, "EVENT")

    assert event["event"]["name"] == "Came"


async def test_nobody_is_watched_whom_we_do_not_know(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    async with Caller(stack, session, "agent").over_sse(somebody()) as screen:
        answer = await anext(aiter(screen))

    assert answer["errors"][0]["extensions"]["code"] == "UNKNOWN_CUSTOMER"


async def test_a_screen_lives_on_while_a_service_is_away(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    agent, shop = Caller(stack, session, "agent"), Caller(stack, session, "admin")
    ann = somebody()
    await shop.ask(IDENTIFY, input={"customer": ann})
    async with agent.over_sse(ann) as screen:
        await until(screen, "WATCHING")
        await shop.ask(OFFERS, customer=ann)
        await until(screen, "DECISION")
        stack.kill("decision")
        try:
            await shop.ask(TRACK, input={"customer": ann, "event": "Came"})
            event = await until(screen, "EVENT")
        finally:
            stack.start("decision")

    assert event["event"]["name"] == "Came"


async def test_stopping_the_gateway_ends_screens_at_once_and_cleanly(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    agent, shop = Caller(stack, session, "agent"), Caller(stack, session, "admin")
    ann = somebody()
    await shop.ask(IDENTIFY, input={"customer": ann})
    async with agent.over_sse(ann) as screen:
        await until(screen, "WATCHING")
        await asyncio.to_thread(stack.processes["gateway"].stop)
        rest = [answer async for answer in screen]
    stack.start("gateway")

    assert rest == []
