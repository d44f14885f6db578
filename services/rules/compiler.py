"""All conditions of a catalogue as one Python function.

The function is built as a syntax tree, never as text, out of names this module chooses and
constants, so nothing a condition says can become code. A term that several conditions use is
computed once, at the top; a term used once is computed where it stands, if it is reached.
"""

import ast
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, TypeAlias, cast

from services.rules import functions
from services.rules.formula import (
    NUMERIC_KINDS,
    Aggregation,
    Atom,
    ClockTerm,
    Comparison,
    Conjunction,
    Constant,
    ExistenceTest,
    Formula,
    FunctionCall,
    KindCast,
    Leaf,
    ListTest,
    Literal,
    Lookup,
    SegmentTest,
    Term,
    ValueKind,
    YesNoTest,
)

NAMESPACE: Mapping[str, Any] = {
    **{name: function.run for name, function in functions.FUNCTIONS.items()},
    **{
        name: getattr(functions, name)
        for name in vars(functions)
        if name.startswith(("window_", "lifetime_"))
    },
    "as_time": functions.as_time,
    "event_properties": functions.event_properties,
    "micros": functions.micros,
    "walk": functions.walk,
    "EMPTY": functions.EMPTY_STATE,
    "NUMERIC": functions.NUMERIC,
    "NAN": nan,
    "TEXT": str,
    "YES_NO": bool,
}
CLASSES = {
    ValueKind.NUMBER: (ast.In(), "NUMERIC"),
    ValueKind.TEXT: (ast.Is(), "TEXT"),
    ValueKind.YES_NO: (ast.Is(), "YES_NO"),
}
OPERATORS: Mapping[str, ast.cmpop] = {"==": ast.Eq(), "<": ast.Lt(), "<=": ast.LtE()}
INVERSE: Mapping[str, ast.cmpop] = {"<": ast.GtE(), "<=": ast.Gt()}


@dataclass(frozen=True, slots=True)
class SeriesLookup:
    """The state of one series, looked up in the history."""

    series: str


Node: TypeAlias = Term | SeriesLookup


def compile_formulas(formulas: Sequence[Formula]) -> Callable[[Any], list[bool]]:
    """A function of facts that returns which formulas are true."""
    repeated = Counter(formulas)

    def write(writer: "_FunctionWriter") -> list[ast.expr]:
        results: dict[Formula, ast.expr] = {}
        for number, (formula, times) in enumerate(repeated.items()):
            result: ast.expr = writer.write_formula(formula)
            if not isinstance(formula, Leaf):  # an `and` runs faster as a test than as a value
                result = ast.IfExp(result, ast.Constant(True), ast.Constant(False))
            results[formula] = writer.assign(f"f{number}", result) if times > 1 else result
        return [results[formula] for formula in formulas]

    return _compile(write)


def compile_series(
    series: Sequence[tuple[Formula | None, Lookup | None]],
) -> Callable[[Mapping[str, Any]], list[Any]]:
    """A function of an event's properties that returns its value in each series of (filter,
    property): True where no property is read, None where it does not pass the filter.
    """

    def write(writer: "_FunctionWriter") -> list[ast.expr]:
        writer.roots["properties"] = _attribute("facts", "get")
        values = []
        for predicate, lookup in series:
            value = writer.write_term(lookup) if lookup else ast.Constant(True)
            if predicate:
                value = ast.IfExp(writer.write_formula(predicate), value, _none())
            values.append(value)
        return values

    return _compile(write)


def compile_leaves(leaves: Sequence[Leaf]) -> Callable[[Any], list[list[Any]]]:
    """A function of facts that returns, for every leaf, whether it is true, and its operands."""

    def write(writer: "_FunctionWriter") -> list[ast.expr]:
        return [
            _list([writer.write_formula(leaf), *(writer.write_term(t) for _, t in leaf.operands)])
            for leaf in leaves
        ]

    return _compile(write)


def _compile(write: Callable[["_FunctionWriter"], list[ast.expr]]) -> Callable[[Any], Any]:
    """A function that returns what `write` writes: once to count how often each term is used,
    then with those used repeatedly computed at the top.
    """
    counter, writer = _FunctionWriter(), _FunctionWriter()
    write(counter)
    for term, uses in counter.uses.items():
        if uses > 1:
            writer.names[term] = writer.assign(f"t{len(writer.names)}", writer.write_term(term))
    return writer.build_function(_list(write(writer)))


ROOTS: Mapping[str, Callable[[], ast.expr]] = {
    "traits": lambda: _attribute("facts", "traits", "get"),
    "consent": lambda: _attribute("facts", "consent", "get"),
    "context": lambda: _attribute("facts", "context", "get"),
    "event": lambda: _attribute("facts", "event", "get"),
    "journey": lambda: _attribute("facts", "journeys", "get"),
    "history": lambda: _attribute("facts", "history", "get"),
    "segments": lambda: _attribute("facts", "segments"),
    "properties": lambda: ast.Attribute(
        _call("event_properties", _attribute("facts", "event")), "get", ast.Load()
    ),
    "now": lambda: _call("micros", _attribute("facts", "now")),
    "hour": lambda: _attribute("facts", "hour"),
    "weekday": lambda: _attribute("facts", "weekday"),
}


class _FunctionWriter:
    def __init__(self) -> None:
        self.body: list[ast.stmt] = []
        self.names: dict[Node, ast.expr] = {}
        self.roots: dict[str, ast.expr] = {}
        self.uses: dict[Node, int] = {}
        """How often each term was written; what a term is made of stands before it."""

    def build_function(self, result: ast.expr) -> Callable[[Any], Any]:
        prelude = [_assignment(root, value) for root, value in self.roots.items()]
        body = [*prelude, *self.body, ast.Return(result)]
        arguments = ast.arguments([], [ast.arg("facts")], None, [], [], None, [])
        definition = ast.FunctionDef("rules", arguments, body, [], None)
        module = ast.fix_missing_locations(ast.Module([definition], []))
        namespace = dict(NAMESPACE)
        exec(compile(module, "<conditions>", "exec"), namespace)  # noqa: S102 (see the module)
        rules: Callable[[Any], Any] = namespace["rules"]
        return rules

    def assign(self, name: str, value: ast.expr) -> ast.expr:
        """Compute the value here, and use it by name from now on."""
        self.body.append(_assignment(name, value))
        return _name(name)

    def write_formula(self, formula: Formula) -> ast.expr:
        if isinstance(formula, Leaf):
            return self._write_atom(formula.atom, formula.negated)
        joint = ast.And() if isinstance(formula, Conjunction) else ast.Or()
        return ast.BoolOp(joint, [self.write_formula(part) for part in formula.parts])

    def _write_atom(self, atom: Atom, negated: bool) -> ast.expr:
        match atom:
            case Constant(value):
                return ast.Constant(value is not negated)
            case YesNoTest(term):
                return _compare(self.write_term(term), ast.Is(), ast.Constant(not negated))
            case Comparison(operator, left, right):
                return self._write_comparison(operator, left, right, negated)
            case ListTest(term, values):
                return self._write_membership(term, ast.Constant(cast(Any, values)), negated)
            case SegmentTest(name):
                return self._write_membership(name, self._write_root("segments"), negated)
            case ExistenceTest(term):
                return self._write_existence(term, negated)

    def _write_comparison(self, operator: str, left: Term, right: Term, negated: bool) -> ast.expr:
        if left.kind is ValueKind.TEXT:
            return self._write_text_comparison(operator, left, right, negated)
        if negated and operator == "==":  # `!=` would call NaN different
            apart = (ast.Lt(), ast.Gt())
            return ast.BoolOp(
                ast.Or(),
                [_compare(self.write_term(left), sign, self.write_term(right)) for sign in apart],
            )
        sign = INVERSE[operator] if negated else OPERATORS[operator]
        return _compare(self.write_term(left), sign, self.write_term(right))

    def _write_text_comparison(
        self, operator: str, left: Term, right: Term, negated: bool
    ) -> ast.expr:
        """None equals no fixed text, but everything else must make sure of both sides."""
        if operator == "==" and not negated and isinstance(right, Literal):
            return _compare(self.write_term(left), ast.Eq(), self.write_term(right))
        sign = OPERATORS[operator]
        if negated:
            sign = ast.NotEq() if operator == "==" else INVERSE[operator]
        comparison = _compare(self.write_term(left), sign, self.write_term(right))
        return self._require_known(comparison, left, right)

    def _write_membership(self, term: Term, holder: ast.expr, negated: bool) -> ast.expr:
        """An unknown value is in no set, so only `not in` must make sure of it."""
        if not negated:
            return _compare(self.write_term(term), ast.In(), holder)
        return self._require_known(_compare(self.write_term(term), ast.NotIn(), holder), term)

    def _require_known(self, test: ast.expr, *terms: Term) -> ast.expr:
        """The test, and before it that the terms are known."""
        variable = [term for term in terms if not isinstance(term, Literal)]
        known = [self._write_existence(term, negated=False) for term in variable]
        return ast.BoolOp(ast.And(), [*known, test]) if known else test

    def _write_existence(self, term: Term, negated: bool) -> ast.expr:
        if term.kind in NUMERIC_KINDS:
            sign: ast.cmpop = ast.NotEq() if negated else ast.Eq()
            return _compare(self.write_term(term), sign, self.write_term(term))
        return _compare(self.write_term(term), ast.Is() if negated else ast.IsNot(), _none())

    def write_term(self, node: Node) -> ast.expr:
        """The value of a term: by its name if it was computed before."""
        match node:
            case Literal(value):
                return ast.Constant(value)
            case ClockTerm(name):
                return self._write_root(name)
        if node in self.names:
            return self.names[node]
        if node in self.uses:
            self.uses[node] += 1
            return _none()  # only counted: what is used repeatedly has a name by then
        written = self._write_value(node)
        self.uses[node] = 1
        return written

    def _write_value(self, node: Node) -> ast.expr:
        match node:
            case Lookup(root, path):
                first = ast.Call(self._write_root(root), [ast.Constant(path[0])], [])
                rest = [ast.Constant(key) for key in path[1:]]
                return _call("walk", first, *rest) if rest else first
            case KindCast(inner, kind):
                return self._write_cast(inner, kind)
            case SeriesLookup(series):
                history = self._write_root("history")
                return ast.Call(history, [ast.Constant(series), _name("EMPTY")], [])
            case Aggregation(aggregate, series, window_us):
                return self._write_aggregate(aggregate, SeriesLookup(series), window_us)
            case FunctionCall(function, arguments):
                return _call(function, *map(self.write_term, arguments))
            case _:
                raise AssertionError(f"{node!r} is a term of another kind")

    def _write_cast(self, inner: Term, kind: ValueKind) -> ast.expr:
        if kind is ValueKind.TIME:
            return _call("as_time", self.write_term(inner))
        operator, expected = CLASSES[kind]
        value = ast.NamedExpr(ast.Name("v", ast.Store()), self.write_term(inner))
        fits = _compare(ast.Attribute(value, "__class__", ast.Load()), operator, _name(expected))
        return ast.IfExp(fits, _name("v"), _name("NAN") if kind is ValueKind.NUMBER else _none())

    def _write_aggregate(
        self, aggregate: str, state: SeriesLookup, window_us: int | None
    ) -> ast.expr:
        if window_us is None:
            return _call(f"lifetime_{aggregate}", self.write_term(state))
        now, window = self._write_root("now"), ast.Constant(window_us)
        return _call(f"window_{aggregate}", self.write_term(state), now, window)

    def _write_root(self, root: str) -> ast.expr:
        if root not in self.roots:
            self.roots[root] = ROOTS[root]()
        return _name(root)


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _none() -> ast.expr:
    return ast.Constant(None)


def _attribute(name: str, *attributes: str) -> ast.expr:
    value: ast.expr = _name(name)
    for attribute in attributes:
        value = ast.Attribute(value, attribute, ast.Load())
    return value


def _call(function: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(_name(function), list(arguments), [])


def _compare(left: ast.expr, operator: ast.cmpop, right: ast.expr) -> ast.expr:
    return ast.Compare(left, [operator], [right])


def _list(items: Sequence[ast.expr]) -> ast.expr:
    return ast.List(list(items), ast.Load())


def _assignment(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)
