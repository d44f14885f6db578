"""Events in bulk: good ones kept, bad ones listed, repeated ones counted once."""

import asyncio
from datetime import timedelta
from typing import Any

from services.contracts.identity import derive_customer_id
from services.contracts.profile import CustomerChanged, EventRecorded
from tests.integration.profile.conftest import START, Profile, identify, track

HOT = "{key: hot, name: Hot, condition: \"events.count('product_viewed', last='7d') >= 2\"}"


async def test_a_batch_with_one_bad_event_keeps_the_good_and_lists_the_bad(
    profile: Profile,
) -> None:
    far = track(at=START + timedelta(hours=1), messageId="from-tomorrow")

    answer = await profile.collect(track(), far, track(), {"type": "trak", "userId": "u"}, 7)

    assert (answer["success"], answer["accepted"], answer["duplicates"]) == (True, 2, 0)
    assert [(r["index"], r["messageId"], r["code"]) for r in answer["rejected"]] == [
        (1, "from-tomorrow", "PROFILE_EVENT_IN_FUTURE"),
        (3, None, "PROFILE_INVALID_EVENT"),
        (4, None, "PROFILE_INVALID_EVENT"),
    ]
    assert answer["rejected"][1]["hint"] == "Did you mean `track`?"
    assert await profile.count("SELECT count(*) FROM event") == 2


async def test_an_event_too_large_costs_itself_only(profile: Profile) -> None:
    large = track(properties={"text": "x" * 33_000})

    answer = await profile.collect(large, track())

    assert answer["accepted"] == 1
    assert answer["rejected"][0]["code"] == "PROFILE_EVENT_TOO_LARGE"
    assert "32768" in answer["rejected"][0]["problem"]


async def test_a_message_id_seen_before_is_counted_and_changes_nothing(profile: Profile) -> None:
    await profile.publish(HOT)
    once = track(messageId="m-1")
    first = await profile.collect(once, once)
    before = await profile.customer("anonymous_id", "a")

    again = await profile.collect(once, track(messageId="m-1", properties={"other": True}))

    assert (first["accepted"], first["duplicates"]) == (1, 1)
    assert (again["accepted"], again["duplicates"]) == (0, 2)
    assert await profile.customer("anonymous_id", "a") == before
    assert len(await profile.published(EventRecorded)) == 1
    assert len(await profile.published(CustomerChanged)) == 1


async def test_a_repeated_identify_does_not_bring_an_old_value_back(profile: Profile) -> None:
    first = identify(userId="u", traits={"city": "Utrecht"}, messageId="m-1")
    second = identify(userId="u", traits={"city": "Breda"}, at=START + timedelta(seconds=1))
    await profile.collect(first, second)

    answer = await profile.collect(first)

    assert answer["duplicates"] == 1
    assert (await profile.snapshot("user_id", "u")).traits == {"city": "Breda"}


async def test_text_that_copy_or_json_could_stumble_over_comes_back_as_it_was(
    profile: Profile,
) -> None:
    awkward: dict[str, Any] = {
        "a\tb": 'line\nline\\n "q" \\. \r \u2028 é 😀',
        "n": [None, True, 1.5, {"x": {}}],
    }
    event = track('tab\there\\N"', properties=awkward, anonymousId="\\.")

    await profile.collect(event)
    [recorded] = await profile.published(EventRecorded)
    stored = await profile.ask(
        '{ customer(ref: {identity: {type: "anonymous_id", value: "\\\\."}})'
        " { events { edges { node { name properties } } } } }"
    )

    assert (recorded.name, recorded.properties) == ('tab\there\\N"', awkward)
    [edge] = stored["data"]["customer"]["events"]["edges"]
    assert edge["node"] == {"name": 'tab\there\\N"', "properties": awkward}


async def test_a_nul_character_is_refused_and_a_backslash_before_u0000_is_not(
    profile: Profile,
) -> None:
    nul = track(properties={"text": "\0"})
    text = track(properties={"text": "\\u0000"})

    answer = await profile.collect(nul, text)

    assert [r["index"] for r in answer["rejected"]] == [0]
    assert answer["accepted"] == 1


async def test_a_visitor_is_known_by_the_id_every_service_derives(profile: Profile) -> None:
    await profile.collect(track(anonymousId="visitor-1"))

    found = await profile.customer("anonymous_id", "visitor-1")

    assert found.id == derive_customer_id("anonymous_id", "visitor-1")


async def test_two_writers_of_one_new_identity_make_one_customer(profile: Profile) -> None:
    async def send(number: int) -> None:
        await profile.collect(
            *[identify(userId=f"u-{n}", traits={f"t{number}": number}) for n in range(20)],
            *[track(anonymousId=f"a-{n}", userId=f"u-{n}") for n in range(20)],
        )

    await asyncio.gather(*[send(number) for number in range(6)])

    alive = "SELECT count(*) FROM customer WHERE merged_into IS NULL"
    assert await profile.count(alive) == 20
    assert await profile.count("SELECT count(*) FROM event") == 6 * 40
    assert (await profile.snapshot("user_id", "u-7")).traits == {f"t{n}": n for n in range(6)}


async def test_snapshot_versions_grow_by_one_whoever_writes(profile: Profile) -> None:
    await profile.publish(HOT)

    await asyncio.gather(*[profile.collect(track(), track()) for _ in range(8)])

    versions = [s.version for s in await profile.published(CustomerChanged)]
    assert sorted(versions) == list(range(1, 9))
    state = (await profile.snapshot("anonymous_id", "a")).series['"product_viewed"']
    assert state["count"] == 16


async def test_an_event_no_condition_asks_for_changes_no_snapshot(profile: Profile) -> None:
    await profile.publish(HOT)
    await profile.collect(track())

    await profile.collect(track("cart_emptied"))

    assert len(await profile.published(CustomerChanged)) == 1
    assert [e.customer_version for e in await profile.published(EventRecorded)] == [1, 1]


async def test_a_wrong_clock_is_corrected_by_the_time_of_sending(profile: Profile) -> None:
    ahead = START + timedelta(days=400)

    answer = await profile.collect(
        track(at=ahead - timedelta(seconds=30)), sentAt=ahead.isoformat()
    )

    [recorded] = await profile.published(EventRecorded)
    assert answer["accepted"] == 1
    assert recorded.occurred_at == START - timedelta(seconds=30)
