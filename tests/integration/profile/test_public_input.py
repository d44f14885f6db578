"""What a write key sends meets limits, placeholders, claims and server events all at once."""

from datetime import timedelta
from typing import Any

import pytest

from services.contracts.enums import LinkSource, SenderClass
from services.contracts.identity import derive_customer_id
from services.profile.domain.identities import Identity
from services.profile.service.call_reader import CallReader
from services.profile.service.signed_claims import ClaimVerifier, make_claim
from services.profile.store import identities as identity_store
from tests.integration.profile.conftest import START, Profile, identify, track, visitor

PAGE, SERVER = SenderClass.WRITE_KEY, SenderClass.SERVER
SECRET, QUARTER = "s" * 32, timedelta(minutes=15)
WHO = "query($r: CustomerRef!) { customer(ref: $r) { id } }"


@pytest.fixture
def reader(profile: Profile) -> CallReader:
    """A reader that checks claims, and has little room for a customer."""
    limits = profile.reader.customer_limits._replace(traits=3)
    claims = ClaimVerifier((SECRET,), timedelta(hours=1))
    profile.reader = CallReader(
        32 * 1024, timedelta(minutes=5), claims=claims, customer_limits=limits
    )
    return profile.reader


def login(**more: Any) -> dict[str, Any]:
    """An identify call of a page with a signed claim that browser `a` is used by `u`."""
    claim = make_claim(SECRET, "a", {"user_id": "u"}, START, QUARTER)
    return identify(anonymousId="a", **more, context={"raak": {"claim": claim}})


async def claimed(profile: Profile) -> int:
    return await profile.count("SELECT count(*) FROM identity_claim")


async def test_a_placeholder_is_neither_a_browser_nor_a_claim(profile: Profile) -> None:
    device = {"device": {"id": "d-1"}}

    answer = await profile.collect(
        track(anonymousId="undefined", userId="u"),
        track(anonymousId="undefined", userId="u", context=device),
        track(anonymousId="a", userId="null", context={"traits": {"email": "none"}}),
        identify(anonymousId="a", traits={"email": "undefined", "town": "Delft"}),
        sender=PAGE,
    )

    assert [one["code"] for one in answer["rejected"]] == ["PROFILE_PLACEHOLDER_IDENTITY"]
    assert "anonymousId is 'undefined'" in answer["rejected"][0]["problem"]
    assert answer["accepted"] == 3
    assert await claimed(profile) == 1
    assert (await profile.customer("anonymous_id", "a")).trait_values() == {"town": "Delft"}
    assert (await profile.customer("device", "d-1")).identities == {Identity("device", "d-1")}


async def test_a_write_key_cannot_fill_a_customer_up_for_the_server(
    profile: Profile, reader: CallReader
) -> None:
    junk = identify(anonymousId="a", traits={"x1": 1, "x2": 2, "x3": 3})
    await profile.collect(junk, sender=PAGE)

    answer = await profile.collect(
        identify(anonymousId="a", userId="u", traits={"tier": "gold", "age": 40, "town": "Delft"})
    )
    more = await profile.collect(identify(anonymousId="b", traits=dict.fromkeys("abcd", 1)))

    assert answer["rejected"] == []
    assert len((await profile.snapshot("user_id", "u")).traits) == 6
    assert [one["code"] for one in more["rejected"]] == ["PROFILE_TOO_MANY_TRAITS"]


async def test_a_login_that_is_refused_for_its_traits_links_nobody(
    profile: Profile, reader: CallReader
) -> None:
    await profile.collect(track(anonymousId="a"), sender=PAGE)
    await profile.collect(identify(userId="u", traits={"tier": "gold"}))

    answer = await profile.collect(
        login(traits=dict.fromkeys("abcd", 1)), track(anonymousId="a"), sender=PAGE
    )
    apart = (await profile.customer("anonymous_id", "a")).id
    await profile.collect(login(), sender=PAGE)

    assert [one["code"] for one in answer["rejected"]] == ["PROFILE_TOO_MANY_TRAITS"]
    assert answer["accepted"] == 1
    assert apart == derive_customer_id("anonymous_id", "a")
    assert (await profile.customer("anonymous_id", "a")).id == (
        await profile.customer("user_id", "u")
    ).id


async def test_a_claim_of_the_batch_proves_who_somebody_is_and_no_order_of_theirs(
    profile: Profile, reader: CallReader
) -> None:
    claim = make_claim(SECRET, "a", {"user_id": "u"}, START, QUARTER)
    batch = {
        "batch": [
            track(anonymousId="a", context={"raak": None}),
            track("order_completed", anonymousId="a", properties={"total": 100_000_000}),
            track(anonymousId="b"),
        ],
        "context": {"raak": {"claim": claim}},
    }

    _, answer = await profile.collector().record(PAGE, "batch", batch, profile.now)

    assert [(one["index"], one["code"]) for one in answer["rejected"]] == [
        (1, "PROFILE_SERVER_EVENT"),
        (2, "PROFILE_INVALID_CLAIM"),
    ]
    customer = await profile.customer("user_id", "u")
    assert Identity("anonymous_id", "a") in customer.identities
    assert await profile.count("SELECT count(*) FROM event WHERE context::text LIKE '%claim%'") == 0


async def test_one_without_a_message_id_is_told_of_none_wherever_it_is_refused(
    profile: Profile,
) -> None:
    await profile.collect(identify(userId="u", anonymousId="a"))
    unnamed = identify(anonymousId="a", traits={"town": "Delft"})
    del unnamed["messageId"]

    answer = await profile.collect(unnamed, sender=PAGE)

    [refusal] = answer["rejected"]
    assert (refusal["code"], refusal["messageId"]) == ("PROFILE_UNPROVED_CHANGE", None)


async def test_placeholders_of_before_they_counted_as_nobody_close_no_door(
    profile: Profile,
) -> None:
    await profile.collect(identify(userId="u", anonymousId="a"))
    person = (await profile.customer("user_id", "u")).id
    async with profile.database.transaction() as connection:
        old = {Identity("anonymous_id", "undefined"): person, Identity("device", "0"): person}
        links = dict.fromkeys(old, LinkSource.SERVER)
        await identity_store.assign_owners(connection, old, links, (), profile.now)
    mutation = "mutation($i: IdentifyInput!) { identify(input: $i) { id } }"
    further = [{"type": "email", "value": "ann@x.y"}]

    answer = await profile.ask(
        WHO, visitor("anonymous_id", "a"), r={"identity": {"type": "anonymous_id", "value": "a"}}
    )
    linked = await profile.ask(mutation, i={"customer": {"id": str(person)}, "identities": further})

    assert answer["data"]["customer"]["id"] == str(person)
    assert linked["data"]["identify"]["id"] == str(person)
