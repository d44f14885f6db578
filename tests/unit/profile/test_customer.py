"""What a call changes of a customer, and what the snapshot says of him."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.contracts.words import SenderClass
from services.profile.domain.calls import Call, ConsentGiven
from services.profile.domain.customer import Customer, Filed
from services.profile.domain.identities import Identity
from services.profile.domain.rulebook import Kept, Rulebook, Segment
from services.profile.domain.words import ConsentStatus, LawfulBasis
from services.rules import SEGMENT, SeriesSet, parse

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


def consent(status: ConsentStatus) -> ConsentGiven:
    """A word on a purpose."""
    return ConsentGiven(status, "web", LawfulBasis.CONSENT)


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
        Filed("city", SHOP, SenderClass.SERVER),
        Filed("city", WEB, SenderClass.SERVER),
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

    assert customer.consents[Filed("email", WEB, SenderClass.SERVER)].changed_at == NOW


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
    taken_back = customer.trait_values()
    customer.learn(call(3, traits={"city": "Delft"}, sender=SenderClass.VISITOR))

    assert (taken_back, customer.trait_values()) == ({}, {"city": "Delft"})


GIVEN, DENIED = ConsentStatus.GIVEN, ConsentStatus.DENIED
OTHERS = [one for one in SenderClass if one is not SenderClass.WRITE_KEY]


def words(*said: tuple[SenderClass, ConsentStatus]) -> Customer:
    """A customer after words on one purpose, a minute after one another."""
    customer = Customer(UUID(int=7))
    for minutes, (sender, status) in enumerate(said):
        customer.learn(call(minutes, consents={"email": consent(status)}, sender=sender))
    return customer


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("loose", [s for s in ConsentStatus if s is not ConsentStatus.DENIED])
def test_a_write_key_only_withdraws_what_others_have_said(
    other: SenderClass, loose: ConsentStatus
) -> None:
    key = SenderClass.WRITE_KEY

    assert words((other, DENIED), (key, loose)).decided_consents() == {"email": False}
    assert words((key, loose), (other, DENIED)).decided_consents() == {"email": False}
    assert words((other, GIVEN), (key, DENIED)).decided_consents() == {"email": False}
    assert words((key, DENIED), (other, GIVEN)).decided_consents() == {"email": True}


def test_a_write_key_does_not_wash_a_withdrawal_away_by_repeating_it_first() -> None:
    key, server = SenderClass.WRITE_KEY, SenderClass.SERVER

    customer = words((server, DENIED), (key, DENIED), (key, GIVEN))

    assert customer.decided_consents() == {"email": False}


def test_a_write_key_gives_where_nobody_else_has_said_anything() -> None:
    key = SenderClass.WRITE_KEY

    assert words((key, DENIED), (key, GIVEN)).decided_consents() == {"email": True}


def test_the_snapshot_holds_only_consents_that_decide_something() -> None:
    customer = Customer(UUID(int=7))

    customer.learn(call(consents={status.value: consent(status) for status in ConsentStatus}))

    assert customer.snapshot(UUID(int=9), NOW, {}).consents == {
        "GIVEN": True,
        "DEFAULT_GIVEN": True,
        "DENIED": False,
        "DEFAULT_DENIED": False,
    }


def rulebook(*conditions: str) -> Rulebook:
    """Segments s0, s1, … of these conditions."""
    return Rulebook(
        1,
        tuple(
            Segment(f"s{n}", 1, "", "", parse(text, SEGMENT), NOW)
            for n, text in enumerate(conditions)
        ),
        (),
    )


def test_it_is_news_that_a_customer_has_no_events_of_a_series_somebody_asked_for() -> None:
    declared = tuple(parse('events.count("x") == 0').needs.series)
    asked = Rulebook(2, (), declared, {"decision": 5})
    told, late = Customer(UUID(int=7)), Customer(UUID(int=8))

    asked.catch_up(late, Kept((), {}), SeriesSet(declared), [], NOW)
    asked.catch_up(told, Kept((), {"decision": 5}), SeriesSet(declared), [], NOW)

    assert (late.changed, told.changed) == (True, False)
    snapshot = late.snapshot(UUID(int=9), NOW, asked.answers)
    assert (snapshot.series, snapshot.series_versions) == ({}, {"decision": 5})


def test_segments_say_when_time_alone_will_change_them() -> None:
    rules = rulebook('events.count("x", last="2d") >= 1', 'events.count("x", last="9d") >= 1')
    customer = Customer(UUID(int=7))

    rules.observe(customer, call(), NOW)
    rules.decide(customer, NOW)
    first = customer.reevaluate_at
    rules.decide(customer, NOW + timedelta(days=2))

    assert first == NOW + timedelta(days=2)
    assert (customer.segments, customer.left) == ({"s1": NOW}, {"s0"})
    assert customer.reevaluate_at == NOW + timedelta(days=9)


def test_features_are_named_as_their_author_wrote_them() -> None:
    rules = rulebook(
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
    old = rulebook('events.count("x", last="2d") >= 1', 'events.count("y") >= 1')
    new = rulebook('events.count("x", last="3d") >= 1', 'events.count("y") >= 1')

    lacking = new.missing(old.series.series.values())

    assert list(lacking.series) == ['"x"']
