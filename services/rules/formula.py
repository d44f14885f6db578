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


class Kind(Enum):
    """The static type of a term; ANY is JSON whose kind only shows at run time."""

    ANY = "a value"
    NUMBER = "a number"
    TEXT = "a text"
    YES_NO = "a yes/no value"
    TIME = "a time"
    DURATION = "a duration"


NUMERIC_KINDS = frozenset({Kind.NUMBER, Kind.TIME, Kind.DURATION})
Fixed: TypeAlias = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Literal:
    """A fixed value. Its kind keeps `1` apart from `True`, which Python calls equal."""

    value: Fixed
    kind: Kind


@dataclass(frozen=True, slots=True)
class Lookup:
    """`traits.address.city`: a root and the keys below it."""

    root: str
    path: tuple[str, ...]
    kind: Kind = Kind.ANY


@dataclass(frozen=True, slots=True)
class As:
    """A JSON value taken as one kind; unknown if it is of another."""

    term: "Term"
    kind: Kind


@dataclass(frozen=True, slots=True)
class Moment:
    """`now`, `hour` or `weekday`."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class History:
    """An aggregate over one series; the window in microseconds, None for a lifetime."""

    aggregate: str
    series: str
    window_us: int | None
    kind: Kind


@dataclass(frozen=True, slots=True)
class Call:
    """A function of `functions.FUNCTIONS` over terms of the kinds it wants."""

    function: str
    arguments: tuple["Term", ...]
    kind: Kind


Term: TypeAlias = Literal | Lookup | As | Moment | History | Call


@dataclass(frozen=True, slots=True)
class Constant:
    """`True` or `False` standing alone."""

    value: bool


@dataclass(frozen=True, slots=True)
class Truth:
    """A yes/no value standing alone, as in `consent.email`."""

    term: Term


@dataclass(frozen=True, slots=True)
class Compare:
    """`==`, `<` or `<=` between two terms of one kind, at most one of them fixed."""

    operator: str
    left: Term
    right: Term


@dataclass(frozen=True, slots=True)
class Among:
    """Membership of a fixed list, all of one kind."""

    term: Term
    values: frozenset[Fixed]


@dataclass(frozen=True, slots=True)
class InSegment:
    """Membership of the customer's segments."""

    name: Term


@dataclass(frozen=True, slots=True)
class Exists:
    """Whether a value is there at all: the one atom that is never unknown."""

    term: Term


@dataclass(frozen=True, slots=True)
class Test:
    """A predicate of `functions.FUNCTIONS`, answering True, False or None for unknown."""

    function: str
    arguments: tuple[Term, ...]


Atom: TypeAlias = Constant | Truth | Compare | Among | InSegment | Exists | Test


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part stands in its source, and how it reads there."""

    text: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """An atom that must hold, or must fail to hold; `seen` are the values worth showing."""

    atom: Atom
    negated: bool
    place: Place = field(compare=False)
    seen: tuple[tuple[str, Term], ...] = field(compare=False, default=())


@dataclass(frozen=True, slots=True)
class All:
    """Parts of which every one must hold."""

    parts: tuple["Formula", ...]
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Parts of which one must hold."""

    parts: tuple["Formula", ...]
    place: Place = field(compare=False)


Formula: TypeAlias = Leaf | All | AnyOf


def parts_of(formula: Formula) -> tuple[Formula, ...]:
    """The parts a condition is reported by: its top-level `and`, taken apart."""
    if not isinstance(formula, All):
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
        case Truth(term) | Among(term) | Exists(term) | InSegment(term):
            return (term,)
        case Compare(_, left, right):
            return (left, right)
        case Test(_, arguments):
            return arguments
        case Constant():
            return ()


def inner_terms(term: Term) -> tuple[Term, ...]:
    """The terms a term is made of."""
    match term:
        case As(inner):
            return (inner,)
        case Call(_, arguments):
            return arguments
        case _:
            return ()
