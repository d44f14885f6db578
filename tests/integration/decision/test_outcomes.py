"""What becomes of propositions: once each, counted at once, felt by the very next decision."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.chassis.principal import Principal
from services.contracts.decision import OutcomeRecorded
from services.contracts.enums import Role
from tests.callers import caller
from tests.integration.decision.conftest import (
    CATALOGUE,
    REPORT,
    Replica,
    by,
    keys,
    later,
    snapshot,
)


async def tallies(replica: Replica) -> dict[tuple[str, str], tuple[int, int]]:
    """What is counted, by action and channel."""
    rows = await replica.database.pool.fetch("SELECT * FROM arm_tally")
    return {(r["action"], r["channel"]): (r["presented"], r["positives"]) for r in rows}


async def test_a_rejected_action_rests_in_the_very_next_decision_and_returns(
    replica: Replica,
) -> None:
    ada = uuid4()
    await replica.know(snapshot(ada))
    first = await replica.offers({"id": str(ada)})

    await replica.report(first["propositions"][0]["id"], "REJECTED")
    next_one = await replica.offers({"id": str(ada)})
    later(replica, days=30, seconds=1)
    a_month_on = await replica.offers({"id": str(ada)})

    assert keys(first) == keys(a_month_on) == ["jazz", "newsletter"]
    assert keys(next_one) == ["newsletter"]


async def test_the_cap_counts_propositions_presented_not_reports(replica: Replica) -> None:
    who = by("anonymous_id", "b1")
    for _ in range(2):
        decision = await replica.offers(who)
        for kind in ("PRESENTED", "CLICKED", "CLICKED"):
            await replica.report(decision["propositions"][0]["id"], kind)
    after_two = await replica.offers(who)
    await replica.report(after_two["propositions"][0]["id"], "CLICKED")  # implies presented

    after_three = await replica.offers(who)

    assert keys(after_two) == ["newsletter"]
    assert keys(after_three) == []


async def test_a_proposition_counts_once_as_presented_and_once_as_a_success(
    replica: Replica,
) -> None:
    decision = await replica.offers(by("anonymous_id", "b1"))
    proposition = decision["propositions"][0]["id"]

    for kind in ("CLICKED", "PRESENTED", "ACCEPTED", "CONVERTED", "ACCEPTED"):
        await replica.report(proposition, kind)

    assert await tallies(replica) == {("newsletter", "WEB"): (1, 1)}


async def test_outcomes_move_the_propensity_of_the_next_decision(replica: Replica) -> None:
    decision = await replica.offers(by("anonymous_id", "b1"))
    [before] = decision["propositions"]

    await replica.report(before["id"], "ACCEPTED")
    [after] = (await replica.offers(by("anonymous_id", "b2")))["propositions"]

    everything = (20 * 0.05 + 1) / 21
    action = (20 * everything + 1) / 21
    channel = (20 * action + 1) / 21
    assert before["propensity"] == pytest.approx(0.05)
    assert after["propensity"] == pytest.approx((20 * channel + 1) / 21)


async def test_the_same_report_again_gives_the_same_outcome(replica: Replica) -> None:
    decision = await replica.offers(by("anonymous_id", "b1"))
    proposition = decision["propositions"][0]["id"]

    reports = await asyncio.gather(
        *(replica.report(proposition, "ACCEPTED", "order-17") for _ in range(20))
    )

    assert len({report["id"] for report in reports}) == 1
    assert await replica.count("outcome") == 1
    assert len(await replica.published(OutcomeRecorded)) == 1
    assert await tallies(replica) == {("newsletter", "WEB"): (1, 1)}


async def test_an_outcome_is_reported_by_the_tracking_code_as_by_the_id(replica: Replica) -> None:
    decision = await replica.offers(by("anonymous_id", "b1"))
    proposition = decision["propositions"][0]

    by_code = await replica.report(proposition["trackingCode"], "ACCEPTED", "order-17")
    by_id = await replica.report(proposition["id"], "ACCEPTED", "order-17")

    assert by_code["id"] == by_id["id"]
    assert await replica.count("outcome") == 1


async def test_the_same_key_for_something_else_is_a_conflict(replica: Replica) -> None:
    decision = await replica.offers(by("anonymous_id", "b1"))
    proposition = decision["propositions"][0]["id"]
    await replica.report(proposition, "PRESENTED", "k")

    report = {"proposition": proposition, "kind": "ACCEPTED", "idempotencyKey": "k"}
    answer = await replica.ask(REPORT, input=report)

    assert answer["errors"][0]["extensions"]["code"] == "DECISION_IDEMPOTENCY_CONFLICT"
    assert await replica.count("outcome") == 1


NOBODYS = "0b9f8a3e-5d1c-4c8e-9f61-7a2d4be0c311"


@pytest.mark.parametrize("proposition", ["nonsense", NOBODYS, "rank 9", "a" * 26])
async def test_an_unknown_proposition_is_an_error(replica: Replica, proposition: str) -> None:
    if proposition == "rank 9":
        decision = await replica.offers(by("anonymous_id", "b1"))
        proposition = decision["propositions"][0]["id"][:-1] + "9"

    report = {"proposition": proposition, "kind": "ACCEPTED", "idempotencyKey": "k"}
    answer = await replica.ask(REPORT, input=report)

    assert answer["errors"][0]["extensions"]["code"] == "DECISION_UNKNOWN_PROPOSITION"


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"at": timedelta(days=1)}, "in the future"),
        ({"at": timedelta(days=-1)}, "before the decision itself"),
        ({"value": {"cents": 5, "currency": "USD"}}, "currency of the catalogue (EUR)"),
        ({"value": {"cents": -5, "currency": "EUR"}}, "0 or more"),
        ({"idempotencyKey": ""}, "idempotencyKey has 0 characters"),
    ],
)
async def test_an_outcome_that_cannot_be_is_refused_with_a_remedy(
    replica: Replica, wrong: dict[str, Any], problem: str
) -> None:
    decision = await replica.offers(by("anonymous_id", "b1"))
    if "at" in wrong:
        wrong = {"at": (replica.now + wrong["at"]).isoformat()}
    report = {
        "proposition": decision["propositions"][0]["id"],
        "kind": "ACCEPTED",
        "idempotencyKey": "k",
    }

    answer = await replica.ask(REPORT, input=report | wrong)

    error = answer["errors"][0]
    assert error["extensions"]["code"] == "DECISION_INVALID_OUTCOME"
    assert problem in error["message"] + error["extensions"]["hint"]
    assert await replica.count("outcome") == await replica.count("outcome_key") == 0


async def test_outcomes_are_published_and_queried_with_their_decision(
    replica: Replica,
) -> None:
    decision = await replica.offers(by("anonymous_id", "b1"))
    proposition = decision["propositions"][0]["id"]
    money = {"cents": 1250, "currency": "EUR"}
    later(replica, minutes=5)

    await replica.report(proposition, "CONVERTED", value=money, reason="by phone")

    [event] = await replica.published(OutcomeRecorded)
    assert (event.action, event.channel, event.kind) == ("newsletter", "WEB", "CONVERTED")
    assert event.value is not None
    assert event.value.model_dump() == money
    assert str(event.proposition_id) == proposition
    query = """query ($id: ID!) { decision(id: $id) {
      outcomes { proposition kind value { cents } reason } } }"""
    answer = await replica.ask(query, id=decision["id"])
    assert answer["data"]["decision"]["outcomes"] == [
        {
            "proposition": proposition,
            "kind": "CONVERTED",
            "value": {"cents": 1250},
            "reason": "by phone",
        }
    ]


async def test_counts_of_one_channel_teach_the_others_less(replica: Replica) -> None:
    for number in range(40):
        decision = await replica.offers(by("anonymous_id", f"b{number}"))
        await replica.report(decision["propositions"][0]["id"], "ACCEPTED")

    web = await replica.offers(by("anonymous_id", "new"))
    desk = await replica.offers(by("anonymous_id", "new"), channel="CALL_CENTRE", placement="desk")

    [on_web], [on_phone] = web["propositions"], desk["propositions"]
    assert 0.05 < on_phone["propensity"] < on_web["propensity"] < 1


async def test_a_visitor_reports_on_their_own_propositions_only(replica: Replica) -> None:
    mine = caller(Role.VISITOR, "v", {"type": "anonymous_id", "value": "b1"})
    decision = await replica.offers(by("anonymous_id", "b2"))
    report = {
        "proposition": decision["propositions"][0]["id"],
        "kind": "ACCEPTED",
        "idempotencyKey": "k",
    }

    answer = await replica.ask(REPORT, mine, input=report)

    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert await replica.count("outcome") == 0


async def test_a_visitor_cannot_take_the_idempotency_key_of_another(replica: Replica) -> None:
    def report(decision: dict[str, Any], kind: str) -> dict[str, Any]:
        proposition = decision["propositions"][0]["id"]
        return {"proposition": proposition, "kind": kind, "idempotencyKey": "order-1"}

    def visitor(value: str) -> Principal:
        return caller(Role.VISITOR, "v", {"type": "anonymous_id", "value": value})

    first, second = [await replica.offers(by("anonymous_id", b)) for b in ("b1", "b2")]

    taken = await replica.ask(REPORT, visitor("b1"), input=report(first, "CLICKED"))
    own = await replica.ask(REPORT, visitor("b2"), input=report(second, "ACCEPTED"))
    again = await replica.ask(REPORT, visitor("b2"), input=report(second, "ACCEPTED"))
    other = await replica.ask(REPORT, visitor("b2"), input=report(second, "REJECTED"))

    assert "errors" not in taken
    assert "errors" not in own
    assert again == own
    assert other["errors"][0]["extensions"]["code"] == "DECISION_IDEMPOTENCY_CONFLICT"


async def test_quiet_policies_apply_to_the_catalogue_of_now(replica: Replica) -> None:
    decision = await replica.offers(by("anonymous_id", "b1"))
    await replica.report(decision["propositions"][0]["id"], "DISMISSED")
    assert keys(await replica.offers(by("anonymous_id", "b1"))) == []

    await replica.publish(CATALOGUE.replace("[REJECTED, DISMISSED]", "REJECTED"))

    assert keys(await replica.offers(by("anonymous_id", "b1"))) == ["newsletter"]


async def test_an_outcome_is_recorded_of_the_customer_it_names_and_of_no_other(
    replica: Replica,
) -> None:
    decision = await replica.offers(by("anonymous_id", "b1"))
    report = {
        "proposition": decision["propositions"][0]["id"],
        "kind": "ACCEPTED",
        "idempotencyKey": "k",
    }

    other = await replica.ask(REPORT, input=report | {"customer": by("anonymous_id", "b2")})
    unknown = await replica.ask(REPORT, input=report | {"customer": by("email", "x@example.com")})
    before = await replica.count("outcome")
    own = await replica.ask(REPORT, input=report | {"customer": by("anonymous_id", "b1")})

    codes = [answer["errors"][0]["extensions"]["code"] for answer in (other, unknown)]
    assert codes == ["DECISION_OTHER_CUSTOMER"] * 2
    assert before == 0
    assert "errors" not in own
    assert await replica.count("outcome") == 1
