"""What the graph answers, and to whom."""

from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from services.chassis.database import Database
from services.contracts.enums import Role, SenderClass
from services.contracts.identity import derive_customer_id
from services.contracts.profile import IdentityPayload
from services.measurement import service
from tests.callers import caller
from tests.integration.measurement.conftest import Graph
from tests.integration.measurement.test_merges import handle_all
from tests.unit.measurement import facts

TOUCHPOINTS = """
query ($ids: [_Any!]!, $first: Int! = 50, $after: String) {
  _entities(representations: $ids) {
    ... on Customer {
      touchpoints(first: $first, after: $after) {
        edges { node {
          id kind at channel placement decisionId propositionId actions outcome controlGroup
          journey step template event campaign { name source clickIds } value { cents currency }
        } }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
}
"""
EMAIL = IdentityPayload(type="email", value="ann@example.com")


def keys(*customers: UUID) -> list[dict[str, str]]:
    """Entity representations as the gateway sends them."""
    return [{"__typename": "Customer", "id": str(customer)} for customer in customers]


async def page(graph: Graph, customer: UUID, **arguments: Any) -> Any:
    """One page of a customer's touchpoints."""
    answer = await graph(TOUCHPOINTS, ids=keys(customer), **arguments)
    assert not answer["errors"]
    return answer["data"]["_entities"][0]["touchpoints"]


async def test_what_a_browser_says_an_outcome_was_worth_is_no_money(
    database: Database, graph: Graph
) -> None:
    decision_event = facts.decision(uuid4(), "vinyl")
    outcomes = [
        facts.outcome(decision_event, "ACCEPTED", cents=100, sender=sender)
        for sender in (SenderClass.VISITOR, SenderClass.APP, SenderClass.SERVER)
    ]
    await handle_all(database, [decision_event], outcomes)

    answer = await graph("{ actionResults { accepted acceptedValue { cents } } }")
    result_page = await page(graph, cast(UUID, decision_event.customer_id), first=10)

    assert answer["data"]["actionResults"] == [{"accepted": 1, "acceptedValue": [{"cents": 100}]}]
    values = [edge["node"]["value"] for edge in result_page["edges"]]
    assert sum(value is not None for value in values) == 1


async def test_results_tell_rates_with_intervals_and_sums_of_money(
    database: Database, graph: Graph
) -> None:
    decision_events = [facts.decision(uuid4(), "vinyl", "concert") for _ in range(4)]
    presented = [facts.outcome(one, "PRESENTED") for one in decision_events]
    accepted = [
        facts.outcome(decision_events[0], "ACCEPTED", cents=2_000_000_000) for _ in range(2)
    ]
    converted = [facts.outcome(decision_events[0], "CONVERTED", cents=700, currency="USD")]
    await handle_all(database, decision_events, [*presented, *accepted, *converted])

    answer = await graph(
        """{ actionResults(action: "vinyl") {
          action channel treatment decided presented accepted converted
          acceptedValue { cents currency } convertedValue { cents currency }
          presentationRate { estimate } acceptanceRate { successes trials estimate low high }
        } }"""
    )

    assert not answer["errors"]
    (row,) = answer["data"]["actionResults"]
    rate = row.pop("acceptanceRate")
    assert row == {
        "action": "vinyl", "channel": "WEB", "treatment": None,
        "decided": 4, "presented": 4, "accepted": 1, "converted": 1,
        "acceptedValue": [{"cents": 4_000_000_000, "currency": "EUR"}],
        "convertedValue": [{"cents": 700, "currency": "USD"}],
        "presentationRate": {"estimate": 1.0},
    }  # fmt: skip
    assert (rate["successes"], rate["trials"], rate["estimate"]) == (1, 4, 0.25)
    assert (rate["low"], rate["high"]) == (
        pytest.approx(0.0456, abs=1e-4),
        pytest.approx(0.6994, abs=1e-4),
    )


async def test_results_are_grouped_by_the_dimensions(database: Database, graph: Graph) -> None:
    day = timedelta(days=1)
    await handle_all(
        database,
        [
            facts.decision(uuid4(), "vinyl", placement="home"),
            facts.decision(uuid4(), "vinyl", placement="cart", at=facts.NOON + day),
            facts.decision(uuid4(), "vinyl", placement="cart", at=facts.NOON + day, channel="APP"),
        ],
    )

    async def ask(by: str, rest: str = "") -> list[list[Any]]:
        fields = "action treatment channel placement day decided"
        answer = await graph(f"{{ actionResults(by: [{by}] {rest}) {{ {fields} }} }}")
        assert not answer["errors"]
        return [
            [value for value in row.values() if value is not None]
            for row in answer["data"]["actionResults"]
        ]

    assert await ask("") == [[3]]
    assert await ask("PLACEMENT") == [["cart", 2], ["home", 1]]
    assert await ask("DAY, CHANNEL, DAY") == [
        ["WEB", "2026-11-22", 1], ["APP", "2026-11-23", 1], ["WEB", "2026-11-23", 1]
    ]  # fmt: skip
    assert await ask("TREATMENT", "channel: APP") == [["vinyl-on-app", 1]]
    assert await ask("ACTION", 'from: "2026-11-23T00:00:00Z"') == [["vinyl", 2]]
    assert await ask("ACTION", 'to: "2026-11-23T00:00:00Z"') == [["vinyl", 1]]
    assert await ask("ACTION", 'from: "2027-01-01T00:00:00Z"') == []


async def test_without_anything_to_count_rates_are_null(graph: Graph) -> None:
    answer = await graph(
        """{ actionResults(by: []) {
          decided acceptedValue { cents } clickRate { trials estimate low high }
        } }"""
    )

    assert answer["data"]["actionResults"] == [
        {
            "decided": 0,
            "acceptedValue": [],
            "clickRate": {"trials": 0, "estimate": None, "low": None, "high": None},
        }
    ]


async def test_a_period_that_ends_before_it_begins_is_explained(graph: Graph) -> None:
    answer = await graph(
        '{ actionResults(from: "2026-11-23T00:00:00Z", to: "2026-11-22T00:00:00Z") { decided } }'
    )

    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "MEASUREMENT_INVALID_PERIOD"
    assert "earlier one as from" in error["extensions"]["hint"]


async def test_more_rows_than_can_be_sent_are_refused(
    database: Database, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_RESULTS", 2)
    await handle_all(database, [facts.decision(uuid4(), "vinyl", "concert", "cassette")])

    answer = await graph("{ actionResults { decided } }")

    assert answer["errors"][0]["extensions"]["code"] == "MEASUREMENT_TOO_MANY_RESULTS"


async def test_every_kind_of_touchpoint_tells_its_own_story_newest_first(
    database: Database, graph: Graph
) -> None:
    ann = uuid4()
    decision_event = facts.decision(ann, "vinyl", control_group="always")
    campaign = {"campaign": {"name": "spring", "source": "news", "gclid": "x"}}
    visit = facts.event(ann, context=campaign, at=facts.NOON + timedelta(minutes=3))
    order = facts.event(
        ann, "order_completed", properties={"revenue": 12.5}, at=facts.NOON + timedelta(minutes=4)
    )
    await handle_all(
        database,
        [decision_event],
        [facts.outcome(decision_event, "CLICKED", at=facts.NOON + timedelta(minutes=1))],
        [facts.message(ann, facts.NOON + timedelta(minutes=2))],
        [visit, order, facts.event(ann, "page_viewed")],
    )

    found = [edge["node"] for edge in (await page(graph, ann))["edges"]]

    nodes = [{name: value for name, value in node.items() if value is not None} for node in found]
    for node in nodes:
        del node["id"], node["at"]
    decision, proposition = (
        str(decision_event.decision_id),
        str(decision_event.propositions[0].proposition_id),
    )
    assert nodes == [
        {
            "kind": "CONVERSION",
            "event": "order_completed",
            "value": {"cents": 1250, "currency": "EUR"},
        },
        {
            "kind": "CAMPAIGN_VISIT",
            "event": "page_viewed",
            "campaign": {"name": "spring", "source": "news", "clickIds": ["gclid"]},
        },
        {
            "kind": "MESSAGE", "channel": "EMAIL", "journey": "welcome", "step": "greet",
            "template": "hello",
        },
        {
            "kind": "OUTCOME", "channel": "WEB", "placement": "home", "decisionId": decision,
            "propositionId": proposition, "actions": ["vinyl"], "outcome": "CLICKED",
        },
        {
            "kind": "DECISION", "channel": "WEB", "placement": "home", "decisionId": decision,
            "actions": ["vinyl"], "controlGroup": "always",
        },
    ]  # fmt: skip


async def test_pages_stay_as_they_are_while_new_touchpoints_arrive(
    database: Database, graph: Graph
) -> None:
    ann = uuid4()
    old = [facts.message(ann) for _ in range(7)]  # all at the same moment: the id decides
    await handle_all(database, old)
    ids: list[str] = []
    after = None

    for minute in range(1, 5):
        result_page = await page(graph, ann, first=2, after=after)
        ids += [edge["node"]["id"] for edge in result_page["edges"]]
        after = result_page["pageInfo"]["endCursor"]
        await handle_all(database, [facts.message(ann, facts.NOON + timedelta(minutes=minute))])

    assert not result_page["pageInfo"]["hasNextPage"]
    assert ids == [f"MESSAGE:{one}" for one in sorted((m.message_id for m in old), reverse=True)]


async def test_pages_of_many_customers_come_in_one_query(
    database: Database, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob, nobody = uuid4(), uuid4(), uuid4()
    await handle_all(database, [facts.message(ann), facts.message(bob), facts.message(bob)])
    sizes = []
    fetch = service.load_touchpoint_pages

    async def count(connection: Any, pages: Any) -> Any:
        sizes.append(len(pages))
        return await fetch(connection, pages)

    monkeypatch.setattr(service, "load_touchpoint_pages", count)
    answer = await graph(TOUCHPOINTS, ids=keys(ann, bob, nobody, ann))

    found = [len(one["touchpoints"]["edges"]) for one in answer["data"]["_entities"]]
    assert found == [1, 2, 0, 1]
    assert sizes == [3]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"first": 0}, "first is 0"),
        ({"first": 101}, "first is 101"),
        ({"after": "page 2"}, "not a cursor"),
        ({"after": "WzEsMiwzXQ=="}, "not a cursor"),
    ],
)
async def test_an_impossible_page_is_explained(
    graph: Graph, arguments: dict[str, Any], problem: str
) -> None:
    answer = await graph(TOUCHPOINTS, ids=keys(uuid4()), **arguments)

    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "INVALID_PAGE"
    assert problem in error["message"]


@pytest.mark.parametrize("role", [Role.VISITOR, Role.APP])
async def test_visitors_and_apps_see_no_results(graph: Graph, role: Role) -> None:
    answer = await graph("{ actionResults { decided } }", caller(role, "someone"))

    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHORIZED_FIELD_OR_TYPE"


OWN = """query ($ids: [_Any!]!) { _entities(representations: $ids) {
  ... on Customer { touchpoints { edges { node { id } } } } } }"""


async def may_see(graph: Graph, customer: UUID, **own: str) -> bool:
    """Whether an app speaking for `own` is shown this customer's touchpoints."""
    app = caller(Role.APP, "app", own)
    answer = await graph(OWN, app, ids=keys(customer))
    if answer["errors"]:
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert answer["data"]["_entities"][0]["touchpoints"] is None
        return False
    return True


async def test_an_app_sees_its_own_customer_only(database: Database, graph: Graph) -> None:
    ann, bob = uuid4(), uuid4()
    await handle_all(database, [facts.snapshot(ann, EMAIL)])

    assert await may_see(graph, ann, id=str(ann))
    assert await may_see(graph, ann, type="email", value=" Ann@Example.com ")
    assert not await may_see(graph, bob, id=str(ann))
    assert not await may_see(graph, bob, type="email", value="ann@example.com")
    assert not await may_see(graph, ann, type="email", value="bob@example.com")
    assert not await may_see(graph, ann)


async def test_a_visitor_is_himself_before_and_after_logging_in(
    database: Database, graph: Graph
) -> None:
    known = uuid4()
    browser = {"type": "anonymous_id", "value": "browser-1"}
    visitor = derive_customer_id(**browser)

    assert await may_see(graph, visitor, **browser)
    assert not await may_see(graph, known, **browser)
    await handle_all(database, [facts.merge(visitor, known)])
    assert await may_see(graph, known, **browser)


async def test_an_identity_belongs_to_whom_named_it_last(database: Database, graph: Graph) -> None:
    ann, bob = uuid4(), uuid4()
    late = facts.snapshot(bob, EMAIL, at=facts.NOON + timedelta(days=1))

    await handle_all(database, [late], [facts.snapshot(ann, EMAIL)])

    assert await may_see(graph, bob, type="email", value="ann@example.com")
    assert not await may_see(graph, ann, type="email", value="ann@example.com")


async def test_a_text_no_database_can_hold_is_the_callers_mistake(graph: Graph) -> None:
    answer = await graph('{ actionResults(action: "vinyl\\u0000") { decided } }')

    [error] = answer["errors"]
    assert error["extensions"]["code"] == "TEXT_NOT_STORABLE"
