"""What was asked for a moment ago is not known yet, which is not the same as nothing."""

from datetime import UTC, datetime
from typing import Any

import orjson

from services.rules import Declaration, Facts, evaluate, merge_series, parse

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
NEWCOMER = 'events.count("order_completed") == 0'
RECENT = 'events.count("visit", last="7d") < 3'
BOUGHT: dict[str, Any] = {"count": 2, "first": [1, None], "last": [2, None], "times": []}


def after(before: Declaration, version: int, *conditions: str) -> Declaration:
    """The next declaration: what these conditions ask for."""
    series = merge_series(s for text in conditions for s in parse(text).needs.series)
    return before.extend(version, series)


def holds(condition: str, declaration: Declaration, answered: int, **history: Any) -> bool:
    """Whether a condition is true of somebody with this history, by event name."""
    states = {f'"{name}"': state for name, state in history.items()}
    return evaluate(
        parse(condition), Facts(NOW, history=declaration.mask_unanswered(states, answered))
    )


def test_a_series_declared_since_is_unknown_to_a_history_of_before() -> None:
    first = after(Declaration(), 3, RECENT)
    second = after(first, 5, RECENT, NEWCOMER)

    assert holds(NEWCOMER, second, answered=5)
    assert not holds(NEWCOMER, second, answered=3)
    assert not holds('events.count("order_completed") != 0', second, answered=3)


def test_a_series_declared_all_along_stays_as_it_is() -> None:
    second = after(after(Declaration(), 3, RECENT), 5, RECENT, NEWCOMER)

    assert holds(RECENT, second, answered=3)
    assert not holds(RECENT, second, answered=0)


def test_a_series_begun_before_it_was_looked_up_is_unknown_all_the_same() -> None:
    declaration = after(Declaration(), 3, NEWCOMER)

    assert not holds('events.count("order_completed") == 2', declaration, 0, order_completed=BOUGHT)
    assert holds('events.count("order_completed") == 2', declaration, 3, order_completed=BOUGHT)


def test_a_window_that_grows_is_unknown_until_it_is_filled() -> None:
    longer = RECENT.replace("7d", "30d")
    grown = after(after(Declaration(), 1, RECENT), 2, longer)

    assert (holds(longer, grown, answered=1), holds(longer, grown, answered=2)) == (False, True)


def test_asking_for_as_much_or_less_makes_nothing_unknown() -> None:
    first = after(Declaration(), 1, RECENT, NEWCOMER)
    same = after(first, 2, NEWCOMER, RECENT)
    less = after(same, 3, RECENT.replace("7d", "1d"))

    assert (first.grew_in, same.grew_in, less.grew_in) == (1, 1, 1)
    history = {"a": 1}
    assert less.mask_unanswered(history, answered=1) is history


def test_a_series_dropped_and_declared_again_is_unknown_again() -> None:
    first = after(Declaration(), 1, RECENT, NEWCOMER)
    again = after(after(first, 2, RECENT), 3, RECENT, NEWCOMER)

    assert again.grew_in == 3
    assert not holds(NEWCOMER, again, answered=1)
    assert holds(RECENT, again, answered=1)


def test_a_declaration_reads_back_as_it_was_stored() -> None:
    declaration = after(after(Declaration(), 1, RECENT), 4, RECENT, NEWCOMER)

    document = orjson.loads(orjson.dumps(declaration.to_json()))

    assert Declaration.from_json(document) == declaration
