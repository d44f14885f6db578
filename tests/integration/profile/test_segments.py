"""Segments and series: exact at every moment, whoever asks and however late."""

import random
import re
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from services.chassis.database import DatabaseUnavailable
from services.chassis.definitions import InvalidDefinition
from services.contracts.decision import DecisionSeriesNeeded, Money, OutcomeRecorded
from services.contracts.identity import derive_customer_id
from services.contracts.profile import CustomerChanged, EventRecorded
from services.profile.handlers import subscriptions
from services.profile.service.publishing import publish_segments
from services.rules import DECISION, Facts, evaluate, merge_series, parse
from tests.integration.profile.conftest import MARKETER, START, Profile, identify, track
from tests.reading import reading_threads

ACTIVE = (
    "{key: active, name: Active, condition: \"events.count('product_viewed', last='7d') >= 2\"}"
)


async def test_time_alone_takes_a_customer_out_of_a_segment_at_the_exact_moment(
    profile: Profile,
) -> None:
    await profile.publish(ACTIVE)
    await profile.collect(track(at=START - timedelta(days=2)), track(at=START))
    leaves = START + timedelta(days=5)

    profile.now = leaves - timedelta(microseconds=1)
    before = await profile.refresh_all()
    profile.now = leaves
    due = await profile.refresh_all()

    assert (before, due) == (0, 1)
    changed = await profile.published(CustomerChanged)
    assert [(s.version, s.segments) for s in changed] == [(1, ("active",)), (2, ())]
    assert await profile.refresh_all() == 0


async def test_a_segment_is_read_beside_the_thread_that_answers(profile: Profile) -> None:
    publish = "mutation ($yaml: String!) { publishSegment(yaml: $yaml) { key } }"

    with reading_threads() as threads:
        good = await profile.ask(publish, MARKETER, yaml=ACTIVE)
        sixty = await profile.ask(publish, MARKETER, yaml=f"key: {':'.join(['1'] * 80_000)}")
        many = await profile.ask(publish, MARKETER, yaml=f"key: [{'1,' * 190_000}]")
        merged = await profile.ask(publish, MARKETER, yaml="a: &a {b: 1}\nkey: {<<: *a}")

    assert threads
    assert threading.get_ident() not in threads
    assert good["data"] == {"publishSegment": {"key": "active"}}
    codes = [one["errors"][0]["extensions"]["code"] for one in (sixty, many, merged)]
    assert codes == ["INVALID_DEFINITION"] * 3
    assert merged["errors"][0]["extensions"]["problems"][0]["line"] == 2


async def test_a_publication_that_is_rolled_back_leaves_nothing_in_memory(
    profile: Profile,
) -> None:
    """The next publication has its number, and other conditions."""

    async def publish_and_fail() -> None:
        async with profile.database.transaction() as connection:
            await publish_segments(connection, profile.segment_cache, ACTIVE, profile.now)
            raise ConnectionResetError

    with pytest.raises(DatabaseUnavailable):
        await publish_and_fail()

    await profile.publish(ACTIVE.replace(">= 2", ">= 1"))

    async with profile.database.connection() as connection:
        definitions = await profile.segment_cache.current(connection)
    assert [one.condition for one in definitions.segments] == [
        "events.count('product_viewed', last='7d') >= 1"
    ]


async def test_an_event_of_the_future_counts_when_its_moment_comes(profile: Profile) -> None:
    await profile.publish(ACTIVE)
    await profile.collect(track(), track(at=START + timedelta(minutes=4)))

    profile.now = START + timedelta(minutes=4)
    await profile.refresh_all()

    changed = await profile.published(CustomerChanged)
    assert [s.segments for s in changed] == [(), ("active",)]


async def test_a_segment_published_late_counts_all_that_happened_before(profile: Profile) -> None:
    await profile.collect(*[track(anonymousId=f"a{n % 30}") for n in range(45)])

    await profile.publish(ACTIVE)

    answer = await profile.ask('{ segment(key: "active") { version customerCount } }')
    assert answer["data"]["segment"] == {"version": 1, "customerCount": 15}
    assert (await profile.snapshot("anonymous_id", "a3")).segments == ("active",)


async def test_a_customer_who_acts_before_his_turn_is_brought_up_to_date_at_once(
    profile: Profile,
) -> None:
    await profile.collect(track())
    async with profile.database.transaction() as connection:
        await publish_segments(connection, profile.segment_cache, ACTIVE, profile.now)

    await profile.collect(track())  # nobody has refreshed anything yet

    assert (await profile.snapshot("anonymous_id", "a")).segments == ("active",)
    assert await profile.refresh_all() == 0


async def test_a_changed_definition_is_a_new_version_and_the_same_one_is_not(
    profile: Profile,
) -> None:
    await profile.collect(track())
    await profile.publish(ACTIVE)
    await profile.publish(ACTIVE)

    await profile.publish(ACTIVE.replace(">= 2", ">= 1"))

    assert await profile.count("SELECT max(version) FROM segment") == 2
    assert await profile.count("SELECT max(version) FROM rulebook") == 2
    assert (await profile.snapshot("anonymous_id", "a")).segments == ("active",)


async def test_a_bad_definition_says_line_field_and_remedy(profile: Profile) -> None:
    document = "segments:\n- key: a\n  name: A\n  condition: traitz.age > 3\n- key: a\n  name: B\n"

    with pytest.raises(InvalidDefinition) as missing:
        await profile.publish(document)
    with pytest.raises(InvalidDefinition) as unknown:
        await profile.publish(document + "  condition: context.page == 'x'\n")

    assert [(p.line, p.path) for p in missing.value.problems] == [(5, "segments[1].condition")]
    problems = [(p.line, p.path) for p in unknown.value.problems]
    assert problems == [
        (4, "segments[0].condition"),
        (5, "segments[1].key"),
        (7, "segments[1].condition"),
    ]
    assert "traits" in unknown.value.problems[0].hint


async def test_every_window_of_a_snapshot_equals_brute_force_over_the_raw_events(
    profile: Profile,
) -> None:
    dice = random.Random(5)
    conditions = [
        f"events.{call} {sign} {limit}"
        for call in (
            "count('bought', last='3d')",
            "sum('bought', total, last='10d')",
            "distinct('bought', sku)",
            "sum('bought', total, sku == 'x')",
        )
        for sign in (">=", "<")
        for limit in (2, 5)
    ]
    events = [
        track(
            "bought",
            at=START - timedelta(hours=dice.randrange(24 * 20)),
            properties={"total": dice.choice([1, 2.5, 0.1]), "sku": dice.choice("xyz")},
            **({"userId": "u"} if n % 3 else {"anonymousId": "a"}),
        )
        for n in range(40)
    ]

    await profile.collect(*events[:10])
    await declare(profile, 1, *conditions)
    await profile.collect(*events[10:20], identify(anonymousId="a", userId="u"))
    await profile.refresh_all()
    await profile.collect(*events[20:])

    states = (await profile.snapshot("user_id", "u")).series
    for condition in conditions:
        for hours in (0, 5, 60, 200):
            now = START + timedelta(hours=hours)
            answer = evaluate(parse(condition, DECISION), Facts(now=now, history=states))
            assert answer is brute_force(condition, events, now), (condition, hours)


async def test_series_another_service_needs_are_built_from_the_past_in_chunks(
    profile: Profile,
) -> None:
    await profile.collect(*[track("bought", anonymousId=f"a{n}") for n in range(120)])

    await declare(profile, 1, "events.count('bought') > 1")
    refreshed = await profile.refresh_all(chunk=50)

    assert refreshed == 120
    assert (await profile.snapshot("anonymous_id", "a77")).series['"bought"']["count"] == 1


async def test_an_older_wish_for_series_changes_nothing(profile: Profile) -> None:
    await profile.collect(track("bought"))
    await declare(profile, 2, "events.count('bought') > 1")
    await profile.refresh_all()

    await declare(profile, 1, "events.count('product_viewed') > 1")

    assert await profile.refresh_all() == 0
    assert list((await profile.snapshot("anonymous_id", "a")).series) == ['"bought"']


async def test_a_window_that_grows_is_filled_from_the_raw_events(profile: Profile) -> None:
    await profile.collect(*[track("bought", at=START - timedelta(days=n)) for n in range(20)])
    await declare(profile, 1, "events.count('bought', last='3d') > 1")
    await profile.refresh_all()

    await declare(profile, 2, "events.count('bought', last='10d') > 1")
    await profile.refresh_all()

    state = (await profile.snapshot("anonymous_id", "a")).series['"bought"']
    assert (state["count"], len(state["times"])) == (20, 10)


async def test_an_outcome_counts_once_and_is_not_told_again(profile: Profile) -> None:
    await profile.publish(
        "{key: shy, name: Shy,"
        " condition: \"events.count('outcome_rejected', action == 'vinyl') >= 1\"}"
    )
    await profile.collect(track())
    customer = await profile.customer("anonymous_id", "a")
    outcome = OutcomeRecorded(
        event_id=uuid7(),
        customer_id=customer.id,
        occurred_at=START,
        outcome_id=uuid7(),
        decision_id=uuid7(),
        proposition_id=uuid7(),
        action="vinyl",
        treatment="banner",
        channel="WEB",
        placement="home",
        tracking_code="x",
        kind="REJECTED",
        value=Money(cents=100, currency="EUR"),
        reason="too dear",
        recorded_at=START,
    )

    handle = subscriptions(profile.segment_cache, profile.clock)[OutcomeRecorded]
    for _ in range(2):
        async with profile.database.transaction() as connection:
            await handle(connection, [outcome])

    snapshot = await profile.snapshot("anonymous_id", "a")
    assert snapshot.segments == ("shy",)
    assert (await profile.published(EventRecorded))[-1].name == "product_viewed"
    assert await profile.count("SELECT count(*) FROM event WHERE kind = 'outcome'") == 1


async def test_an_outcome_of_a_visitor_we_have_not_heard_of_is_his_when_we_do(
    profile: Profile,
) -> None:
    visitor = derive_customer_id("anonymous_id", "a")
    outcome = OutcomeRecorded.model_validate(
        {
            **dict.fromkeys(("event_id", "outcome_id", "decision_id", "proposition_id"), uuid7()),
            **dict.fromkeys(("action", "treatment", "channel", "placement", "tracking_code"), "x"),
            **dict.fromkeys(("occurred_at", "recorded_at"), START),
            "customer_id": visitor,
            "kind": "PRESENTED",
        }
    )
    handle = subscriptions(profile.segment_cache, profile.clock)[OutcomeRecorded]
    async with profile.database.transaction() as connection:
        await handle(connection, [outcome])

    await profile.collect(track())

    events = "SELECT count(*) FROM event JOIN identity USING (customer_id)"
    assert (await profile.customer("anonymous_id", "a")).id == visitor
    assert await profile.count(events) == 2


async def declare(profile: Profile, version: int, *conditions: str) -> None:
    """Have decision need what these conditions ask for."""
    series = merge_series(s for c in conditions for s in parse(c).needs.series)
    needed = DecisionSeriesNeeded(
        event_id=uuid7(),
        customer_id=None,
        occurred_at=profile.now,
        version=version,
        series=tuple(one.to_json() for one in series),
    )
    handle = subscriptions(profile.segment_cache, profile.clock)[DecisionSeriesNeeded]
    async with profile.database.transaction() as connection:
        await handle(connection, [needed])


def brute_force(condition: str, events: list[dict[str, Any]], now: datetime) -> bool:
    """The condition decided by looking at every event."""
    call, sign, limit = condition.rsplit(" ", 2)
    matching = [e["properties"] for e in events if _in_window(call, e, now)]
    if "sku == 'x'" in call:
        matching = [p for p in matching if p["sku"] == "x"]
    worth = {
        "count": len(matching),
        "sum": sum(round(p["total"] * 10) for p in matching) / 10,
        "distinct": len({p["sku"] for p in matching}),
    }[call.removeprefix("events.").partition("(")[0]]
    return bool(worth >= float(limit) if sign == ">=" else worth < float(limit))


def _in_window(call: str, event: dict[str, Any], now: datetime) -> bool:
    window = re.search(r"last='(\d+)d'", call)
    age = now - datetime.fromisoformat(event["timestamp"])
    return window is None or timedelta() <= age < timedelta(days=int(window[1]))
