"""What a browser says teaches little, is worth little, and is named in the trace."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from services.chassis.principal import Principal
from services.contracts.decision import DecisionRecorded, OutcomeRecorded
from services.contracts.enums import Role, SenderClass
from services.contracts.identity import derive_customer_id
from services.contracts.profile import CustomerChanged
from services.decision import handlers
from tests.callers import caller
from tests.integration.decision.conftest import (
    AGENT,
    CATALOGUE,
    OFFERS,
    REPORT,
    Replica,
    by,
    keys,
    later,
    merged,
    running,
    snapshot,
)

SERVER = caller(Role.ADMIN, "key:0123")
MINE = by("anonymous_id", "b1")
VISITOR = caller(Role.VISITOR, "browser", {"type": "anonymous_id", "value": "b1"})
APP = caller(Role.APP, "app", {"type": "anonymous_id", "value": "b1"})
UNPROVED = "query ($id: ID!) { decision(id: $id) { unproved outcomes { sender } } }"
ONE_SUCCESS = (20 * (20 * (20 * (20 * 0.05 + 1) / 21 + 1) / 21 + 1) / 21 + 1) / 21
"""The propensity after one presentation that worked: of all, the action, the channel, the arm."""
WITHOUT_CAPS = CATALOGUE.replace("  caps:\n", "  caps: []\n").split("    - {key: not_too")[0]
AT_JAZZ = CATALOGUE.replace(
    "    value_cents: 100\n",
    "    value_cents: 100\n    context_weights: [{when: context.page == 'jazz', weight: 10}]\n",
)


async def report(
    replica: Replica, who: Principal, proposition: str, kind: str = "ACCEPTED", **more: Any
) -> str | None:
    """Report an outcome; the code of the error, None if there is none."""
    body = {"proposition": proposition, "kind": kind, "idempotencyKey": uuid4().hex} | more
    answer = await replica.ask(REPORT, who, input=body)
    return answer["errors"][0]["extensions"]["code"] if "errors" in answer else None


async def propositions(replica: Replica, number: int) -> list[str]:
    """Propositions of the same action to the same visitor, each of a decision of its own."""
    decisions = [await replica.offers(MINE) for _ in range(number)]
    return [decision["propositions"][0]["id"] for decision in decisions]


async def propensity(replica: Replica) -> float:
    """What somebody else is thought to do."""
    [best] = (await replica.offers(by("anonymous_id", uuid4().hex)))["propositions"]
    return float(best["propensity"])


async def tally(replica: Replica) -> tuple[int, int]:
    """How often the one arm reported on was presented, and worked."""
    [row] = await replica.database.pool.fetch("SELECT presented, positives FROM arm_tally")
    return row["presented"], row["positives"]


@pytest.mark.parametrize("forger", [VISITOR, APP], ids=["visitor", "app"])
async def test_acceptances_from_a_browser_teach_once_a_day(
    replicas: tuple[Replica, Replica], forger: Principal
) -> None:
    first, second = replicas
    await first.publish(WITHOUT_CAPS)
    ids = await propositions(first, 20)

    refused = await asyncio.gather(
        *(report((first, second)[n % 2], forger, one) for n, one in enumerate(ids))
    )
    same_day = await propensity(first)
    later(first, days=1)
    later(second, days=1)
    [next_one] = await propositions(first, 1)
    await report(first, forger, next_one)
    next_day = await propensity(first)

    assert refused == [None] * 20
    assert await first.count("outcome") == 21
    assert same_day == pytest.approx(ONE_SUCCESS)
    assert next_day > same_day


async def test_what_servers_report_teaches_every_time_whatever_a_browser_said(
    replica: Replica,
) -> None:
    await replica.publish(WITHOUT_CAPS)
    ids = await propositions(replica, 4)

    for one in ids[:3]:
        await report(replica, VISITOR, one, "PRESENTED")
    for one in ids:
        await report(replica, SERVER, one, "CONVERTED")

    assert await tally(replica) == (4, 4)


async def test_success_is_never_counted_more_often_than_presentation(replica: Replica) -> None:
    await replica.publish(WITHOUT_CAPS)
    one, other = await propositions(replica, 2)

    await report(replica, VISITOR, one, "PRESENTED")
    await report(replica, VISITOR, other, "PRESENTED")
    await report(replica, VISITOR, other, "ACCEPTED")
    later(replica, days=1)
    await report(replica, VISITOR, one, "ACCEPTED")

    assert await tally(replica) == (2, 2)


async def test_who_merges_with_another_teaches_no_more_for_it(replica: Replica) -> None:
    await replica.publish(WITHOUT_CAPS)
    person, one, other = uuid4(), *await propositions(replica, 2)
    await report(replica, VISITOR, one)

    await replica.hear(
        handlers.merge_customers, merged(derive_customer_id("anonymous_id", "b1"), person)
    )
    refused = await report(replica, VISITOR, other)

    assert refused is None
    assert await tally(replica) == (1, 1)


@pytest.mark.parametrize("forger", [VISITOR, APP], ids=["visitor", "app"])
async def test_a_browser_reports_what_its_customer_did_and_no_conversion(
    replica: Replica, forger: Principal
) -> None:
    [proposition] = await propositions(replica, 1)

    kinds = ("PRESENTED", "CLICKED", "ACCEPTED", "REJECTED", "DISMISSED", "CONVERTED")
    refused = {kind: await report(replica, forger, proposition, kind) for kind in kinds}
    server = await report(replica, SERVER, proposition, "CONVERTED")

    assert {kind for kind in kinds if refused[kind]} == {"CONVERTED"}
    assert refused["CONVERTED"] == "DECISION_SERVER_OUTCOME"
    assert server is None
    events = await replica.published(OutcomeRecorded)
    assert [one.sender for one in events] == [forger.sender_class] * 5 + [SenderClass.SERVER]


@pytest.mark.parametrize(
    ("who", "cents", "code"),
    [
        (VISITOR, 100, None),
        (VISITOR, 101, "DECISION_SERVER_OUTCOME"),
        (VISITOR, 2_100_000_000, "DECISION_INVALID_OUTCOME"),
        (APP, 101, "DECISION_SERVER_OUTCOME"),
        (SERVER, 100_000_000, None),
        (SERVER, 100_000_001, "DECISION_INVALID_OUTCOME"),
        (AGENT, 2_100_000_000, "DECISION_INVALID_OUTCOME"),
    ],
)
async def test_an_outcome_is_worth_no_more_than_its_action_or_than_anything_is(
    replica: Replica, who: Principal, cents: int, code: str | None
) -> None:
    [proposition] = await propositions(replica, 1)

    refused = await report(
        replica, who, proposition, "ACCEPTED", value={"cents": cents, "currency": "EUR"}
    )

    assert refused == code
    assert await replica.count("outcome") == (0 if code else 1)
    assert await replica.count("outcome_key") == (0 if code else 1)


@pytest.mark.parametrize("name", ["order_completed", "Order Completed", "orderRefunded"])
async def test_a_browser_brings_no_order_along(replica: Replica, name: str) -> None:
    event = {"name": name, "properties": {"total": 100_000_000}}

    forged = await replica.ask(OFFERS, VISITOR, customer=MINE, event=event)
    by_server = await replica.ask(OFFERS, SERVER, customer=MINE, event=event)

    assert forged["errors"][0]["extensions"]["code"] == "DECISION_SERVER_EVENT"
    assert "API key" in forged["errors"][0]["extensions"]["hint"]
    assert "errors" not in by_server
    assert await replica.count("decision") == 1


async def test_nobody_brings_an_outcome_along(replica: Replica) -> None:
    event = {"name": "outcome_accepted", "properties": {"action": "jazz"}}

    answers = [
        await replica.ask(OFFERS, who, customer=MINE, event=event) for who in (VISITOR, SERVER)
    ]

    codes = [answer["errors"][0]["extensions"]["code"] for answer in answers]
    assert codes == ["DECISION_SERVER_EVENT"] * 2


async def test_a_decision_says_what_only_a_browser_said(replica: Replica) -> None:
    await replica.publish(AT_JAZZ.replace("order_completed", "product_viewed"))
    situation = {"context": {"page": "jazz", "screen": "wide"}, "event": {"name": "product_viewed"}}
    unseen = {"event": {"name": "page_scrolled"}}

    answers = [
        await replica.ask(OFFERS, who, customer=MINE, **said)
        for who, said in ((VISITOR, situation), (SERVER, situation), (VISITOR, unseen))
    ]
    ids = [answer["data"]["nextBestActions"]["id"] for answer in answers]
    decisions = [(await replica.ask(UNPROVED, AGENT, id=one))["data"]["decision"] for one in ids]
    offered = OFFERS.replace("decidedAt", "unproved")
    hidden = await replica.ask(offered, VISITOR, customer=MINE, **unseen)

    unproved = ["context.page", "event.product_viewed"]
    assert [one["unproved"] for one in decisions] == [unproved, [], []]
    assert hidden["data"]["nextBestActions"]["unproved"] is None
    events = await replica.published(DecisionRecorded)
    assert [(list(one.unproved), one.sender) for one in events] == [
        (unproved, SenderClass.VISITOR),
        ([], SenderClass.SERVER),
        *[([], SenderClass.VISITOR)] * 2,
    ]


async def test_a_decision_says_which_traits_only_a_browser_said(replica: Replica) -> None:
    await replica.publish()
    ann = uuid4()
    said = {"traits": {"age": 30, "city": "Breda"}, "unproved_traits": ("city", "age", "gone")}
    of_before = snapshot(ann, 1).to_cloudevent().replace(b',"unproved_traits":[]', b"")

    unproved = []
    for event in (
        CustomerChanged.from_cloudevent(of_before),
        snapshot(ann, 2, **said),
        snapshot(ann, 3, traits=said["traits"]),
    ):
        await replica.know(event)
        answer = await replica.ask(OFFERS, SERVER, customer={"id": str(ann)})
        decision = answer["data"]["nextBestActions"]
        stored = await replica.ask(UNPROVED, AGENT, id=decision["id"])
        unproved.append(stored["data"]["decision"]["unproved"])

    assert b"unproved" not in of_before
    assert unproved == [[], ["traits.age"], []]
    assert [list(one.unproved) for one in await replica.published(DecisionRecorded)] == unproved


async def test_a_trait_that_a_snapshot_had_no_room_for_is_not_called_unproved(
    replica: Replica,
) -> None:
    await replica.publish()
    ann = uuid4()
    await replica.know(snapshot(ann, traits={}, unproved_traits=("age",)))

    await replica.offers({"id": str(ann)})

    assert [one.unproved for one in await replica.published(DecisionRecorded)] == [()]


async def test_the_event_a_browser_brings_along_is_of_that_decision_only(replica: Replica) -> None:
    await replica.publish(CATALOGUE.replace("order_completed", "product_viewed"))
    viewed = {"name": "product_viewed"}

    for _ in range(3):
        decision = await replica.offers(MINE, event=viewed)
    after = await replica.offers(MINE)

    assert keys(decision) == keys(after) == ["newsletter"]


async def test_an_operator_says_what_is_believed_from_whom(database_url: str) -> None:
    loose = {"server_events": "lead_*", "server_outcomes": "", "untrusted_value_factor": 3}
    async with running(database_url, **loose) as replica:
        await replica.publish()
        [proposition] = await propositions(replica, 1)
        worth = {"value": {"cents": 300, "currency": "EUR"}}

        ordered = await replica.ask(
            OFFERS, VISITOR, customer=MINE, event={"name": "order_completed"}
        )
        lead = await replica.ask(OFFERS, VISITOR, customer=MINE, event={"name": "Lead Won"})
        converted = await report(replica, VISITOR, proposition, "CONVERTED", **worth)

    assert ordered["data"]["nextBestActions"]["id"]
    assert lead["errors"][0]["extensions"]["code"] == "DECISION_SERVER_EVENT"
    assert converted is None


async def test_an_outcome_shows_staff_who_reported_it(replica: Replica) -> None:
    decision = await replica.offers(MINE)
    await report(replica, VISITOR, decision["propositions"][0]["id"], "CLICKED")
    await report(replica, SERVER, decision["propositions"][0]["id"], "CONVERTED")

    stored = await replica.ask(UNPROVED, AGENT, id=decision["id"])

    assert [one["sender"] for one in stored["data"]["decision"]["outcomes"]] == [
        "VISITOR",
        "SERVER",
    ]
