"""What can be wrong with a journey beyond its form: told all at once, each with its remedy."""

from collections.abc import Iterator

from services.chassis.errors import nearest
from services.journey.domain.definition import Definition, Send, Step, StepKind, Trigger, Wait
from services.journey.domain.journey import personal
from services.rules import (
    JOURNEY,
    ROOTS,
    ConditionError,
    Flaw,
    InvalidTemplate,
    Place,
    Vocabulary,
    parse,
)

ABOUT_CUSTOMER = Vocabulary(title="a condition on the customer", roots=ROOTS - {"event", "context"})
AFTER_EVENT = Vocabulary(title="a condition in a journey", roots=ROOTS - {"context"})


def flaws(definition: Definition) -> list[Flaw]:
    """Everything that keeps a journey from being published."""
    found = [
        *_of_entry(definition),
        *_of_exits(definition),
        *_of_keys(definition),
        *(
            flaw
            for position in range(len(definition.steps))
            for flaw in _of_step(definition, position)
        ),
    ]
    return found or [*_unreachable(definition), *_without_exit(definition), *_restless(definition)]


def _of_entry(definition: Definition) -> Iterator[Flaw]:
    entry = definition.entry
    yield from _of_trigger(entry, ("entry",), keyed=True)
    if not entry.given:
        yield Flaw(
            ("entry",),
            "It does not say who enters.",
            "Write `event`, `segment` or `when`.",
        )
    if entry.cooldown and entry.again == "once":
        yield Flaw(
            ("entry", "cooldown"),
            "A journey entered once has no second entry to keep apart.",
            "Leave `cooldown` out, or write `again: when_ended`.",
        )


def _of_exits(definition: Definition) -> Iterator[Flaw]:
    keyed = definition.entry.key is not None
    for position, trigger in enumerate(definition.exit_when):
        place = ("exit_when", position)
        yield from _of_trigger(trigger, place, keyed)
        if not trigger.given:
            yield Flaw(place, "It never ends anything.", "Write `event`, `segment` or `when`.")


def _of_trigger(trigger: Trigger, place: Place, keyed: bool) -> Iterator[Flaw]:
    if trigger.event and trigger.segment:
        yield Flaw(
            (*place, "segment"),
            "This waits for an event and for a segment at once.",
            f"Keep one, or write `when: '\"{trigger.segment}\" in segments'` beside the event.",
        )
    if trigger.key and not trigger.event:
        yield Flaw((*place, "key"), "A key is read from an event.", "Name the `event`.")
    elif trigger.key and not keyed:
        yield Flaw(
            (*place, "key"),
            "The journey has no key to compare this with.",
            "Write `key` in `entry` too, or leave it out here.",
        )
    if trigger.when is not None:
        vocabulary = JOURNEY if trigger.event else ABOUT_CUSTOMER
        yield from _of_condition(trigger.when, (*place, "when"), vocabulary)


def _of_condition(source: str, place: Place, vocabulary: Vocabulary) -> Iterator[Flaw]:
    try:
        parse(source, vocabulary)
    except ConditionError as error:
        yield Flaw.of_condition(error, place)


def _of_keys(definition: Definition) -> Iterator[Flaw]:
    seen: set[str] = set()
    for position, step in enumerate(definition.steps):
        if step.key in seen:
            place = ("steps", position, "key")
            yield Flaw(place, f"{step.key!r} is another step already.", "Give it its own key.")
        seen.add(step.key)


def _of_step(definition: Definition, position: int) -> Iterator[Flaw]:
    step, place = definition.steps[position], ("steps", position)
    if len(step.kinds) != 1:
        claims = " and ".join(kind.lower() for kind in step.kinds) or "nothing"
        yield Flaw(
            place,
            f"A step does one thing, and {step.key!r} does {claims}.",
            "Write one of `wait`, `branch`, `send` and `exit`.",
        )
        return
    yield from _of_ways(definition, step, place)
    if step.wait:
        yield from _of_wait(step.wait, (*place, "wait"), definition.entry.key is not None)
    for number, case in enumerate(step.branch or ()):
        vocabulary = AFTER_EVENT if definition.entry.event else ABOUT_CUSTOMER
        yield from _of_condition(case.when, (*place, "branch", number, "when"), vocabulary)
    if step.send:
        by_event = definition.entry.event is not None
        yield from _of_content(step.send, (*place, "send", "content"), by_event)
    if definition.following(position) is None and step.kind in (StepKind.WAIT, StepKind.SEND):
        yield Flaw(
            place,
            f"The journey goes nowhere after {step.key!r}.",
            "Write `next`, or an `exit` step below it.",
        )


def _of_ways(definition: Definition, step: Step, place: Place) -> Iterator[Flaw]:
    if step.branch is not None and step.otherwise is None:
        yield Flaw(
            place,
            f"{step.key!r} does not say what happens when no `when` holds.",
            "Write `otherwise` with the key of a step.",
        )
    for field, kinds in (
        ("next", (StepKind.WAIT, StepKind.SEND)),
        ("otherwise", (StepKind.BRANCH,)),
    ):
        if getattr(step, field) is not None and step.kind not in kinds:
            yield Flaw(
                (*place, field),
                f"A step of kind {step.kind.lower()} has no `{field}`.",
                "Leave it out.",
            )
    keys = [other.key for other in definition.steps]
    for target, where in _targets(step):
        if target not in keys:
            told = f"There is no step {target!r}."
            yield Flaw((*place, *where), told, nearest(target, keys))


def _targets(step: Step) -> Iterator[tuple[str, Place]]:
    """The steps named by a step, each with where it is named."""
    if step.next:
        yield step.next, ("next",)
    if step.otherwise:
        yield step.otherwise, ("otherwise",)
    if step.wait and step.wait.on_timeout:
        yield step.wait.on_timeout, ("wait", "on_timeout")
    for number, case in enumerate(step.branch or ()):
        yield case.next, ("branch", number, "next")


def _of_wait(wait: Wait, place: Place, keyed: bool) -> Iterator[Flaw]:
    yield from _of_trigger(wait, place, keyed)
    ways = [wait.period is not None, wait.until is not None, wait.given]
    if sum(ways) != 1:
        yield Flaw(
            place,
            "A wait is for one thing.",
            "Write one of `for`, `until`, and an `event`, `segment` or `when` with its `timeout`.",
        )
    elif wait.given and wait.timeout is None:
        yield Flaw(
            place,
            "What is waited for may never happen.",
            "Write `timeout`, as in `timeout: 3d`.",
        )
    elif not wait.given and (wait.timeout or wait.on_timeout):
        yield Flaw(place, "This wait ends by itself.", "Leave `timeout` and `on_timeout` out.")
    if wait.time_zone is not None and wait.until is None:
        yield Flaw((*place, "time_zone"), "Only `until` has a time zone.", "Leave it out.")


def _of_content(send: Send, place: Place, by_event: bool) -> Iterator[Flaw]:
    try:
        content = personal(send.content)
    except InvalidTemplate as error:
        yield from (flaw.below(place) for flaw in error.flaws)
        return
    for placeholder in content.placeholders:
        if placeholder.keys[0] == "event" and not by_event:
            here = (*place, *placeholder.place)
            yield Flaw(here, "No event lets customers in here.", "Use traits only.")


def _reachable(definition: Definition) -> set[str]:
    ways = _graph(definition)
    reached: set[str] = set()
    ahead = [definition.steps[0].key]
    while ahead:
        here = ahead.pop()
        if here not in reached:
            reached.add(here)
            ahead.extend(ways[here])
    return reached


def _graph(definition: Definition) -> dict[str, list[str]]:
    return {
        step.key: [target for target, _ in definition.ways(position)]
        for position, step in enumerate(definition.steps)
    }


def _unreachable(definition: Definition) -> Iterator[Flaw]:
    reached = _reachable(definition)
    for position, step in enumerate(definition.steps):
        if step.key not in reached:
            yield Flaw(
                ("steps", position, "key"),
                f"No way leads to {step.key!r}.",
                "Name it in another step's `next`, or take it out.",
            )


def _without_exit(definition: Definition) -> Iterator[Flaw]:
    reached = _reachable(definition)
    exits = any(step.kind is StepKind.EXIT and step.key in reached for step in definition.steps)
    if not exits and not definition.exit_when:
        yield Flaw(("steps",), "The journey never ends.", "Add an `exit` step or `exit_when`.")


def _restless(definition: Definition) -> Iterator[Flaw]:
    """Circles in which nothing takes time: an instance would go round without end."""
    ways = _graph(definition)
    rests = {step.key for step in definition.steps if step.wait and not _may_pass(step.wait)}
    done: set[str] = set(rests)
    for position, step in enumerate(definition.steps):
        circle = _circle(step.key, ways, done)
        if circle:
            yield Flaw(
                ("steps", position),
                f"This goes round without waiting: {' > '.join(circle)}.",
                "Put a `wait` with `for`, `until` or `event` into the circle.",
            )


def _may_pass(wait: Wait) -> bool:
    """A wait for a condition is passed at once when that holds already."""
    return wait.given and wait.event is None


def _circle(start: str, ways: dict[str, list[str]], done: set[str]) -> list[str] | None:
    """The first circle found from `start` outside `done`; what was seen is added to it."""
    trail: list[str] = []
    on_trail: set[str] = set()
    stack = [(start, False)]
    while stack:
        here, leaving = stack.pop()
        if leaving:
            on_trail.discard(trail.pop())
            done.add(here)
        elif here in on_trail:
            done |= on_trail
            return [*trail[trail.index(here) :], here]
        elif here not in done:
            trail.append(here)
            on_trail.add(here)
            stack.append((here, True))
            stack.extend((target, False) for target in ways[here])
    return None
