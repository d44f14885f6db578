"""From text to a typed formula: a whitelist, node by node."""

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any

from services.rules.condition import Condition, Needs
from services.rules.errors import (
    ConditionError,
    InvalidArgument,
    InvalidSeries,
    KindMismatch,
    LimitExceeded,
    NotAllowed,
    UnknownName,
    nearest,
)
from services.rules.formula import (
    NUMERIC_KINDS,
    All,
    Among,
    AnyOf,
    As,
    Atom,
    Call,
    Compare,
    Constant,
    Exists,
    Fixed,
    Formula,
    History,
    InSegment,
    Kind,
    Leaf,
    Literal,
    Lookup,
    Moment,
    Place,
    Term,
    Test,
    Truth,
)
from services.rules.functions import (
    AGGREGATES,
    FUNCTIONS,
    PUBLIC,
    SPECIAL,
    UNITS_US,
    as_time,
)
from services.rules.series import Series, merge_series
from services.rules.source import Source
from services.rules.vocabulary import DECISION, FILTER, ROOTS, WEEKDAYS, Limits, Vocabulary

DEFAULT_LIMITS = Limits()
WINDOW = re.compile(r"([1-9]\d{0,5})(m|h|d|w)")
WINDOW_UNIT_US = {
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
ARITHMETIC: Mapping[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Mod: "modulo",
}
# What `left operator right` gives; anything else is refused.
ARITHMETIC_KINDS: Mapping[tuple[str, Kind, Kind], Kind] = {
    **{(name, Kind.NUMBER, Kind.NUMBER): Kind.NUMBER for name in ARITHMETIC.values()},
    ("add", Kind.TIME, Kind.DURATION): Kind.TIME,
    ("add", Kind.DURATION, Kind.TIME): Kind.TIME,
    ("add", Kind.DURATION, Kind.DURATION): Kind.DURATION,
    ("subtract", Kind.TIME, Kind.DURATION): Kind.TIME,
    ("subtract", Kind.TIME, Kind.TIME): Kind.DURATION,
    ("subtract", Kind.DURATION, Kind.DURATION): Kind.DURATION,
    ("multiply", Kind.DURATION, Kind.NUMBER): Kind.DURATION,
    ("multiply", Kind.NUMBER, Kind.DURATION): Kind.DURATION,
    ("divide", Kind.DURATION, Kind.NUMBER): Kind.DURATION,
    ("divide", Kind.DURATION, Kind.DURATION): Kind.NUMBER,
}
# Which comparison, with its sides swapped, negated: all of them come down to ==, < and <=.
COMPARISONS: Mapping[type[ast.cmpop], tuple[str, bool, bool]] = {
    ast.Eq: ("==", False, False),
    ast.NotEq: ("==", False, True),
    ast.Lt: ("<", False, False),
    ast.LtE: ("<=", False, False),
    ast.Gt: ("<", True, False),
    ast.GtE: ("<=", True, False),
}
GENERIC = {"==": "equal", "<": "less", "<=": "at_most"}
MOMENTS = {"now": Kind.TIME, "hour": Kind.NUMBER, "weekday": Kind.TEXT}
NEEDS_OF_ROOT = {
    "traits": "traits",
    "consent": "purposes",
    "context": "context",
    "event": "event",
    "journey": "journeys",
}


def parse(
    source: str, vocabulary: Vocabulary = DECISION, limits: Limits = DEFAULT_LIMITS
) -> Condition:
    """Read a condition.

    Raises:
        ConditionError: It is not an expression, uses a name or construct that conditions do
            not have, compares what cannot be compared, or is over a limit.
    """
    text = Source(source)
    reader = _Reader(text, vocabulary, limits)
    formula = reader.formula(text.tree(limits))
    return Condition(source, formula, reader.needs())


def series_from_json(data: Mapping[str, Any]) -> Series:
    """Read a series back from `Series.to_json`, trusting nothing in it.

    Raises:
        InvalidSeries: A field is missing or of the wrong type.
        ConditionError: `where` or `property` is not a filter or a property.
    """
    try:
        event, where, name = data["event"], data["where"], data["property"]
        keep_s, distinct = data["keep_s"], data["lifetime_distinct"]
    except (KeyError, TypeError) as error:
        raise InvalidSeries(
            f"This is not a series: {error} is missing.", hint="Send what `to_json` gave."
        ) from None
    texts = isinstance(event, str) and all(isinstance(x, str | None) for x in (where, name))
    if not texts or type(keep_s) not in (int, float) or not 0 <= keep_s < 1e10:
        raise InvalidSeries(
            f"The fields of this series have wrong types: {dict(data)!r}.",
            hint="Send what `to_json` gave.",
        )
    return _series(event, where, name, float(keep_s), distinct is True)


@lru_cache(maxsize=4096)
def _series(
    event: str, where: str | None, name: str | None, keep_s: float, distinct: bool
) -> Series:
    limits = Limits(characters=3 * DEFAULT_LIMITS.characters)  # canonical text is more spacious
    predicate = lookup = None
    if where is not None:
        text = Source(where)
        tree = text.tree(limits)
        predicate, where = _Reader(text, FILTER, limits).formula(tree), _canonical([tree])
    if name is not None:
        text = Source(name)
        tree = text.tree(limits)
        lookup, name = _Reader(text, FILTER, limits).property(tree), ast.unparse(tree)
    return Series(event, where, name, keep_s, distinct, predicate, lookup)


def _canonical(filters: Iterable[ast.expr]) -> str:
    """The conjunction of the filters in one spelling, whatever their order and spacing."""
    parts = sorted({ast.unparse(part) for part in filters for part in _conjuncts(part)})
    return " and ".join(
        f"({part})" if isinstance(ast.parse(part, mode="eval").body, ast.BoolOp) else part
        for part in parts
    )


def _conjuncts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return [part for value in node.values for part in _conjuncts(value)]
    return [node]


class _Reader:
    """Reads the nodes of one condition and collects what it needs."""

    def __init__(self, source: Source, vocabulary: Vocabulary, limits: Limits) -> None:
        self.source = source
        self.vocabulary = vocabulary
        self.limits = limits
        self.names: dict[str, set[str]] = {
            name: set() for name in (*NEEDS_OF_ROOT.values(), "segments", "roots")
        }
        self.series: list[Series] = []
        self.windows: set[tuple[str, int]] = set()

    def needs(self) -> Needs:
        """Everything looked at so far."""
        names = {name: frozenset(found) for name, found in self.names.items()}
        return Needs(**names, series=merge_series(self.series), windows=frozenset(self.windows))

    # --- formulas ---------------------------------------------------------------------

    def formula(self, node: ast.expr, negated: bool = False) -> Formula:
        """The node as a formula that is true exactly when the node, or its negation, is."""
        place = self.source.place(node, negated)
        while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            node, negated = node.operand, not negated
        match node:
            case ast.BoolOp():
                parts = tuple(self.formula(value, negated) for value in node.values)
                conjunction = isinstance(node.op, ast.And) is not negated
                return All(parts, place) if conjunction else AnyOf(parts, place)
            case ast.Compare():
                return self._comparison(node, negated, place)
            case ast.Constant(value=bool() as value):
                return Leaf(Constant(value), negated, place)
            case ast.Call(func=ast.Name(id="exists" | "missing" as name)):
                term = self._present(node)
                return self._leaf(Exists(term), negated ^ (name == "missing"), place, term)
            case ast.Call(func=ast.Name(id=name)) if self._is_predicate(name):
                arguments = self._arguments(node, name)
                return self._leaf(Test(name, arguments), negated, place, *arguments)
            case _:
                return self._truth(node, negated, place)

    def _truth(self, node: ast.expr, negated: bool, place: Place) -> Formula:
        term = self.term(node)
        if term.kind not in (Kind.YES_NO, Kind.ANY) or isinstance(term, Literal):
            raise self.error(
                KindMismatch,
                node,
                f"`{ast.unparse(node)}` is {term.kind.value}, not true or false.",
                "Compare it with something, such as `… >= 1`.",
            )
        return self._leaf(Truth(term), negated, place, term)

    def _comparison(self, node: ast.Compare, negated: bool, place: Place) -> Formula:
        """A chain `a < b < c` is its pairs, and-ed."""
        sides = [node.left, *node.comparators]
        if len(node.ops) == 1:
            return self._pair(sides[0], node.ops[0], sides[1], negated, place)
        pairs = []
        for left, op, right in zip(sides, node.ops, sides[1:], strict=False):
            text = ast.unparse(ast.Compare(left, [op], [right]))
            start = self.source.place(left, negated)
            shown = Place(f"not {text}" if negated else text, start.line, start.column)
            pairs.append(self._pair(left, op, right, negated, shown))
        return AnyOf(tuple(pairs), place) if negated else All(tuple(pairs), place)

    def _pair(
        self, left: ast.expr, op: ast.cmpop, right: ast.expr, negated: bool, place: Place
    ) -> Leaf:
        self._refuse_none(left)
        self._refuse_none(right)
        match op:
            case ast.In() | ast.NotIn():
                return self._membership(left, right, negated ^ isinstance(op, ast.NotIn), place)
            case ast.Is() | ast.IsNot():
                raise self.error(
                    NotAllowed, right, "`is` compares objects, not values.", "Use `==` or `!=`."
                )
        operator, swapped, flipped = COMPARISONS[type(op)]
        first, second = self._alike(left, right)
        seen = (first, second)
        if swapped:
            first, second = second, first
        atom, inverse = self._compare(operator, first, second, left)
        return self._leaf(atom, negated ^ flipped ^ inverse, place, *seen)

    def _compare(self, operator: str, left: Term, right: Term, node: ast.expr) -> tuple[Atom, bool]:
        """The atom, and whether it stands for its opposite."""
        if Kind.YES_NO in (left.kind, right.kind):
            if operator != "==":
                raise self.error(
                    KindMismatch, node, "Yes/no values have no order.", "Use `==` or `!=`."
                )
            for fixed, other in ((left, right), (right, left)):
                if isinstance(fixed, Literal):
                    return Truth(other), not fixed.value
        if left.kind is Kind.ANY or left.kind is Kind.YES_NO:
            return Test(GENERIC[operator], (left, right)), False
        if operator == "==" and isinstance(left, Literal):
            left, right = right, left
        return Compare(operator, left, right), False

    def _membership(self, item: ast.expr, holder: ast.expr, negated: bool, place: Place) -> Leaf:
        match holder:
            case ast.Name(id="segments") if not self.vocabulary.bare_properties:
                segment = self._segment(item, holder)
                return self._leaf(InSegment(segment), negated, place, segment)
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                term, values = self._among(item, items, holder)
                return self._leaf(Among(term, values), negated, place, term)
        items_term, term = self.term(holder), self.term(item)
        if items_term.kind is not Kind.ANY or term.kind in (Kind.TIME, Kind.DURATION):
            raise self.error(
                KindMismatch,
                holder,
                f"`in` looks in a list, and this is {items_term.kind.value}.",
                'Write a list such as `["a", "b"]`, or `contains(text, "part")` for a text.',
            )
        return self._leaf(Test("member", (term, items_term)), negated, place, items_term)

    def _segment(self, item: ast.expr, holder: ast.expr) -> Term:
        self._root("segments", holder)
        term = self._as(self.term(item), Kind.TEXT, item)
        if isinstance(term, Literal):
            self._known("segments", str(term.value), item)
            self.names["segments"].add(str(term.value))
        return term

    def _among(
        self, item: ast.expr, items: list[ast.expr], holder: ast.expr
    ) -> tuple[Term, frozenset[Fixed]]:
        if not items:
            raise self.error(NotAllowed, holder, "The list is empty.", "List at least one value.")
        if len(items) > self.limits.list_items:
            raise self.error(
                LimitExceeded,
                holder,
                f"The list has {len(items)} values, over the limit of {self.limits.list_items}.",
                "Make a segment or a trait of it.",
            )
        for entry in items:
            self._refuse_none(entry)
        term, values = self.term(item), [self.term(entry) for entry in items]
        kind = values[0].kind if term.kind is Kind.ANY else term.kind
        entries = [self._as(value, kind, node) for value, node in zip(values, items, strict=True)]
        if kind in (Kind.YES_NO, Kind.ANY) or not all(isinstance(e, Literal) for e in entries):
            raise self.error(
                NotAllowed,
                holder,
                "The list may hold fixed texts, numbers or times only.",
                "Join other tests with `or`.",
            )
        self._refuse_fixed([term, *entries], item)
        fixed = frozenset(e.value for e in entries if isinstance(e, Literal))
        return self._as(term, kind, item), fixed

    def _present(self, node: ast.Call) -> Term:
        """What `exists` and `missing` are asked about."""
        if len(node.args) == 1 and not node.keywords:
            term = self.term(node.args[0], whole=True)
            if isinstance(term, Lookup | As | History):
                return term
        raise self.error(
            InvalidArgument,
            node,
            "`exists` and `missing` take the one thing that may be missing.",
            "Write `exists(traits.birthday)`.",
        )

    def _leaf(self, atom: Atom, negated: bool, place: Place, *seen: Term) -> Leaf:
        """The atom in its place, showing each value it looks at as the data has it."""
        raw = (term.term if isinstance(term, As) else term for term in seen)
        shown = ((describe(term), term) for term in raw if not isinstance(term, Literal))
        return Leaf(atom, negated, place, tuple(shown))

    # --- terms ------------------------------------------------------------------------

    def term(self, node: ast.expr, whole: bool = False) -> Term:
        """The node as a value; `whole` allows a journey without naming its field."""
        match node:
            case ast.Constant():
                return self._literal(node)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self._name(node, whole)
            case ast.BinOp():
                return self._arithmetic(node)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign):
                operand = self._numeric(node.operand)
                factor = Literal(-1 if isinstance(sign, ast.USub) else 1, Kind.NUMBER)
                return self._call("multiply", (factor, operand), operand.kind, node)
            case ast.Call():
                return self._called(node)
            case ast.BoolOp() | ast.Compare() | ast.UnaryOp():
                raise self.error(
                    NotAllowed,
                    node,
                    "A condition cannot be used as a value.",
                    "Join conditions with `and`, `or` and `not`.",
                )
        raise self.error(
            NotAllowed,
            node,
            f"Conditions have no {_python_name(node)}.",
            "Use comparisons, `and`, `or`, `not`, arithmetic and the functions in the manual.",
        )

    def property(self, node: ast.expr) -> Lookup:
        """The node as a property of an event."""
        term = self.term(node)
        if isinstance(term, Lookup):
            return term
        raise self.error(InvalidArgument, node, "This is not a property.", "Write its bare name.")

    def _literal(self, node: ast.Constant) -> Literal:
        match node.value:
            case bool():
                return Literal(node.value, Kind.YES_NO)
            case int() | float() if -(2**63) <= node.value < 2**63:
                return Literal(node.value, Kind.NUMBER)
            case int() | float():
                raise self.error(
                    InvalidArgument, node, "The number is too large.", "Stay within 64 bits."
                )
            case str() if _encodable(node.value):
                return Literal(node.value, Kind.TEXT)
        self._refuse_none(node)
        raise self.error(
            NotAllowed,
            node,
            f"{node.value!a:.40} is not a value of conditions.",
            "Use texts of whole characters, numbers, True and False.",
        )

    def _name(self, node: ast.expr, whole: bool) -> Term:
        root, path = self._path(node)
        if self.vocabulary.bare_properties:
            return self._property(root, path, node)
        if root in PUBLIC or root not in ROOTS:
            known = self.vocabulary.roots
            raise self.error(UnknownName, node, f"There is no `{root}`.", nearest(root, known))
        self._root(root, node)
        if root in MOMENTS and not path:
            return Moment(root, MOMENTS[root])
        if root in NEEDS_OF_ROOT and path:
            return self._lookup(root, path, node, whole)
        raise self.error(
            InvalidArgument, node, f"`{ast.unparse(node)}` is not a value.", USES[root]
        )

    def _property(self, root: str, path: tuple[str, ...], node: ast.expr) -> Lookup:
        if root == "properties" and path:
            return Lookup("properties", path)
        if root in ROOTS or root == "properties":
            raise self.error(
                UnknownName,
                node,
                f"`{root}` cannot be used inside `events.…(…)`.",
                "A filter sees the properties of the event only; one that is really called "
                f'so is `properties["{root}"]`.',
            )
        return Lookup("properties", (root, *path))

    def _lookup(self, root: str, path: tuple[str, ...], node: ast.expr, whole: bool) -> Term:
        self._known(root, path[0], node)
        if root == "event":
            return self._event(path)
        if root == "journey" and len(path) == 1 and not whole:
            raise self.error(
                InvalidArgument,
                node,
                f"`journey.{path[0]}` needs a field.",
                f"Write `journey.{path[0]}.phase`, or `exists(journey.{path[0]})`.",
            )
        self.names[NEEDS_OF_ROOT[root]].add(path[0])
        return Lookup(root, path, Kind.YES_NO if root == "consent" else Kind.ANY)

    def _event(self, path: tuple[str, ...]) -> Term:
        if path == ("at",):
            return As(Lookup("event", path), Kind.TIME)
        if path == ("name",):
            return As(Lookup("event", path), Kind.TEXT)
        below = path[1:] if path[0] == "properties" and len(path) > 1 else path
        self.names["event"].add(below[0])
        return Lookup("properties", below)

    def _path(self, node: ast.expr) -> tuple[str, tuple[str, ...]]:
        keys: list[str] = []
        inner = node
        while True:
            match inner:
                case ast.Name(id=root):
                    return root, tuple(reversed(keys))
                case ast.Attribute(value=value, attr=key):
                    pass
                case ast.Subscript(value=value, slice=ast.Constant(value=str() as key)):
                    if not _encodable(key):
                        raise self.error(
                            NotAllowed, node, "The name holds half a character.", "Mend it."
                        )
                case _:
                    raise self.error(
                        NotAllowed,
                        inner,
                        f"Conditions have no {_python_name(inner)} here.",
                        'Name things as `traits.city` or `traits["favourite genre"]`.',
                    )
            keys.append(key)
            inner = value

    def _root(self, root: str, node: ast.expr) -> None:
        if root not in self.vocabulary.roots:
            allowed = ", ".join(sorted(self.vocabulary.roots))
            raise self.error(
                UnknownName,
                node,
                f"`{root}` cannot be used in {self.vocabulary.title}.",
                f"Here there are: {allowed}.",
            )
        self.names["roots"].add(root)

    def _known(self, root: str, name: str, node: ast.expr) -> None:
        known = self.vocabulary.known(root)
        if known is not None and name not in known:
            raise self.error(UnknownName, node, f"`{root}` has no {name!r}.", nearest(name, known))

    def _arithmetic(self, node: ast.BinOp) -> Term:
        name = ARITHMETIC.get(type(node.op))
        if name is None:
            raise self.error(
                NotAllowed,
                node,
                f"Conditions have no operator {type(node.op).__name__}.",
                "There are + - * / and %.",
            )
        left, right = self._numeric(node.left, None), self._numeric(node.right, None)
        left = self._partner(left, right, name, node.left)
        right = self._partner(right, left, name, node.right)
        kind = ARITHMETIC_KINDS.get((name, left.kind, right.kind))
        if kind is None:
            raise self.error(
                KindMismatch,
                node,
                f"Cannot {name} {left.kind.value} and {right.kind.value}.",
                "Times take durations such as `days(3)`; numbers take numbers.",
            )
        return self._call(name, (left, right), kind, node)

    def _partner(self, term: Term, other: Term, name: str, node: ast.expr) -> Term:
        """A JSON value next to a time or, added to a duration, is a time; else a number."""
        if term.kind is not Kind.ANY:
            return term
        beside = other.kind is Kind.TIME or other.kind is Kind.DURATION
        timely = beside and name in ("add", "subtract")
        return self._as(term, Kind.TIME if timely else Kind.NUMBER, node)

    def _numeric(self, node: ast.expr, take_any_as: Kind | None = Kind.NUMBER) -> Term:
        self._refuse_none(node)
        term = self.term(node)
        if term.kind is Kind.ANY and take_any_as:
            return self._as(term, take_any_as, node)
        if term.kind in NUMERIC_KINDS or term.kind is Kind.ANY:
            return term
        raise self.error(
            KindMismatch,
            node,
            f"Cannot calculate with {term.kind.value}.",
            "Numbers, times and durations can be calculated with.",
        )

    # --- functions --------------------------------------------------------------------

    def _called(self, node: ast.Call) -> Term:
        match node.func:
            case ast.Attribute(value=ast.Name(id="events"), attr=aggregate):
                return self._history(node, aggregate)
            case ast.Name(id=name):
                pass
            case ast.Attribute(attr=name):
                hint = f"Write `{name}(…)`." if name in PUBLIC else "See the manual for functions."
                raise self.error(NotAllowed, node, "Values have no methods.", hint)
            case _:
                raise self.error(NotAllowed, node, "Only functions can be called.", "Name one.")
        if name not in PUBLIC:
            raise self.error(UnknownName, node, f"There is no `{name}()`.", nearest(name, PUBLIC))
        if name in ("exists", "missing") or self._is_predicate(name):
            raise self.error(
                NotAllowed,
                node,
                f"`{name}` answers true or false and cannot be used as a value.",
                "Let it stand alone, joined with `and`, `or` and `not`.",
            )
        if name in SPECIAL:
            special: Callable[[ast.Call, str], Term] = getattr(self, f"_{name}", self._unit)
            return special(node, name)
        function = FUNCTIONS[name]
        return self._call(name, self._arguments(node, name), function.result, node)

    def _arguments(self, node: ast.Call, name: str) -> tuple[Term, ...]:
        function = FUNCTIONS[name]
        kinds = list(function.parameters)
        if function.variadic:
            kinds += kinds[-1:] * (len(node.args) - len(kinds))
        self._count(node, name, len(kinds))
        return tuple(
            self._as(self.term(argument), kind, argument)
            for argument, kind in zip(node.args, kinds, strict=True)
        )

    def _count(self, node: ast.Call, name: str, expected: int) -> None:
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

    def _default(self, node: ast.Call, name: str) -> Term:
        self._count(node, name, 2)
        term, otherwise = self._alike(*node.args)
        if not isinstance(otherwise, Literal):
            raise self.error(
                InvalidArgument,
                node.args[1],
                "The second argument of `default` is a fixed value.",
                "Write `default(traits.visits, 0)`.",
            )
        run = "default_number" if term.kind in NUMERIC_KINDS else "default_value"
        return self._call(run, (term, otherwise), term.kind, node)

    def _date(self, node: ast.Call, name: str) -> Term:
        self._count(node, name, 1)
        return self._as(self.term(node.args[0]), Kind.TIME, node.args[0])

    def _days_since(self, node: ast.Call, name: str) -> Term:
        self._count(node, name, 1)
        self._root("now", node)
        since = self._as(self.term(node.args[0]), Kind.TIME, node.args[0])
        passed = Call("subtract", (Moment("now", Kind.TIME), since), Kind.DURATION)
        day = Literal(UNITS_US["days"], Kind.DURATION)
        return Call("divide", (passed, day), Kind.NUMBER)

    def _unit(self, node: ast.Call, name: str) -> Term:
        self._count(node, name, 1)
        amount = self._as(self.term(node.args[0]), Kind.NUMBER, node.args[0])
        unit = Literal(UNITS_US[name], Kind.NUMBER)
        return self._call("duration", (amount, unit), Kind.DURATION, node)

    def _call(self, name: str, arguments: tuple[Term, ...], kind: Kind, node: ast.expr) -> Term:
        """The call, worked out at once if all its arguments are fixed."""
        values = [argument.value for argument in arguments if isinstance(argument, Literal)]
        if len(values) < len(arguments):
            return Call(name, arguments, kind)
        result = FUNCTIONS[name].run(*values)
        if result is None or result != result:
            raise self.error(
                InvalidArgument,
                node,
                f"`{ast.unparse(node)}` has no value.",
                "It would never be true: a division by zero, or too large a number.",
            )
        return Literal(result, kind)

    def _is_predicate(self, name: str) -> bool:
        return name in PUBLIC - SPECIAL and FUNCTIONS[name].result is Kind.YES_NO

    # --- aggregates over events -------------------------------------------------------

    def _history(self, node: ast.Call, aggregate: str) -> Term:
        self._root("events", node)
        if aggregate not in AGGREGATES:
            hint = nearest(aggregate, AGGREGATES)
            raise self.error(UnknownName, node, f"There is no `events.{aggregate}`.", hint)
        window_us = self._window(node)
        series = self._read_series(node, aggregate, window_us)
        self.series.append(series)
        if len(merge_series(self.series)) > self.limits.series:
            raise self.error(
                LimitExceeded,
                node,
                f"The condition looks at more than {self.limits.series} series of events.",
                "Make segments of some of its parts.",
            )
        if window_us is not None:
            self.windows.add((series.key, window_us))
        return _aggregate(aggregate, series, window_us)

    def _window(self, node: ast.Call) -> int | None:
        for keyword in node.keywords:
            if keyword.arg != "last":
                name = keyword.arg or "**"
                raise self.error(
                    InvalidArgument,
                    keyword.value,
                    f"`{name}=` is not known here.",
                    f'Use `last="7d"` for the window and `{name} == …` to filter.',
                )
        if not node.keywords:
            return None
        value = node.keywords[0].value
        text = value.value if isinstance(value, ast.Constant) else None
        found = WINDOW.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise self.error(
                InvalidArgument,
                value,
                f"{ast.unparse(value)} is not a window.",
                'Write a whole number and m, h, d or w, such as "30m", "12h", "7d" or "4w".',
            )
        window_us = int(found[1]) * WINDOW_UNIT_US[found[2]]
        if window_us > self.limits.window_days * WINDOW_UNIT_US["d"]:
            raise self.error(
                LimitExceeded,
                value,
                f"The window is longer than the limit of {self.limits.window_days} days.",
                "Leave `last` out to look at a lifetime.",
            )
        return window_us

    def _read_series(self, node: ast.Call, aggregate: str, window_us: int | None) -> Series:
        name, *rest = node.args or [node]
        if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
            raise self.error(
                InvalidArgument,
                name,
                f"`events.{aggregate}` begins with the name of an event.",
                f'Write `events.{aggregate}("product_viewed", …)`.',
            )
        event = str(self._literal(name).value)
        bare = [n for n in rest if isinstance(n, ast.Name | ast.Attribute | ast.Subscript)]
        filters = [n for n in rest if n not in bare]
        self._check_property(node, aggregate, bare)
        inner = _Reader(self.source, FILTER, self.limits)
        return Series(
            event,
            _canonical(filters) if filters else None,
            ast.unparse(bare[0]) if bare else None,
            keep_s=(window_us or 0) / 1_000_000,
            lifetime_distinct=aggregate == "distinct" and window_us is None,
            predicate=inner.filters(filters) if filters else None,
            lookup=inner.property(bare[0]) if bare else None,
        )

    def filters(self, nodes: list[ast.expr]) -> Formula:
        """All the filters, and-ed."""
        parts = tuple(self.formula(node) for node in nodes)
        return parts[0] if len(parts) == 1 else All(parts, self.source.place(nodes[0], False))

    def _check_property(self, node: ast.Call, aggregate: str, bare: Sequence[ast.expr]) -> None:
        fits = {"count": not bare, "sum": len(bare) == 1, "distinct": len(bare) == 1}
        if fits.get(aggregate, len(bare) <= 1):
            return
        wanted = {"count": "no property", "sum": "one property", "distinct": "one property"}
        raise self.error(
            InvalidArgument,
            bare[-1] if bare else node,
            f"`events.{aggregate}` takes {wanted.get(aggregate, 'at most one property')}.",
            "A bare name is the property looked at; a filter compares, as in `gift == True`.",
        )

    # --- kinds ------------------------------------------------------------------------

    def _alike(self, left: ast.expr, right: ast.expr) -> tuple[Term, Term]:
        """Both sides of a comparison, brought to one kind."""
        first, second = self.term(left), self.term(right)
        self._refuse_fixed([first, second], left)
        if first.kind is Kind.ANY:
            return self._comparable(first, second, left), second
        if second.kind is Kind.ANY:
            return first, self._comparable(second, first, right)
        if first.kind is Kind.TIME:
            return first, self._as(second, Kind.TIME, right)
        if isinstance(first, Moment) and first.name == "weekday":
            self._check_weekday(second, right)
        return self._as(first, second.kind, left), second

    def _comparable(self, term: Term, other: Term, node: ast.expr) -> Term:
        """A JSON value beside a yes/no value stays as it is: the comparison looks itself."""
        if other.kind in (Kind.ANY, Kind.YES_NO):
            return term
        return self._as(term, other.kind, node)

    def _as(self, term: Term, kind: Kind, node: ast.expr) -> Term:
        """The term as one of this kind."""
        if kind in (term.kind, Kind.ANY):
            return term
        if term.kind is Kind.ANY and kind is not Kind.DURATION:
            return As(term, kind)
        if kind is Kind.TIME and isinstance(term, Literal) and term.kind is Kind.TEXT:
            return self._fixed_time(str(term.value), node)
        hint = "Both sides of a comparison are of one kind"
        if kind is Kind.DURATION:
            hint = "Durations are written as `days(3)`, `hours(12)` or `minutes(30)`"
        raise self.error(
            KindMismatch,
            node,
            f"`{ast.unparse(node)}` is {term.kind.value} where {kind.value} is needed.",
            f"{hint}.",
        )

    def _fixed_time(self, text: str, node: ast.expr) -> Literal:
        moment = as_time(text)
        if moment != moment:
            raise self.error(
                InvalidArgument,
                node,
                f"{text!r} is not a date or time.",
                'Write "2026-01-31" or "2026-01-31T18:00:00+01:00".',
            )
        return Literal(moment, Kind.TIME)

    def _check_weekday(self, term: Term, node: ast.expr) -> None:
        if isinstance(term, Literal) and term.value not in WEEKDAYS:
            hint = nearest(str(term.value), WEEKDAYS)
            raise self.error(UnknownName, node, f"There is no weekday {term.value!r}.", hint)

    def _refuse_none(self, node: ast.expr) -> None:
        if isinstance(node, ast.Constant) and node.value is None:
            raise self.error(
                NotAllowed,
                node,
                "Nothing can be compared with None.",
                "Ask `missing(traits.x)` or `exists(traits.x)`.",
            )

    def _refuse_fixed(self, terms: Iterable[Term], node: ast.expr) -> None:
        if all(isinstance(term, Literal) for term in terms):
            raise self.error(
                NotAllowed,
                node,
                "This compares fixed values only, so its answer never changes.",
                "Compare with a trait, the context or the history of the customer.",
            )

    def error(
        self, error: type[ConditionError], node: ast.expr, problem: str, hint: str
    ) -> ConditionError:
        """The error, pointing at the node."""
        return error(problem, hint=hint, **self.source.position(node))


USES = {
    "traits": "Name a trait: `traits.city`.",
    "consent": "Name a purpose: `consent.email`.",
    "context": "Name a key: `context.page`.",
    "event": "Name a property: `event.product`, or `event.name` or `event.at`.",
    "journey": "Name a journey and a field: `journey.welcome.phase`.",
    "segments": 'Ask whether it holds one: `"vip" in segments`.',
    "events": 'Call an aggregate: `events.count("product_viewed", last="7d")`.',
    "now": "It has nothing below it.",
    "hour": "It has nothing below it.",
    "weekday": "It has nothing below it.",
}


def _aggregate(aggregate: str, series: Series, window_us: int | None) -> History:
    kind = Kind.NUMBER
    if aggregate in ("last", "first"):
        kind = Kind.ANY if series.property else Kind.TIME
        aggregate = aggregate if series.property else f"{aggregate}_time"
    return History(aggregate, series.key, window_us, kind)


def describe(term: Term) -> str:
    """How a term is named beside the value it had."""
    match term:
        case As(inner):
            return describe(inner)
        case Lookup(root, path):
            return ".".join(("event" if root == "properties" else root, *path))
        case Moment(name):
            return name
        case History(aggregate, series, window_us):
            window = f", last {timedelta(microseconds=window_us)}" if window_us else ""
            return f"events.{aggregate}({series}{window})"
        case Call(function, arguments):
            return f"{function}({', '.join(map(describe, arguments))})"
        case Literal(value):
            return repr(value)


def _encodable(text: str) -> bool:
    """Whether a text can leave as UTF-8, which lone surrogates cannot."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _python_name(node: ast.AST) -> str:
    """What Python calls the construct, in words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(node).__name__).lower()
