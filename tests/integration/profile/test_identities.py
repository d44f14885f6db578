"""Who is who: visitors turn into customers, and customers are not mixed up."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from services.contracts.identity import derive_customer_id
from services.contracts.profile import CustomerChanged, CustomersMerged, EventRecorded
from tests.integration.profile.conftest import START, Profile, identify, track

VIEWS = (
    "{key: hot, name: Hot,"
    " condition: \"events.sum('product_viewed', price) > 10 and traits.city == 'Breda'\"}"
)
HISTORY = """query ($value: String!) {
  customer(ref: {identity: {type: "user_id", value: $value}}) {
    id history { kind fromCustomer intoCustomer identities { type value } reason }
  }
}"""
IDENTIFY = "mutation ($input: IdentifyInput!) { identify(input: $input) { id } }"


async def test_a_visitor_who_logs_in_brings_his_history_to_the_customer_we_know(
    profile: Profile,
) -> None:
    await profile.publish(VIEWS)
    await profile.collect(identify(userId="u", traits={"city": "Breda"}))
    await profile.collect(track(properties={"price": 8}), track(properties={"price": 7.5}))

    await profile.collect(identify(anonymousId="a", userId="u"))

    survivor = await profile.customer("user_id", "u")
    snapshot = await profile.snapshot("user_id", "u")
    assert (await profile.customer("anonymous_id", "a")).id == survivor.id
    assert snapshot.series['price of "product_viewed"']["sum"] == [15.5]
    assert snapshot.segments == ("hot",)
    assert {i.type for i in snapshot.identities} == {"anonymous_id", "user_id"}


async def test_a_merge_is_a_record_and_rows_keep_the_identity_they_came_by(
    profile: Profile,
) -> None:
    visitor = derive_customer_id("anonymous_id", "a")
    await profile.collect(identify(userId="u"), track())

    await profile.collect(track(userId="u", anonymousId="a"))

    customer = await profile.customer("user_id", "u")
    answer = await profile.ask(HISTORY, value="u")
    [merge] = await profile.published(CustomersMerged)
    assert answer["data"]["customer"]["history"] == [
        {
            "kind": "MERGED",
            "fromCustomer": str(visitor),
            "intoCustomer": str(customer.id),
            "identities": [{"type": "anonymous_id", "value": "a"}],
            "reason": "track",
        }
    ]
    assert (merge.customer_id, merge.from_customer_id) == (customer.id, visitor)
    by_visitor = "SELECT count(*) FROM event WHERE identity_type = 'anonymous_id'"
    assert await profile.count(by_visitor) == 1


async def test_what_is_left_of_a_merged_customer_is_an_empty_snapshot(profile: Profile) -> None:
    await profile.collect(identify(userId="u"), identify(anonymousId="a", traits={"x": 1}))

    await profile.collect(identify(anonymousId="a", userId="u"))

    visitor = derive_customer_id("anonymous_id", "a")
    last = [s for s in await profile.published(CustomerChanged) if s.customer_id == visitor][-1]
    assert (last.version, last.identities, last.traits, last.series) == (2, (), {}, {})
    assert (await profile.snapshot("user_id", "u")).traits == {"x": 1}


async def test_others_hear_of_a_visitor_they_may_know_before_we_do(profile: Profile) -> None:
    await profile.collect(identify(userId="u"))

    await profile.collect(track(anonymousId="never-seen", userId="u"))

    [merge] = await profile.published(CustomersMerged)
    assert merge.from_customer_id == derive_customer_id("anonymous_id", "never-seen")
    assert merge.customer_id == (await profile.customer("user_id", "u")).id


async def test_a_visitor_known_from_his_first_call_keeps_the_derived_id(profile: Profile) -> None:
    await profile.collect(
        identify(anonymousId="a", userId="u", traits={"email": " Ann@Example.com "})
    )

    customer = await profile.customer("email", "ann@example.com")

    assert customer.id == derive_customer_id("anonymous_id", "a")
    assert await profile.published(CustomersMerged) == []


async def test_a_known_customer_is_never_merged_into_another_by_identify(
    profile: Profile,
) -> None:
    await profile.collect(identify(userId="u-1", traits={"email": "ann@example.com"}))
    await profile.collect(identify(userId="u-2"))

    claim = identify(userId="u-2", traits={"email": "ann@example.com"})
    answer = await profile.collect(claim)
    await profile.collect({**claim, "messageId": "again"})

    owner = await profile.customer("email", "ann@example.com")
    history = (await profile.ask(HISTORY, value="u-2"))["data"]["customer"]["history"]
    assert answer["accepted"] == 1
    assert owner.id == (await profile.customer("user_id", "u-1")).id
    assert [(h["kind"], h["fromCustomer"]) for h in history] == [("REFUSED", str(owner.id))]


async def test_the_second_person_on_a_browser_is_another_customer(profile: Profile) -> None:
    await profile.collect(track(anonymousId="shared", userId="u-1"))

    await profile.collect(track(anonymousId="shared", userId="u-2", messageId="second"))

    first, second = [await profile.customer("user_id", u) for u in ("u-1", "u-2")]
    recorded = (await profile.published(EventRecorded))[-1]
    assert first.id != second.id
    assert (await profile.customer("anonymous_id", "shared")).id == first.id
    assert recorded.customer_id == second.id


async def test_alias_merges_two_users_as_it_says(profile: Profile) -> None:
    await profile.collect(
        identify(userId="old", traits={"city": "Breda"}),
        identify(userId="new", at=START + timedelta(seconds=1), traits={"age": 40}),
    )

    await profile.collect({"type": "alias", "userId": "new", "previousId": "old"})

    snapshot = await profile.snapshot("user_id", "old")
    assert snapshot.customer_id == (await profile.customer("user_id", "new")).id
    assert snapshot.traits == {"city": "Breda", "age": 40}


async def test_a_merge_inside_one_batch_counts_what_came_before_it(profile: Profile) -> None:
    await profile.publish(VIEWS)

    await profile.collect(
        identify(userId="u", traits={"city": "Breda"}),
        track(properties={"price": 6}),
        track(anonymousId="a", userId="u", properties={"price": 5}),
    )

    snapshot = await profile.snapshot("anonymous_id", "a")
    assert snapshot.series['price of "product_viewed"']["sum"] == [11]
    assert snapshot.segments == ("hot",)
    assert [e.customer_version for e in await profile.published(EventRecorded)] == [1, 1]


async def test_an_event_of_a_merged_customer_reaches_the_survivor(profile: Profile) -> None:
    await profile.collect(track(), identify(userId="u"))
    await profile.collect(identify(anonymousId="a", userId="u"))

    visitor = derive_customer_id("anonymous_id", "a")
    answer = await profile.ask(
        """mutation ($id: ID!) { track(input: {customer: {id: $id}, event: "call"}) {
             customer { id events { edges { node { name } } } } } }""",
        id=str(visitor),
    )

    node = answer["data"]["track"]["customer"]
    assert node["id"] == str((await profile.customer("user_id", "u")).id)
    assert {e["node"]["name"] for e in node["events"]["edges"]} == {
        "call",
        "identify",
        "product_viewed",
    }


async def test_a_message_id_counts_once_also_when_customers_merge_around_it(
    profile: Profile,
) -> None:
    view = track(messageId="m-1")
    await profile.collect(track(userId="u", messageId="m-2"), view)

    answer = await profile.collect(
        track("login", anonymousId="a", userId="u"),
        view,
        track(messageId="m-2"),
        track(messageId="m-3"),
        track(userId="u", messageId="m-3"),
    )

    assert (answer["accepted"], answer["duplicates"]) == (2, 3)
    assert await profile.count("SELECT count(*) FROM event") == 4


async def test_whatever_is_sent_in_whatever_order_every_identity_has_one_living_owner(
    profile: Profile,
) -> None:
    await profile.publish(VIEWS)
    dice = random.Random(11)

    def call() -> dict[str, Any]:
        fields: dict[str, Any] = {
            key: f"{key[0]}{dice.randrange(5)}"
            for key in ("userId", "anonymousId")
            if dice.random() < 0.6
        } or {"anonymousId": "a0"}
        if dice.random() < 0.3:
            fields["context"] = {"device": {"id": f"d{dice.randrange(3)}"}}
        kind = dice.choice(["track", "identify", "alias"] if "userId" in fields else ["track"])
        return {
            **fields,
            "type": kind,
            "event": "product_viewed",
            "previousId": dice.choice(["u1", "a2", "a9"]),
            "messageId": f"m{dice.randrange(200)}",
            "properties": {"price": 1},
            "traits": {"email": f"e{dice.randrange(3)}@example.com"},
        }

    batches = [[call() for _ in range(dice.randrange(1, 9))] for _ in range(60)]
    await asyncio.gather(*[send_all(profile, batches[n::3]) for n in range(3)])

    dead = """SELECT count(*) FROM identity LEFT JOIN customer USING (customer_id)
        WHERE customer.customer_id IS NULL OR merged_into IS NOT NULL"""
    stray = """SELECT count(*) FROM event JOIN identity USING (identity_type, identity_value)
        JOIN customer ON customer.customer_id = event.customer_id AND merged_into IS NULL
        WHERE event.customer_id <> identity.customer_id"""
    views = """SELECT count(*) FROM customer WHERE merged_into IS NULL AND
        coalesce((series -> 'price of "product_viewed"' ->> 'count')::int, 0) <>
        (SELECT count(*) FROM event WHERE event.customer_id = customer.customer_id
            AND name = 'product_viewed')"""
    assert [await profile.count(query) for query in (dead, stray, views)] == [0, 0, 0]


async def send_all(profile: Profile, batches: list[list[dict[str, Any]]]) -> None:
    """What one sender sends, one batch after the other."""
    for batch in batches:
        assert (await profile.collect(*batch))["rejected"] == []


@pytest.mark.parametrize(("absorbed", "into"), [("a", "b"), ("b", "a")])
async def test_two_who_hold_one_trait_by_the_same_identity_become_one_with_the_later_value(
    profile: Profile, absorbed: str, into: str
) -> None:
    """Whoever names a customer by our id, and an address of another, files under that address."""
    email = {"type": "email", "value": "b@example.org"}
    await profile.collect(identify(userId="b", traits={"email": email["value"]}), track(userId="a"))
    other = await profile.customer("user_id", "a")
    by_id = {"customer": {"id": str(other.id)}, "identities": [email]}
    by_email: dict[str, Any] = {"customer": {"identity": email}}
    for minute, ref in enumerate([by_email, by_id]):
        profile.now = START + timedelta(minutes=minute)
        traits = {"plan": f"plan {minute}", f"only {minute}": True}
        answer = await profile.ask(IDENTIFY, input={**ref, "traits": traits})
        assert answer["errors"] == []

    answer = await profile.collect({"type": "alias", "userId": into, "previousId": absorbed})

    assert answer["rejected"] == []
    customer = await profile.customer("user_id", absorbed)
    assert customer == await profile.customer("user_id", into)
    assert customer.trait_values() == {
        "email": "b@example.org",
        "plan": "plan 1",
        "only 0": True,
        "only 1": True,
    }
