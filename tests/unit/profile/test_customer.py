"""What a call changes of a customer, and what their snapshot says."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.contracts.enums import SenderClass
from services.profile.domain.calls import (
    Call,
    ConsentChoice,
    TooManyPurposes,
    TooManyTraits,
    TraitsTooLarge,
)
from services.profile.domain.customer import Customer, CustomerLimits, ObservationKey
from services.profile.domain.enums import ConsentStatus, LawfulBasis
from services.profile.domain.identities import Identity
from services.profile.domain.segment_definitions import ComputedVersion, Segment, SegmentDefinitions
from services.rules import SeriesSet, parse

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
WEB, SHOP = Identity("anonymous_id", "a"), Identity("crm_id", "k")


def call(minutes: int = 0, came_by: Identity = WEB, **fields: Any) -> Call:
    """A call some minutes after NOW."""
    at = NOW + timedelta(minutes=minutes)
    plain = {"name": "x", "kind": "track", "properties": {}, "context": {}, "message_id": "m"}
    return Call(
        **{"sender": SenderClass.SERVER, **plain, **fields},
        event_id=UUID(int=1),
        occurred_at=at,
        received_at=at,
        identities=(came_by,),
    )


def consent(status: ConsentStatus) -> ConsentChoice:
    """A word on a purpose."""
    return ConsentChoice(status, "web", LawfulBasis.CONSENT)


def test_the_latest_observation_counts_whatever_order_it_comes_in() -> None:
    customer = Customer(UUID(int=7))

    customer.learn(call(5, traits={"city": "Breda"}))
    customer.learn(call(1, traits={"city": "Utrecht", "age": 40}))

    assert customer.trait_values() == {"city": "Breda", "age": 40}


def test_the_latest_counts_across_identities_and_both_are_kept() -> None:
    customer = Customer(UUID(int=7))

    customer.learn(call(1, SHOP, traits={"city": "Breda"}))
    customer.learn(call(2, WEB, traits={"city": "Utrecht"}))

    assert customer.trait_values() == {"city": "Utrecht"}
    assert customer.traits.keys() == {
        ObservationKey("city", SHOP, SenderClass.SERVER),
        ObservationKey("city", WEB, SenderClass.SERVER),
    }


def test_a_trait_set_to_null_is_taken_back() -> None:
    customer = Customer(UUID(int=7))

    customer.learn(call(1, traits={"city": "Breda"}))
    customer.learn(call(2, traits={"city": None}))

    assert customer.trait_values() == {}


def test_repeating_a_consent_keeps_the_moment_it_was_given() -> None:
    customer = Customer(UUID(int=7))

    for minutes in range(3):
        customer.learn(call(minutes, consents={"email": consent(ConsentStatus.GIVEN)}))

    assert customer.consents[ObservationKey("email", WEB, SenderClass.SERVER)].changed_at == NOW


@pytest.mark.parametrize("lower", [SenderClass.VISITOR, SenderClass.WRITE_KEY, SenderClass.APP])
@pytest.mark.parametrize("value", ["platinum", None])
def test_a_lower_class_neither_replaces_a_higher_ones_value_nor_takes_it_back(
    lower: SenderClass, value: str | None
) -> None:
    server_first, lower_first = Customer(UUID(int=7)), Customer(UUID(int=8))
    by_server = call(1, SHOP, traits={"tier": "silver"})
    by_lower = call(2, traits={"tier": value}, sender=lower)

    for one in (by_server, by_lower):
        server_first.learn(one)
    for one in (by_lower, by_server):
        lower_first.learn(one)

    assert server_first.trait_values() == lower_first.trait_values() == {"tier": "silver"}
    assert server_first.current_traits()["tier"][1] is SenderClass.SERVER


def test_what_a_server_took_back_a_visitor_may_say_anew_but_not_as_it_was() -> None:
    customer = Customer(UUID(int=7))

    customer.learn(call(1, traits={"city": "Breda"}, sender=SenderClass.VISITOR))
    customer.learn(call(2, SHOP, traits={"city": None}))
    removed = customer.trait_values()
    customer.learn(call(3, traits={"city": "Delft"}, sender=SenderClass.VISITOR))

    assert (removed, customer.trait_values()) == ({}, {"city": "Delft"})


GIVEN, DENIED = ConsentStatus.GIVEN, ConsentStatus.DENIED
OTHERS = [one for one in SenderClass if one is not SenderClass.WRITE_KEY]


def words(*choices: tuple[SenderClass, ConsentStatus]) -> Customer:
    """A customer after words on one purpose, a minute after one another."""
    customer = Customer(UUID(int=7))
    for minutes, (sender, status) in enumerate(choices):
        customer.learn(call(minutes, consents={"email": consent(status)}, sender=sender))
    return customer


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("loose", [s for s in ConsentStatus if s is not ConsentStatus.DENIED])
def test_a_write_key_only_withdraws_what_others_have_said(
    other: SenderClass, loose: ConsentStatus
) -> None:
    key = SenderClass.WRITE_KEY

    assert words((other, DENIED), (key, loose)).consent_values() == {"email": False}
    assert words((key, loose), (other, DENIED)).consent_values() == {"email": False}
    assert words((other, GIVEN), (key, DENIED)).consent_values() == {"email": False}
    assert words((key, DENIED), (other, GIVEN)).consent_values() == {"email": True}


def test_a_write_key_does_not_wash_a_withdrawal_away_by_repeating_it_first() -> None:
    key, server = SenderClass.WRITE_KEY, SenderClass.SERVER

    customer = words((server, DENIED), (key, DENIED), (key, GIVEN))

    assert customer.consent_values() == {"email": False}


def test_a_write_key_gives_where_nobody_else_has_said_anything() -> None:
    key = SenderClass.WRITE_KEY

    assert words((key, DENIED), (key, GIVEN)).consent_values() == {"email": True}


def test_the_snapshot_holds_only_consents_that_decide_something() -> None:
    customer = Customer(UUID(int=7))

    customer.learn(call(consents={status.value: consent(status) for status in ConsentStatus}))

    assert customer.snapshot(UUID(int=9), NOW, {}).consents == {
        "GIVEN": True,
        "DEFAULT_GIVEN": True,
        "DENIED": False,
        "DEFAULT_DENIED": False,
    }


def test_the_snapshot_names_the_traits_that_only_a_browser_or_an_app_stands_for() -> None:
    key, app = SenderClass.WRITE_KEY, SenderClass.APP
    customer = Customer(UUID(int=7))

    customer.learn(call(1, traits={"city": "Breda", "age": 40, "tier": "gold"}))
    customer.learn(call(2, sender=key, traits={"city": "Rome", "band": "x", "gone": 1}))
    customer.learn(call(3, sender=app, traits={"tier": "platinum", "shoe": 42}))
    customer.learn(call(4, sender=key, traits={"gone": None}))
    before = customer.snapshot(UUID(int=9), NOW, {})
    customer.learn(call(5, SHOP, traits={"band": "x"}))

    assert set(before.unproved_traits) == {"band", "shoe"}
    assert customer.snapshot(UUID(int=9), NOW, {}).unproved_traits == ("shoe",)


def definitions(*conditions: str) -> SegmentDefinitions:
    """Segments s0, s1, … of these conditions."""
    return SegmentDefinitions(
        1,
        tuple(Segment(f"s{n}", 1, "", "", text, NOW) for n, text in enumerate(conditions)),
        (),
    )


def test_it_is_news_that_a_customer_has_no_events_of_a_series_somebody_asked_for() -> None:
    declared = tuple(parse('events.count("x") == 0').needs.series)
    needed = SegmentDefinitions(2, (), declared, {"decision": 5})
    current, late = Customer(UUID(int=7)), Customer(UUID(int=8))

    needed.recompute_series(late, ComputedVersion((), {}), SeriesSet(declared), [], NOW)
    needed.recompute_series(
        current, ComputedVersion((), {"decision": 5}), SeriesSet(declared), [], NOW
    )

    assert (late.is_changed, current.is_changed) == (True, False)
    snapshot = late.snapshot(UUID(int=9), NOW, needed.answers)
    assert (snapshot.series, snapshot.series_versions) == ({}, {"decision": 5})


def test_segments_say_when_time_alone_will_change_them() -> None:
    rules = definitions('events.count("x", last="2d") >= 1', 'events.count("x", last="9d") >= 1')
    customer = Customer(UUID(int=7))

    rules.observe(customer, call(), NOW)
    rules.assign_segments(customer, NOW)
    first = customer.reevaluate_at
    rules.assign_segments(customer, NOW + timedelta(days=2))

    assert first == NOW + timedelta(days=2)
    assert (customer.segments, customer.old_segments) == ({"s1": NOW}, {"s0"})
    assert customer.reevaluate_at == NOW + timedelta(days=9)


def test_features_are_named_as_their_author_wrote_them() -> None:
    rules = definitions(
        'events.count("x",\n   last="2d") >= 1',
        "events.last('x') > date('2020-01-01') and not exists(events.sum(\"x\", total))",
    )
    customer = Customer(UUID(int=7))
    rules.observe(customer, call(properties={"total": 2}), NOW)

    assert rules.feature_values(customer, NOW) == {
        'events.count("x", last="2d")': 1,
        "events.last('x')": NOW.isoformat(),
        'events.sum("x", total)': 2,
    }


def test_a_customer_of_an_older_rulebook_lacks_only_what_was_not_kept() -> None:
    old = definitions('events.count("x", last="2d") >= 1', 'events.count("y") >= 1')
    new = definitions('events.count("x", last="3d") >= 1', 'events.count("y") >= 1')

    lacking = new.missing_series(old.series.series.values())

    assert list(lacking.series) == ['"x"']


SMALL = CustomerLimits(traits=3, value_bytes=100, traits_bytes=200, purposes=2)


def test_a_trait_too_many_is_refused_and_nothing_of_its_call_is_learnt() -> None:
    customer = Customer(UUID(int=7))
    customer.learn(call(1, traits={"a": 1, "b": 2}), SMALL)

    with pytest.raises(TooManyTraits, match="4 traits, over the limit of 3"):
        customer.learn(
            call(2, traits={"c": 3, "d": 4}, consents={"email": consent(ConsentStatus.GIVEN)}),
            SMALL,
        )

    assert customer.trait_values() == {"a": 1, "b": 2}
    assert customer.consents == {}


def test_a_trait_taken_back_makes_room_and_always_may_be() -> None:
    customer = Customer(UUID(int=7))
    customer.learn(call(1, traits={"a": 1, "b": 2, "c": 3}), SMALL)

    customer.learn(call(2, traits={"a": None, "z": None}), SMALL)
    customer.learn(call(3, traits={"d": 4}), SMALL)

    assert customer.trait_values() == {"b": 2, "c": 3, "d": 4}


def test_a_trait_too_large_is_named_with_its_size() -> None:
    customer = Customer(UUID(int=7))

    with pytest.raises(TraitsTooLarge, match="'bio' has 105 bytes as JSON, over the limit of 100"):
        customer.learn(call(traits={"bio": "x" * 100}), SMALL)


def test_traits_too_large_together_are_refused() -> None:
    customer = Customer(UUID(int=7))
    customer.learn(call(1, traits={"a": "x" * 90, "b": "x" * 90}), SMALL)

    with pytest.raises(TraitsTooLarge, match="over the limit of 200"):
        customer.learn(call(2, traits={"c": "x" * 90}), SMALL)

    customer.learn(call(3, traits={"a": "y" * 90}), SMALL)
    assert customer.trait_values() == {"a": "y" * 90, "b": "x" * 90}


def test_who_has_too_much_already_may_get_less_and_other_values() -> None:
    customer = Customer(UUID(int=7))
    customer.learn(call(1, traits={f"t{number}": "x" * 50 for number in range(10)}))

    customer.learn(call(2, traits={"t0": None}), SMALL)
    customer.learn(call(3, traits={"t1": "y"}), SMALL)

    assert len(customer.trait_values()) == 9
    with pytest.raises(TooManyTraits):
        customer.learn(call(4, traits={"t0": "again", "t10": "more"}), SMALL)


def test_an_older_value_that_changes_nothing_is_not_refused() -> None:
    customer = Customer(UUID(int=7))
    customer.learn(call(5, traits={"a": "x", "b": "x", "c": "x"}), SMALL)

    customer.learn(call(1, SHOP, traits={"a": "y" * 90}), SMALL)

    assert customer.trait_values() == {"a": "x", "b": "x", "c": "x"}


def test_taking_back_what_was_never_told_takes_no_room_for_ever() -> None:
    customer = Customer(UUID(int=7))
    for number in range(20):
        customer.learn(call(number, traits={f"t{number}": None}), SMALL)
        customer.learn(call(number, traits={"kept": number}), SMALL)

    assert len(customer.traits) <= 2 * SMALL.traits
    assert customer.trait_values() == {"kept": 19}
    assert {filed.name for filed in customer.old_traits} == {f"t{number}" for number in range(15)}


def test_a_purpose_too_many_is_refused_and_a_word_on_a_known_one_never() -> None:
    customer = Customer(UUID(int=7))
    granted, denied = consent(ConsentStatus.GIVEN), consent(ConsentStatus.DENIED)
    customer.learn(call(1, consents={"email": granted, "sms": granted}), SMALL)

    with pytest.raises(TooManyPurposes, match="3 purposes, over the limit of 2"):
        customer.learn(call(2, consents={"post": granted}), SMALL)
    customer.learn(call(3, consents={"email": denied}), SMALL)

    assert customer.consent_values() == {"email": False, "sms": True}


# --- room, and who says so ------------------------------------------------------------------

STAFF, SERVER, PAGE = SenderClass.STAFF, SenderClass.SERVER, SenderClass.WRITE_KEY


def by(sender: SenderClass, minute: int, traits: dict[str, Any]) -> Call:
    """A call by a class of sender."""
    return call(minute, traits=traits)._replace(sender=sender)


def test_a_write_key_fills_a_customer_up_for_itself_only() -> None:
    customer = Customer(UUID(int=7))
    customer.learn(by(PAGE, 1, {"a": "x" * 60, "b": "x" * 60, "c": "x" * 60}), SMALL)

    customer.learn(by(SERVER, 2, {"d": "y" * 90, "e": "y" * 90}), SMALL)

    assert customer.trait_values().keys() == {"a", "b", "c", "d", "e"}
    with pytest.raises(TooManyTraits, match="6 traits"):
        customer.learn(by(PAGE, 3, {"f": 1}), SMALL)


def test_a_write_key_leaves_room_for_purposes_of_who_is_believed_more() -> None:
    customer = Customer(UUID(int=7))
    granted = consent(ConsentStatus.GIVEN)
    junk = call(1, consents={"x1": granted, "x2": granted})._replace(sender=PAGE)
    customer.learn(junk, SMALL)

    customer.learn(call(2, consents={"email": granted, "sms": granted}), SMALL)

    assert customer.consent_values().keys() == {"x1", "x2", "email", "sms"}
    with pytest.raises(TooManyPurposes):
        customer.learn(call(3, consents={"x3": granted})._replace(sender=PAGE), SMALL)


def test_what_a_higher_word_hides_counts_while_it_may_come_to_light() -> None:
    customer = Customer(UUID(int=7))
    customer.learn(by(SERVER, 1, {"a": 1, "b": 1, "c": 1}), SMALL)
    customer.learn(by(PAGE, 3, {"a": "x" * 90, "b": "x" * 90}), SMALL)

    with pytest.raises(TraitsTooLarge, match="over the limit of 200"):
        customer.learn(by(PAGE, 3, {"c": "x" * 90}), SMALL)

    customer.learn(by(SERVER, 2, dict.fromkeys("abc")), SMALL)  # taken back before that, told late
    assert customer.trait_values() == {"a": "x" * 90, "b": "x" * 90}


def test_what_can_never_come_to_light_again_takes_no_room() -> None:
    customer = Customer(UUID(int=7))
    customer.learn(by(PAGE, 1, {"a": "x" * 90, "b": "x" * 90, "c": 1}), SMALL)
    customer.learn(by(SERVER, 2, {"a": 1, "b": None}), SMALL)

    customer.learn(by(PAGE, 3, {"d": "x" * 90}), SMALL)

    assert customer.trait_values() == {"a": 1, "c": 1, "d": "x" * 90}


def test_forgetting_what_was_taken_back_brings_nothing_older_to_light() -> None:
    customer = Customer(UUID(int=7))
    customer.learn(by(PAGE, 1, {"a": "lower"}), SMALL)
    customer.learn(call(1, SHOP, traits={"a": "elsewhere"}), SMALL)
    customer.learn(by(SERVER, 2, {"a": None}), SMALL)

    for number in range(20):
        customer.learn(by(SERVER, 3 + number, {f"t{number}": None, "kept": number}), SMALL)

    assert customer.trait_values() == {"kept": 19}
    assert len(customer.traits) <= 2 * SMALL.traits
    assert {filed.name for filed in customer.old_traits} >= {"a", "t0"}
