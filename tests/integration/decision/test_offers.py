"""From what profile and journey said to offers, through the graph, on a real PostgreSQL."""

import asyncio
import itertools
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.contracts.decision import DecisionRecorded
from services.contracts.identity import derive_customer_id
from services.contracts.profile import IdentityPayload
from services.decision import handlers
from tests.integration.decision.conftest import (
    CATALOGUE,
    OFFERS,
    Replica,
    by,
    keys,
    merged,
    running,
    snapshot,
    step,
)
from tests.waiting import until_blocked


async def test_a_known_customer_gets_personal_offers_best_first(replica: Replica) -> None:
    ada = uuid4()
    await replica.know(snapshot(ada))

    decision = await replica.offers(by("email", f" {str(ada).upper()}@example.com"))

    assert keys(decision) == ["jazz", "newsletter"]
    best = decision["propositions"][0]
    assert best["content"] == {"title": "Jazz for Ada"}
    assert best["reason"] == "Ada may like our jazz records."
    assert best["value"] == {"cents": 500, "currency": "EUR"}
    assert decision["customer"]["id"] == str(ada)
    assert decision["degraded"] is None


async def test_a_new_visitor_gets_what_has_no_conditions_about_them(replica: Replica) -> None:
    decision = await replica.offers(by("anonymous_id", "browser-1"))

    assert keys(decision) == ["newsletter"]
    assert UUID(decision["customer"]["id"]) == derive_customer_id("anonymous_id", "browser-1")
    assert decision["degraded"] is None


async def test_a_known_identity_nobody_has_is_an_error_with_a_remedy(replica: Replica) -> None:
    answer = await replica.ask(OFFERS, customer=by("email", "nobody@example.com"))

    [error] = answer["errors"]
    assert error["extensions"]["code"] == "UNKNOWN_CUSTOMER"
    assert "Identify the customer first" in error["extensions"]["hint"]
    assert "nobody@example.com" in error["message"]


@pytest.mark.parametrize("value", ["undefined", "NULL", "0", "[object Object]"])
@pytest.mark.parametrize("type", ["anonymous_id", "device", "user_id"])
async def test_nothing_is_decided_for_a_placeholder(
    replica: Replica, type: str, value: str
) -> None:
    answer = await replica.ask(OFFERS, customer=by(type, value))

    [error] = answer["errors"]
    assert error["extensions"]["code"] == "INVALID_CUSTOMER_REF"
    assert "stands for nobody" in error["message"]


async def test_an_event_too_deep_to_be_published_is_refused(replica: Replica) -> None:
    deep: dict[str, Any] = {}
    for _ in range(32):
        deep = {"a": deep}

    answer = await replica.ask(
        OFFERS, customer=by("anonymous_id", "browser-1"), event={"name": "x", "properties": deep}
    )

    [error] = answer["errors"]
    assert error["extensions"]["code"] == "JSON_TOO_DEEP"


async def test_the_event_of_the_request_counts_at_once(replica: Replica) -> None:
    ada, key = uuid4(), '"order_completed"'
    yesterday = 1_000_000 * int(replica.now.timestamp() - 86_400)
    state = {
        "count": 1,
        "first": [yesterday, None],
        "last": [yesterday, None],
        "times": [yesterday],
    }
    await replica.know(snapshot(ada, series={key: state}))

    before = await replica.offers({"id": str(ada)})
    after = await replica.offers({"id": str(ada)}, event={"name": "order_completed"})
    again = await replica.offers({"id": str(ada)})

    assert keys(before) == keys(again) == ["jazz", "newsletter"]
    assert keys(after) == ["loyalty", "jazz", "newsletter"]


async def test_only_a_newer_snapshot_replaces_the_one_held(replica: Replica) -> None:
    ada = uuid4()
    await replica.know(snapshot(ada, 2), snapshot(ada, 1, traits={"age": 5}))

    await replica.know(snapshot(ada, 2, traits={"age": 6}))
    newest = await replica.offers({"id": str(ada)})
    await replica.know(snapshot(ada, 3, traits={"age": 7}, identities=()))
    third = await replica.offers({"id": str(ada)})

    assert "jazz" in keys(newest)
    assert "jazz" not in keys(third)
    assert await replica.count("identity") == 0


async def test_journey_states_count_in_order_of_their_sequence(replica: Replica) -> None:
    ada, instance = uuid4(), uuid4()
    gated = CATALOGUE.replace(
        "eligibility: traits.age >= 18", 'eligibility: journey.onboarding.phase == "purchase"'
    )
    await replica.publish(gated)
    await replica.know(snapshot(ada))

    await replica.hear(handlers.save_steps, step(ada, 2, "purchase", instance))
    await replica.hear(handlers.save_steps, step(ada, 1, "orientation", instance))
    in_purchase = await replica.offers({"id": str(ada)})
    await replica.hear(handlers.save_steps, step(ada, 3, "aftercare", instance))
    in_aftercare = await replica.offers({"id": str(ada)})

    assert keys(in_purchase) == ["jazz", "newsletter"]
    assert keys(in_aftercare) == ["newsletter"]


async def test_a_merge_moves_decisions_outcomes_and_states_and_keeps_who_they_were(
    replica: Replica,
) -> None:
    ada, instance = uuid4(), uuid4()
    visitor = derive_customer_id("anonymous_id", "b1")
    await replica.know(snapshot(ada))
    await replica.hear(handlers.save_steps, step(visitor, 1, "orientation", instance))
    decision = await replica.offers(by("anonymous_id", "b1"))
    await replica.report(decision["propositions"][0]["id"], "REJECTED")

    await replica.hear(handlers.merge_customers, merged(visitor, ada))
    after = await replica.offers(by("anonymous_id", "b1"))

    assert after["customer"]["id"] == str(ada)
    assert keys(after) == ["jazz"]  # the newsletter was rejected before they were known
    rows = await replica.database.pool.fetch(
        "SELECT customer_id, decided_for, identity_value FROM decision ORDER BY decision_id"
    )
    assert [tuple(row) for row in rows] == [(ada, visitor, "b1"), (ada, ada, "b1")]
    assert await replica.database.pool.fetchval("SELECT customer_id FROM journey_state") == ada


async def test_merges_resolve_along_a_chain_in_whatever_order_they_are_heard(
    replica: Replica,
) -> None:
    first, second, third = uuid4(), uuid4(), uuid4()
    await replica.know(*(snapshot(one) for one in (first, second, third)))

    await replica.hear(handlers.merge_customers, merged(second, third))
    await replica.hear(handlers.merge_customers, merged(first, second))
    await replica.hear(handlers.merge_customers, merged(second, third))
    late = snapshot(first, 9, identities=(IdentityPayload(type="email", value="late@example.com"),))
    await replica.know(late)

    for one in (first, second, third):
        decision = await replica.offers({"id": str(one)})
        assert decision["customer"]["id"] == str(third)
    assert await replica.count("customer_snapshot") == 1


async def test_a_decision_made_while_a_merge_commits_belongs_to_the_target(
    replica: Replica,
) -> None:
    ada, visitor = uuid4(), derive_customer_id("anonymous_id", "b2")
    await replica.know(snapshot(ada))
    async with replica.database.transaction() as connection:
        await handlers.merge_customers(connection, [merged(visitor, ada)])
        asking = asyncio.create_task(replica.offers(by("anonymous_id", "b2")))
        await until_blocked(replica.database)
        assert not asking.done()

    await asking

    assert await replica.database.pool.fetchval("SELECT customer_id FROM decision") == ada


async def test_what_arrives_about_a_customer_while_they_are_merged_is_not_left_behind(
    replica: Replica,
) -> None:
    ada, visitor, instance = uuid4(), uuid4(), uuid4()
    await replica.know(snapshot(ada))
    async with replica.database.transaction() as connection:
        await handlers.save_customers(connection, [snapshot(visitor)])
        await handlers.save_steps(connection, [step(visitor, 1, "orientation", instance)])
        merging = asyncio.create_task(replica.hear(handlers.merge_customers, merged(visitor, ada)))
        await until_blocked(replica.database)
        assert not merging.done()

    await merging

    snapshots = await replica.database.pool.fetch("SELECT customer_id FROM customer_snapshot")
    assert [row["customer_id"] for row in snapshots] == [ada]
    assert await replica.database.pool.fetchval("SELECT customer_id FROM journey_state") == ada


async def test_before_the_first_catalogue_the_answer_is_empty_and_says_why(
    database_url: str,
) -> None:
    async with running(database_url) as replica:
        decision = await replica.offers(by("anonymous_id", "b1"), placement="anything")

        assert decision["propositions"] == []
        assert decision["degraded"] == "No catalogue has been published yet."
        assert await replica.count("decision") == 1


async def test_a_customer_profile_vouches_for_is_served_before_their_snapshot_arrives(
    replica: Replica,
) -> None:
    query = """
    query ($reference: [_Any!]!) { _entities(representations: $reference) { ... on Customer {
      nextBestActions(channel: WEB, placement: "hero") {
        degraded propositions { action { key } }
      }
    } } }
    """
    answer = await replica.ask(query, reference=[{"__typename": "Customer", "id": str(uuid4())}])

    [customer] = answer["data"]["_entities"]
    assert keys(customer["nextBestActions"]) == ["newsletter"]
    assert customer["nextBestActions"]["degraded"].startswith("Nothing is known of this customer")


async def test_an_id_nobody_ever_heard_of_is_an_unknown_customer(replica: Replica) -> None:
    answer = await replica.ask(OFFERS, customer={"id": str(uuid4())})

    assert answer["errors"][0]["extensions"]["code"] == "UNKNOWN_CUSTOMER"


async def test_a_read_that_takes_too_long_costs_the_facts_but_not_the_answer(
    database_url: str,
) -> None:
    async with running(database_url, answer_within_ms=20) as replica:
        await replica.publish()
        ada = uuid4()
        await replica.know(snapshot(ada))
        async with replica.database.transaction() as connection:
            await connection.execute("LOCK TABLE customer_snapshot IN ACCESS EXCLUSIVE MODE")
            decision = await replica.offers({"id": str(ada)})

    assert keys(decision) == ["newsletter"]
    assert "could not be read in time" in decision["degraded"]


async def test_a_decision_is_published_to_the_other_services(replica: Replica) -> None:
    decision = await replica.offers(by("anonymous_id", "b1"))

    [event] = await replica.published(DecisionRecorded)

    assert str(event.decision_id) == decision["id"]
    [proposition] = event.propositions
    assert str(proposition.proposition_id) == decision["propositions"][0]["id"]
    assert proposition.tracking_code == decision["propositions"][0]["trackingCode"]
    assert (proposition.rank, proposition.action, proposition.treatment) == (
        1,
        "newsletter",
        "banner",
    )


async def test_merges_heard_by_two_replicas_at_once_leave_no_chain(
    replicas: tuple[Replica, Replica],
) -> None:
    people = [uuid4() for _ in range(12)]
    steps = list(itertools.pairwise(people))
    await replicas[0].know(*(snapshot(person) for person in people))

    await asyncio.gather(
        *(
            replicas[number % 2].hear(handlers.merge_customers, merged(*one))
            for number, one in enumerate(steps)
        )
    )

    decision = await replicas[0].offers({"id": str(people[0])})
    assert decision["customer"]["id"] == str(people[-1])
