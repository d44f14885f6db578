"""A slow, plain reading of the manual, to hold the compiler against.

It walks the expression as Python parsed it, knows every value's kind only when it sees it,
carries `None` for "unknown" through strong Kleene logic instead of pushing negations down,
and counts events by looking at every one of them.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from services.rules import Facts, RecordedEvent
from services.rules.vocabulary import WEEKDAYS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US_OF = {"seconds": 10**6, "minutes": 60 * 10**6, "hours": 3600 * 10**6, "days": 86400 * 10**6}
WINDOWS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Time:
    us: float


@dataclass(frozen=True)
class Duration:
    us: float


def truth(source: str, facts: Facts, events: Sequence[RecordedEvent]) -> bool:
    """Whether the condition is true of the facts and the raw events."""
    root = ast.parse(source, mode="eval").body
    return Interpreter(facts, events).condition(root) is True


def kind(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__


def as_time(value: Any) -> Time | None:
    if isinstance(value, Time):
        return value
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if not isinstance(moment, datetime):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Time((aware - EPOCH) // timedelta(microseconds=1))


def all_of(answers: Sequence[bool | None]) -> bool | None:
    return False if False in answers else None if None in answers else True


def any_of(answers: Sequence[bool | None]) -> bool | None:
    return True if True in answers else None if None in answers else False


class Interpreter:
    def __init__(
        self, facts: Facts, events: Sequence[RecordedEvent], properties: Any = None
    ) -> None:
        self.facts, self.events, self.properties = facts, events, properties

    # --- three-valued conditions

    def condition(self, node: ast.expr) -> bool | None:
        match node:
            case ast.BoolOp():
                joint = all_of if isinstance(node.op, ast.And) else any_of
                return joint([self.condition(value) for value in node.values])
            case ast.UnaryOp(op=ast.Not()):
                answer = self.condition(node.operand)
                return None if answer is None else not answer
            case ast.Compare():
                sides = [node.left, *node.comparators]
                return all_of(
                    [
                        self.comparison(left, op, right)
                        for left, op, right in zip(sides, node.ops, sides[1:], strict=False)
                    ]
                )
            case ast.Call(func=ast.Name(id="exists"), args=[argument]):
                return self.value(argument) is not None
            case ast.Call(func=ast.Name(id="missing"), args=[argument]):
                return self.value(argument) is None
            case ast.Call(func=ast.Name(id="startswith" | "endswith" | "contains" as name)):
                text, part = [self.value(argument) for argument in node.args]
                if not isinstance(text, str) or not isinstance(part, str):
                    return None
                return part in text if name == "contains" else bool(getattr(text, name)(part))
        value = self.value(node)
        return value if isinstance(value, bool) else None

    def comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> bool | None:
        if isinstance(op, ast.In | ast.NotIn):
            answer = self.membership(left, right)
            return None if answer is None else answer is isinstance(op, ast.In)
        first, second = self.value(left), self.value(right)
        if isinstance(first, Time) or isinstance(second, Time):
            first, second = as_time(first), as_time(second)
        if kind(first) != kind(second) or kind(first) in (None, "list", "dict"):
            return None
        if isinstance(first, Time | Duration):
            first, second = first.us, second.us
        match op:
            case ast.Eq():
                return bool(first == second)
            case ast.NotEq():
                return bool(first != second)
        if isinstance(first, bool):
            return None
        order: Mapping[type[ast.cmpop], Callable[[], bool]] = {
            ast.Lt: lambda: first < second,
            ast.LtE: lambda: first <= second,
            ast.Gt: lambda: first > second,
            ast.GtE: lambda: first >= second,
        }
        return bool(order[type(op)]())

    def membership(self, item: ast.expr, holder: ast.expr) -> bool | None:
        value = self.value(item)
        if isinstance(holder, ast.Name) and holder.id == "segments":
            return value in self.facts.segments if isinstance(value, str) else None
        if isinstance(holder, ast.List):
            entries = [self.value(entry) for entry in holder.elts]
            if kind(value) != kind(entries[0]):
                return None
        else:
            entries = self.value(holder)
        if not isinstance(entries, list) or kind(value) in (None, "list", "dict"):
            return None
        return any(kind(entry) == kind(value) and entry == value for entry in entries)

    # --- values; None is unknown

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.UnaryOp(op=ast.USub()):
                return self.arithmetic(ast.Mult(), -1, self.value(node.operand))
            case ast.BinOp():
                return self.arithmetic(node.op, self.value(node.left), self.value(node.right))
            case ast.Call(func=ast.Attribute(value=ast.Name(id="events"), attr=aggregate)):
                return self.aggregate(aggregate, node)
            case ast.Call(func=ast.Name(id=name)):
                return self.call(name, [self.value(argument) for argument in node.args])
            case ast.Name(id="now"):
                return as_time(self.facts.now)
            case ast.Name(id="hour"):
                return self.facts.now.astimezone(self.facts.zone).hour
            case ast.Name(id="weekday"):
                return WEEKDAYS[self.facts.now.astimezone(self.facts.zone).weekday()]
        return self.lookup(node)

    def lookup(self, node: ast.expr) -> Any:
        match node:
            case ast.Attribute(value=below, attr=key):
                pass
            case ast.Subscript(value=below, slice=ast.Constant(value=str() as key)):
                pass
            case ast.Name(id=name):
                return self.properties.get(name)
            case _:
                raise AssertionError(ast.dump(node))
        if isinstance(below, ast.Name) and self.properties is None:
            return self.root(below.id, key)
        holder = self.lookup(below)
        return holder.get(key) if isinstance(holder, dict) else None

    def root(self, name: str, key: str) -> Any:
        if name == "event" and key in ("name", "at"):
            value = self.facts.event.get(key)
            if key == "at":
                return as_time(value)
            return value if isinstance(value, str) else None
        holders: dict[str, Mapping[str, Any]] = {
            "traits": self.facts.traits,
            "consent": self.facts.consent,
            "context": self.facts.context,
            "event": self.facts.event.get("properties", {}) | self.facts.event,
            "journey": self.facts.journeys,
        }
        return holders[name].get(key)

    def arithmetic(self, op: ast.operator, left: Any, right: Any) -> Any:
        if isinstance(op, ast.Add | ast.Sub):
            if isinstance(left, str) and isinstance(right, Time | Duration):
                left = as_time(left)
            if isinstance(right, str) and isinstance(left, Time | Duration):
                right = as_time(right)
        result_of = {
            ("number", "number"): lambda us: us,
            ("Time", "Duration"): Time,
            ("Duration", "Time"): Time,
            ("Time", "Time"): Duration,
            ("Duration", "Duration"): (lambda us: us) if isinstance(op, ast.Div) else Duration,
            ("Duration", "number"): Duration,
            ("number", "Duration"): Duration,
        }.get((kind(left) or "", kind(right) or ""))
        if result_of is None:
            return None
        a, b = getattr(left, "us", left), getattr(right, "us", right)
        operations: Mapping[type[ast.operator], Callable[[], float]] = {
            ast.Add: lambda: a + b,
            ast.Sub: lambda: a - b,
            ast.Mult: lambda: a * b,
            ast.Div: lambda: a / b,
            ast.Mod: lambda: a % b,
        }
        try:
            result = operations[type(op)]()
        except (ZeroDivisionError, OverflowError):
            return None
        return result_of(result) if abs(result) <= 1e300 else None

    def call(self, name: str, values: list[Any]) -> Any:
        if name == "default":
            value, otherwise = values
            return value if kind(value) == kind(otherwise) else otherwise
        if name == "date":
            return as_time(values[0])
        if name == "days_since":
            since, now = as_time(values[0]), as_time(self.facts.now)
            return None if since is None or now is None else (now.us - since.us) / US_OF["days"]
        if name == "len":
            return len(values[0]) if isinstance(values[0], str | list) else None
        if name == "lower":
            return values[0].lower() if isinstance(values[0], str) else None
        if any(kind(value) != "number" for value in values):
            return None
        if name in US_OF:
            return Duration(round(values[0] * US_OF[name])) if abs(values[0]) < 1e12 else None
        functions: dict[str, Callable[..., Any]] = {
            "abs": abs,
            "round": lambda number: round(number) if abs(number) <= 1e300 else None,
            "min": min,
            "max": max,
        }
        return functions[name](*values)

    def aggregate(self, name: str, node: ast.Call) -> Any:
        event = node.args[0]
        assert isinstance(event, ast.Constant)
        bare = [n for n in node.args[1:] if isinstance(n, ast.Name | ast.Attribute | ast.Subscript)]
        filters = [n for n in node.args[1:] if n not in bare]
        found: list[tuple[float, tuple[str, Any], Any]] = []
        for one in self.events:
            inner = Interpreter(self.facts, (), one.properties)
            if one.name != event.value or not all(inner.condition(f) is True for f in filters):
                continue
            value = inner.value(bare[0]) if bare else None
            if bare and (value is None or isinstance(value, list | dict)):
                continue
            moment = as_time(one.at)
            if moment is not None and self.inside(one.at, node):
                rank = "" if kind(value) in (None, "bool") else kind(value) or ""
                rank = "text" if rank == "str" else rank
                found.append((moment.us, (rank, value if bare else False), value))
        found.sort(key=lambda entry: entry[:2])
        return self.summary(name, found, bool(bare))

    def inside(self, at: datetime, node: ast.Call) -> bool:
        if not node.keywords:
            return True
        text = node.keywords[0].value
        assert isinstance(text, ast.Constant)
        assert isinstance(text.value, str)
        window = timedelta(**{WINDOWS[text.value[-1]]: int(text.value[:-1])})
        return self.facts.now - window < at <= self.facts.now

    def summary(self, name: str, found: list[Any], valued: bool) -> Any:
        if name == "count":
            return len(found)
        if name == "sum":
            values = [value for _, _, value in found if kind(value) == "number"]
            numbers = [value for value in values if abs(value) <= 1e300]
            return float(sum(map(Fraction, numbers), Fraction()))
        if name == "distinct":
            return len({rank for _, rank, _ in found})
        if not found:
            return None
        time, _, value = found[-1 if name == "last" else 0]
        return value if valued else Time(time)
