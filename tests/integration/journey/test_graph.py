"""What the graph shows of journeys, and whom it shows it."""

import threading
from typing import Any
from uuid import uuid4

import pytest

from services.chassis.principal import Principal
from services.contracts.enums import Role
from services.contracts.identity import derive_customer_id
from services.journey.store import tallies
from tests.callers import caller
from tests.integration.journey.conftest import Graph
from tests.integration.journey.world import World
from tests.reading import reading_threads
from tests.unit.journey.journeys import CART, ROUND

ANN, BOB = uuid4(), uuid4()
REACHABLE = {"consents": {"email_marketing": True}, "traits": {"email": "ann@example.com"}}
AGENT = caller(Role.AGENT, "abe")

CUSTOMERS = """
query ($ids: [_Any!]!, $active: Boolean) {
  _entities(representations: $ids) { ... on Customer {
    id
    journeys(active: $active) {
      id journey version key step phase active enteredAt since dueAt endedAt endReason
      history { sequence step phase note }
    }
    inbox(first: 5) { id instance channel template purpose content status journey step }
  } }
}
"""
FLOW = """
query ($key: ID!, $version: Int) {
  journeyDefinition(key: $key, version: $version) {
    version current entry exitWhen
    steps { key kind phase summary present passed next { to label } }
  }
}
"""


def keys(*ids: Any) -> list[dict[str, str]]:
    return [{"__typename": "Customer", "id": str(one)} for one in ids]


async def entered_and_waited(world: World) -> None:
    """Ann has been sent a reminder, Bob has just put something into a cart."""
    await world.publish(CART)
    await world.handle_events(world.snapshot(ANN, 1, **REACHABLE))
    await world.handle_events(
        world.event(ANN, "product_added", value=25, cart_id="c1", product="LP")
    )
    await world.pass_time(hours=2)
    await world.handle_events(world.event(BOB, "product_added", value=25, cart_id="c1"))


async def test_customers_show_their_journeys_and_inbox(world: World, graph: Graph) -> None:
    await entered_and_waited(world)

    answer = await graph(CUSTOMERS, AGENT, ids=keys(ANN, BOB, uuid4()))

    assert answer["errors"] == []
    ann, bob, nobody = answer["data"]["_entities"]
    [journey] = ann["journeys"]
    assert (journey["step"], journey["phase"], journey["active"]) == ("answer", "purchase", True)
    assert [states["step"] for states in journey["history"]] == [
        "think",
        "has_mail",
        "remind",
        "answer",
    ]
    [message] = ann["inbox"]
    assert message["content"]["subject"] == "Hello, your LP is waiting"
    assert (message["instance"], message["status"]) == (journey["id"], "DUE")
    assert [one["step"] for one in bob["journeys"]] == ["think"]
    assert (nobody["journeys"], nobody["inbox"]) == ([], [])


async def test_journeys_can_be_filtered_by_whether_they_are_active(
    world: World, graph: Graph
) -> None:
    await entered_and_waited(world)
    await world.handle_events(world.event(ANN, "order_completed", cart_id="c1"))

    async def of(active: bool | None) -> list[str]:
        answer = await graph(CUSTOMERS, AGENT, ids=keys(ANN), active=active)
        return [one["endReason"] for one in answer["data"]["_entities"][0]["journeys"]]

    assert (await of(True), await of(False), await of(None)) == ([], ["bought"], ["bought"])


async def test_a_journey_shows_its_ways_and_how_many_are_where(world: World, graph: Graph) -> None:
    await entered_and_waited(world)

    answer = await graph(FLOW, key="abandoned_cart")

    flow = answer["data"]["journeyDefinition"]
    assert flow["entry"] == "product_added where event.value >= 20, per event.cart_id"
    counts = {step["key"]: (step["present"], step["passed"]) for step in flow["steps"]}
    assert counts == {
        "think": (1, 2),
        "has_mail": (0, 1),
        "remind": (0, 1),
        "answer": (1, 1),
        "helped": (0, 0),
        "gone": (0, 0),
    }
    assert flow["steps"][3]["next"] == [
        {"to": "helped", "label": "mail_clicked"},
        {"to": "gone", "label": "timeout"},
    ]


async def test_counts_stay_right_when_they_are_summed_up(world: World, graph: Graph) -> None:
    await entered_and_waited(world)
    before = await graph(FLOW, key="abandoned_cart")

    async with world.database.transaction() as connection:
        await tallies.compact(connection)
    await world.handle_events(world.event(BOB, "order_completed", cart_id="c1"))
    async with world.database.transaction() as connection:
        await tallies.compact(connection)

    after = await graph(FLOW, key="abandoned_cart")
    assert await world.database.pool.fetchval("SELECT count(*) FROM tally") == 4
    think_before, think_after = (
        answer["data"]["journeyDefinition"]["steps"][0] for answer in (before, after)
    )
    assert (think_before["present"], think_before["passed"]) == (1, 2)
    assert (think_after["present"], think_after["passed"]) == (0, 2)


async def test_a_journey_is_read_beside_the_thread_that_answers(graph: Graph) -> None:
    publish = "mutation ($yaml: String!) { publishJourney(yaml: $yaml) { key } }"

    with reading_threads() as threads:
        good = await graph(publish, yaml=ROUND)
        many = await graph(publish, yaml=f"key: [{'1,' * 190_000}]")
        shown = await graph('{ journeyDefinition(key: "round") { version } }')

    assert threads
    assert threading.get_ident() not in threads
    assert good["data"] == {"publishJourney": {"key": "round"}}
    assert many["errors"][0]["extensions"]["code"] == "INVALID_DEFINITION"
    assert shown["data"] == {"journeyDefinition": {"version": 1}}


async def test_publishing_answers_with_the_definition_and_keeps_older_versions(
    graph: Graph,
) -> None:
    publish = (
        "mutation ($yaml: String!) { publishJourney(yaml: $yaml) { key version publishedBy } }"
    )

    first = await graph(publish, yaml=ROUND)
    second = await graph(publish, yaml=ROUND.replace("1h", "2h"))

    assert first["data"]["publishJourney"] == {"key": "round", "version": 1, "publishedBy": "mia"}
    assert second["data"]["publishJourney"]["version"] == 2
    old = await graph(FLOW, key="round", version=1)
    new = await graph(FLOW, key="round")
    assert old["data"]["journeyDefinition"]["steps"][0]["summary"] == "Wait 1h"
    assert new["data"]["journeyDefinition"]["steps"][0]["summary"] == "Wait 2h"
    assert (await graph(FLOW, key="other"))["data"]["journeyDefinition"] is None
    listed = await graph("{ journeyDefinitions { key version } }")
    assert listed["data"]["journeyDefinitions"] == [{"key": "round", "version": 2}]


async def test_a_definition_that_is_wrong_is_refused_with_its_problems(graph: Graph) -> None:
    answer = await graph(
        "mutation ($yaml: String!) { publishJourney(yaml: $yaml) { key } }",
        yaml=ROUND.replace("next: rest", "next: rset"),
    )

    [error] = answer["errors"]
    assert error["extensions"]["code"] == "INVALID_DEFINITION"
    [problem] = error["extensions"]["problems"]
    assert (problem["path"], problem["hint"]) == ("steps[1].next", "Did you mean `rest`?")


async def test_an_agent_ends_an_instance_once(world: World, graph: Graph) -> None:
    await entered_and_waited(world)
    [instance] = await world.instances(ANN)
    end = """mutation ($id: ID!, $reason: String!) {
        exitJourney(instance: $id, reason: $reason) { active endReason } }"""

    first = await graph(end, AGENT, id=str(instance["run_id"]), reason=" asked us to stop ")
    again = await graph(end, AGENT, id=str(instance["run_id"]), reason="again")

    ended = {"active": False, "endReason": "asked us to stop"}
    assert first["data"]["exitJourney"] == ended
    assert again["data"]["exitJourney"] == ended


NOBODYS = "0b9f8a3e-5d1c-4c8e-9f61-7a2d4be0c311"


@pytest.mark.parametrize(
    ("id", "reason", "code"),
    [
        ("no-id", "x", "JOURNEY_UNKNOWN_INSTANCE"),
        (NOBODYS, "x", "JOURNEY_UNKNOWN_INSTANCE"),
        (NOBODYS, "  ", "JOURNEY_INVALID_REASON"),
    ],
)
async def test_an_exit_that_makes_no_sense_is_refused(
    graph: Graph, id: str, reason: str, code: str
) -> None:
    end = "mutation ($id: ID!, $r: String!) { exitJourney(instance: $id, reason: $r) { id } }"

    answer = await graph(end, AGENT, id=id, r=reason)

    assert answer["errors"][0]["extensions"]["code"] == code


async def test_data_mapping_names_what_journeys_need(world: World, graph: Graph) -> None:
    await world.publish(CART)
    await world.publish(ROUND)

    answer = await graph(
        "{ dataMapping { traits { name journeys } purposes { name journeys } events { name } } }"
    )

    mapping = answer["data"]["dataMapping"]
    assert mapping["traits"] == [
        {"name": "email", "journeys": ["abandoned_cart"]},
        {"name": "first_name", "journeys": ["abandoned_cart"]},
    ]
    assert [one["name"] for one in mapping["purposes"]] == ["email_marketing", "p"]
    assert [one["name"] for one in mapping["events"]] == [
        "e",
        "mail_clicked",
        "order_completed",
        "product_added",
        "stop",
    ]


def visitor(**customer: str) -> Principal:
    return caller(Role.VISITOR, "browser", customer)


async def test_a_visitor_sees_himself_only(world: World, graph: Graph) -> None:
    await entered_and_waited(world)
    new = derive_customer_id("anonymous_id", "never-seen")

    async def sees(principal: Principal, customer: Any) -> bool:
        query = """query ($ids: [_Any!]!) {
          _entities(representations: $ids) { ... on Customer { inbox { id } } } }"""
        answer = await graph(query, principal, ids=keys(customer))
        return answer["data"]["_entities"][0]["inbox"] is not None

    assert await sees(visitor(id=str(ANN)), ANN)
    assert await sees(visitor(type="anonymous_id", value="cookie"), ANN)
    assert await sees(visitor(type="anonymous_id", value="never-seen"), new)
    assert not await sees(visitor(id=str(BOB)), ANN)
    assert not await sees(visitor(type="anonymous_id", value="other"), ANN)
    assert not await sees(visitor(type="email", value="cookie"), ANN)
    assert not await sees(visitor(), ANN)


@pytest.mark.parametrize(
    ("query", "role"),
    [
        ("{ journeyDefinitions { key } }", Role.VISITOR),
        ('{ journeyDefinition(key: "x") { key } }', Role.APP),
        ("{ dataMapping { traits { name } } }", Role.VISITOR),
        ('mutation { publishJourney(yaml: "") { key } }', Role.AGENT),
        ('mutation { exitJourney(instance: "x", reason: "y") { id } }', Role.ANALYST),
    ],
)
async def test_what_a_role_may_not_do_is_refused(graph: Graph, query: str, role: Role) -> None:
    answer = await graph(query, caller(role, "someone"))

    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHORIZED_FIELD_OR_TYPE"


async def test_a_visitor_does_not_see_which_journeys_they_are_in(
    world: World, graph: Graph
) -> None:
    await entered_and_waited(world)
    query = """query ($ids: [_Any!]!) { _entities(representations: $ids) { ... on Customer {
      journeys { journey } inbox { channel journey template } } } }"""

    answer = await graph(query, visitor(id=str(ANN)), ids=keys(ANN))

    [customer] = answer["data"]["_entities"]
    assert customer["journeys"] is None
    assert all(m["journey"] is None and m["template"] is None for m in customer["inbox"])
    assert {e["extensions"]["code"] for e in answer["errors"]} == {"UNAUTHORIZED_FIELD_OR_TYPE"}
