"""What other services need of history: looked up by and by, and each snapshot says how far."""

import asyncio
from collections.abc import Iterable

from uuid_utils.compat import uuid7

from services.chassis.database import Connection
from services.contracts.decision import DecisionSeriesNeeded
from services.contracts.journey import JourneySeriesNeeded
from services.contracts.profile import CustomerChanged
from services.contracts.series import SeriesNeeded
from services.profile.handlers import subscriptions
from services.profile.service.segment_cache import SegmentCache
from services.rules import merge_series, parse
from tests.integration.profile.conftest import Profile, track

BOUGHT = "events.count('bought') == 0"
VIEWED = "events.count('product_viewed', last='7d') >= 1"
ACTIVE = f'{{key: active, name: Active, condition: "{VIEWED}"}}'


async def test_a_snapshot_says_which_declarations_it_answers(profile: Profile) -> None:
    await profile.collect(track("bought"))
    before = await profile.snapshot("anonymous_id", "a")
    await declare(profile, DecisionSeriesNeeded, 3, BOUGHT)
    await declare(profile, JourneySeriesNeeded, 8, VIEWED)
    await profile.refresh_all()

    snapshot = await profile.snapshot("anonymous_id", "a")

    assert before.series_versions == {}
    assert snapshot.series_versions == {"decision": 3, "journey": 8}
    assert list(snapshot.series) == ['"bought"']


async def test_who_has_no_events_of_a_new_series_is_told_of_too_and_only_once(
    profile: Profile,
) -> None:
    await profile.collect(*[track(anonymousId=f"a{n}") for n in range(30)])
    count = len(await profile.published(CustomerChanged))

    await declare(profile, DecisionSeriesNeeded, 1, BOUGHT)
    visited = await profile.refresh_all(chunk=7)

    news = (await profile.published(CustomerChanged))[count:]
    assert (visited, len(news)) == (30, 30)
    assert {one.customer_id for one in news} == {
        one.customer_id for one in await profile.published(CustomerChanged)
    }
    assert all(one.series_versions == {"decision": 1} and one.series == {} for one in news)


async def test_a_declaration_that_asks_for_no_more_is_no_news(profile: Profile) -> None:
    await profile.collect(track())
    await declare(profile, DecisionSeriesNeeded, 1, BOUGHT)
    await profile.refresh_all()

    await declare(profile, DecisionSeriesNeeded, 2, BOUGHT, grew_in=1)

    assert await profile.refresh_all() == 0


async def test_asking_for_what_is_kept_already_is_answered_all_the_same(profile: Profile) -> None:
    await profile.collect(track())
    await profile.publish(ACTIVE)
    count = len(await profile.published(CustomerChanged))

    await declare(profile, DecisionSeriesNeeded, 1, VIEWED)
    await profile.refresh_all()

    [news] = (await profile.published(CustomerChanged))[count:]
    assert news.series_versions == {"decision": 1}


async def test_a_segment_published_after_a_declaration_tells_nobody_more_than_it_must(
    profile: Profile,
) -> None:
    await profile.collect(track("bought"))
    await declare(profile, DecisionSeriesNeeded, 1, BOUGHT)
    await profile.refresh_all()
    count = len(await profile.published(CustomerChanged))

    await profile.publish(ACTIVE)

    assert len(await profile.published(CustomerChanged)) == count


async def test_a_customer_who_comes_or_acts_after_a_declaration_is_right_at_once(
    profile: Profile,
) -> None:
    await profile.collect(track("bought"))
    await declare(profile, DecisionSeriesNeeded, 4, BOUGHT)

    await profile.collect(track(anonymousId="new"), track(anonymousId="a"))

    new, old = [await profile.snapshot("anonymous_id", name) for name in ("new", "a")]
    assert (new.series_versions, new.series) == ({"decision": 4}, {})
    assert (old.series_versions, old.series['"bought"']["count"]) == ({"decision": 4}, 1)


async def test_a_declaration_that_comes_in_between_is_not_answered_before_its_rulebook(
    profile: Profile,
) -> None:
    """A process reads the rulebook's number, then what is declared; the two may not match."""
    await profile.collect(track("bought"))
    await declare(profile, DecisionSeriesNeeded, 1, VIEWED)
    await profile.refresh_all()
    cache = SegmentCache()

    async with profile.database.transaction() as connection:
        await _declare_half(connection, [BOUGHT], 2)
        definitions = await cache.current(connection)

    assert definitions.answers == {"decision": 1}


async def test_two_services_that_declare_at_once_are_both_answered(profile: Profile) -> None:
    await profile.collect(track("bought"))

    await asyncio.gather(
        declare(profile, DecisionSeriesNeeded, 1, BOUGHT),
        declare(profile, JourneySeriesNeeded, 1, VIEWED),
    )
    await profile.refresh_all()

    snapshot = await profile.snapshot("anonymous_id", "a")
    assert snapshot.series_versions == {"decision": 1, "journey": 1}


async def declare(
    profile: Profile,
    fact: type[SeriesNeeded],
    version: int,
    condition: str,
    grew_in: int | None = None,
) -> None:
    """Have a service need what a condition asks for, from this version on if not said otherwise."""
    needed = fact(
        event_id=uuid7(),
        customer_id=None,
        occurred_at=profile.now,
        version=version,
        series=tuple(one.to_json() for one in merge_series(parse(condition).needs.series)),
        grew_in=version if grew_in is None else grew_in,
    )
    handle = subscriptions(profile.segment_cache, profile.clock)[fact]
    async with profile.database.transaction() as connection:
        await handle(connection, [needed])


async def _declare_half(connection: Connection, conditions: Iterable[str], version: int) -> None:
    """Another process's declaration as it is seen by who read the rulebook's number before it."""
    series = [one.to_json() for text in conditions for one in parse(text).needs.series]
    await connection.execute(
        "UPDATE series_declaration SET version = $1, grew_in = $1, series = $2", version, series
    )
