"""Where some customers stand while things happen to them, one after another, in one transaction."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from services.contracts.base import Json
from services.journey.domain import state_machine
from services.journey.domain.instance import Changed, Effect, Happened, Run, Stimulus
from services.journey.domain.journey import Journey
from services.journey.domain.state_machine import Advance
from services.journey.service.journey_cache import Book
from services.journey.store.customers import Snapshot
from services.rules import Declaration, Facts

RunKey = tuple[UUID, str, str]
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
    """Customers, what is known of them, and their runs; remembers all that changes."""

    def __init__(
        self,
        book: Book,
        now: datetime,
        snapshots: Mapping[UUID, Snapshot],
        runs: Iterable[Run],
        new_id: Callable[[], UUID],
    ) -> None:
        self._book = book
        self._now = now
        self._new_id = new_id
        self.number = book.number
        self._facts = {
            who: facts_of(held.document, now, book.declaration) for who, held in snapshots.items()
        }
        self._active: defaultdict[UUID, dict[UUID, Run]] = defaultdict(dict)
        self._last: dict[RunKey, Run] = {}
        self.before: dict[UUID, Run] = {}
        """Changed runs as they were; a run that is new is not among them."""
        self.changed: dict[UUID, Run] = {}
        self.effects: list[Effect] = []
        for run in sorted(runs, key=lambda run: run.id):
            self.before[run.id] = run
            self._remember(run)

    def stir(self, customer: UUID, stimulus: Stimulus) -> None:
        """Let something happen to all that a customer is under way on."""
        for run in list(self._active[customer].values()):
            self.move(run, stimulus)

    def move(self, run: Run, stimulus: Stimulus) -> None:
        """Let something happen to one run."""
        journey = self._book.journey(run.journey, run.version)
        facts = self._known(run.customer_id)
        self._apply(state_machine.advance(journey, run, stimulus, facts, self._now))

    def end(self, run: Run, reason: str) -> None:
        """End a run where it stands."""
        self._apply(state_machine.end(run, reason, self._now))

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
        if advance.run == self.before.get(advance.run.id):
            return
        self._remember(advance.run)
        self.changed[advance.run.id] = advance.run
        self.effects += advance.effects

    def _remember(self, run: Run) -> None:
        if run.active:
            self._active[run.customer_id][run.id] = run
        else:
            self._active[run.customer_id].pop(run.id, None)
        key = (run.customer_id, run.journey, run.key)
        if key not in self._last or self._last[key].id <= run.id:
            self._last[key] = run
