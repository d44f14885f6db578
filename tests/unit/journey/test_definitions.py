"""What is wrong with a journey is said where it is wrong, with a remedy."""

import pytest

from services.chassis.definitions import InvalidDefinition, Problem
from services.journey.domain import summary
from services.journey.service.publishing import parse_definition
from services.journey.service.queries import collect_data_uses
from tests.unit.journey.journeys import CART, LAPSING, compile_journey

HEAD = "key: k\nname: K\nentry: {event: e}\nsteps:\n"


def problems(yaml: str) -> list[Problem]:
    with pytest.raises(InvalidDefinition) as refused:
        parse_definition(yaml)
    return refused.value.problems


@pytest.mark.parametrize(
    ("steps", "line", "path", "problem", "hint"),
    [
        (
            "  - {key: a, wait: {for: 1h}, next: dnoe}\n  - {key: done, exit: x}\n",
            5,
            "steps[0].next",
            "There is no step 'dnoe'.",
            "Did you mean `done`?",
        ),
        (
            "  - {key: a, exit: x}\n  - {key: lost, exit: x}\n",
            6,
            "steps[1].key",
            "No way leads to 'lost'.",
            "Name it in another step's `next`, or take it out.",
        ),
        (
            "  - {key: a, exit: x}\n  - {key: a, exit: x}\n",
            6,
            "steps[1].key",
            "'a' is another step already.",
            "Give it its own key.",
        ),
        (
            "  - {key: a, wait: {for: 1h}}\n",
            5,
            "steps[0]",
            "The journey goes nowhere after 'a'.",
            "Write `next`, or an `exit` step below it.",
        ),
        (
            "  - {key: a, wait: {for: 1h}, next: a}\n",
            5,
            "steps",
            "The journey never ends.",
            "Add an `exit` step or `exit_when`.",
        ),
        (
            "  - {key: a, branch: [{when: traits.x, next: done}], otherwise: a}\n"
            "  - {key: done, exit: x}\n",
            5,
            "steps[0]",
            "This goes round without waiting: a > a.",
            "Put a `wait` with `for`, `until` or `event` into the circle.",
        ),
        (
            "  - {key: a, wait: {segment: s, timeout: 1d, on_timeout: done}, next: a}\n"
            "  - {key: done, exit: x}\n",
            5,
            "steps[0]",
            "This goes round without waiting: a > a.",
            "Put a `wait` with `for`, `until` or `event` into the circle.",
        ),
        (
            "  - {key: a, branch: [{when: traits.x, next: done}]}\n  - {key: done, exit: x}\n",
            5,
            "steps[0]",
            "'a' does not say what happens when no `when` holds.",
            "Write `otherwise` with the key of a step.",
        ),
        (
            "  - {key: a, exit: x, wait: {for: 1h}}\n",
            5,
            "steps[0]",
            "A step does one thing, and 'a' does wait and exit.",
            "Write one of `wait`, `branch`, `send` and `exit`.",
        ),
        (
            "  - {key: a, exit: x, next: a}\n",
            5,
            "steps[0].next",
            "A step of kind exit has no `next`.",
            "Leave it out.",
        ),
        (
            "  - {key: a, wait: {event: e}}\n  - {key: done, exit: x}\n",
            5,
            "steps[0].wait",
            "What is waited for may never happen.",
            "Write `timeout`, as in `timeout: 3d`.",
        ),
        (
            "  - {key: a, wait: {for: 1h, until: 09:00}}\n  - {key: done, exit: x}\n",
            5,
            "steps[0].wait",
            "A wait is for one thing.",
            "Write one of `for`, `until`, and an `event`, `segment` or `when` with its `timeout`.",
        ),
        (
            "  - {key: a, wait: {event: x, key: event.id, timeout: 1d}}\n  - {key: b, exit: x}\n",
            5,
            "steps[0].wait.key",
            "The journey has no key to compare this with.",
            "Write `key` in `entry` too, or leave it out here.",
        ),
        (
            "  - key: a\n    send: {channel: APP, template: t, purpose: p, content:"
            ' {text: "{{ trait.x }}"}}\n  - {key: done, exit: x}\n',
            6,
            "steps[0].send.content.text",
            "'{{ trait.x }}' cannot be filled in.",
            "Write {{ traits.name | otherwise }}; the roots are traits.…, event.…, key.",
        ),
        (
            "  - key: a\n    branch: [{when: traits.x and sgements, next: done}]\n"
            "    otherwise: done\n  - {key: done, exit: x}\n",
            6,
            "steps[0].branch[0].when",
            "There is no `sgements`.",
            "Did you mean `segments`?",
        ),
    ],
)
def test_a_step_at_fault_is_named_with_its_line_and_remedy(
    steps: str, line: int, path: str, problem: str, hint: str
) -> None:
    [found] = problems(HEAD + steps)

    assert (found.line, found.path, found.problem, found.hint) == (line, path, problem, hint)


def test_a_condition_at_fault_is_pointed_at_by_its_column() -> None:
    steps = "  - {key: a, exit: x}\nexit_when:\n  - when: traits.x and event.y\n"

    [found] = problems(HEAD + steps)

    assert (found.line, found.column) == (7, len("  - when: traits.x and ") + 1)
    assert found.path == "exit_when[0].when"


def test_all_that_is_wrong_is_said_at_once() -> None:
    steps = (
        "  - {key: a, wait: {for: 1h}, next: b}\n"
        "  - {key: a, wait: {}}\n"
        "  - {key: c, branch: [{when: '1 +', next: d}]}\n"
    )

    assert {found.path for found in problems(HEAD + steps)} == {
        "steps[0].next",
        "steps[1].key",
        "steps[1].wait",
        "steps[2]",
        "steps[2].branch[0].next",
        "steps[2].branch[0].when",
    }


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ("{}", "entry"),
        ("{event: e, segment: s}", "entry.segment"),
        ("{segment: s, key: event.id}", "entry.key"),
        ("{when: event.x}", "entry.when"),
        ("{when: context.page == 1}", "entry.when"),
        ("{event: e, again: sometimes}", "entry.again"),
        ("{event: e, again: once, cooldown: 1d}", "entry.cooldown"),
        ("{event: e, cooldown: 1 day}", "entry.cooldown"),
        ("{event: e, key: traits.id}", "entry.key"),
        ("{event: e, wehn: traits.x}", "entry.wehn"),
    ],
)
def test_an_entry_at_fault_is_refused(entry: str, path: str) -> None:
    yaml = f"key: k\nname: K\nentry: {entry}\nsteps:\n  - {{key: a, exit: x}}\n"

    assert [found.path for found in problems(yaml)] == [path]


@pytest.mark.parametrize("until", ["09:00", "'09:00'", "18:30", "'18:30'", "0:05"])
def test_a_time_of_day_needs_no_quotes(until: str) -> None:
    wait = f"  - {{key: a, wait: {{until: {until}}}}}\n  - {{key: done, exit: x}}\n"

    shown = summary.describe_step(parse_definition(HEAD + wait).steps[0])

    assert shown == f"Wait until {until.strip(chr(39)).zfill(5)}"


def test_steps_and_triggers_can_be_read_in_words() -> None:
    definition = parse_definition(CART)

    assert summary.describe_trigger(definition.entry) == (
        "product_added where event.value >= 20, per event.cart_id"
    )
    assert [summary.describe_step(step) for step in definition.steps] == [
        "Wait 2h",
        "Choose a way",
        "Send cart_reminder by EMAIL, with consent to email_marketing",
        'Wait for mail_clicked where event.template == "cart_reminder", at most 3d',
        "End: clicked",
        "End: not interested",
    ]


def test_the_ways_between_steps_are_known_with_their_reasons() -> None:
    definition = parse_definition(CART)

    assert [definition.transitions(position) for position in range(6)] == [
        [("has_mail", "")],
        [
            ("remind", "consent.email_marketing and exists(traits.email)"),
            ("gone", "otherwise"),
        ],
        [("answer", "")],
        [("helped", "mail_clicked"), ("gone", "timeout")],
        [],
        [],
    ]


def test_what_a_journey_needs_is_read_from_its_conditions_keys_and_contents() -> None:
    mapping = collect_data_uses([compile_journey(CART), compile_journey(LAPSING)])

    assert {kind: set(uses) for kind, uses in mapping.items()} == {
        "traits": {"email", "first_name", "country"},
        "segments": {"no_messages", "lapsing"},
        "purposes": {"email_marketing"},
        "properties": {"value", "cart_id", "product", "template"},
        "events": {"product_added", "order_completed", "mail_clicked"},
        "journeys": set(),
    }
    assert mapping["segments"]["lapsing"] == ["win_back"]
