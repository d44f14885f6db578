"""The functions that compute terms at run time. None of them raises, whatever the data.

Predicates return None for unknown. A series' state is None while the history is not known.
"""

import operator
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import fsum, nan
from typing import Any

from services.rules.formula import ValueKind

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
NUMERIC = frozenset({int, float})
LARGEST = 1e300
"""Results beyond it are unknown; far from the largest float, so exact sums cannot overflow."""


def micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC; a moment without a time zone is taken as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // MICROSECOND


def as_time(value: object) -> float:
    """A datetime or ISO 8601 text as microseconds; NaN for anything else."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        return micros(value) if isinstance(value, datetime) else nan
    except (ValueError, OverflowError):
        return nan


def walk(value: object, *keys: str) -> object:
    """The value below nested mappings; None as soon as something is missing."""
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def event_properties(event: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = event.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def guard(operation: Callable[[Any, Any], float]) -> Callable[[float, float], float]:
    """The operation, unknown where it is undefined or too large."""

    def run(left: float, right: float) -> float:
        try:
            result = operation(left, right)
        except (ZeroDivisionError, OverflowError):
            return nan
        return result if -LARGEST <= result <= LARGEST else nan

    return run


def duration(amount: float, unit_us: int) -> float:
    """So many units, to the microsecond."""
    result = amount * unit_us if -1e12 < amount < 1e12 else nan
    return round(result) if result == result else nan


def round_number(number: float) -> float:
    """The nearest whole number; halves go to the even one."""
    return round(number) if -LARGEST <= number <= LARGEST else nan


def choose_number(choose: Callable[[Any], float]) -> Callable[..., float]:
    """The least or greatest of numbers; unknown if any is."""

    def run(*numbers: float) -> float:
        return choose(numbers) if all(number == number for number in numbers) else nan

    return run


def default_number(number: float, otherwise: float) -> float:
    return number if number == number else otherwise


def default_value(value: object, otherwise: object) -> object:
    return otherwise if value is None else value


def length(value: object) -> float:
    return len(value) if isinstance(value, str | list | tuple) else nan


def lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def kind_of(value: object) -> str | None:
    """What a scalar can be compared with; None for what cannot be compared at all."""
    if isinstance(value, bool):
        return "yes/no"
    if isinstance(value, int | float):
        return "number" if value == value else None
    if isinstance(value, str):
        return "text"
    return "time" if isinstance(value, datetime) else None


def comparable(left: Any, right: Any) -> tuple[Any, Any] | None:
    """Both values in a form Python can compare, or None if they are of two kinds."""
    kinds = kind_of(left), kind_of(right)
    if None in kinds:
        return None
    if "time" in kinds:
        left, right = as_time(left), as_time(right)
        return (left, right) if left == left and right == right else None
    return (left, right) if kinds[0] == kinds[1] else None


def equal(left: object, right: object) -> bool | None:
    pair = comparable(left, right)
    return None if pair is None else bool(pair[0] == pair[1])


def order_test(test: Callable[[Any, Any], bool]) -> Callable[[object, object], bool | None]:
    """A test of which of two JSON values comes first; yes/no values have no order."""

    def run(left: object, right: object) -> bool | None:
        pair = None if isinstance(left, bool) else comparable(left, right)
        return None if pair is None else bool(test(*pair))

    return run


def member(item: object, items: object) -> bool | None:
    """Whether a list in the data holds the item. Entries of other kinds just differ."""
    if not isinstance(items, list | tuple) or kind_of(item) is None:
        return None
    return any(equal(item, entry) is True for entry in items)


def text_test(test: Callable[[str, str], bool]) -> Callable[[str | None, str | None], bool | None]:
    def run(text: str | None, part: str | None) -> bool | None:
        return None if text is None or part is None else test(text, part)

    return run


def span(state: Mapping[str, Any], now_us: int, window_us: int) -> tuple[int, int]:
    """The slice of entries in `(now - window, now]`."""
    times = state["times"]
    return bisect_right(times, now_us - window_us), bisect_right(times, now_us)


def window_count(state: Mapping[str, Any] | None, now_us: int, window_us: int) -> float:
    if state is None:
        return nan
    times = state["times"]
    return bisect_right(times, now_us) - bisect_right(times, now_us - window_us)


def window_sum(state: Mapping[str, Any] | None, now_us: int, window_us: int) -> float:
    if state is None:
        return nan
    start, end = span(state, now_us, window_us)
    return fsum(value for value in state["values"][start:end] if is_countable(value))


def window_distinct(state: Mapping[str, Any] | None, now_us: int, window_us: int) -> float:
    """How many different values the window holds; True and 1 differ."""
    if state is None:
        return nan
    start, end = span(state, now_us, window_us)
    return len({(value.__class__ is bool, value) for value in state["values"][start:end]})


def _window_end(entries: str, *, is_last: bool, unknown: object) -> Callable[..., Any]:
    """The value or time of the first or the last entry in the window, `unknown` without any."""

    def run(state: Mapping[str, Any] | None, now_us: int, window_us: int) -> object:
        start, end = span(state, now_us, window_us) if state else (0, 0)
        return state[entries][end - 1 if is_last else start] if state and start < end else unknown

    return run


window_last = _window_end("values", is_last=True, unknown=None)
window_first = _window_end("values", is_last=False, unknown=None)
window_last_time = _window_end("times", is_last=True, unknown=nan)
window_first_time = _window_end("times", is_last=False, unknown=nan)


def lifetime_count(state: Mapping[str, Any] | None) -> float:
    return nan if state is None else state["count"]


def lifetime_sum(state: Mapping[str, Any] | None) -> float:
    return nan if state is None else fsum(state.get("sum", ()))


def lifetime_distinct(state: Mapping[str, Any] | None) -> float:
    return nan if state is None else len(state.get("seen", ()))


def _lifetime_end(end: str, part: int, *, unknown: object) -> Callable[..., Any]:
    """The time (part 0) or value (part 1) of the first or last entry, `unknown` without any."""

    def run(state: Mapping[str, Any] | None) -> object:
        return state[end][part] if state and state[end] else unknown

    return run


lifetime_last = _lifetime_end("last", 1, unknown=None)
lifetime_first = _lifetime_end("first", 1, unknown=None)
lifetime_last_time = _lifetime_end("last", 0, unknown=nan)
lifetime_first_time = _lifetime_end("first", 0, unknown=nan)


def is_countable(value: object) -> bool:
    return value.__class__ in NUMERIC and -LARGEST <= value <= LARGEST  # type: ignore[operator]


EMPTY_STATE: Mapping[str, Any] = {
    "count": 0,
    "first": None,
    "last": None,
    "times": (),
    "values": (),
}


@dataclass(frozen=True)
class Function:
    """A function of the language: the kinds it takes, the kind it returns.

    The last parameter of a `variadic` one may be repeated. `public` ones can be called by
    name; the others stand behind operators.
    """

    run: Callable[..., Any]
    parameters: Sequence[ValueKind]
    result: ValueKind
    public: bool = True
    variadic: bool = False


def _operator(run: Callable[..., Any], kind: ValueKind = ValueKind.NUMBER) -> Function:
    return Function(
        run, (kind, kind), ValueKind.YES_NO if kind is ValueKind.ANY else kind, public=False
    )


def _variadic(choose: Callable[[Any], float]) -> Function:
    kinds = (ValueKind.NUMBER, ValueKind.NUMBER)
    return Function(choose_number(choose), kinds, ValueKind.NUMBER, variadic=True)


def _predicate(test: Callable[[str, str], bool]) -> Function:
    return Function(text_test(test), (ValueKind.TEXT, ValueKind.TEXT), ValueKind.YES_NO)


FUNCTIONS: Mapping[str, Function] = {
    "abs": Function(abs, (ValueKind.NUMBER,), ValueKind.NUMBER),
    "round": Function(round_number, (ValueKind.NUMBER,), ValueKind.NUMBER),
    "min": _variadic(min),
    "max": _variadic(max),
    "len": Function(length, (ValueKind.ANY,), ValueKind.NUMBER),
    "lower": Function(lower, (ValueKind.TEXT,), ValueKind.TEXT),
    "startswith": _predicate(str.startswith),
    "endswith": _predicate(str.endswith),
    "contains": _predicate(str.__contains__),
    "add": _operator(guard(operator.add)),
    "subtract": _operator(guard(operator.sub)),
    "multiply": _operator(guard(operator.mul)),
    "divide": _operator(guard(operator.truediv)),
    "modulo": _operator(guard(operator.mod)),
    "duration": _operator(duration),
    "default_number": _operator(default_number),
    "default_value": _operator(default_value, ValueKind.ANY),
    "equal": _operator(equal, ValueKind.ANY),
    "less": _operator(order_test(operator.lt), ValueKind.ANY),
    "at_most": _operator(order_test(operator.le), ValueKind.ANY),
    "member": _operator(member, ValueKind.ANY),
}
UNITS_US: Mapping[str, int] = {
    "seconds": 1_000_000,
    "minutes": 60_000_000,
    "hours": 3_600_000_000,
    "days": 86_400_000_000,
}
SPECIAL = frozenset({"exists", "missing", "default", "date", "days_since", *UNITS_US})
PUBLIC = SPECIAL | {name for name, function in FUNCTIONS.items() if function.public}
AGGREGATES = ("count", "sum", "last", "first", "distinct")
