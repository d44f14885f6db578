"""A subscription: one answer for each event, its entity parts asked anew each time."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from gateway.supergraph import (
    ExecutionOptions,
    NotIdempotentInSubscription,
    RoutingTransport,
    SubgraphResponse,
    SubgraphUnavailable,
    compose,
    execute,
    plan_document,
    subscribe,
)
from gateway.supergraph.executor.execute import DEFAULT_OPTIONS
from tests.unit.gateway.supergraph import shop, till
from tests.waiting import until

BOUGHT = till.plan(
    "subscription ($by: [ID!]!, $fails: Boolean) "
    "{ bought(by: $by, fails: $fails) { at by { name offers { title } } } }"
)


class Mute(shop.InProcess):
    """A service that does not answer."""

    async def fetch(self, *_: Any, **__: Any) -> SubgraphResponse:
        await asyncio.Event().wait()
        raise AssertionError


class House:
    """The shop and its till, in this process."""

    def __init__(self) -> None:
        self.shop = shop.InProcess()
        self.till = till.InProcess()
        self.transport = RoutingTransport({"till": self.till}, self.shop)

    async def answers(
        self,
        variables: dict[str, Any],
        terms: ExecutionOptions = DEFAULT_OPTIONS,
        text: str | None = None,
    ) -> list[dict[str, Any]]:
        planned = till.plan(text) if text else BOUGHT
        answers = subscribe(planned, variables, self.transport, terms)
        return [answer async for answer in answers]


async def test_what_other_services_know_is_asked_anew_for_each_event() -> None:
    house = House()

    first, second = await house.answers({"by": ["1", "3"]})

    ada, cleo = first["data"]["bought"]["by"], second["data"]["bought"]["by"]
    assert (ada["name"], cleo["name"]) == ("Ada", "Cleo")
    assert [offer["title"] for offer in cleo["offers"]] == ["Offer 2", "Offer 5"]
    assert sorted(name for name, _ in house.shop.sent) == ["customers"] * 2 + ["offers"] * 2


async def test_a_failing_service_costs_an_event_its_fields_and_the_next_may_have_them() -> None:
    house = House()
    house.shop.down.add("offers")
    answers = subscribe(BOUGHT, {"by": ["1", "1"]}, house.transport)

    first = await anext(answers)
    house.shop.down.clear()
    second = await anext(answers)
    await answers.aclose()

    assert first["data"]["bought"]["by"] == {"name": "Ada", "offers": None}
    assert [error["path"] for error in first["errors"]] == [["bought", "by", "offers"]]
    assert first["errors"][0]["extensions"]["code"] == "SUBGRAPH_UNAVAILABLE"
    assert "errors" not in second
    assert second["data"]["bought"]["by"]["offers"]


async def test_each_event_has_a_deadline_of_its_own() -> None:
    house = House()
    house.transport = RoutingTransport({"till": house.till, "offers": Mute()}, house.shop)

    found = await house.answers({"by": ["1", "2"]}, ExecutionOptions(within_s=0.5))

    assert [answer["data"]["bought"]["by"]["offers"] for answer in found] == [None, None]
    assert {e["extensions"]["code"] for a in found for e in a["errors"]} == {"SUBGRAPH_TIMEOUT"}


async def test_errors_beside_an_event_have_the_clients_path() -> None:
    found = await House().answers(
        {"by": ["1"]}, text="subscription ($by: [ID!]!) { b: bought(by: $by) { paper: receipt } }"
    )

    assert found == [
        {
            "data": {"b": {"paper": None}},
            "errors": [
                {
                    "message": "No paper at 0.",
                    "path": ["b", "paper"],
                    "extensions": {"code": "REFUSED", "hint": "Ask nicely.", "service": "till"},
                }
            ],
        }
    ]


async def test_a_source_that_fails_ends_it_with_an_error() -> None:
    house = House()

    first, last = await house.answers({"by": ["1"], "fails": True})

    assert first["data"]["bought"]["at"] == 0
    assert last["errors"][0]["message"] == "The till is stuck."
    assert house.till.open == 0


async def test_a_source_that_can_not_be_reached_is_an_error_without_data() -> None:
    house = House()
    house.shop.down.add("till")
    answers = subscribe(BOUGHT, {"by": []}, house.shop)

    assert [answer async for answer in answers] == [
        {
            "errors": [
                {
                    "message": "The service 'till' is not available.",
                    "extensions": {
                        "code": "SUBGRAPH_UNAVAILABLE",
                        "hint": "Try again shortly; only what 'till' answers is missing.",
                        "service": "till",
                    },
                }
            ]
        }
    ]


async def test_a_source_that_breaks_off_is_told_after_what_it_said() -> None:
    house = House()
    event = {"data": {"bought": {"at": 1, "by": None}}}
    house.shop.events = [event, SubgraphUnavailable("till")]
    planned = till.plan("subscription { bought(by: []) { at } }")

    first, last = [answer async for answer in subscribe(planned, None, house.shop)]

    assert first == {"data": {"bought": {"at": 1}}}
    assert last["errors"][0]["extensions"]["code"] == "SUBGRAPH_UNAVAILABLE"


@pytest.mark.parametrize(
    "event",
    [
        {"data": None, "errors": []},
        {"data": {}},
        {"data": {"bought": 7}},
        {"data": {"bought": []}},
        {"data": {"bought": {"at": None}}},
        {"errors": [None]},
    ],
)
async def test_an_event_of_a_wrong_shape_is_cut_out_and_does_not_end_it(event: Any) -> None:
    house = House()
    house.shop.events = [event, {"data": {"bought": {"at": 2}}}]
    planned = till.plan("subscription { bought(by: []) { at } }")

    bad, good = [answer async for answer in subscribe(planned, None, house.shop)]

    assert bad["data"] is None
    assert bad["errors"]
    assert good == {"data": {"bought": {"at": 2}}}


async def test_wrong_variables_are_refused_before_anyone_is_asked() -> None:
    house = House()

    (answer,) = await house.answers({"by": 7.5})

    assert answer.keys() == {"errors"}
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert house.till.open == 0


async def test_a_subscription_is_no_request() -> None:
    house = House()

    answer = await execute(BOUGHT, {"by": []}, house.transport)

    assert "Subscribe" in answer["errors"][0]["extensions"]["hint"]


async def test_a_denied_subscription_is_answered_once_and_asks_nobody() -> None:
    house = House()

    (answer,) = await house.answers(
        {"by": ["1"]}, ExecutionOptions(denied=frozenset({"Subscription.bought"}))
    )

    assert answer["data"] is None
    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHORIZED_FIELD_OR_TYPE"
    assert house.shop.sent == []


async def test_who_was_seen_is_told_for_each_event() -> None:
    reported: list[tuple[str, set[str]]] = []

    await House().answers(
        {"by": ["1", "3"]}, ExecutionOptions(on_entity_ids=lambda *who: reported.append(who))
    )

    assert reported == [("Customer", {"1"}), ("Customer", {"3"})]


async def test_each_service_gets_headers_made_for_this_event() -> None:
    selected: list[str] = []

    def headers(subgraph: str) -> Mapping[str, str]:
        selected.append(subgraph)
        return {}

    await House().answers({"by": ["1", "3"]}, ExecutionOptions(headers=headers))

    assert sorted(selected) == ["customers", "customers", "offers", "offers", "till"]


async def test_closing_it_closes_the_source() -> None:
    house = House()
    async with aclosing(subscribe(BOUGHT, {"by": ["1", "2"]}, house.transport)) as answers:
        await anext(answers)
        open_meanwhile = house.till.open

    assert (open_meanwhile, house.till.open) == (1, 0)


class Silent(shop.InProcess):
    """A source that says nothing, and notes whether it was left."""

    is_open = False

    @asynccontextmanager
    async def stream(
        self, subgraph: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        self.is_open = True
        try:
            yield self._wait()
        finally:
            self.is_open = False

    async def _wait(self) -> AsyncIterator[dict[str, Any]]:
        await asyncio.Event().wait()
        yield {}


async def test_who_waits_for_an_event_can_be_cancelled() -> None:
    source = Silent()
    answers = subscribe(BOUGHT, {"by": []}, source)
    waiting = asyncio.ensure_future(anext(answers))
    await until(lambda: source.is_open)
    was_open = source.is_open

    waiting.cancel()
    await asyncio.wait([waiting])

    assert (was_open, source.is_open) == (True, False)


# --- what may not be asked again and again ------------------------------------------------------

DRAWING = compose(
    {
        "till": """
            extend schema @link(url: "https://specs.apollo.dev/federation/v2.11",
                import: ["@key", "@tag"])
            type Query { next: Ticket @tag(name: "not-idempotent") }
            type Subscription { bought: Sale }
            type Sale { by: Customer, seen: Seen, drawn: Drawn }
            type Customer @key(fields: "id", resolvable: false) { id: ID! }
            type Ticket { number: Int, of: Customer }
            type Drawn @tag(name: "not-idempotent") { number: Int }
            interface Seen { number: Int @tag(name: "not-idempotent"), at: Int }
            type Look implements Seen { number: Int, at: Int }
        """,
        "lottery": """
            extend schema @link(url: "https://specs.apollo.dev/federation/v2.11",
                import: ["@key", "@tag"])
            type Query { lots: Int }
            type Customer @key(fields: "id") { id: ID!, name: String
                draw: Int @tag(name: "not-idempotent") }
        """,
    }
)


@pytest.mark.parametrize(
    ("selected", "coordinate"),
    [
        ("by { draw }", "Customer.draw"),
        ("by { ... on Customer { again: draw } }", "Customer.draw"),
        ("by { id draw @include(if: $wanted) }", "Customer.draw"),
        ("by { ...Drawing }", "Customer.draw"),
        ("seen { number }", "Look.number"),
        ("seen { ... on Look { number } }", "Look.number"),
        ("drawn { number }", "Drawn.number"),
    ],
)
def test_what_does_something_each_time_is_refused_below_a_subscription_when_it_is_planned(
    selected: str, coordinate: str
) -> None:
    fragment = " fragment Drawing on Customer { draw }" if "...D" in selected else ""
    head = "($wanted: Boolean!)" if "$" in selected else ""
    with pytest.raises(NotIdempotentInSubscription, match=coordinate) as refused:
        plan_document(DRAWING, f"subscription {head} {{ bought {{ {selected} }} }}{fragment}")
    assert refused.value.code == "NOT_IDEMPOTENT_IN_SUBSCRIPTION"
    assert "in a query" in refused.value.hint


def test_below_queries_it_is_asked_and_below_subscriptions_all_else() -> None:
    assert plan_document(DRAWING, "{ next { of { name draw } } }")
    assert plan_document(DRAWING, "subscription { bought { by { id name } seen { at } } }")
