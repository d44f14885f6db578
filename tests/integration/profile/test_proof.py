"""By whose word: what a write key leaves behind, what a server makes of it, and the loose way."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from services.contracts.enums import LinkSource, SenderClass
from services.contracts.identity import derive_customer_id
from services.contracts.profile import CustomersMerged
from services.profile.service.call_reader import CallReader
from services.profile.store.claims import MOST_CLAIMS
from tests.integration.profile.conftest import (
    START,
    Profile,
    app,
    customer_principal,
    identify,
    track,
    visitor,
)

PAGE, SERVER = SenderClass.WRITE_KEY, SenderClass.SERVER
STRICT = CallReader(32 * 1024, timedelta(minutes=5))
LOOSE = CallReader(32 * 1024, timedelta(minutes=5), trust_write_keys=True)
WHO = "query($r: CustomerRef!) { customer(ref: $r) { id consents { purpose } } }"
CLAIMS = """query($r: CustomerRef!) { customer(ref: $r) {
  claims { type value sender confirmedAt } } }"""
SET_CONSENT = "mutation($i: ConsentInput!) { setConsent(input: $i) { id } }"
BROWSER = {"identity": {"type": "anonymous_id", "value": "a"}}


def later(minutes: int, **fields: Any) -> dict[str, Any]:
    """An identify call some minutes after the start."""
    return identify(START + timedelta(minutes=minutes), **fields)


def word(**purposes: bool) -> dict[str, Any]:
    """A context that carries consents."""
    return {"consent": {"categoryPreferences": purposes}}


def codes(answer: dict[str, Any]) -> set[str]:
    return {error["extensions"]["code"] for error in answer["errors"]}


async def claims(profile: Profile, ref: dict[str, Any] = BROWSER) -> list[dict[str, Any]]:
    """What staff sees of the claims of a customer, the browser's unless said otherwise."""
    data = (await profile.ask(CLAIMS, r=ref))["data"]
    found: list[dict[str, Any]] = data["customer"]["claims"]
    return found


async def test_what_a_browser_was_moves_to_its_person_by_a_servers_word_and_keeps_its_class(
    profile: Profile,
) -> None:
    profile.now += timedelta(minutes=10)
    await profile.collect(later(0, userId="u", traits={"town": "Delft"}, context=word(email=False)))
    browsing = (
        later(
            1, anonymousId="a", userId="u", traits={"town": "Breda", "age": 40, "email": "u@x.y"}
        ),
        later(2, anonymousId="a", context=word(email=True, ads=True)),
        track(anonymousId="a"),
    )
    await profile.collect(*browsing, sender=PAGE)
    claimed = await claims(profile)

    await profile.collect(later(3, userId="u", anonymousId="a"))

    person = await profile.customer("user_id", "u")
    assert person.trait_values() == {"town": "Delft", "age": 40}
    assert person.consent_values() == {"email": False, "ads": True}
    assert person.current_traits()["age"][1] is PAGE
    assert await profile.count("SELECT count(*) FROM event WHERE sender = 'write_key'") == 3
    [merge] = await profile.published(CustomersMerged)
    assert (merge.linked_by, merge.is_proved) == (LinkSource.SERVER, True)
    assert [c["confirmedAt"] for c in claimed] == [None, None]
    assert {c["value"]: bool(c["confirmedAt"]) for c in await claims(profile)} == {
        "u": True,
        "u@x.y": False,
    }


async def test_what_names_people_is_in_no_trait_and_no_event_of_a_browser(
    profile: Profile,
) -> None:
    named = {
        "email": "ann@x.y",
        "phone": "+31 6",
        "crm_id": "k",
        "loyalty_id": "l",
        "town": "Delft",
    }

    await profile.collect(identify(anonymousId="a", traits=named), sender=PAGE)

    browser = await profile.customer("anonymous_id", "a")
    assert browser.trait_values() == {"town": "Delft"}
    assert {i.type for i in browser.identities} == {"anonymous_id"}
    query = "SELECT count(*) FROM event WHERE properties::text LIKE '%ann@x.y%'"
    assert await profile.count(query) == 0
    assert {c["type"] for c in await claims(profile)} == named.keys() - {"town"}


async def test_no_browser_has_more_claims_than_may_be(profile: Profile) -> None:
    many = [identify(anonymousId="a", userId=f"u-{n}") for n in range(3 * MOST_CLAIMS)]
    await profile.collect(*many, sender=PAGE)
    profile.now += timedelta(seconds=1)

    await profile.collect(identify(anonymousId="a", userId="last"), sender=PAGE)

    latest = await claims(profile)
    assert (len(latest), latest[0]["value"]) == (MOST_CLAIMS, "last")


async def test_a_proved_identity_of_ones_own_is_no_claim(profile: Profile) -> None:
    await profile.collect(identify(userId="u", anonymousId="a"))

    await profile.collect(track(anonymousId="a", userId="u"), sender=PAGE)

    assert await claims(profile) == []


async def test_what_is_refused_of_a_known_customer_costs_nobody_else(profile: Profile) -> None:
    await profile.collect(identify(userId="u", anonymousId="a", traits={"town": "Delft"}))
    bad = [
        identify(anonymousId="a", traits={"town": "Breda"}),
        {**identify(anonymousId="a", userId="v"), "type": "alias", "previousId": "a"},
        {"type": "track", "event": "x", "userId": "u", "messageId": "nobody"},
    ]
    good = [track(anonymousId="a"), track(anonymousId="b")]

    answer = await profile.collect(good[0], *bad, good[1], sender=PAGE)
    again = await profile.collect(good[0], *bad, good[1], sender=PAGE)

    assert (answer["accepted"], again["accepted"], again["duplicates"]) == (2, 0, 2)
    assert [(r["index"], r["messageId"], r["code"]) for r in answer["rejected"]] == [
        (1, bad[0]["messageId"], "PROFILE_UNPROVED_CHANGE"),
        (2, bad[1]["messageId"], "PROFILE_UNPROVED_CHANGE"),
        (3, "nobody", "PROFILE_UNPROVED_IDENTITY"),
    ]
    assert again["rejected"] == answer["rejected"]
    assert (await profile.customer("user_id", "u")).trait_values() == {"town": "Delft"}


async def test_a_write_key_gives_nothing_for_a_known_customer_and_withdraws_all_the_same(
    profile: Profile,
) -> None:
    await profile.collect(identify(userId="u", anonymousId="a"))

    answer = await profile.collect(
        track(anonymousId="a", context=word(news=True, ads=False)), sender=PAGE
    )

    assert (answer["accepted"], answer["ignored"][0]["code"]) == (1, "PROFILE_UNPROVED_CHANGE")
    assert (await profile.customer("user_id", "u")).consent_values() == {"ads": False}


async def test_one_message_id_is_as_many_events_as_classes_of_sender_and_stays_so_in_a_merge(
    profile: Profile,
) -> None:
    await profile.collect(track("by server", userId="u", messageId="m"))
    await profile.collect(track("by page", anonymousId="a", messageId="m"), sender=PAGE)

    await profile.collect(identify(userId="u", anonymousId="a"))
    repeated = await profile.collect(track("x", anonymousId="a", messageId="m"), sender=PAGE)

    guessed = [
        (await profile.collect(track(name, anonymousId="a", messageId="n"), sender=sender))
        for name, sender in (("guess", PAGE), ("order", SERVER), ("late guess", PAGE))
    ]
    assert repeated["duplicates"] == 1
    assert [one["accepted"] for one in guessed] == [1, 1, 0]
    assert await profile.count("SELECT count(*) FROM event WHERE message_id = 'm'") == 2
    assert await profile.count("SELECT count(*) FROM event WHERE name = 'order'") == 1


# --- the loose way, and back ---------------------------------------------------------------------


async def by_merge(profile: Profile) -> None:
    """A browser attached to somebody we know."""
    await profile.collect(identify(userId="u", traits={"iban": "secret"}))
    await profile.collect(identify(anonymousId="a", userId="u"), sender=PAGE)


async def by_coming_first(profile: Profile) -> None:
    """Somebody who was claimed before we knew them, by a browser a server has spoken of."""
    await profile.collect(track(anonymousId="a"))
    await profile.collect(identify(anonymousId="a", userId="u"), sender=PAGE)
    await profile.collect(identify(userId="u", traits={"email": "ann@x.y", "iban": "secret"}))


async def by_alias(profile: Profile) -> None:
    """Somebody known, joined to whom the browser made up."""
    await profile.collect(identify(userId="u", traits={"iban": "secret"}))
    await profile.collect(
        identify(anonymousId="a", userId="me"),
        {**identify(userId="me"), "type": "alias", "previousId": "u"},
        sender=PAGE,
    )


TOKENS = {
    "visitor": visitor("anonymous_id", "a"),
    "app": app("anonymous_id", "a"),
    "id": customer_principal(derive_customer_id("anonymous_id", "a")),
}


@pytest.mark.parametrize("link", [by_merge, by_coming_first, by_alias])
async def test_links_of_the_loose_way_open_nothing_once_it_is_off(
    profile: Profile, link: Any
) -> None:
    profile.reader = LOOSE
    await link(profile)
    person = await profile.customer("anonymous_id", "a")
    assert "iban" in person.trait_values()
    loose = await profile.ask(WHO, TOKENS["visitor"], r=BROWSER)

    profile.reader = STRICT

    assert loose["data"]["customer"]["id"] == str(person.id)
    fields = {"customer": BROWSER, "purpose": "email", "status": "GIVEN"}
    for name, token in TOKENS.items():
        ref = BROWSER if name != "id" else {"id": dict(token.customer)["id"]}
        for answer in (
            await profile.ask(WHO, token, r=ref),
            await profile.ask(WHO, token, r={"id": str(person.id)}),
            await profile.ask(SET_CONSENT, token, i=fields | {"customer": ref}),
        ):
            assert codes(answer) == {"FORBIDDEN"}, name
    answer = await profile.collect(
        identify(anonymousId="a", traits={"x": 1}), track(anonymousId="a"), sender=PAGE
    )
    assert (answer["accepted"], len(answer["rejected"])) == (1, 1)


@pytest.mark.parametrize("token", TOKENS)
async def test_a_servers_word_proves_a_link_of_the_loose_way(profile: Profile, token: str) -> None:
    profile.reader = LOOSE
    await by_merge(profile)
    profile.reader = STRICT

    await profile.collect(identify(userId="u", anonymousId="a"))

    ref = BROWSER if token != "id" else {"id": dict(TOKENS["id"].customer)["id"]}
    answer = await profile.ask(WHO, TOKENS[token], r=ref)
    assert answer["data"]["customer"]["id"] == str((await profile.customer("user_id", "u")).id)


async def test_an_address_claimed_in_the_loose_way_closes_a_proved_browser_until_it_is_proved(
    profile: Profile,
) -> None:
    """What a server says of the address may be another's: its owner has not registered yet."""
    await profile.collect(identify(userId="u", anonymousId="a"))
    profile.reader = LOOSE
    await profile.collect(identify(anonymousId="a", traits={"email": "ann@x.y"}), sender=PAGE)
    profile.reader = STRICT
    await profile.collect(identify(traits={"email": "ann@x.y", "iban": "secret"}))

    closed = await profile.ask(WHO, TOKENS["visitor"], r=BROWSER)
    await profile.collect(identify(userId="u", traits={"email": "ann@x.y"}))
    reached = await profile.ask(WHO, TOKENS["visitor"], r=BROWSER)

    assert (codes(closed), reached["errors"]) == ({"FORBIDDEN"}, [])


async def test_in_the_loose_way_a_better_word_still_counts(profile: Profile) -> None:
    profile.reader = LOOSE
    await profile.collect(
        identify(userId="u", traits={"tier": "silver"}, context=word(email=False))
    )

    answer = await profile.collect(
        identify(anonymousId="a", userId="u", traits={"tier": "gold"}, context=word(email=True)),
        identify(anonymousId="a", context={"raak": {"kind": "FACTUAL"}}),
        sender=PAGE,
    )

    person = await profile.customer("anonymous_id", "a")
    assert [one["code"] for one in answer["rejected"]] == ["PROFILE_UNPROVED_PROVENANCE"]
    assert person.trait_values() == {"tier": "silver"}
    assert person.consent_values() == {"email": False}


async def test_a_token_for_the_id_of_who_was_joined_by_a_write_key_opens_nothing(
    profile: Profile,
) -> None:
    profile.reader = LOOSE
    await profile.collect(identify(userId="v"))
    mine = (await profile.customer("user_id", "v")).id
    await profile.collect(identify(userId="u", traits={"iban": "secret"}))
    join = {**identify(userId="u"), "type": "alias", "previousId": "v"}
    await profile.collect(join, sender=PAGE)
    profile.reader = STRICT

    answer = await profile.ask(WHO, customer_principal(mine), r={"id": str(mine)})

    assert codes(answer) == {"FORBIDDEN"}


async def test_staff_names_a_browser_by_its_id_and_its_token_reaches_the_person(
    profile: Profile,
) -> None:
    await profile.collect(track(anonymousId="a"), sender=PAGE)
    browser = str(derive_customer_id("anonymous_id", "a"))
    mutation = "mutation($i: IdentifyInput!) { identify(input: $i) { id } }"
    person = [{"type": "email", "value": "ann@x.y"}]

    await profile.ask(mutation, i={"customer": {"id": browser}, "identities": person})

    answer = await profile.ask(WHO, TOKENS["visitor"], r=BROWSER)
    assert answer["data"]["customer"]["id"] == browser


async def test_an_unlinked_browser_reaches_itself(profile: Profile) -> None:
    await profile.collect(track(anonymousId="a"), sender=PAGE)

    answers = [await profile.ask(WHO, token, r=BROWSER) for token in list(TOKENS.values())[:2]]

    assert {UUID(one["data"]["customer"]["id"]) for one in answers} == {
        derive_customer_id("anonymous_id", "a")
    }
