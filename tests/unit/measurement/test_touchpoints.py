"""What an event means to measurement."""

from uuid import uuid4

import pytest

from services.contracts.enums import SenderClass
from services.measurement.domain import propositions, touchpoints
from services.measurement.domain.conversions import Conversions
from services.measurement.domain.identities import identity_key
from services.measurement.domain.propositions import NO_FLAGS, OutcomeFlags
from services.measurement.domain.touchpoints import TouchpointKind
from tests.unit.measurement import facts

ORDERS = Conversions(frozenset({"order_completed"}), "EUR")
SPRING = {"campaign": {"name": "spring"}}


def test_an_ordinary_event_is_no_touchpoint() -> None:
    assert touchpoints.from_event(facts.event(uuid4(), "page_viewed"), ORDERS) == []


def test_an_order_on_a_campaigns_visit_is_both() -> None:
    order = facts.event(uuid4(), "order_completed", properties={"revenue": 9.99}, context=SPRING)

    visit, conversion = touchpoints.from_event(order, ORDERS)

    assert (visit.kind, visit.value) == (TouchpointKind.CAMPAIGN_VISIT, None)
    assert conversion.kind == TouchpointKind.CONVERSION
    assert conversion.value is not None
    assert conversion.value.cents == 999


@pytest.mark.parametrize("sender", SenderClass)
def test_an_amount_is_money_if_a_server_or_staff_states_it(sender: SenderClass) -> None:
    loose = Conversions(ORDERS.events, ORDERS.currency, untrusted_values=True)
    order = facts.event(uuid4(), "order_completed", properties={"revenue": 1e5}, sender=sender)

    [found] = touchpoints.from_event(order, ORDERS)
    [believed] = touchpoints.from_event(order, loose)

    assert found.kind == TouchpointKind.CONVERSION
    assert (found.value is not None) == (sender in (SenderClass.SERVER, SenderClass.STAFF))
    assert believed.value is not None


def test_a_touchpoint_keeps_whom_it_came_by_but_not_their_address() -> None:
    visit = facts.event(uuid4(), context=SPRING)

    (found,) = touchpoints.from_event(visit, ORDERS)

    assert found.recorded_for == visit.customer_id
    assert found.identity_key == identity_key("anonymous_id", " browser-1 ")
    assert "browser-1" not in repr(found)


def test_a_message_leaves_its_words_with_journey() -> None:
    found = touchpoints.from_message(facts.message(uuid4()))

    assert found.detail == {
        "journey": "welcome", "version": 1, "step": "greet", "template": "hello"
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["CLICKED", "ACCEPTED", "REJECTED", "CONVERTED", "DISMISSED"])
def test_every_reaction_means_it_was_presented(kind: str) -> None:
    reaction = propositions.from_outcome(facts.outcome(facts.decision(uuid4(), "vinyl"), kind))

    assert reaction.flags == OutcomeFlags.PRESENTED | OutcomeFlags[kind]


def test_an_outcome_of_a_kind_not_known_here_is_refused() -> None:
    sung = facts.outcome(facts.decision(uuid4(), "vinyl"), "SUNG_ABOUT")

    with pytest.raises(ValueError, match="SUNG_ABOUT"):
        propositions.from_outcome(sung)


def test_joined_in_either_order_the_decision_has_the_word() -> None:
    decision_event = facts.decision(uuid4(), "vinyl")
    (decided,) = propositions.from_decision(decision_event)
    reaction = propositions.from_outcome(facts.outcome(decision_event, "CLICKED", customer=uuid4()))

    one, other = propositions.combine(decided, reaction), propositions.combine(reaction, decided)

    assert one == other
    assert (one.recorded_for, one.decided_at) == (
        decision_event.customer_id,
        decision_event.occurred_at,
    )
    assert one.flags == OutcomeFlags.DECIDED | OutcomeFlags.PRESENTED | OutcomeFlags.CLICKED


def test_the_flags_fit_their_column_and_start_from_nothing() -> None:
    assert NO_FLAGS == 0
    assert sum(OutcomeFlags) < 2**15
