"""Where some customers stand while things happen to them, one after another, in one transaction."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from services.contracts.base import Json
from services.journey.domain import state_machine
from services.journey.domain.instance import Changed, Effect, Happened, Instance, Stimulus
from services.journey.domain.journey import Journey
from services.journey.domain.state_machine import Advance
from services.journey.service.journey_cache import Book
from services.journey.store.customers import Snapshot
from services.rules import Declaration, Facts

InstanceKey = tuple[UUID, str, str]
"""Customer, journey, key."""


def facts_of(document: Mapping[str, Json], now: datetime, declaration: Declaration) -> Facts:
    """A snapshot as conditions see it at a moment."""
    answered = document.get("series_versions", {}).get("journey", 0)
    return Facts(
        now=now,
        traits=document["traits"],
        segments=frozenset(document["segments"]),
        consent=document["consents"],
        history=declaration.known(document["series"], answered),
    )


def as_then(then: Facts, now: Facts) -> Facts:
    """Facts of before, with the histories that were not known then as they are found now.

    So that looking up what a customer did long ago does not count as something he did.
    """
    unknown = {key for key, state in then.history.items() if state is None}
    if not unknown:
        return then
    known = {key: state for key, state in then.history.items() if key not in unknown}
    found = {key: state for key, state in now.history.items() if key in unknown}
    return replace(then, history={**known, **found})


class Standing:
    """Customers, what is known of them, and their instances; remembers all that changes."""

    def __init__(
        self,
        book: Book,
        now: datetime,
        snapshots: Mapping[UUID, Snapshot],
        instances: Iterable[Instance],
        new_id: Callable[[], UUID],
    ) -> None:
        self._book = book
        self._now = now
        self._new_id = new_id
        self.number = book.number
        self._facts = {
            who: facts_of(held.document, now, book.declaration) for who, held in snapshots.items()
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

    def stir(self, customer: UUID, stimulus: Stimulus) -> None:
        """Let something happen to all that a customer is under way on."""
        for instance in list(self._active[customer].values()):
            self.move(instance, stimulus)

    def move(self, instance: Instance, stimulus: Stimulus) -> None:
        """Let something happen to one instance."""
        journey = self._book.journey(instance.journey, instance.version)
        facts = self._known(instance.customer_id)
        self._apply(state_machine.advance(journey, instance, stimulus, facts, self._now))

    def end(self, instance: Instance, reason: str) -> None:
        """End an instance where it stands."""
        self._apply(state_machine.end(instance, reason, self._now))

    def admit(
        self,
        customer: UUID,
        stimulus: Happened | Changed,
        journeys: Sequence[Journey],
        before: Facts | None = None,
    ) -> None:
        """Let a customer into those of these journeys that a stimulus opens to him."""
        for journey in journeys:
            facts = self._known(customer)
            if before is not None:
                before = replace(as_then(before, facts), journeys=facts.journeys)
            key = state_machine.entry_key(journey, stimulus, facts, before)
            if key is not None:
                self._admit(customer, stimulus, journey, key)

    def _admit(
        self, customer: UUID, stimulus: Happened | Changed, journey: Journey, key: str
    ) -> None:
        last = self._last.get((customer, journey.key, key))
        if not state_machine.may_enter(journey, last, stimulus.id, self._now):
            return
        if last is not None and last.active:
            self.end(last, state_machine.RESTARTED)
        facts = self._known(customer)
        self._apply(
            state_machine.begin(journey, self._new_id(), customer, key, stimulus, facts, self._now)
        )

    def _known(self, customer: UUID) -> Facts:
        """What is known of a customer, his journeys as they are now among it."""
        facts = self._facts.get(customer) or Facts(now=self._now)
        return replace(facts, journeys=state_machine.states(list(self._active[customer].values())))

    def _apply(self, advance: Advance) -> None:
        if advance.instance == self.before.get(advance.instance.id):
            return
        self._remember(advance.instance)
        self.changed[advance.instance.id] = advance.instance
        self.effects += advance.effects

    def _remember(self, instance: Instance) -> None:
        if instance.active:
            self._active[instance.customer_id][instance.id] = instance
        else:
            self._active[instance.customer_id].pop(instance.id, None)
        key = (instance.customer_id, instance.journey, instance.key)
        if key not in self._last or self._last[key].id <= instance.id:
            self._last[key] = instance
