"""Events that stand for money come from servers, and our own words from nobody."""

from typing import Any

import pytest

from services.chassis.principal import Principal
from services.contracts.enums import Role, SenderClass
from services.contracts.profile import CustomerChanged, EventRecorded
from services.profile.domain.spec import CALLS
from services.profile.service.call_reader import CallReader
from services.profile.settings import ProfileSettings
from tests.callers import caller
from tests.integration.profile.conftest import AGENT, Profile, app, identify, track, visitor

RICH = "{key: rich, name: Rich, condition: \"events.sum('order_completed', total) >= 1000\"}"
FORGED = {"total": 100_000_000, "order_id": "o-1"}
TRACK = """
mutation ($input: TrackInput!) { track(input: $input) { customer { id } duplicate } }
"""
UNTRUSTED = [SenderClass.VISITOR, SenderClass.WRITE_KEY, SenderClass.APP]
SERVER = caller(Role.ADMIN, "key:0123")


async def mutate(profile: Profile, who: Principal, event: str) -> Any:
    """Track by the graph; the code of the error, None if there is none."""
    customer = {"identity": {"type": "anonymous_id", "value": "a"}}
    fields = {"customer": customer, "event": event, "properties": FORGED}
    answer = await profile.ask(TRACK, who, input=fields)
    return answer["errors"][0]["extensions"]["code"] if answer["errors"] else None


@pytest.mark.parametrize("sender", UNTRUSTED)
async def test_a_forged_order_costs_itself_and_moves_no_segment(
    profile: Profile, sender: SenderClass
) -> None:
    await profile.publish(RICH)

    answer = await profile.collect(
        track("product_viewed"),
        track("order_completed", properties=FORGED),
        track("Order Completed", properties=FORGED),
        track("orderRefunded", properties=FORGED),
        sender=sender,
    )

    assert answer["accepted"] == 1
    assert [(one["index"], one["code"]) for one in answer["rejected"]] == [
        (index, "PROFILE_SERVER_EVENT") for index in (1, 2, 3)
    ]
    assert "API key" in answer["rejected"][0]["hint"]
    assert (await profile.snapshot("anonymous_id", "a")).segments == ()
    assert [one.name for one in await profile.published(EventRecorded)] == ["product_viewed"]


@pytest.mark.parametrize("sender", [SenderClass.SERVER, SenderClass.STAFF])
async def test_an_order_that_a_server_sends_counts(profile: Profile, sender: SenderClass) -> None:
    await profile.publish(RICH)

    answer = await profile.collect(track("order_completed", properties=FORGED), sender=sender)

    assert answer["rejected"] == []
    assert (await profile.snapshot("anonymous_id", "a")).segments == ("rich",)


@pytest.mark.parametrize("sender", SenderClass)
async def test_nobody_sends_the_events_that_outcomes_become(
    profile: Profile, sender: SenderClass
) -> None:
    answer = await profile.collect(track("outcome_accepted"), sender=sender)

    [rejected] = answer["rejected"]
    assert rejected["code"] == "PROFILE_SERVER_EVENT"
    assert "recordOutcome" in rejected["problem"]


@pytest.mark.parametrize(
    ("who", "orders"),
    [
        (visitor("anonymous_id", "a"), "PROFILE_SERVER_EVENT"),
        (app("anonymous_id", "a"), "PROFILE_SERVER_EVENT"),
        (SERVER, None),
        (AGENT, None),
    ],
    ids=["visitor", "app", "server", "agent"],
)
async def test_the_graph_believes_the_same(
    profile: Profile, who: Principal, orders: str | None
) -> None:
    assert await mutate(profile, who, "product_viewed") is None
    assert await mutate(profile, who, "order_completed") == orders
    assert await mutate(profile, who, "outcome_converted") == "PROFILE_SERVER_EVENT"


async def test_every_event_says_who_sent_it(profile: Profile) -> None:
    await profile.collect(track("product_viewed"), sender=SenderClass.WRITE_KEY)
    await profile.collect(track("order_completed"), sender=SenderClass.SERVER)
    await mutate(profile, visitor("anonymous_id", "a"), "page_scrolled")

    sent = [(one.name, one.sender) for one in await profile.published(EventRecorded)]

    assert sent == [
        ("product_viewed", SenderClass.WRITE_KEY),
        ("order_completed", SenderClass.SERVER),
        ("page_scrolled", SenderClass.VISITOR),
    ]


async def test_a_snapshot_names_the_traits_of_a_browser_until_a_server_says_them(
    profile: Profile,
) -> None:
    event = identify(anonymousId="a", traits={"city": "Breda", "band": "x"})
    await profile.collect(event, sender=SenderClass.WRITE_KEY)
    await profile.collect(identify(anonymousId="a", traits={"city": "Breda"}))

    named = [set(one.unproved_traits) for one in await profile.published(CustomerChanged)]

    assert named == [{"city", "band"}, {"band"}]


async def test_an_operator_says_which_events_these_are(profile: Profile) -> None:
    profile.reader = CallReader.from_settings(
        ProfileSettings(server_events="lead_*, Contract Signed")
    )

    answer = await profile.collect(
        *map(track, ("order_completed", "Lead Won", "contract_signed", "lead")),
        sender=SenderClass.WRITE_KEY,
    )

    assert [one["index"] for one in answer["rejected"]] == [1, 2]


async def test_other_calls_have_names_of_their_own(profile: Profile) -> None:
    """A page may be called as an order is: its event is `page`."""
    ids = {"anonymousId": "a", "userId": "u", "previousId": "p", "groupId": "g"}
    calls = [{"type": call, **ids, "name": "order_completed", "event": "e"} for call in CALLS]

    answer = await profile.collect(*calls, sender=SenderClass.SERVER)

    assert answer["rejected"] == []
