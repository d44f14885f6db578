"""A customer who becomes another takes along all that was recorded, and remembers whose it was."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from services.chassis.database import Database
from services.contracts.base import Event
from tests.integration.measurement.conftest import Graph
from tests.integration.measurement.story import handle
from tests.unit.measurement import facts

TOUCHPOINTS = """
query ($id: ID!) {
  _entities(representations: [{__typename: "Customer", id: $id}]) {
    ... on Customer { touchpoints { edges { node { kind outcome recordedFor } } } }
  }
}
"""
RESULTS = "{ actionResults { decided presented accepted } }"


async def handle_all(database: Database, *lists: Sequence[Event]) -> None:
    """Handle lists of events, each in a transaction of its own."""
    for events in lists:
        async with database.transaction() as connection:
            await handle(connection, events)


async def history(graph: Graph, customer: UUID) -> list[tuple[str, str | None, str]]:
    """A customer's touchpoints: kind, outcome, and whom they were recorded for."""
    answer = await graph(TOUCHPOINTS, id=str(customer))
    assert not answer["errors"]
    edges = answer["data"]["_entities"][0]["touchpoints"]["edges"]
    return [(e["node"]["kind"], e["node"]["outcome"], e["node"]["recordedFor"]) for e in edges]


async def test_a_visitor_who_logs_in_takes_their_history_along(
    database: Database, graph: Graph
) -> None:
    visitor, known = uuid4(), uuid4()
    decision_event = facts.decision(visitor, "vinyl")
    clicked = facts.outcome(decision_event, "CLICKED", at=facts.NOON + timedelta(minutes=1))

    await handle_all(database, [decision_event], [clicked], [facts.merge(visitor, known)])

    expected = [("OUTCOME", "CLICKED", str(visitor)), ("DECISION", None, str(visitor))]
    assert await history(graph, known) == expected


async def test_a_merged_customers_old_id_leads_to_whom_they_became(
    database: Database, graph: Graph
) -> None:
    visitor, known = uuid4(), uuid4()

    await handle_all(database, [facts.decision(visitor)], [facts.merge(visitor, known)])

    assert await history(graph, visitor) == await history(graph, known) != []


async def test_what_is_recorded_late_for_a_merged_customer_goes_to_whom_they_became(
    database: Database, graph: Graph
) -> None:
    visitor, known = uuid4(), uuid4()

    await handle_all(database, [facts.merge(visitor, known)], [facts.decision(visitor, "vinyl")])

    assert await history(graph, known) == [("DECISION", None, str(visitor))]


async def test_an_outcome_after_the_merge_finds_the_decision_from_before_it(
    database: Database, graph: Graph
) -> None:
    visitor, known = uuid4(), uuid4()
    decision_event = facts.decision(visitor, "vinyl")
    accepted = facts.outcome(decision_event, "ACCEPTED", customer=known)

    await handle_all(database, [decision_event], [accepted])  # the merge itself comes last
    before = await graph(RESULTS)
    await handle_all(database, [facts.merge(visitor, known)])
    after = await graph(RESULTS)

    assert before["data"]["actionResults"] == [{"decided": 1, "presented": 0, "accepted": 0}]
    assert after["data"]["actionResults"] == [{"decided": 1, "presented": 1, "accepted": 1}]


async def test_a_merge_handled_twice_moves_nothing_more(database: Database, graph: Graph) -> None:
    visitor, known = uuid4(), uuid4()
    merge = facts.merge(visitor, known)
    decision_event = facts.decision(visitor, "vinyl")

    await handle_all(database, [decision_event], [merge, merge], [merge], [decision_event])

    assert len(await history(graph, known)) == 1
    assert (await graph(RESULTS))["data"]["actionResults"][0]["decided"] == 1


async def test_a_merge_is_recorded(database: Database) -> None:
    first, second, third = uuid4(), uuid4(), uuid4()

    await handle_all(database, [facts.merge(first, second)], [facts.merge(second, third)])

    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT from_customer_id, merged_into, customer_id FROM customer_merge"
        )
    assert {tuple(row) for row in rows} == {(first, second, third), (second, third, third)}
