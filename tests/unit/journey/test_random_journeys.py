"""Whatever a journey looks like and whatever happens: what must always be true of its instances."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.definitions import InvalidDefinition
from services.journey.domain import state_machine
from services.journey.domain.definition import ReentryRule
from services.journey.domain.instance import (
    ChangeStimulus,
    Effect,
    EndEffect,
    EntryEffect,
    EventStimulus,
    Instance,
    TimerStimulus,
)
from services.journey.domain.journey import Journey
from services.rules import Facts
from tests.unit.journey.journeys import ANN, NOON, compile_journey

EVENTS = ("a", "b", "c")
SEGMENTS = ("x", "y")


@st.composite
def journeys(draw: st.DrawFn) -> Journey:
    """A sound journey: a chain of steps with ways from anywhere to anywhere beside it."""
    keys = [f"s{number}" for number in range(draw(st.integers(1, 6)))]
    ahead = [*keys[1:], "end"]
    steps = [draw(step(*place, keys)) for place in zip(keys, ahead, strict=True)]
    return break_circles(
        {
            "key": "random",
            "name": "Random",
            "entry": {"event": "a", "again": draw(st.sampled_from(list(ReentryRule)))},
            "exit_when": draw(st.sampled_from([[], [{"event": "c"}], [{"segment": "y"}]])),
            "steps": [*steps, {"key": "end", "exit": "end"}],
        }
    )


def step(key: str, ahead: str, keys: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """A step of any kind that can lead ahead; its other ways lead anywhere."""
    anywhere = st.sampled_from([*keys, "end"])
    waits = st.one_of(
        st.fixed_dictionaries({"for": st.sampled_from(["1m", "2h", "3d"])}),
        st.just({"until": "09:00"}),
        st.fixed_dictionaries(
            {"event": st.sampled_from(EVENTS), "timeout": st.just("1d"), "on_timeout": anywhere}
        ),
        st.fixed_dictionaries({"segment": st.sampled_from(SEGMENTS), "timeout": st.just("1d")}),
    )
    send = {"channel": "APP", "template": "t", "purpose": "p"}
    case = st.fixed_dictionaries({"when": st.just('"x" in segments'), "next": anywhere})
    return st.one_of(
        st.fixed_dictionaries({"key": st.just(key), "wait": waits, "next": st.just(ahead)}),
        st.just({"key": key, "send": send, "next": ahead}),
        st.fixed_dictionaries(
            {
                "key": st.just(key),
                "branch": st.lists(case, min_size=1, max_size=2),
                "otherwise": st.just(ahead),
            }
        ),
    )


def break_circles(definition: dict[str, Any]) -> Journey:
    """The journey, with a wait in every circle that has none."""
    while True:
        try:
            return compile_journey(orjson.dumps(definition).decode())
        except InvalidDefinition as error:
            place = int(error.problems[0].path.removeprefix("steps[").removesuffix("]"))
            ahead = definition["steps"][place + 1]["key"]
            key = definition["steps"][place]["key"]
            definition["steps"][place] = {"key": key, "wait": {"for": "1h"}, "next": ahead}


Happening = tuple[int, str | None, frozenset[str]]
"""Minutes later, the event or None for a change, and the segments by then."""

happenings = st.lists(
    st.tuples(
        st.integers(0, 3_000),
        st.sampled_from(["a", *EVENTS, None]),
        st.frozensets(st.sampled_from(SEGMENTS)),
    ),
    min_size=2,
    max_size=12,
)


@dataclass
class Life:
    """One customer's instances of one journey, in a world as simple as can be."""

    journey: Journey
    now: datetime = NOON
    instances: list[Instance] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    def take(self, advance: state_machine.Advance, place: int) -> None:
        """Keep what became of an instance."""
        self.instances[place : place + 1] = [advance.instance]
        self.effects += advance.effects

    def until(self, moment: datetime, segments: frozenset[str]) -> None:
        """Let timers go off in their time."""
        while due := [
            instance.due_at
            for instance in self.instances
            if instance.due_at and instance.due_at <= moment
        ]:
            self.now = min(due)
            self.apply(TimerStimulus(), segments)
        self.now = moment

    def apply(
        self, stimulus: EventStimulus | ChangeStimulus | TimerStimulus, segments: frozenset[str]
    ) -> None:
        """Let something happen to all instances, and perhaps begin one."""
        facts = Facts(now=self.now, segments=segments, consent={"p": "x" in segments})
        for place, instance in enumerate(self.instances):
            self.take(
                state_machine.advance(self.journey, instance, stimulus, facts, self.now), place
            )
        if isinstance(stimulus, TimerStimulus):
            return
        last = self.instances[-1] if self.instances else None
        key = state_machine.find_entry_key(self.journey, stimulus, facts)
        if key is None or not state_machine.can_enter(self.journey, last, stimulus.id, self.now):
            return
        if last is not None and last.is_active:
            self.take(
                state_machine.end(last, state_machine.RESTARTED, self.now), len(self.instances) - 1
            )
        instance_id = UUID(int=len(self.instances) + 1)
        began = state_machine.begin(self.journey, instance_id, ANN, key, stimulus, facts, self.now)
        self.take(began, len(self.instances))


def live(journey: Journey, things: list[Happening], times: int = 1) -> Life:
    """A life in which every stimulus comes so many times."""
    life = Life(journey)
    for number, (minutes, name, segments) in enumerate(things, start=1):
        life.until(life.now + timedelta(minutes=minutes), segments)
        stimulus: EventStimulus | ChangeStimulus = ChangeStimulus(UUID(int=number), life.now)
        if name is not None:
            stimulus = EventStimulus(UUID(int=number), name, life.now, {})
        for _ in range(times):
            life.apply(stimulus, segments)
    life.until(life.now + timedelta(days=9), frozenset())
    return life


@settings(deadline=None)
@given(journeys(), happenings)
def test_a_journey_has_one_active_instance_at_one_step_and_never_goes_back(
    journey: Journey, things: list[Happening]
) -> None:
    life = live(journey, things)

    assert sum(instance.is_active for instance in life.instances) <= 1
    for instance in life.instances:
        states = [one.instance for one in life.effects if one.instance.id == instance.id]
        steps = [
            one.instance.sequence
            for one in life.effects
            if isinstance(one, EntryEffect) and one.instance.id == instance.id
        ]
        assert steps == list(range(1, len(steps) + 1))
        assert [one.since for one in states] == sorted(one.since for one in states)
        assert instance.sequence == len(steps) + (not instance.is_active)
        assert instance.is_active == (instance.due_at is not None)


@settings(deadline=None)
@given(journeys(), happenings)
def test_telling_everything_twice_changes_nothing(
    journey: Journey, things: list[Happening]
) -> None:
    assert live(journey, things, times=2) == live(journey, things)


@settings(deadline=None)
@given(journeys(), happenings)
def test_an_event_from_before_the_last_one_used_changes_nothing(
    journey: Journey, things: list[Happening]
) -> None:
    life = live(journey, things)
    instances, effects = list(life.instances), list(life.effects)
    used = instances[-1].moved_by.int if instances else 0

    for number, (_, name, segments) in enumerate(things[:used], start=1):
        life.apply(EventStimulus(UUID(int=number), name or "a", life.now, {}), segments)

    assert (life.instances, life.effects) == (instances, effects)


@settings(deadline=None)
@given(journeys(), happenings)
def test_an_instance_publishes_its_end_once(journey: Journey, things: list[Happening]) -> None:
    life = live(journey, things)

    ends = [one.instance.id for one in life.effects if isinstance(one, EndEffect)]

    assert ends == [instance.id for instance in life.instances if not instance.is_active]
