"""Validating a journey definition beyond its form: all flaws at once, each with its remedy."""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from services.chassis.errors import nearest
from services.journey.domain.definition import (
    JourneyDefinition,
    OutboundMessage,
    Step,
    StepKind,
    Trigger,
    Wait,
)
from services.journey.domain.journey import parse_content
from services.rules import (
    JOURNEY,
    ROOTS,
    ConditionError,
    DocumentPath,
    Flaw,
    InvalidTemplate,
    Vocabulary,
    parse,
)

ABOUT_CUSTOMER = Vocabulary(title="a condition on the customer", roots=ROOTS - {"event", "context"})
AFTER_EVENT = Vocabulary(title="a condition in a journey", roots=ROOTS - {"context"})


def find_flaws(definition: JourneyDefinition) -> list[Flaw]:
    """All reasons why a definition cannot be published; empty for a valid one."""
    found = [
        *_check_entry(definition),
        *_check_exits(definition),
        *_check_keys(definition),
        *(
            flaw
            for position in range(len(definition.steps))
            for flaw in _check_step(definition, position)
        ),
    ]
    return found or [
        *_check_reachability(definition),
        *_find_endless_circles(definition),
    ]


def _check_entry(definition: JourneyDefinition) -> Iterator[Flaw]:
    entry = definition.entry
    yield from _check_trigger(entry, ("entry",), keyed=True)
    if not entry.is_set:
        yield Flaw(("entry",), "It does not say who enters.", "Write `event`, `segment` or `when`.")
    if entry.cooldown and entry.again == "once":
        yield Flaw(
            ("entry", "cooldown"),
            "A journey entered once has no second entry to keep apart.",
            "Leave `cooldown` out, or write `again: when_ended`.",
        )


def _check_exits(definition: JourneyDefinition) -> Iterator[Flaw]:
    keyed = definition.entry.key is not None
    for position, trigger in enumerate(definition.exit_when):
        place = ("exit_when", position)
        yield from _check_trigger(trigger, place, keyed)
        if not trigger.is_set:
            yield Flaw(place, "It never ends anything.", "Write `event`, `segment` or `when`.")


def _check_trigger(trigger: Trigger, place: DocumentPath, keyed: bool) -> Iterator[Flaw]:
    if trigger.event and trigger.segment:
        yield Flaw(
            (*place, "segment"),
            "This waits for an event and for a segment at once.",
            f"Keep one, or write `when: '\"{trigger.segment}\" in segments'` next to the event.",
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
        yield from _check_condition(trigger.when, (*place, "when"), vocabulary)


def _check_condition(source: str, place: DocumentPath, vocabulary: Vocabulary) -> Iterator[Flaw]:
    try:
        parse(source, vocabulary)
    except ConditionError as error:
        yield Flaw.from_error(error, place)


def _check_keys(definition: JourneyDefinition) -> Iterator[Flaw]:
    keys: set[str] = set()
    for position, step in enumerate(definition.steps):
        if step.key in keys:
            place = ("steps", position, "key")
            yield Flaw(place, f"{step.key!r} is another step already.", "Give it its own key.")
        keys.add(step.key)


def _check_step(definition: JourneyDefinition, position: int) -> Iterator[Flaw]:
    step, place = definition.steps[position], ("steps", position)
    if len(step.kinds) != 1:
        claims = " and ".join(kind.lower() for kind in step.kinds) or "nothing"
        yield Flaw(
            place,
            f"A step does one thing, and {step.key!r} does {claims}.",
            "Write one of `wait`, `branch`, `send` and `exit`.",
        )
        return
    yield from _check_transitions(definition, step, place)
    if step.wait:
        yield from _check_wait(step.wait, (*place, "wait"), definition.entry.key is not None)
    for number, case in enumerate(step.branch or ()):
        vocabulary = AFTER_EVENT if definition.entry.event else ABOUT_CUSTOMER
        yield from _check_condition(case.when, (*place, "branch", number, "when"), vocabulary)
    if step.send:
        by_event = definition.entry.event is not None
        yield from _check_content(step.send, (*place, "send", "content"), by_event)
    if definition.next_step(position) is None and step.kind in (StepKind.WAIT, StepKind.SEND):
        yield Flaw(
            place,
            f"The journey goes nowhere after {step.key!r}.",
            "Write `next`, or an `exit` step below it.",
        )


def _check_transitions(
    definition: JourneyDefinition, step: Step, place: DocumentPath
) -> Iterator[Flaw]:
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
            problem = f"A step of kind {step.kind.lower()} has no `{field}`."
            yield Flaw((*place, field), problem, "Leave it out.")
    keys = [other.key for other in definition.steps]
    for target, where in _targets(step):
        if target not in keys:
            yield Flaw((*place, *where), f"There is no step {target!r}.", nearest(target, keys))


def _targets(step: Step) -> Iterator[tuple[str, DocumentPath]]:
    """The steps a step names, each with where it names it."""
    if step.next:
        yield step.next, ("next",)
    if step.otherwise:
        yield step.otherwise, ("otherwise",)
    if step.wait and step.wait.on_timeout:
        yield step.wait.on_timeout, ("wait", "on_timeout")
    for number, case in enumerate(step.branch or ()):
        yield case.next, ("branch", number, "next")


def _check_wait(wait: Wait, place: DocumentPath, keyed: bool) -> Iterator[Flaw]:
    yield from _check_trigger(wait, place, keyed)
    transitions = [wait.period is not None, wait.until is not None, wait.is_set]
    if sum(transitions) != 1:
        yield Flaw(
            place,
            "A wait is for one thing.",
            "Write one of `for`, `until`, and an `event`, `segment` or `when` with its `timeout`.",
        )
    elif wait.is_set and wait.timeout is None:
        remedy = "Write `timeout`, as in `timeout: 3d`."
        yield Flaw(place, "What is waited for may never happen.", remedy)
    elif not wait.is_set and (wait.timeout or wait.on_timeout):
        yield Flaw(place, "This wait ends by itself.", "Leave `timeout` and `on_timeout` out.")
    if wait.time_zone is not None and wait.until is None:
        yield Flaw((*place, "time_zone"), "Only `until` has a time zone.", "Leave it out.")


def _check_content(send: OutboundMessage, place: DocumentPath, by_event: bool) -> Iterator[Flaw]:
    try:
        content = parse_content(send.content)
    except InvalidTemplate as error:
        yield from (flaw.prefix(place) for flaw in error.flaws)
        return
    for placeholder in content.placeholders:
        if placeholder.keys[0] == "event" and not by_event:
            here = (*place, *placeholder.path)
            yield Flaw(here, "No event lets customers in here.", "Use traits only.")


def _find_reachable_steps(definition: JourneyDefinition) -> set[str]:
    transitions = _transitions_by_step(definition)
    reachable: set[str] = set()
    ahead = {definition.steps[0].key}
    while ahead:
        reachable |= ahead
        ahead = {target for step in ahead for target in transitions[step]} - reachable
    return reachable


def _transitions_by_step(definition: JourneyDefinition) -> dict[str, list[str]]:
    return {
        step.key: [target for target, _ in definition.transitions(position)]
        for position, step in enumerate(definition.steps)
    }


def _check_reachability(definition: JourneyDefinition) -> Iterator[Flaw]:
    reachable = _find_reachable_steps(definition)
    for position, step in enumerate(definition.steps):
        if step.key not in reachable:
            yield Flaw(
                ("steps", position, "key"),
                f"No way leads to {step.key!r}.",
                "Name it in another step's `next`, or take it out.",
            )
    exits = any(step.kind is StepKind.EXIT and step.key in reachable for step in definition.steps)
    if not exits and not definition.exit_when:
        yield Flaw(("steps",), "The journey never ends.", "Add an `exit` step or `exit_when`.")


def _find_endless_circles(definition: JourneyDefinition) -> Iterator[Flaw]:
    """Circles without a wait: an instance would go round without end."""
    positions = {step.key: position for position, step in enumerate(definition.steps)}
    passing = {
        step.key for step in definition.steps if not step.wait or _can_pass_at_once(step.wait)
    }
    transitions = _transitions_by_step(definition)
    while circle := _find_circle(
        {
            key: [to for to in transitions[key] if to in passing]
            for key in positions
            if key in passing
        }
    ):
        first = circle.index(min(circle, key=positions.__getitem__))
        way = [*circle[first:], *circle[: first + 1]]
        yield Flaw(
            ("steps", positions[way[0]]),
            f"This goes round without waiting: {' > '.join(way)}.",
            "Put a `wait` with `for`, `until` or `event` into the circle.",
        )
        passing -= set(circle)


def _can_pass_at_once(wait: Wait) -> bool:
    """Whether a wait may end at once: one for a condition does when that is true already."""
    return wait.is_set and wait.event is None


def _find_circle(transitions: dict[str, list[str]]) -> list[str]:
    """The steps of a circle, each leading to the next and the last to the first; none: empty."""
    try:
        TopologicalSorter(transitions).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle[:0:-1]
    return []
