"""No answer without a row, few transactions for many answers, and no decision by halves."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

from services.contracts.decision import DecisionRecorded
from tests.integration.decision.conftest import OFFERS, Replica, by, snapshot
from tests.waiting import until

HERE: dict[str, Any] = {"channel": "WEB", "placement": "hero"}


async def cut_off(replica: Replica) -> None:
    """Have PostgreSQL close every other connection of the service."""
    async with replica.database.connection() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_whatever_is_cut_off_an_answer_always_has_its_row(replica: Replica) -> None:
    async def ask(number: int) -> dict[str, Any]:
        await asyncio.sleep(number * 0.002)
        return await replica.ask(OFFERS, customer=by("anonymous_id", f"b{number}"), **HERE)

    answers: list[dict[str, Any]] = []
    for _ in range(4):
        asking = [asyncio.create_task(ask(number)) for number in range(50)]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        await cut_off(replica)
        answers += await asyncio.gather(*asking)

    answered = {UUID(a["data"]["nextBestActions"]["id"]) for a in answers if "errors" not in a}
    refused = {a["errors"][0]["extensions"]["code"] for a in answers if "errors" in a}
    rows = await replica.database.pool.fetch("SELECT decision_id FROM decision")
    published = {event.decision_id for event in await replica.published(DecisionRecorded)}
    assert answered
    assert answered <= {row["decision_id"] for row in rows} == published
    assert refused <= {"DATABASE_UNAVAILABLE", "DECISION_NOT_DURABLE"}


async def test_after_a_cut_the_next_request_is_served(replica: Replica) -> None:
    await replica.offers(by("anonymous_id", "b1"))

    pool: Any = replica.database.pool
    opened = [holder._con for holder in pool._holders if holder._con]
    await cut_off(replica)
    await until(lambda: sum(not connection.is_closed() for connection in opened) <= 1)
    decision = await replica.offers(by("anonymous_id", "b1"))

    assert decision["degraded"] is None


async def test_a_commit_that_cannot_happen_gives_an_error_and_no_answer(replica: Replica) -> None:
    async with replica.database.transaction() as connection:
        await connection.execute("LOCK TABLE decision IN ACCESS EXCLUSIVE MODE")
        await connection.execute("ALTER TABLE decision ADD CHECK (placement <> 'hero') NOT VALID")
    answer = await replica.ask(OFFERS, customer=by("anonymous_id", "b1"), **HERE)

    assert answer["data"] == {"nextBestActions": None}
    assert answer["errors"]
    assert await replica.count("decision") == await replica.count("outbox") - 1 == 0


async def test_two_hundred_at_once_share_a_few_commits(replica: Replica) -> None:
    people = [uuid4() for _ in range(200)]
    await replica.know(*(snapshot(person) for person in people))
    async with replica.database.connection() as connection:
        before = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
        decisions = await asyncio.gather(
            *(replica.offers({"id": str(person)}) for person in people)
        )
        after = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")

    assert len({decision["id"] for decision in decisions}) == 200
    assert await replica.count("decision") == 200
    assert len(await replica.published(DecisionRecorded)) == 200
    assert after - before < 40


async def test_a_decision_the_database_refuses_fails_by_itself(replica: Replica) -> None:
    await replica.database.pool.execute(
        "ALTER TABLE decision ADD CHECK (identity_value <> 'b7') NOT VALID"
    )

    answers = await asyncio.gather(
        *(
            replica.ask(OFFERS, customer=by("anonymous_id", f"b{number}"), **HERE)
            for number in range(20)
        )
    )

    assert [number for number, answer in enumerate(answers) if "errors" in answer] == [7]
    assert answers[7]["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert await replica.count("decision") == 19
