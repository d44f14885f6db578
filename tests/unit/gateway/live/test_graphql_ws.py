"""graphql-transport-ws, message by message."""

import asyncio
from dataclasses import replace
from time import time

import orjson
import pytest
from fastapi import FastAPI
from starlette.routing import BaseRoute, WebSocketRoute

from gateway.access.authentication.attempts import FailedAuthentications
from gateway.access.authentication.caller_tokens import issue_token
from gateway.access.authentication.request_guard import ClientAddresses, RequestGuard
from gateway.access.limits.load_shedding import Admission
from gateway.access.limits.rate_limits import RateLimits
from services.contracts.enums import Role
from tests.unit.gateway.live.clients import REFUSED, SETTINGS, TOKEN, house
from tests.unit.gateway.small_graph import KEY
from tests.waiting import until


async def test_a_query_is_answered_and_complete() -> None:
    async with house() as here:
        client = await here.enter()
        client.ask("1", "one")

        assert await client.heard() == {"type": "next", "id": "1", "payload": {"data": {"one": 1}}}
        assert await client.heard() == {"type": "complete", "id": "1"}


async def test_mutations_may_be_sent_and_the_caller_is_known() -> None:
    async with house() as here:
        client = await here.enter()
        client.ask("1", "one")
        await client.heard()

        [(text, caller, may_change)] = here.script.asked
        assert (text, may_change) == ("one", True)
        assert caller is not None
        assert caller.role is Role.AGENT


async def test_what_is_refused_is_an_error_and_nothing_follows() -> None:
    async with house() as here:
        client = await here.enter()
        client.ask("1", "refused")
        error = await client.heard()
        client.say("ping")

        assert error == {"type": "error", "id": "1", "payload": REFUSED["errors"]}
        assert (await client.heard())["type"] == "pong"


async def test_events_come_as_they_happen_until_the_client_has_enough() -> None:
    async with house() as here:
        client = await here.enter()
        client.ask("1", "endless")
        for number in range(3):
            here.script.events.put_nowait({"data": {"n": number}})
        heard = [(await client.heard())["payload"]["data"]["n"] for _ in range(3)]
        client.say("complete", id="1")
        client.say("ping")

        assert heard == [0, 1, 2]
        assert (await client.heard())["type"] == "pong"
        assert here.script.under_way == 0


async def test_an_id_may_be_used_again_once_its_operation_has_ended() -> None:
    async with house() as here:
        client = await here.enter()
        for _ in range(3):
            client.ask("1", "one")
            assert (await client.heard())["type"] == "next"
            assert (await client.heard())["type"] == "complete"
        client.ask("1", "endless")
        client.say("complete", id="1")
        client.ask("1", "one")

        assert (await client.heard())["payload"] == {"data": {"one": 1}}
        assert (await client.heard())["type"] == "complete"


async def test_operations_run_side_by_side() -> None:
    async with house() as here:
        client = await here.enter()
        client.ask("1", "slow")
        client.ask("2", "one")

        assert (await client.heard())["id"] == "2"
        here.script.may_end.set()
        assert (await client.heard())["id"] == "2"
        assert (await client.heard())["id"] == "1"


async def test_a_ping_is_answered_with_its_payload_and_a_pong_is_taken() -> None:
    async with house() as here:
        client = await here.connect()
        client.say("pong")
        client.say("ping", payload={"at": 1})
        client.say("ping")

        assert await client.heard() == {"type": "pong", "payload": {"at": 1}}
        assert await client.heard() == {"type": "pong"}


async def test_completing_what_does_not_run_is_harmless() -> None:
    async with house() as here:
        client = await here.enter()
        client.say("complete", id="9")
        client.ask("1", "one")

        assert (await client.heard())["type"] == "next"


# --- who comes in


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
async def test_the_token_comes_in_the_payload(name: str) -> None:
    async with house() as here:
        await (await here.connect()).acknowledged(**{name: TOKEN})


async def test_the_token_comes_in_the_header() -> None:
    async with house() as here:
        client = await here.connect({"Authorization": TOKEN})
        client.say("connection_init")

        assert await client.heard() == {"type": "connection_ack"}


async def test_the_token_of_the_payload_counts_before_that_of_the_header() -> None:
    async with house() as here:
        client = await here.connect({"Authorization": "Bearer nonsense", "X-API-Key": "nonsense"})
        await client.acknowledged()


@pytest.mark.parametrize("token", ["Bearer nonsense", "Bearer", "", "Basic eA=="])
async def test_a_bad_token_closes_the_socket(token: str) -> None:
    async with house() as here:
        client = await here.connect()
        client.say("connection_init", payload={"Authorization": token})

        code, reason = await client.closed()

        assert code == 4403
        assert reason


async def test_strangers_come_in_only_where_they_may_ask_for_the_schema() -> None:
    async with house() as here:
        client = await here.connect()
        client.say("connection_init")
        assert await client.heard() == {"type": "connection_ack"}

    async with house(replace(SETTINGS, allows_anonymous=False)) as here:
        client = await here.connect()
        client.say("connection_init")
        assert (await client.closed())[0] == 4403


async def test_a_socket_is_closed_when_its_token_expires() -> None:
    async with house() as here:
        token = issue_token(KEY, Role.AGENT, "tester", lifetime_s=1, now=time())
        client = await here.connect()
        await client.acknowledged(Authorization=f"Bearer {token}")
        client.ask("1", "endless")

        assert await client.closed() == (4403, "The token has expired. Connect with a new one.")


async def test_the_guard_counts_bad_tokens_and_not_those_that_have_expired_meanwhile() -> None:
    failures = FailedAuthentications(RateLimits())
    async with house() as here:
        routes: list[BaseRoute] = [WebSocketRoute("/graphql", here.sockets)]
        app = FastAPI(routes=routes)
        here.app = RequestGuard(app, Admission.usual(), failures, ClientAddresses())
        token = issue_token(KEY, Role.AGENT, "tester", lifetime_s=1, now=time())
        expiring = await (await here.connect()).acknowledged(Authorization=f"Bearer {token}")
        assert (await expiring.closed())[0] == 4403
        counted = [len(failures._buckets._full_at)]

        guessing = await here.connect()
        guessing.say("connection_init", payload={"Authorization": "Bearer guess"})
        assert (await guessing.closed())[0] == 4403
        counted.append(len(failures._buckets._full_at))

    assert counted == [0, 1]


# --- limits


async def test_more_operations_than_a_socket_may_have_are_refused_and_the_rest_goes_on() -> None:
    async with house() as here:
        client = await here.enter()
        for number in range(SETTINGS.operations_per_connection + 1):
            client.ask(str(number), "endless")
        refusal = await client.heard()
        client.say("complete", id="0")
        client.ask("again", "one")

        assert (refusal["type"], refusal["id"]) == (
            "error",
            str(SETTINGS.operations_per_connection),
        )
        assert refusal["payload"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"
        assert "max_operations_per_connection" in refusal["payload"][0]["message"]
        assert (await client.heard())["id"] == "again"


async def test_more_connections_than_a_caller_may_have_are_closed() -> None:
    async with house() as here:
        for _ in range(SETTINGS.connections_per_caller):
            await here.enter()
        client = await here.connect()
        client.say("connection_init", payload={"Authorization": TOKEN})

        code, reason = await client.closed()

        assert code == 4429
        assert "max_connections_per_caller" in reason


async def test_a_client_that_leaves_makes_room() -> None:
    async with house() as here:
        for _ in range(3 * SETTINGS.connections_per_caller):
            client = await here.enter()
            client.leave()
            await client.task


async def test_a_client_that_reads_nothing_is_dropped_and_others_go_on() -> None:
    async with house() as here:
        slow, quick = await here.enter(), await here.enter()
        slow.ask("1", "endless")
        slow.reads.clear()
        for _ in range(20):
            here.script.events.put_nowait({"data": "x" * 1_000})
        await until(lambda: here.script.under_way == 0)
        quick.ask("1", "one")
        assert (await quick.heard())["type"] == "next"
        slow.reads.set()

        code, reason = await slow.closed()

        assert code == 1013
        assert "max_unread_bytes" in reason


async def test_a_client_that_never_reads_again_does_not_keep_its_socket() -> None:
    async with house() as here:
        client = await here.enter()
        client.ask("1", "endless")
        client.reads.clear()
        for _ in range(20):
            here.script.events.put_nowait({"data": "x" * 1_000})

        async with asyncio.timeout(30):
            await client.task


# --- how it ends


async def test_a_client_that_leaves_ends_its_operations() -> None:
    async with house() as here:
        client = await here.enter()
        client.ask("1", "endless")
        client.ask("2", "slow")
        await asyncio.sleep(0)
        client.leave()
        await client.task

        assert here.script.under_way == 0


async def test_when_the_process_stops_subscriptions_are_not_completed() -> None:
    async with house() as here:
        client = await here.enter()
        client.ask("1", "endless")
        here.script.events.put_nowait({"data": {"n": 1}})
        assert (await client.heard())["type"] == "next"

        await here.connections.drain(within_s=30)

        assert (await client.sent())["type"] == "websocket.close"
        assert here.script.under_way == 0


async def test_when_the_process_stops_queries_and_mutations_end_first() -> None:
    async with house() as here:
        client = await here.enter()
        client.ask("1", "slow")
        await asyncio.sleep(0)
        leaving = asyncio.create_task(here.connections.drain(within_s=30))
        await until(lambda: here.connections.is_draining)
        client.ask("2", "one")
        here.script.may_end.set()
        await leaving

        said = [orjson.loads((await client.sent())["text"]) for _ in range(2)]
        assert [(message["type"], message["id"]) for message in said] == [
            ("next", "1"),
            ("complete", "1"),
        ]
        assert (await client.closed())[0] == 1001
