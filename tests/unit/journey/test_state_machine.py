"""How an instance goes on, step by step."""

from datetime import timedelta
from uuid import UUID

import pytest

from services.journey.domain.instance import (
    EndEffect,
    EntryEffect,
    Instance,
    MessageEffect,
    TimerStimulus,
)
from services.journey.domain.state_machine import (
    can_enter,
    find_entry_key,
    journey_facts,
    pick_survivor,
)
from tests.unit.journey.journeys import (
    ADDED,
    CART,
    LAPSING,
    NOON,
    ROUND,
    TWICE,
    Walk,
    change,
    compile_journey,
    event,
    facts_of,
)

HOUR = timedelta(hours=1)
REACHABLE = {"consent": {"email_marketing": True}, "traits": {"email": "ann@example.com"}}


def test_an_event_that_fits_lets_its_customer_in_by_its_key() -> None:
    journey = compile_journey()

    walk = Walk(journey)

    assert (walk.instance.key, walk.instance.step, walk.instance.phase) == (
        "c1",
        "think",
        "orientation",
    )
    assert walk.instance.sequence == 1
    assert walk.instance.due_at == NOON + 2 * HOUR


@pytest.mark.parametrize(
    "other",
    [
        event(1, "product_viewed", value=25, cart_id="c1"),
        event(1, "product_added", value=19, cart_id="c1"),
        event(1, "product_added", cart_id="c1"),
        event(1, "product_added", value=25),
        event(1, "product_added", value=25, cart_id=""),
        event(1, "product_added", value=25, cart_id={"no": "number"}),
        event(1, "product_added", value=25, cart_id="x" * 201),
    ],
)
def test_an_event_that_does_not_fit_or_has_no_key_lets_nobody_in(other: object) -> None:
    assert find_entry_key(compile_journey(), other, facts_of()) is None  # type: ignore[arg-type]


def test_nobody_enters_what_would_end_at_once() -> None:
    assert find_entry_key(compile_journey(), ADDED, facts_of(segments={"no_messages"})) is None


def test_an_instance_keeps_no_more_of_its_event_than_the_journey_uses() -> None:
    nosy = event(1, "product_added", value=25, cart_id="c1", product="LP", card="1234")

    instance = Walk(compile_journey(), nosy).instance

    assert instance.event["properties"] == {"value": 25, "cart_id": "c1", "product": "LP"}


def test_time_takes_an_instance_through_branch_and_message_to_the_next_wait() -> None:
    walk = Walk(compile_journey())

    walk.pass_time(**REACHABLE)

    assert walk.steps() == ["has_mail", "remind", "answer"]
    assert [
        effect.instance.sequence for effect in walk.last.effects if isinstance(effect, EntryEffect)
    ] == [
        2,
        3,
        4,
    ]
    assert walk.instance.phase == "purchase"
    assert walk.instance.due_at == walk.now + 72 * HOUR


def test_a_message_is_personal_and_says_something_where_a_trait_is_missing() -> None:
    walk = Walk(compile_journey())

    walk.pass_time(**REACHABLE)

    [said] = [effect for effect in walk.last.effects if isinstance(effect, MessageEffect)]
    assert said.content == {"subject": "Hello, your LP is waiting", "lines": ["Cart c1", 3]}
    assert (said.channel, said.template, said.instance.step) == ("EMAIL", "cart_reminder", "remind")


def test_a_branch_without_a_true_condition_goes_otherwise() -> None:
    walk = Walk(compile_journey())

    walk.pass_time(consent={"email_marketing": True})

    assert walk.steps() == ["has_mail", "gone"]
    assert walk.instance.end_reason == "not interested"


def test_the_first_true_way_of_a_branch_is_taken() -> None:
    both = """
key: both
name: Both
entry: {event: e}
steps:
  - key: which
    branch:
      - {when: traits.a, next: a}
      - {when: traits.b, next: b}
    otherwise: a
  - {key: a, exit: a}
  - {key: b, exit: b}
"""

    assert (
        Walk(compile_journey(both), event(1, "e"), traits={"a": True, "b": True}).instance.step
        == "a"
    )
    assert (
        Walk(compile_journey(both), event(1, "e"), traits={"a": False, "b": True}).instance.step
        == "b"
    )


@pytest.mark.parametrize("consent", [{}, {"email_marketing": False}, {"other": True}])
def test_without_consent_a_message_is_left_out_and_the_history_says_so(
    consent: dict[str, bool],
) -> None:
    direct = CART.replace("consent.email_marketing and ", "")
    walk = Walk(compile_journey(direct))

    walk.pass_time(consent=consent, traits={"email": "ann@example.com"})

    assert not any(isinstance(effect, MessageEffect) for effect in walk.last.effects)
    notes = {e.instance.step: e.note for e in walk.last.effects if isinstance(e, EntryEffect)}
    assert notes["remind"] == "Not sent: no consent to email_marketing."
    assert walk.instance.step == "answer"


def test_a_wait_for_an_event_ends_with_it() -> None:
    walk = Walk(compile_journey())
    walk.pass_time(**REACHABLE)

    walk.apply(event(2, "mail_clicked", walk.now, template="cart_reminder"), HOUR)

    assert walk.instance.end_reason == "clicked"
    assert walk.instance.ended_at == walk.now
    assert isinstance(walk.last.effects[-1], EndEffect)


def test_a_wait_for_an_event_ends_at_its_timeout_on_another_way() -> None:
    walk = Walk(compile_journey())
    walk.pass_time(**REACHABLE)

    walk.pass_time(**REACHABLE)

    assert walk.instance.step == "gone"


def test_a_timer_that_goes_off_early_moves_nothing() -> None:
    walk = Walk(compile_journey())

    walk.apply(TimerStimulus(), 2 * HOUR - timedelta(microseconds=1))

    assert not walk.last.effects
    assert walk.instance.step == "think"


def test_an_event_that_does_not_fit_moves_nothing() -> None:
    walk = Walk(compile_journey())
    walk.pass_time(**REACHABLE)
    before = walk.instance

    walk.apply(event(2, "mail_clicked", walk.now, template="another"))

    assert walk.instance == before


def test_an_exit_event_wins_over_the_wait_it_would_end() -> None:
    both = CART.replace("event: mail_clicked", "event: order_completed").replace(
        'when: event.template == "cart_reminder"', "when: event.cart_id == event.cart_id"
    )
    walk = Walk(compile_journey(both))
    walk.pass_time(**REACHABLE)

    walk.apply(event(2, "order_completed", walk.now, cart_id="c1"))

    assert walk.instance.end_reason == "bought"


def test_an_exit_event_of_another_key_ends_nothing() -> None:
    walk = Walk(compile_journey())

    walk.apply(event(2, "order_completed", cart_id="c2"))

    assert walk.instance.is_active


def test_a_condition_that_ends_the_journey_is_looked_at_before_time_moves_it() -> None:
    walk = Walk(compile_journey())

    walk.pass_time(segments={"no_messages"}, **REACHABLE)

    assert walk.instance.end_reason == '"no_messages" in segments'
    assert walk.steps() == []


def test_a_change_of_the_customer_alone_can_end_a_journey() -> None:
    walk = Walk(compile_journey())

    walk.apply(change(2), segments={"no_messages"})

    assert not walk.instance.is_active


def test_an_ended_instance_is_moved_by_nothing() -> None:
    walk = Walk(compile_journey())
    walk.apply(event(2, "order_completed", cart_id="c1"))
    ended = walk.instance

    walk.apply(event(3, "order_completed", cart_id="c1"))

    assert walk.instance == ended
    assert not walk.last.effects


def test_an_event_from_before_the_instance_began_does_not_end_it() -> None:
    walk = Walk(compile_journey())

    walk.apply(event(2, "order_completed", NOON - HOUR, cart_id="c1"))

    assert walk.instance.is_active


def test_an_event_whose_sender_has_a_slow_clock_still_counts() -> None:
    walk = Walk(compile_journey())

    walk.apply(event(2, "order_completed", NOON - timedelta(minutes=4), cart_id="c1"))

    assert walk.instance.end_reason == "bought"


def test_one_event_ends_one_wait_and_delivered_again_none() -> None:
    walk = Walk(compile_journey(TWICE), event(1, "e"))

    walk.apply(event(1, "e"))
    assert walk.instance.step == "one"
    walk.apply(event(2, "e"))
    assert walk.instance.step == "two"
    walk.apply(event(2, "e"))
    assert walk.instance.step == "two"
    walk.apply(event(3, "e"))
    assert walk.instance.step == "done"


FITTING = """
key: fitting
name: Until it fits
entry: {event: e}
steps:
  - {key: until, wait: {segment: vip, when: traits.points > 9, timeout: 1d, on_timeout: never}}
  - {key: fits, exit: fits}
  - {key: never, exit: never}
"""


def test_a_wait_for_a_condition_ends_when_the_customer_comes_to_fit() -> None:
    walk = Walk(compile_journey(FITTING), event(1, "e"))

    walk.apply(change(2), segments={"vip"}, traits={"points": 9})
    assert walk.instance.step == "until"
    walk.apply(change(3), segments={"vip"}, traits={"points": 10})

    assert walk.instance.step == "fits"


def test_a_wait_for_a_condition_that_holds_already_takes_no_time() -> None:
    walk = Walk(compile_journey(FITTING), event(1, "e"), segments={"vip"}, traits={"points": 10})

    assert walk.instance.end_reason == "fits"


MORNING = """
key: morning
name: Morning
time_zone: Europe/Amsterdam
entry: {event: e}
steps:
  - {key: wait, wait: {until: 09:30}}
  - {key: done, exit: done}
"""


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-03-02T08:29:59+00:00", "2026-03-02T08:30:00+00:00"),
        ("2026-03-02T08:30:00+00:00", "2026-03-03T08:30:00+00:00"),
        ("2026-03-28T12:00:00+00:00", "2026-03-29T07:30:00+00:00"),  # summer time began at 2:00
        ("2026-10-24T12:00:00+00:00", "2026-10-25T08:30:00+00:00"),  # and ends
    ],
)
def test_a_wait_until_a_time_of_day_follows_the_clocks_of_its_zone(now: str, due: str) -> None:
    moment = NOON.fromisoformat(now)

    walk = Walk(compile_journey(MORNING), event(1, "e", moment), moment)

    assert walk.instance.due_at == NOON.fromisoformat(due)


def test_a_time_of_day_that_summer_time_skips_is_an_hour_later() -> None:
    skipped = MORNING.replace("09:30", "02:30")
    evening = NOON.fromisoformat("2026-03-28T20:00:00+00:00")

    walk = Walk(compile_journey(skipped), event(1, "e", evening), evening)

    assert walk.instance.due_at == NOON.fromisoformat("2026-03-29T01:30:00+00:00")


def test_hours_in_conditions_are_read_in_the_zone_of_the_journey() -> None:
    late = MORNING.replace("{event: e}", "{event: e, when: hour == 13}")

    assert find_entry_key(compile_journey(late), event(1, "e"), facts_of()) == ""


def test_a_loop_goes_round_at_the_pace_of_its_wait() -> None:
    walk = Walk(compile_journey(ROUND), event(1, "e"))

    for turn in range(1, 4):
        walk.pass_time(consent={"p": True})
        assert walk.steps() == ["ping", "rest"]
        assert walk.instance.sequence == 1 + 2 * turn

    assert walk.now == NOON + 3 * HOUR


def test_a_step_without_a_phase_leaves_the_phase_as_it_was() -> None:
    walk = Walk(compile_journey(ROUND), event(1, "e"))

    walk.pass_time()

    assert walk.instance.phase == "orientation"


def test_one_enters_a_segment_by_coming_into_it_not_by_being_in_it() -> None:
    journey, dutch = compile_journey(LAPSING), {"traits": {"country": "NL"}}
    inside, outside = facts_of(segments={"lapsing"}, **dutch), facts_of(**dutch)  # type: ignore[arg-type]

    assert find_entry_key(journey, change(1), inside, outside) == ""
    assert find_entry_key(journey, change(1), inside, None) == ""
    assert find_entry_key(journey, change(1), inside, inside) is None
    assert find_entry_key(journey, change(1), outside, inside) is None
    assert find_entry_key(journey, event(1, "e"), inside, outside) is None


def entered(journey_again: str, is_active: bool = True) -> tuple[bool, bool]:
    """Whether the same event, and a newer one an hour later, let a customer in again."""
    journey = compile_journey(TWICE.replace("{event: e}", f"{{event: e, {journey_again}}}"))
    walk = Walk(journey, event(5, "e"))
    if not is_active:
        walk.apply(event(6, "e"))
        walk.apply(event(7, "e"))
    again = can_enter(journey, walk.instance, UUID(int=5), NOON + HOUR)
    newer = can_enter(journey, walk.instance, UUID(int=8), NOON + HOUR)
    return again, newer


def test_re_entry_follows_its_rule() -> None:
    assert entered("again: once") == (False, False)
    assert entered("again: once", is_active=False) == (False, False)
    assert entered("again: when_ended") == (False, False)
    assert entered("again: when_ended", is_active=False) == (False, True)
    assert entered("again: always") == (False, True)
    assert entered("again: always, cooldown: 1h") == (False, True)
    assert entered("again: always, cooldown: 61m") == (False, False)
    assert can_enter(compile_journey(TWICE), None, UUID(int=1), NOON)


def test_of_two_instances_that_meet_in_a_merge_the_older_stays() -> None:
    old = Walk(compile_journey()).instance
    young = Walk(compile_journey(), now=NOON + HOUR).instance

    assert pick_survivor(young, old) == (old, young)
    assert pick_survivor(old, young) == (old, young)


def test_the_state_of_a_journey_is_that_of_its_latest_active_instance() -> None:
    first = Walk(compile_journey()).instance
    second: Instance = Walk(
        compile_journey(), event(2, "product_added", value=30, cart_id="c2")
    ).instance

    assert journey_facts([first, second])["abandoned_cart"]["phase"] == "orientation"
    assert journey_facts([]) == {}
