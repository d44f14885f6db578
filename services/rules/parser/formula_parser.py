"""Parsing formulas: comparisons, predicates, and `and`, `or` and `not`."""

import ast
from collections.abc import Mapping

from services.rules.errors import ConditionTooLarge, InvalidArgument, KindMismatch, NotAllowed
from services.rules.formula import (
    Aggregation,
    Atom,
    Comparison,
    Conjunction,
    Constant,
    Disjunction,
    ExistenceTest,
    Formula,
    FunctionCall,
    KindCast,
    Leaf,
    ListTest,
    Literal,
    LiteralValue,
    Lookup,
    SegmentTest,
    Term,
    ValueKind,
    YesNoTest,
)
from services.rules.parser.term_parser import TermParser, describe

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


class FormulaParser(TermParser):
    def parse_formula(self, node: ast.expr, negated: bool = False) -> Formula:
        """The node as a formula that is true exactly when the node, or its negation, is."""
        excerpt = self.source.excerpt(node, negated)
        while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            node, negated = node.operand, not negated
        match node:
            case ast.BoolOp():
                parts = tuple(self.parse_formula(value, negated) for value in node.values)
                conjunction = isinstance(node.op, ast.And) is not negated
                return Conjunction(parts, excerpt) if conjunction else Disjunction(parts, excerpt)
            case ast.Compare():
                return self._parse_comparison(node, negated, excerpt)
            case ast.Constant(value=bool() as value):
                return Leaf(Constant(value), negated, excerpt)
            case ast.Call(func=ast.Name(id="exists" | "missing" as name)):
                term = self._parse_existence(node)
                negated ^= name == "missing"
                return self._build_leaf(ExistenceTest(term), negated, excerpt, term)
            case ast.Call(func=ast.Name(id=name)) if self._is_predicate(name):
                arguments = self._parse_arguments(node, name)
                test = _build_test(name, arguments)
                return self._build_leaf(test, negated, excerpt, *arguments)
            case _:
                return self._parse_truth(node, negated, excerpt)

    def _parse_truth(self, node: ast.expr, negated: bool, excerpt: str) -> Formula:
        term = self.parse_term(node)
        if term.kind not in (ValueKind.YES_NO, ValueKind.ANY) or isinstance(term, Literal):
            problem = f"`{ast.unparse(node)}` is {term.kind.value}, not true or false."
            hint = "Compare it with something, such as `… >= 1`."
            raise self.error(KindMismatch, node, problem, hint)
        return self._build_leaf(YesNoTest(term), negated, excerpt, term)

    def _parse_comparison(self, node: ast.Compare, negated: bool, excerpt: str) -> Formula:
        """A chain `a < b < c` is the conjunction of its pairs."""
        sides = [node.left, *node.comparators]
        if len(node.ops) == 1:
            return self._parse_pair(sides[0], node.ops[0], sides[1], negated, excerpt)
        pairs = []
        for left, op, right in zip(sides, node.ops, sides[1:], strict=False):
            text = ast.unparse(ast.Compare(left, [op], [right]))
            pair = f"not {text}" if negated else text
            pairs.append(self._parse_pair(left, op, right, negated, pair))
        return Disjunction(tuple(pairs), excerpt) if negated else Conjunction(tuple(pairs), excerpt)

    def _parse_pair(
        self, left: ast.expr, op: ast.cmpop, right: ast.expr, negated: bool, excerpt: str
    ) -> Leaf:
        self._refuse_none(left)
        self._refuse_none(right)
        match op:
            case ast.In() | ast.NotIn():
                negated ^= isinstance(op, ast.NotIn)
                return self._parse_membership(left, right, negated, excerpt)
            case ast.Is() | ast.IsNot():
                raise self.error(
                    NotAllowed, right, "`is` compares objects, not values.", "Use `==` or `!=`."
                )
        operator, swapped, flipped = COMPARISONS[type(op)]
        first, second = self._unify(left, right)
        operands = (first, second)
        if swapped:
            first, second = second, first
        atom, inverse = self._build_comparison(operator, first, second, left)
        return self._build_leaf(atom, negated ^ flipped ^ inverse, excerpt, *operands)

    def _build_comparison(
        self, operator: str, left: Term, right: Term, node: ast.expr
    ) -> tuple[Atom, bool]:
        """The atom, and whether it must be negated."""
        if ValueKind.YES_NO in (left.kind, right.kind):
            if operator != "==":
                raise self.error(
                    KindMismatch, node, "Yes/no values have no order.", "Use `==` or `!=`."
                )
            for fixed, other in ((left, right), (right, left)):
                if isinstance(fixed, Literal):
                    return YesNoTest(other), not fixed.value
        if left.kind is ValueKind.ANY or left.kind is ValueKind.YES_NO:
            return _build_test(GENERIC[operator], (left, right)), False
        if operator == "==" and isinstance(left, Literal):
            left, right = right, left
        return Comparison(operator, left, right), False

    def _parse_membership(
        self, item: ast.expr, holder: ast.expr, negated: bool, excerpt: str
    ) -> Leaf:
        match holder:
            case ast.Name(id="segments") if not self.vocabulary.bare_properties:
                segment = self._parse_segment(item, holder)
                return self._build_leaf(SegmentTest(segment), negated, excerpt, segment)
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                term, values = self._parse_list(item, items, holder)
                return self._build_leaf(ListTest(term, values), negated, excerpt, term)
        items_term, term = self.parse_term(holder), self.parse_term(item)
        is_scalar = term.kind not in (ValueKind.TIME, ValueKind.DURATION)
        if items_term.kind is not ValueKind.ANY or not is_scalar:
            problem = f"`in` looks in a list, and this is {items_term.kind.value}."
            hint = 'Write a list such as `["a", "b"]`, or `contains(text, "part")` for a text.'
            raise self.error(KindMismatch, holder, problem, hint)
        test = _build_test("member", (term, items_term))
        return self._build_leaf(test, negated, excerpt, items_term)

    def _parse_segment(self, item: ast.expr, holder: ast.expr) -> Term:
        self._check_root("segments", holder)
        term = self._parse_as(item, ValueKind.TEXT)
        if isinstance(term, Literal):
            self.names["segments"].add(str(term.value))
        return term

    def _parse_list(
        self, item: ast.expr, items: list[ast.expr], holder: ast.expr
    ) -> tuple[Term, frozenset[LiteralValue]]:
        if not items:
            raise self.error(NotAllowed, holder, "The list is empty.", "List at least one value.")
        if len(items) > self.limits.list_items:
            raise self.error(
                ConditionTooLarge,
                holder,
                f"The list has {len(items)} values, over the limit of {self.limits.list_items}.",
                "Make a segment or a trait of it.",
            )
        for entry in items:
            self._refuse_none(entry)
        term, values = self.parse_term(item), [self.parse_term(entry) for entry in items]
        kind = values[0].kind if term.kind is ValueKind.ANY else term.kind
        entries = [
            self._convert(value, kind, node) for value, node in zip(values, items, strict=True)
        ]
        if kind in (ValueKind.YES_NO, ValueKind.ANY) or not all(
            isinstance(e, Literal) for e in entries
        ):
            problem = "The list may hold fixed texts, numbers or times only."
            hint = "Join other tests with `or`."
            raise self.error(NotAllowed, holder, problem, hint)
        self._refuse_fixed([term, *entries], item)
        for fixed_entry, node in zip(entries, items, strict=True):
            self._check_weekday(term, fixed_entry, node)
        fixed = frozenset(entry.value for entry in entries if isinstance(entry, Literal))
        return self._convert(term, kind, item), fixed

    def _parse_existence(self, node: ast.Call) -> Term:
        if len(node.args) == 1 and not node.keywords:
            term = self.parse_term(node.args[0], whole=True)
            if isinstance(term, Lookup | KindCast | Aggregation):
                return term
        problem = "`exists` and `missing` take the one thing that may be missing."
        hint = "Write `exists(traits.birthday)`."
        raise self.error(InvalidArgument, node, problem, hint)

    def _build_leaf(self, atom: Atom, negated: bool, excerpt: str, *operands: Term) -> Leaf:
        """The atom with its excerpt and its operands, each as the data has it."""
        raw = (term.term if isinstance(term, KindCast) else term for term in operands)
        described = ((describe(term), term) for term in raw if not isinstance(term, Literal))
        return Leaf(atom, negated, excerpt, tuple(described))


def _build_test(function: str, arguments: tuple[Term, ...]) -> YesNoTest:
    return YesNoTest(FunctionCall(function, arguments, ValueKind.YES_NO))
