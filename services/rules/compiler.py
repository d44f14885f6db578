"""All conditions of a catalogue as one Python function.

The function is built as a syntax tree, never as text, out of names this module chooses and
constants, so nothing a condition says can become code. A term that several conditions use is
computed once, at the top; a term used once is computed where it stands, if it is reached.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    PredicateCall,
    SegmentTest,
    Term,
    ValueKind,
    YesNoTest,
    inner_terms,
    iterate_leaves,
    operands_of,
    split_parts,
)

PASSED = -1
"""The outcome of a condition that is true; otherwise it is the index of a failed part."""

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


def compile_outcomes(formulas: Sequence[Formula]) -> Callable[[Any], list[int]]:
    """A function of facts that returns the outcome of every formula."""
    repeated = Counter(formulas)
    writer = _FunctionWriter(repeated)
    results: dict[Formula, ast.expr] = {}
    for number, (formula, times) in enumerate(repeated.items()):
        outcome = writer.write_outcome(split_parts(formula))
        if times > 1:
            outcome = writer.assign(f"o{number}", outcome)
        results[formula] = outcome
    return writer.build_function(_list([results[formula] for formula in formulas]))


def compile_filters(formulas: Sequence[Formula]) -> Callable[[Mapping[str, Any]], list[bool]]:
    """A function of an event's properties that returns which filters it passes."""
    writer = _FunctionWriter(formulas, {"properties": _attribute("facts", "get")})
    return writer.build_function(_list([writer.write_formula(formula) for formula in formulas]))


def compile_lookups(lookups: Sequence[Lookup]) -> Callable[[Mapping[str, Any]], list[Any]]:
    """A function of an event's properties that returns the values of several of them."""
    writer = _FunctionWriter((), {"properties": _attribute("facts", "get")}, lookups)
    return writer.build_function(_list([writer.write_term(lookup) for lookup in lookups]))


def compile_leaves(atoms: Sequence[Leaf]) -> Callable[[Any], list[list[Any]]]:
    """A function of facts that returns, for every leaf, whether it is true, and its operands."""
    operands = [[term for _, term in leaf.operands] for leaf in atoms]
    writer = _FunctionWriter(atoms, also=[term for terms in operands for term in terms])
    rows = [
        _list([writer.write_formula(leaf), *map(writer.write_term, terms)])
        for leaf, terms in zip(atoms, operands, strict=True)
    ]
    return writer.build_function(_list(rows))


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
    """Writes the body of one function."""

    def __init__(
        self,
        formulas: Iterable[Formula],
        roots: Mapping[str, ast.expr] | None = None,
        also: Iterable[Term] = (),
    ) -> None:
        self.body: list[ast.stmt] = []
        self.names: dict[Node, str] = {}
        self.roots: dict[str, ast.expr] = dict(roots or {})
        uses: Counter[Node] = Counter()
        order: dict[Node, None] = {}
        for formula in formulas:
            for leaf in iterate_leaves(formula):
                for term in _list_uses(leaf.atom, leaf.negated):
                    _count(term, uses, order)
        for term in also:
            _count(term, uses, order)
        for node in order:
            if uses[node] > 1 and not isinstance(node, Literal | ClockTerm):
                self._hoist(node)

    def build_function(self, result: ast.expr) -> Callable[[Any], Any]:
        """The finished function, returning the result."""
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

    def _hoist(self, node: Node) -> None:
        name = f"t{len(self.names)}"
        self.assign(name, self.write_term(node))
        self.names[node] = name

    # --- formulas ---------------------------------------------------------------------

    def write_outcome(self, parts: Sequence[Formula]) -> ast.expr:
        """PASSED, or the index of the first part that is not true."""
        outcome: ast.expr = ast.Constant(PASSED)
        for index in range(len(parts) - 1, -1, -1):
            outcome = ast.IfExp(self.write_formula(parts[index]), outcome, ast.Constant(index))
        return outcome

    def write_formula(self, formula: Formula) -> ast.expr:
        """The formula as an expression that is True or False."""
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
            case PredicateCall(function, arguments):
                answer = _call(function, *map(self.write_term, arguments))
                return _compare(answer, ast.Is(), ast.Constant(not negated))
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
        known = [self._write_known(side) for side in (left, right) if not isinstance(side, Literal)]
        return ast.BoolOp(
            ast.And(), [*known, _compare(self.write_term(left), sign, self.write_term(right))]
        )

    def _write_membership(self, term: Term, holder: ast.expr, negated: bool) -> ast.expr:
        """An unknown value is in no set, so only `not in` must make sure of it."""
        if not negated:
            return _compare(self.write_term(term), ast.In(), holder)
        outside = _compare(self.write_term(term), ast.NotIn(), holder)
        if isinstance(term, Literal):
            return outside
        return ast.BoolOp(ast.And(), [self._write_known(term), outside])

    def _write_existence(self, term: Term, negated: bool) -> ast.expr:
        if term.kind in NUMERIC_KINDS:
            sign: ast.cmpop = ast.NotEq() if negated else ast.Eq()
            return _compare(self.write_term(term), sign, self.write_term(term))
        return _compare(self.write_term(term), ast.Is() if negated else ast.IsNot(), _none())

    def _write_known(self, term: Term) -> ast.expr:
        return self._write_existence(term, negated=False)

    # --- terms ------------------------------------------------------------------------

    def write_term(self, node: Node) -> ast.expr:
        """The value of a term: by its name if it was computed before."""
        if node in self.names:
            return _name(self.names[node])
        match node:
            case Literal(value):
                return ast.Constant(value)
            case Lookup(root, path):
                first = ast.Call(self._write_root(root), [ast.Constant(path[0])], [])
                rest = [ast.Constant(key) for key in path[1:]]
                return _call("walk", first, *rest) if rest else first
            case KindCast(inner, kind):
                return self._write_cast(inner, kind)
            case ClockTerm(name):
                return self._write_root(name)
            case SeriesLookup(series):
                return ast.Call(
                    self._write_root("history"), [ast.Constant(series), _name("EMPTY")], []
                )
            case Aggregation(aggregate, series, window_us):
                return self._write_aggregate(aggregate, SeriesLookup(series), window_us)
            case FunctionCall(function, arguments):
                return _call(function, *map(self.write_term, arguments))

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


def _list_uses(atom: Atom, negated: bool) -> Sequence[Term]:
    """The terms an atom's expression mentions, as often as it does."""
    twice = negated
    match atom:
        case Comparison(operator, left, right) if left.kind is ValueKind.TEXT:
            twice = negated or operator != "==" or not isinstance(right, Literal)
        case Comparison(operator):
            twice = negated and operator == "=="
        case ExistenceTest(term):
            twice = term.kind in NUMERIC_KINDS
        case YesNoTest() | PredicateCall():
            twice = False
    return operands_of(atom) * (2 if twice else 1)


def _count(node: Node, uses: Counter[Node], order: dict[Node, None]) -> None:
    """Count a use; `order` ends with what a node is made of before the node itself."""
    uses[node] += 1
    if uses[node] > 1:
        return
    inner = (SeriesLookup(node.series),) if isinstance(node, Aggregation) else ()
    for term in inner if isinstance(node, SeriesLookup | Aggregation) else inner_terms(node):
        _count(term, uses, order)
    order[node] = None


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
