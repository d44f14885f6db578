"""A history that a new catalogue asks for is not known of customers until it has been looked up."""

from typing import Any
from uuid import UUID, uuid4

from services.contracts.decision import DecisionSeriesNeeded
from tests.integration.decision.conftest import (
    CATALOGUE,
    Replica,
    by,
    keys,
    later,
    running,
    snapshot,
)

WELCOME = CATALOGUE.replace(
    "contact_policies:",
    """  - key: welcome
    name: A gift for newcomers
    kind: OFFER
    issue: sales
    group: cards
    value_cents: 5000
    eligibility: events.count("order_paid") == 0
    treatments:
      - {key: banner, channel: WEB, placements: hero, content: {title: Welcome}}
contact_policies:""",
)
ORDERED = '"order_paid"'
WHY = """
query ($id: ID!) { decision(id: $id) {
  trace { action { key } stage failed { condition actual } }
} }
"""


def paid(replica: Replica, days_ago: int = 100, times: int = 0) -> dict[str, Any]:
    """The history of somebody who paid an order once, long ago; so many entries are stored."""
    at = int(replica.now.timestamp() - 86_400 * days_ago) * 1_000_000
    return {"count": 1, "first": [at, None], "last": [at, None], "times": [at] * times}


async def actions(replica: Replica, customer: UUID, **variables: Any) -> list[str]:
    """What a customer is offered."""
    return keys(await replica.offers({"id": str(customer)}, limit=5, **variables))


async def test_a_loyal_customer_is_no_newcomer_while_their_history_is_computed(
    replica: Replica,
) -> None:
    ada, new = uuid4(), uuid4()
    before: dict[str, Any] = {"series_versions": {"decision": 1}}
    await replica.know(snapshot(ada, **before), snapshot(new, **before))

    await replica.publish(WELCOME)
    nobody_looked_up = [await actions(replica, one) for one in (ada, new)]
    after: dict[str, Any] = {"series_versions": {"decision": 2}}
    await replica.know(snapshot(ada, 2, series={ORDERED: paid(replica)}, **after))
    await replica.know(snapshot(new, 2, **after))

    assert nobody_looked_up == [["jazz", "newsletter"]] * 2
    assert await actions(replica, ada) == ["jazz", "newsletter"]
    assert await actions(replica, new) == ["welcome", "jazz", "newsletter"]


async def test_a_snapshot_that_says_nothing_of_declarations_answers_none(replica: Replica) -> None:
    ada = uuid4()
    await replica.publish(WELCOME)

    await replica.know(snapshot(ada, series_versions={}))

    assert "welcome" not in await actions(replica, ada)


async def test_a_new_visitor_has_no_history_and_is_welcome_at_once(
    replica: Replica,
) -> None:
    await replica.publish(WELCOME)

    decision = await replica.offers(by("anonymous_id", "browser-1"))

    assert keys(decision) == ["welcome", "newsletter"]


async def test_a_customer_who_could_not_be_read_is_not_taken_for_a_newcomer(
    database_url: str,
) -> None:
    async with running(database_url, answer_within_ms=20) as replica:
        await replica.publish(WELCOME)
        ada = uuid4()
        await replica.know(snapshot(ada))
        async with replica.database.transaction() as connection:
            await connection.execute("LOCK TABLE customer_snapshot IN ACCESS EXCLUSIVE MODE")
            decision = await replica.offers({"id": str(ada)})

    assert keys(decision) == ["newsletter"]


async def test_what_a_customer_does_now_does_not_make_an_unknown_history_known(
    replica: Replica,
) -> None:
    ada = uuid4()
    await replica.know(snapshot(ada, series_versions={"decision": 1}))
    await replica.publish(WELCOME.replace('("order_paid") == 0', '("order_paid") <= 1'))

    offered = await actions(replica, ada, event={"name": "order_paid"})

    assert "welcome" not in offered


async def test_a_new_price_makes_no_history_unknown(replica: Replica) -> None:
    ada = uuid4()
    await replica.publish(WELCOME)
    await replica.know(snapshot(ada, series_versions={"decision": 2}))

    await replica.publish(WELCOME.replace("value_cents: 5000", "value_cents: 6000"))

    assert "welcome" in await actions(replica, ada)
    events = await replica.published(DecisionSeriesNeeded)
    assert [(one.version, one.grew_in) for one in events] == [(1, 1), (2, 2), (3, 2)]


async def test_a_longer_window_is_unknown_until_it_is_filled(replica: Replica) -> None:
    ada = uuid4()
    week = WELCOME.replace('("order_paid")', '("order_paid", last="7d")')
    await replica.publish(week)
    await replica.know(
        snapshot(ada, series={ORDERED: paid(replica)}, series_versions={"decision": 2})
    )
    in_a_week = await actions(replica, ada)

    await replica.publish(week.replace("7d", "365d"))
    not_filled = await actions(replica, ada)
    filled = {ORDERED: paid(replica, times=1)}
    await replica.know(snapshot(ada, 2, series=filled, series_versions={"decision": 3}))

    assert "welcome" in in_a_week
    assert "welcome" not in not_filled
    assert "welcome" not in await actions(replica, ada)
    later(replica, days=300)
    assert "welcome" in await actions(replica, ada)


async def test_a_replica_that_starts_later_knows_since_when_a_history_is_needed(
    replica: Replica, database_url: str
) -> None:
    ada, bob = uuid4(), uuid4()
    await replica.know(snapshot(ada, series_versions={"decision": 1}))
    await replica.know(snapshot(bob, series_versions={"decision": 2}))
    await replica.publish(WELCOME)
    await replica.publish(WELCOME.replace("A gift", "A present"))

    async with running(database_url) as other:
        offered = [await actions(other, one) for one in (ada, bob)]

    assert ["welcome" in actions for actions in offered] == [False, True]


async def test_the_explanation_of_a_decision_says_that_the_history_was_missing(
    replica: Replica,
) -> None:
    ada = uuid4()
    await replica.know(snapshot(ada, series_versions={"decision": 1}))
    await replica.publish(WELCOME)
    decision = await replica.offers({"id": str(ada)})
    await replica.know(snapshot(ada, 2, series_versions={"decision": 2}))

    answer = await replica.ask(WHY, id=decision["id"])

    [trace] = [
        one for one in answer["data"]["decision"]["trace"] if one["action"]["key"] == "welcome"
    ]
    assert trace["stage"] == "ELIGIBILITY"
    [failed] = trace["failed"]
    assert failed == {"condition": 'events.count("order_paid") == 0', "actual": "missing"}


async def test_a_history_that_profile_could_not_send_is_no_history_without_events(
    replica: Replica,
) -> None:
    ada = uuid4()
    await replica.publish(WELCOME)

    await replica.know(snapshot(ada, series={ORDERED: None}))

    assert await actions(replica, ada) == ["jazz", "newsletter"]
    assert "welcome" not in await actions(replica, ada, event={"name": "order_paid"})
