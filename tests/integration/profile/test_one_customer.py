"""One customer stops nobody, however large they are and whatever fails for them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from services.chassis.database import Connection, DatabaseUnavailable
from services.chassis.outbox import LARGEST_EVENT
from services.contracts.enums import Role, SenderClass
from services.contracts.profile import CustomerChanged, EventRecorded, EventSetAside
from services.profile.domain.customer import Customer
from services.profile.domain.segment_definitions import SegmentDefinitions
from services.profile.handlers import subscriptions
from services.profile.service import recording, refreshing
from tests.callers import caller
from tests.integration.profile.conftest import START, Profile, identify, track

ADMIN = caller(Role.ADMIN, "ada")
VIEWERS = "{key: seen, name: Seen, condition: \"events.count('product_viewed') >= 1\"}"
WITHDRAW = """
mutation ($id: String!) { setConsent(input: {
  customer: {identity: {type: "user_id", value: $id}}, purpose: "email", status: DENIED
}) { id } }
"""
IDENTIFY = """
mutation ($traits: JSON) { identify(input: {
  customer: {identity: {type: "user_id", value: "big"}}, traits: $traits
}) { id } }
"""


def large(number: int, pieces: int = 31) -> dict[str, Any]:
    """An identify of the customer `big` with about as many KB of traits."""
    return identify(
        userId="big",
        at=START + timedelta(seconds=number),
        traits={f"t{number}-{piece}": "x" * 990 for piece in range(pieces)},
    )


async def swell(profile: Profile) -> None:
    """Make `big` as large as customers could be before there were limits: over a megabyte."""
    async with profile.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO trait SELECT customer_id, 'old-' || n, 'user_id', 'big',"
            " to_jsonb(repeat('x', 30000)), 'DECLARED', 'RELATIONAL', 'segment', 'LI', $1, 'server'"
            " FROM identity, generate_series(1, 40) AS n WHERE identity_value = 'big'",
            START,
        )


async def members(profile: Profile, segment: str) -> int:
    """How many are in a segment."""
    return await profile.count(
        f"SELECT count(*) FROM segment_member WHERE segment_key = '{segment}'"
    )


async def test_what_one_customer_has_no_room_for_costs_those_events_only(profile: Profile) -> None:
    sent = [large(number) for number in range(35)]

    answers = [await profile.collect(one, track(userId=f"other-{n}")) for n, one in enumerate(sent)]

    accepted = [answer["accepted"] for answer in answers]
    assert accepted == [2, 2] + [1] * 33
    [refusal] = answers[2]["rejected"]
    assert (refusal["index"], refusal["code"]) == (0, "PROFILE_TRAITS_TOO_LARGE")
    assert refusal["messageId"] == sent[2]["messageId"]
    assert "over the limit of 65536" in refusal["problem"]
    assert await profile.count("SELECT count(*) FROM event WHERE kind = 'identify'") == 2
    assert len((await profile.snapshot("user_id", "big")).traits) == 62


async def test_a_refused_event_leaves_nothing_of_itself(profile: Profile) -> None:
    await profile.collect(large(1), large(2))
    before = await profile.customer("user_id", "big")
    third = large(3)
    third["anonymousId"] = "browser"
    third["context"] = {"consent": {"categoryPreferences": {"email": True}}}

    answer = await profile.collect(third)

    assert (answer["success"], answer["accepted"]) == (False, 0)
    assert await profile.customer("user_id", "big") == before
    assert await profile.count("SELECT count(*) FROM customer") == 1


async def test_the_graph_tells_the_same_limit(profile: Profile) -> None:
    answer = await profile.ask(IDENTIFY, traits={"bio": "x" * 20_000})

    [error] = answer["errors"]
    assert error["extensions"]["code"] == "PROFILE_TRAITS_TOO_LARGE"
    assert await profile.count("SELECT count(*) FROM customer") == 0


async def test_a_large_customer_keeps_nobody_out_of_a_segment(profile: Profile) -> None:
    await profile.collect(*(track(userId=f"u{number}") for number in range(20)))
    await profile.collect(track(userId="big"))
    await swell(profile)

    await profile.publish(VIEWERS)

    assert await members(profile, "seen") == 21
    snapshot = await profile.snapshot("user_id", "big")
    assert snapshot.segments == ("seen",)
    assert 0 < len(snapshot.traits) < 40
    assert await profile.count("SELECT max(length(body)) FROM outbox") <= LARGEST_EVENT


async def test_a_large_customer_can_withdraw_their_consent(profile: Profile) -> None:
    yes = {"consent": {"categoryPreferences": {"email": True}}}
    await profile.collect(track(userId="big", context=yes))
    await swell(profile)

    answer = await profile.ask(WITHDRAW, ADMIN, id="big")

    assert answer["errors"] == []
    assert (await profile.snapshot("user_id", "big")).consents == {"email": False}


async def test_a_batch_with_a_large_customer_loses_nobody(profile: Profile) -> None:
    await profile.collect(track(userId="big"))
    await swell(profile)

    answer = await profile.collect(
        track(userId="ann"), large(1), track(userId="big"), track(userId="bob")
    )

    assert answer["accepted"] == 3
    assert [one["index"] for one in answer["rejected"]] == [1]


async def test_two_large_customers_can_become_one(profile: Profile) -> None:
    for name in ("big", "huge"):
        for number in (1, 2):
            event = large(number)
            event["userId"] = name
            event["traits"] = {f"{name}-{k}": v for k, v in event["traits"].items()}
            await profile.collect(event)

    answer = await profile.collect(
        {"type": "alias", "userId": "big", "previousId": "huge", "messageId": "one"}
    )

    assert answer["accepted"] == 1
    assert len((await profile.snapshot("user_id", "huge")).traits) == 124


async def test_a_history_too_long_for_the_bus_is_unknown_to_others_and_counts_here(
    profile: Profile,
) -> None:
    counted = "{key: often, name: Often, condition: \"events.count('seen', last='365d') >= 9000\"}"
    await profile.publish(counted)
    await profile.collect(track(userId="big"))
    async with profile.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO event SELECT customer_id, 'm-' || n, gen_random_uuid(), 'track', 'seen',"
            " $1::timestamptz - n * interval '1 second', $1, '{}', '{}', 'user_id', 'big',"
            " 'server'"
            " FROM identity, generate_series(1, 70000) AS n WHERE identity_value = 'big'",
            START,
        )
        await connection.execute("UPDATE customer SET rules_version = 0")

    await profile.refresh_all()

    snapshot = await profile.snapshot("user_id", "big")
    assert snapshot.segments == ("often",)
    assert list(snapshot.series.values()) == [None]


def failing_for(profile: Profile, customer: UUID) -> Callable[..., Awaitable[None]]:
    """Work of the refresher that no code was written for, whenever this customer is in it."""
    recompute = refreshing._recompute

    async def fail(connection: Connection, cache: Any, ids: Sequence[UUID], now: Any) -> None:
        await recompute(connection, cache, ids, now)
        if customer in ids:
            raise ArithmeticError("secret")

    return fail


async def test_who_cannot_be_recomputed_is_set_aside_and_tried_again_later_and_later(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    await profile.collect(*(track(userId=f"u{number}") for number in range(20)))
    poisonous = (await profile.customer("user_id", "u7")).id
    monkeypatch.setattr(refreshing, "_recompute", failing_for(profile, poisonous))

    await profile.publish(VIEWERS)

    assert await members(profile, "seen") == 19
    async with profile.database.connection() as connection:
        [row] = await connection.fetch("SELECT * FROM set_aside")
    assert (row["customer_id"], row["failures"]) == (poisonous, 1)
    assert (row["reason"], row["retry_at"]) == ("ArithmeticError", START + timedelta(minutes=1))
    assert await profile.refresh_all() == 0

    profile.now += timedelta(minutes=1)
    assert await profile.refresh_all() == 1
    [failures, minutes] = [
        await profile.count("SELECT failures FROM set_aside"),
        await profile.count("SELECT extract(epoch FROM max(retry_at)) FROM set_aside")
        - profile.now.timestamp(),
    ]
    assert (failures, minutes) == (2, 120)


async def test_who_can_be_recomputed_again_is_set_aside_no_more(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    await profile.collect(track(userId="u"))
    poisonous = (await profile.customer("user_id", "u")).id
    with monkeypatch.context() as patch:
        patch.setattr(refreshing, "_recompute", failing_for(profile, poisonous))
        await profile.publish(VIEWERS)
    before = await members(profile, "seen")

    profile.now += timedelta(minutes=1)
    await profile.refresh_all()

    assert (before, await members(profile, "seen")) == (0, 1)
    assert await profile.count("SELECT count(*) FROM set_aside") == 0


async def test_one_who_takes_too_long_is_found_in_ever_smaller_chunks(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    await profile.collect(*(track(userId=f"u{number}") for number in range(8)))
    slow = (await profile.customer("user_id", "u3")).id
    recompute = refreshing._recompute

    async def time_out(connection: Connection, cache: Any, ids: Sequence[UUID], now: Any) -> None:
        if slow in ids:
            raise TimeoutError
        await recompute(connection, cache, ids, now)

    await profile.publish_only(VIEWERS)
    monkeypatch.setattr(refreshing, "_recompute", time_out)
    refresher = refreshing.Refresher(
        profile.database, profile.segment_cache, profile.clock, 1, 8, backlog=nobody_behind
    )

    for _ in range(20):
        try:
            if not await refresher.recompute_chunk():
                break
        except DatabaseUnavailable:
            continue

    assert await members(profile, "seen") == 7
    assert await profile.count("SELECT count(*) FROM set_aside WHERE reason = 'TookTooLong'") == 1


async def nobody_behind() -> int:
    """No snapshot is on its way."""
    return 0


def break_for(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Have recording fail by our fault for the customer who is called this."""
    decide = SegmentDefinitions.assign_segments

    def fail(definitions: SegmentDefinitions, customer: Customer, now: Any) -> None:
        if any(identity.value == value for identity in customer.identities):
            raise ArithmeticError("secret")
        decide(definitions, customer, now)

    monkeypatch.setattr(SegmentDefinitions, "assign_segments", fail)


async def take_again(profile: Profile, *events: EventSetAside) -> None:
    """Take in what was set aside, as the chassis would."""
    handle = subscriptions(profile.segment_cache, profile.clock, profile.reader.customer_limits)[
        EventSetAside
    ]
    async with profile.database.transaction() as connection:
        await handle(connection, events)


async def test_one_event_that_cannot_be_recorded_costs_itself(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_for(monkeypatch, "poison")

    answer = await profile.collect(
        track(userId="ann"), track(userId="poison", messageId="m-1"), track(userId="bob")
    )

    assert answer["accepted"] == 2
    [refusal] = answer["rejected"]
    assert (refusal["index"], refusal["messageId"]) == (1, "m-1")
    assert refusal["code"] == "PROFILE_NOT_RECORDED"
    assert "secret" not in str(refusal)
    assert await profile.count("SELECT count(*) FROM event") == 2
    assert await profile.count("SELECT count(*) FROM customer") == 2


async def test_an_event_that_could_not_be_recorded_is_kept_and_recorded_once(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = track(anonymousId="poison", properties={"price": 12.5}, messageId="m-1")
    with monkeypatch.context() as broken:
        break_for(broken, "poison")
        answer = await profile.collect(
            track(anonymousId="ann"), failing, sender=SenderClass.WRITE_KEY
        )
    received, profile.now = profile.now, profile.now + timedelta(hours=1)
    [set_aside] = await profile.published(EventSetAside)

    await take_again(profile, set_aside)
    again = await profile.collect(failing, sender=SenderClass.WRITE_KEY)
    await take_again(profile, set_aside)

    assert "is kept" in answer["rejected"][0]["problem"]
    assert (again["accepted"], again["duplicates"]) == (0, 1)
    [_, recorded] = await profile.published(EventRecorded)
    assert (recorded.event_id, recorded.message_id) == (set_aside.event_id, "m-1")
    assert (recorded.received_at, recorded.occurred_at) == (received, START)
    assert (recorded.sender, recorded.properties) == (SenderClass.WRITE_KEY, {"price": 12.5})


async def test_an_event_sent_again_before_it_was_tried_again_counts_once(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = track(userId="poison", messageId="m-1")
    with monkeypatch.context() as broken:
        break_for(broken, "poison")
        await profile.collect(failing)

    again = await profile.collect(failing)
    await take_again(profile, *await profile.published(EventSetAside))

    assert again["accepted"] == 1
    assert await profile.count("SELECT count(*) FROM event") == 1


async def test_an_event_that_is_refused_for_what_is_in_it_is_not_kept(profile: Profile) -> None:
    profile.reader = replace(
        profile.reader, customer_limits=profile.reader.customer_limits._replace(traits=1)
    )

    answer = await profile.collect(
        identify(userId="u", traits={"a": 1, "b": 2}), track("outcome_accepted"), track(userId="u")
    )

    assert [one["code"] for one in answer["rejected"]] == [
        "PROFILE_TOO_MANY_TRAITS",
        "PROFILE_SERVER_EVENT",
    ]
    assert await profile.published(EventSetAside) == []


async def test_an_event_set_aside_that_has_no_room_by_now_costs_itself(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        break_for(broken, "poison")
        await profile.collect(
            identify(userId="poison", traits={"a": 1, "b": 2}), track(userId="poison")
        )
    profile.reader = replace(
        profile.reader, customer_limits=profile.reader.customer_limits._replace(traits=1)
    )

    await take_again(profile, *await profile.published(EventSetAside))

    assert await profile.count("SELECT count(*) FROM event") == 1
    assert [record.message for record in caplog.records if "refused" in record.message] == [
        "an event that was set aside is refused"
    ]


async def test_a_trait_forgotten_is_gone_from_the_database(profile: Profile) -> None:
    limits = profile.reader.customer_limits._replace(traits=2)
    async with profile.database.transaction() as connection:
        for number in range(8):
            event = identify(
                userId="u", at=START + timedelta(seconds=number), traits={f"t{number}": None}
            )
            call = profile.reader.read(event, profile.reading())
            await recording.record(connection, profile.segment_cache, [call], profile.now, limits)

    assert await profile.count("SELECT count(*) FROM trait") == 4
    assert len(await profile.published(CustomerChanged)) == 8
