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
class KindCast:
    """A JSON value read as one kind; unknown if it is of another."""

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


Term: TypeAlias = Literal | Lookup | KindCast | ClockTerm | Aggregation | FunctionCall


@dataclass(frozen=True, slots=True)
class Constant:
    """`True` or `False` standing alone."""

    value: bool


@dataclass(frozen=True, slots=True)
class YesNoTest:
    """A yes/no value standing alone: `consent.email`, `startswith(traits.name, "A")`."""

    term: Term


@dataclass(frozen=True, slots=True)
class Comparison:
    """`==`, `<` or `<=` between two terms of one kind, at most one of them fixed."""

    operator: str
    left: Term
    right: Term


@dataclass(frozen=True, slots=True)
class ListTest:
    """Membership of a fixed list, all of one kind."""

    term: Term
    values: frozenset[LiteralValue]


@dataclass(frozen=True, slots=True)
class SegmentTest:
    """Membership of the customer's segments."""

    name: Term


@dataclass(frozen=True, slots=True)
class ExistenceTest:
    """Whether a value is there: the one atom that is never unknown."""

    term: Term


Atom: TypeAlias = Constant | YesNoTest | Comparison | ListTest | SegmentTest | ExistenceTest


@dataclass(frozen=True, slots=True)
class Leaf:
    """An atom that must be true, or must be false; `operands` are named for explanations.

    The `excerpt` of a formula is the condition's text for it.
    """

    atom: Atom
    negated: bool
    excerpt: str = field(compare=False)
    operands: tuple[tuple[str, Term], ...] = field(compare=False, default=())


@dataclass(frozen=True, slots=True)
class Conjunction:
    parts: tuple["Formula", ...]
    excerpt: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Disjunction:
    parts: tuple["Formula", ...]
    excerpt: str = field(compare=False)


Formula: TypeAlias = Leaf | Conjunction | Disjunction


def iterate_leaves(formula: Formula) -> Iterator[Leaf]:
    """Every leaf, in the order written."""
    if isinstance(formula, Leaf):
        yield formula
    else:
        for part in formula.parts:
            yield from iterate_leaves(part)
