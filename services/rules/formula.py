"""A condition after parsing: typed terms, and formulas in negation normal form.

Negations are pushed down to the leaves, so every leaf is an atom that must hold or an atom
that must fail to hold, and both are false when a value they need is unknown. That makes
plain `and` and `or` over leaves give exactly the answer "is it true" of strong Kleene logic.

At run time an unknown number, time or duration is NaN, which every comparison answers with
False; an unknown value of any other kind is None. Times are microseconds since 1970 UTC,
durations microseconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias


class ValueKind(Enum):
    """The static type of a term; ANY is JSON whose kind only shows at run time."""

    ANY = "a value"
    NUMBER = "a number"
    TEXT = "a text"
    YES_NO = "a yes/no value"
    TIME = "a time"
    DURATION = "a duration"


NUMERIC_KINDS = frozenset({ValueKind.NUMBER, ValueKind.TIME, ValueKind.DURATION})
LiteralValue: TypeAlias = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Literal:
    """A fixed value. Its kind keeps `1` apart from `True`, which Python calls equal."""

    value: LiteralValue
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class Lookup:
    """`traits.address.city`: a root and the keys below it."""

    root: str
    path: tuple[str, ...]
    kind: ValueKind = ValueKind.ANY


@dataclass(frozen=True, slots=True)
class Cast:
    """A JSON value taken as one kind; unknown if it is of another."""

    term: "Term"
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class ClockTerm:
    """`now`, `hour` or `weekday`."""

    name: str
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class Aggregation:
    """An aggregate over one series; the window in microseconds, None for a lifetime."""

    aggregate: str
    series: str
    window_us: int | None
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function of `functions.FUNCTIONS` over terms of the kinds it wants."""

    function: str
    arguments: tuple["Term", ...]
    kind: ValueKind


Term: TypeAlias = Literal | Lookup | Cast | ClockTerm | Aggregation | FunctionCall


@dataclass(frozen=True, slots=True)
class Constant:
    """`True` or `False` standing alone."""

    value: bool


@dataclass(frozen=True, slots=True)
class YesNoTest:
    """A yes/no value standing alone, as in `consent.email`."""

    term: Term


@dataclass(frozen=True, slots=True)
class Comparison:
    """`==`, `<` or `<=` between two terms of one kind, at most one of them fixed."""

    operator: str
    left: Term
    right: Term


@dataclass(frozen=True, slots=True)
class ListMembership:
    """Membership of a fixed list, all of one kind."""

    term: Term
    values: frozenset[LiteralValue]


@dataclass(frozen=True, slots=True)
class SegmentMembership:
    """Membership of the customer's segments."""

    name: Term


@dataclass(frozen=True, slots=True)
class ExistenceTest:
    """Whether a value is there at all: the one atom that is never unknown."""

    term: Term


@dataclass(frozen=True, slots=True)
class PredicateCall:
    """A predicate of `functions.FUNCTIONS`, answering True, False or None for unknown."""

    function: str
    arguments: tuple[Term, ...]


Atom: TypeAlias = (
    Constant
    | YesNoTest
    | Comparison
    | ListMembership
    | SegmentMembership
    | ExistenceTest
    | PredicateCall
)


@dataclass(frozen=True, slots=True)
class SourceExcerpt:
    """Where a part stands in its source, and how it reads there."""

    text: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """An atom that must hold, or must fail to hold; `seen` are the values worth showing."""

    atom: Atom
    negated: bool
    place: SourceExcerpt = field(compare=False)
    seen: tuple[tuple[str, Term], ...] = field(compare=False, default=())


@dataclass(frozen=True, slots=True)
class Conjunction:
    """Parts of which every one must hold."""

    parts: tuple["Formula", ...]
    place: SourceExcerpt = field(compare=False)


@dataclass(frozen=True, slots=True)
class Disjunction:
    """Parts of which one must hold."""

    parts: tuple["Formula", ...]
    place: SourceExcerpt = field(compare=False)


Formula: TypeAlias = Leaf | Conjunction | Disjunction


def parts_of(formula: Formula) -> tuple[Formula, ...]:
    """The parts a condition is reported by: its top-level `and`, taken apart."""
    if not isinstance(formula, Conjunction):
        return (formula,)
    return tuple(part for inner in formula.parts for part in parts_of(inner))


def leaves(formula: Formula) -> Iterator[Leaf]:
    """Every leaf, in the order written."""
    if isinstance(formula, Leaf):
        yield formula
    else:
        for part in formula.parts:
            yield from leaves(part)


def operands(atom: Atom) -> tuple[Term, ...]:
    """The terms an atom looks at."""
    match atom:
        case YesNoTest(term) | ListMembership(term) | ExistenceTest(term) | SegmentMembership(term):
            return (term,)
        case Comparison(_, left, right):
            return (left, right)
        case PredicateCall(_, arguments):
            return arguments
        case Constant():
            return ()


def inner_terms(term: Term) -> tuple[Term, ...]:
    """The terms a term is made of."""
    match term:
        case Cast(inner):
            return (inner,)
        case FunctionCall(_, arguments):
            return arguments
        case _:
            return ()
