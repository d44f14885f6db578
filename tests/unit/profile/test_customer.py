"""What a call changes of a customer, and what the snapshot says of him."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from services.contracts.words import SenderClass
from services.profile.domain.calls import Call, ConsentGiven
from services.profile.domain.customer import Customer
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
        sender=SenderClass.SERVER,
        **{**plain, **fields},
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
    assert customer.traits.keys() == {("city", SHOP), ("city", WEB)}


def test_a_trait_set_to_null_is_taken_back() -> None:
    customer = Customer(UUID(int=7))

    customer.learn(call(1, traits={"city": "Breda"}))
    customer.learn(call(2, traits={"city": None}))

    assert customer.trait_values() == {}


def test_repeating_a_consent_keeps_the_moment_it_was_given() -> None:
    customer = Customer(UUID(int=7))

    for minutes in range(3):
        customer.learn(call(minutes, consents={"email": consent(ConsentStatus.GIVEN)}))

    assert customer.consents[("email", WEB)].changed_at == NOW


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
