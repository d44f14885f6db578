"""Journeys, stimuli and facts for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from services.journey.domain.instance import (
    ChangeStimulus,
    EntryEffect,
    EventStimulus,
    Instance,
    Stimulus,
    TimerStimulus,
)
from services.journey.domain.journey import Journey
from services.journey.domain.state_machine import Advance, advance, begin, find_entry_key
from services.journey.service.publishing import parse_definition
from services.rules import Facts

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
"""A Monday in winter time."""

ANN = UUID(int=0xA)

CART = """
key: abandoned_cart
name: Abandoned cart
entry:
  event: product_added
  when: event.value >= 20
  key: event.cart_id
exit_when:
  - event: order_completed
    key: event.cart_id
    reason: bought
  - segment: no_messages
steps:
  - key: think
    phase: orientation
    wait: {for: 2h}
  - key: has_mail
    branch:
      - {when: consent.email_marketing and exists(traits.email), next: remind}
    otherwise: gone
  - key: remind
    phase: purchase
    send:
      channel: EMAIL
      template: cart_reminder
      purpose: email_marketing
      content:
        subject: "{{ traits.first_name | Hello }}, your {{ event.product }} is waiting"
        lines: ["Cart {{ key }}", 3]
  - key: answer
    wait:
      event: mail_clicked
      when: event.template == "cart_reminder"
      timeout: 3d
      on_timeout: gone
  - key: helped
    exit: clicked
  - key: gone
    exit: not interested
"""


TWICE = """
key: twice
name: Twice the same
entry: {event: e}
steps:
  - {key: one, wait: {event: e, timeout: 1d}}
  - {key: two, wait: {event: e, timeout: 1d}}
  - {key: done, exit: done}
"""

ROUND = """
key: round
name: Round and round
entry: {event: e}
exit_when: [{event: stop}]
steps:
  - {key: rest, phase: orientation, wait: {for: 1h}}
  - {key: ping, send: {channel: APP, template: ping, purpose: p}, next: rest}
"""

LAPSING = """
key: win_back
name: Win back
entry: {segment: lapsing, when: traits.country == "NL"}
steps:
  - {key: rest, wait: {for: 1h}}
  - {key: done, exit: done}
"""


def compile_journey(yaml: str = CART, version: int = 1) -> Journey:
    """A journey from its YAML."""
    return Journey(parse_definition(yaml), version)


def event(number: int, name: str, at: datetime = NOON, **properties: Any) -> EventStimulus:
    """Something that happened; events are recorded in the order of their numbers."""
    return EventStimulus(UUID(int=number), name, at, properties)


def change(number: int, at: datetime = NOON) -> ChangeStimulus:
    """A change of what is known."""
    return ChangeStimulus(UUID(int=number), at)


def facts_of(now: datetime = NOON, **facts: Any) -> Facts:
    """Facts of the customer."""
    return Facts(now=now, **facts)


ADDED = event(1, "product_added", value=25, cart_id="c1", product="LP")


class Walk:
    """An instance and what the last stimulus did to it."""

    def __init__(
        self,
        journey: Journey,
        first: EventStimulus | ChangeStimulus = ADDED,
        now: datetime = NOON,
        **facts: Any,
    ) -> None:
        self.journey = journey
        self.now = now
        key = find_entry_key(journey, first, facts_of(now, **facts))
        assert key is not None
        instance_id = UUID(int=0x100)
        self.last = begin(journey, instance_id, ANN, key, first, facts_of(now, **facts), now)

    @property
    def instance(self) -> Instance:
        """Where it stands."""
        return self.last.instance

    def apply(self, stimulus: Stimulus, after: timedelta = timedelta(0), **facts: Any) -> Advance:
        """Apply a stimulus a while later."""
        self.now += after
        self.last = advance(
            self.journey, self.instance, stimulus, facts_of(self.now, **facts), self.now
        )
        return self.last

    def pass_time(self, **facts: Any) -> Advance:
        """Let its timer go off."""
        assert self.instance.due_at is not None
        return self.apply(TimerStimulus(), self.instance.due_at - self.now, **facts)

    def steps(self) -> list[str]:
        """The steps of the last advance."""
        return [
            effect.instance.step for effect in self.last.effects if isinstance(effect, EntryEffect)
        ]
