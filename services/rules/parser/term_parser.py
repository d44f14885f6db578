"""Parsing terms: arithmetic and functions."""

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import timedelta

from services.chassis.errors import nearest
from services.rules.errors import InvalidArgument, KindMismatch, NotAllowed, UnknownName
from services.rules.formula import (
    NUMERIC_KINDS,
    Aggregation,
    ClockTerm,
    FunctionCall,
    KindCast,
    Literal,
    Lookup,
    Term,
    ValueKind,
)
from services.rules.functions import FUNCTIONS, PUBLIC, SPECIAL, UNITS_US
from services.rules.parser.name_resolver import NameResolver, python_name
from services.rules.vocabulary import ROOTS

ARITHMETIC: Mapping[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Mod: "modulo",
}

# The kind of `left operator right`; anything else is refused.
ARITHMETIC_KINDS: Mapping[tuple[str, ValueKind, ValueKind], ValueKind] = {
    **{
        (name, ValueKind.NUMBER, ValueKind.NUMBER): ValueKind.NUMBER for name in ARITHMETIC.values()
    },
    ("add", ValueKind.TIME, ValueKind.DURATION): ValueKind.TIME,
    ("add", ValueKind.DURATION, ValueKind.TIME): ValueKind.TIME,
    ("add", ValueKind.DURATION, ValueKind.DURATION): ValueKind.DURATION,
    ("subtract", ValueKind.TIME, ValueKind.DURATION): ValueKind.TIME,
    ("subtract", ValueKind.TIME, ValueKind.TIME): ValueKind.DURATION,
    ("subtract", ValueKind.DURATION, ValueKind.DURATION): ValueKind.DURATION,
    ("multiply", ValueKind.DURATION, ValueKind.NUMBER): ValueKind.DURATION,
    ("multiply", ValueKind.NUMBER, ValueKind.DURATION): ValueKind.DURATION,
    ("divide", ValueKind.DURATION, ValueKind.NUMBER): ValueKind.DURATION,
    ("divide", ValueKind.DURATION, ValueKind.DURATION): ValueKind.NUMBER,
}


class TermParser(NameResolver, ABC):
    def parse_term(self, node: ast.expr, whole: bool = False) -> Term:
        """The node as a value; `whole` allows a journey without naming its field."""
        match node:
            case ast.Constant():
                return self._parse_literal(node)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self._parse_name(node, whole)
            case ast.BinOp():
                return self._parse_arithmetic(node)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign):
                operand = self._parse_operand(node.operand)
                factor = Literal(-1 if isinstance(sign, ast.USub) else 1, ValueKind.NUMBER)
                return self._build_call("multiply", (factor, operand), operand.kind, node)
            case ast.Call():
                return self._parse_call(node)
            case ast.BoolOp() | ast.Compare() | ast.UnaryOp():
                problem = "A condition cannot be used as a value."
                hint = "Join conditions with `and`, `or` and `not`."
                raise self.error(NotAllowed, node, problem, hint)
        problem = f"Conditions have no {python_name(node)}."
        hint = "Use comparisons, `and`, `or`, `not`, arithmetic and the functions in the manual."
        raise self.error(NotAllowed, node, problem, hint)

    @abstractmethod
    def parse_aggregate(self, node: ast.Call, aggregate: str) -> Term:
        """An aggregate over events. Its filters are formulas, and formulas are made of terms."""

    def parse_property(self, node: ast.expr) -> Lookup:
        term = self.parse_term(node)
        if isinstance(term, Lookup):
            return term
        raise self.error(InvalidArgument, node, "This is not a property.", "Write its bare name.")

    def _parse_arithmetic(self, node: ast.BinOp) -> Term:
        name = ARITHMETIC.get(type(node.op))
        if name is None:
            problem = f"Conditions have no operator {type(node.op).__name__}."
            hint = "There are + - * / and %."
            raise self.error(NotAllowed, node, problem, hint)
        left, right = self._parse_operand(node.left, None), self._parse_operand(node.right, None)
        left = self._convert_operand(left, right, name, node.left)
        right = self._convert_operand(right, left, name, node.right)
        kind = ARITHMETIC_KINDS.get((name, left.kind, right.kind))
        if kind is None:
            problem = f"Cannot {name} {left.kind.value} and {right.kind.value}."
            hint = "Times take durations such as `days(3)`; numbers take numbers."
            raise self.error(KindMismatch, node, problem, hint)
        return self._build_call(name, (left, right), kind, node)

    def _convert_operand(self, term: Term, other: Term, name: str, node: ast.expr) -> Term:
        """A JSON value next to a time or, added to a duration, is a time; else a number."""
        if term.kind is not ValueKind.ANY:
            return term
        has_time = other.kind in (ValueKind.TIME, ValueKind.DURATION)
        timely = has_time and name in ("add", "subtract")
        return self._convert(term, ValueKind.TIME if timely else ValueKind.NUMBER, node)

    def _parse_operand(
        self, node: ast.expr, take_any_as: ValueKind | None = ValueKind.NUMBER
    ) -> Term:
        self._refuse_none(node)
        term = self.parse_term(node)
        if term.kind is ValueKind.ANY and take_any_as:
            return self._convert(term, take_any_as, node)
        if term.kind in NUMERIC_KINDS or term.kind is ValueKind.ANY:
            return term
        problem = f"Cannot calculate with {term.kind.value}."
        hint = "Numbers, times and durations can be calculated with."
        raise self.error(KindMismatch, node, problem, hint)

    def _parse_call(self, node: ast.Call) -> Term:
        match node.func:
            case ast.Attribute(value=ast.Name(id="events"), attr=aggregate):
                return self.parse_aggregate(node, aggregate)
            case ast.Name(id=name):
                pass
            case ast.Attribute(value=ast.Name(id=root) as excerpt) if root not in ROOTS:
                near = nearest(root, self.vocabulary.roots)
                raise self.error(UnknownName, excerpt, f"There is no `{root}`.", near)
            case ast.Attribute(attr=name):
                hint = f"Write `{name}(…)`." if name in PUBLIC else "See the manual for functions."
                raise self.error(NotAllowed, node, "Values have no methods.", hint)
            case _:
                raise self.error(NotAllowed, node, "Only functions can be called.", "Name one.")
        if name not in PUBLIC:
            raise self.error(UnknownName, node, f"There is no `{name}()`.", nearest(name, PUBLIC))
        if name in ("exists", "missing") or self._is_predicate(name):
            problem = f"`{name}` answers true or false and cannot be used as a value."
            hint = "Use it as a condition, joined with `and`, `or` and `not`."
            raise self.error(NotAllowed, node, problem, hint)
        if name in SPECIAL:
            special: Callable[[ast.Call, str], Term] = getattr(
                self, f"_parse_{name}", self._parse_unit
            )
            return special(node, name)
        function = FUNCTIONS[name]
        return self._build_call(name, self._parse_arguments(node, name), function.result, node)

    def _parse_arguments(self, node: ast.Call, name: str) -> tuple[Term, ...]:
        function = FUNCTIONS[name]
        kinds = list(function.parameters)
        if function.variadic:
            kinds += kinds[-1:] * (len(node.args) - len(kinds))
        self._check_count(node, name, len(kinds))
        return tuple(map(self._parse_as, node.args, kinds))

    def _parse_as(self, node: ast.expr, kind: ValueKind) -> Term:
        return self._convert(self.parse_term(node), kind, node)

    def _check_count(self, node: ast.Call, name: str, expected: int) -> None:
        if node.keywords or len(node.args) != expected:
            raise self.error(
                InvalidArgument,
                node,
                f"`{name}` takes {expected} argument{'s' * (expected != 1)}, "
                f"got {len(node.args) + len(node.keywords)}.",
                "Arguments stand between the parentheses, without names.",
            )
        for argument in node.args:
            self._refuse_none(argument)

    def _parse_default(self, node: ast.Call, name: str) -> Term:
        self._check_count(node, name, 2)
        term, otherwise = self._unify(*node.args)
        if not isinstance(otherwise, Literal):
            problem = "The second argument of `default` is a fixed value."
            hint = "Write `default(traits.visits, 0)`."
            raise self.error(InvalidArgument, node.args[1], problem, hint)
        term = self._convert(term, otherwise.kind, node.args[0])
        run = "default_number" if term.kind in NUMERIC_KINDS else "default_value"
        return self._build_call(run, (term, otherwise), term.kind, node)

    def _parse_date(self, node: ast.Call, name: str) -> Term:
        self._check_count(node, name, 1)
        return self._parse_as(node.args[0], ValueKind.TIME)

    def _parse_days_since(self, node: ast.Call, name: str) -> Term:
        self._check_count(node, name, 1)
        self._check_root("now", node)
        since = self._parse_as(node.args[0], ValueKind.TIME)
        now = ClockTerm("now", ValueKind.TIME)
        passed = FunctionCall("subtract", (now, since), ValueKind.DURATION)
        day = Literal(UNITS_US["days"], ValueKind.DURATION)
        return FunctionCall("divide", (passed, day), ValueKind.NUMBER)

    def _parse_unit(self, node: ast.Call, name: str) -> Term:
        self._check_count(node, name, 1)
        amount = self._parse_as(node.args[0], ValueKind.NUMBER)
        unit = Literal(UNITS_US[name], ValueKind.NUMBER)
        return self._build_call("duration", (amount, unit), ValueKind.DURATION, node)

    def _build_call(
        self, name: str, arguments: tuple[Term, ...], kind: ValueKind, node: ast.expr
    ) -> Term:
        """The call, or its value if all its arguments are fixed."""
        values = [argument.value for argument in arguments if isinstance(argument, Literal)]
        if len(values) < len(arguments):
            return FunctionCall(name, arguments, kind)
        result = FUNCTIONS[name].run(*values)
        if result is None or result != result:
            problem = f"`{ast.unparse(node)}` has no value."
            hint = "It would never be true: a division by zero, or too large a number."
            raise self.error(InvalidArgument, node, problem, hint)
        return Literal(result, kind)

    def _is_predicate(self, name: str) -> bool:
        return name in PUBLIC - SPECIAL and FUNCTIONS[name].result is ValueKind.YES_NO

    def _unify(self, left: ast.expr, right: ast.expr) -> tuple[Term, Term]:
        """Both sides of a comparison, converted to one kind."""
        first, second = self.parse_term(left), self.parse_term(right)
        self._refuse_fixed([first, second], left)
        self._check_weekday(first, second, right)
        self._check_weekday(second, first, left)
        if first.kind is ValueKind.ANY:
            return self._convert_for(first, second, left), second
        if second.kind is ValueKind.ANY:
            return first, self._convert_for(second, first, right)
        if first.kind is ValueKind.TIME:
            return first, self._convert(second, ValueKind.TIME, right)
        return self._convert(first, second.kind, left), second

    def _convert_for(self, term: Term, other: Term, node: ast.expr) -> Term:
        """A JSON value compared with a yes/no value stays as it is: the comparison checks it."""
        if other.kind in (ValueKind.ANY, ValueKind.YES_NO):
            return term
        return self._convert(term, other.kind, node)


def describe(term: Term) -> str:
    """How explanations name a term."""
    match term:
        case KindCast(inner):
            return describe(inner)
        case Lookup(root, path):
            return ".".join(("event" if root == "properties" else root, *path))
        case ClockTerm(name):
            return name
        case Aggregation(aggregate, series, window_us):
            window = f", last {timedelta(microseconds=window_us)}" if window_us else ""
            return f"events.{aggregate}({series}{window})"
        case FunctionCall(function, arguments):
            return f"{function}({', '.join(map(describe, arguments))})"
        case Literal(value):
            return repr(value)
