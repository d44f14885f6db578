"""The instances of some customers while stimuli move them, one by one, in one transaction."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from services.contracts.base import Json
from services.journey.domain import state_machine
from services.journey.domain.instance import (
    ChangeStimulus,
    Effect,
    EventStimulus,
    Instance,
    Stimulus,
)
from services.journey.domain.journey import Journey
from services.journey.domain.state_machine import Advance
from services.journey.service.journey_cache import JourneySet
from services.journey.store.customers import CustomerSnapshot
from services.rules import Declaration, Facts

InstanceKey = tuple[UUID, str, str]
"""Customer, journey, key."""


def build_facts(document: Mapping[str, Json], now: datetime, declaration: Declaration) -> Facts:
    answered = document.get("series_versions", {}).get("journey", 0)
    return Facts(
        now=now,
        traits=document["traits"],
        segments=frozenset(document["segments"]),
        consent=document["consents"],
        history=declaration.mask_unanswered(document["series"], answered),
    )


def fill_unknown_history(then: Facts, now: Facts) -> Facts:
    """Earlier facts, with the series that were unknown then as they are now.

    So looking up what a customer did long ago does not count as something they do now.
    """
    unknown = {key for key, state in then.history.items() if state is None}
    if not unknown:
        return then
    known = {key: state for key, state in then.history.items() if key not in unknown}
    found = {key: state for key, state in now.history.items() if key in unknown}
    return replace(then, history={**known, **found})


class JourneyState:
    """Customers' facts and instances; collects all that changes."""

    def __init__(
        self,
        journeys: JourneySet,
        now: datetime,
        snapshots: Mapping[UUID, CustomerSnapshot],
        instances: Iterable[Instance],
        new_id: Callable[[], UUID],
    ) -> None:
        self._journeys = journeys
        self._now = now
        self._new_id = new_id
        self.stamp = journeys.stamp
        self._facts = {
            customer: build_facts(snapshot.document, now, journeys.declaration)
            for customer, snapshot in snapshots.items()
        }
        self._active: defaultdict[UUID, dict[UUID, Instance]] = defaultdict(dict)
        self._last: dict[InstanceKey, Instance] = {}
        self.before: dict[UUID, Instance] = {}
        """Changed instances as they were; one that is new is not among them."""
        self.changed: dict[UUID, Instance] = {}
        self.effects: list[Effect] = []
        for instance in sorted(instances, key=lambda instance: instance.id):
            self.before[instance.id] = instance
            self._remember(instance)

    def apply_stimulus(self, customer: UUID, stimulus: Stimulus) -> None:
        """Apply a stimulus to all active instances of a customer."""
        for instance in list(self._active[customer].values()):
            self.apply_to(instance, stimulus)

    def apply_to(self, instance: Instance, stimulus: Stimulus) -> None:
        journey = self._journeys.get(instance.journey, instance.version)
        facts = self._facts_of(instance.customer_id)
        self._apply(state_machine.advance(journey, instance, stimulus, facts, self._now))

    def end(self, instance: Instance, reason: str) -> None:
        self._apply(state_machine.end(instance, reason, self._now))

    def enter(
        self,
        customer: UUID,
        stimulus: EventStimulus | ChangeStimulus,
        journeys: Sequence[Journey],
        before: Facts | None = None,
    ) -> None:
        """Let a customer into those of these journeys that a stimulus opens to them."""
        for journey in journeys:
            facts = self._facts_of(customer)
            if before is not None:
                before = replace(fill_unknown_history(before, facts), journeys=facts.journeys)
            key = state_machine.find_entry_key(journey, stimulus, facts, before)
            if key is not None:
                self._enter(customer, stimulus, journey, key)

    def _enter(
        self, customer: UUID, stimulus: EventStimulus | ChangeStimulus, journey: Journey, key: str
    ) -> None:
        last = self._last.get((customer, journey.key, key))
        if not state_machine.can_enter(journey, last, stimulus.id, self._now):
            return
        if last is not None and last.is_active:
            self.end(last, state_machine.RESTARTED)
        facts = self._facts_of(customer)
        self._apply(
            state_machine.begin(journey, self._new_id(), customer, key, stimulus, facts, self._now)
        )

    def _facts_of(self, customer: UUID) -> Facts:
        facts = self._facts.get(customer) or Facts(now=self._now)
        return replace(
            facts, journeys=state_machine.journey_facts(list(self._active[customer].values()))
        )

    def _apply(self, advance: Advance) -> None:
        if advance.instance == self.before.get(advance.instance.id):
            return
        self._remember(advance.instance)
        self.changed[advance.instance.id] = advance.instance
        self.effects += advance.effects

    def _remember(self, instance: Instance) -> None:
        if instance.is_active:
            self._active[instance.customer_id][instance.id] = instance
        else:
            self._active[instance.customer_id].pop(instance.id, None)
        key = (instance.customer_id, instance.journey, instance.key)
        if key not in self._last or self._last[key].id <= instance.id:
            self._last[key] = instance
