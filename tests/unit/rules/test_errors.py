"""What authors get wrong, and the errors they get."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.rules import (
    DECISION,
    SEGMENT,
    ConditionError,
    ConditionLimits,
    RuleSet,
    Vocabulary,
    parse,
)
from services.rules.errors import (
    ConditionSyntaxError,
    ConditionTooLarge,
    InvalidArgument,
    KindMismatch,
    NotAllowed,
    UnknownName,
)

from .strategies import conditions


def refused(source: str, vocabulary: Vocabulary = DECISION) -> ConditionError:
    with pytest.raises(ConditionError) as caught:
        parse(source, vocabulary)
    return caught.value


@pytest.mark.parametrize(
    ("source", "column", "hint"),
    [
        ("trait.age > 18", 1, "Did you mean `traits`?"),
        ('evnts.count("looked") > 1', 1, "Did you mean `events`?"),
        ('events.cuont("viewed") > 1', 1, "Did you mean `count`?"),
        ('traits.age > lenght("x")', 14, "Did you mean `len`?"),
        ('weekday == "Mondy"', 12, "Did you mean `monday`?"),
        ('"Fryday" == weekday', 1, "Did you mean `friday`?"),
        ('weekday in ["monday", "Fryday"]', 23, "Did you mean `friday`?"),
        ('traits.city == "é" and trait.town == "x"', 24, "Did you mean `traits`?"),
    ],
)
def test_an_unknown_name_is_shown_at_its_column_with_the_nearest(
    source: str, column: int, hint: str
) -> None:
    error = refused(source)

    assert (type(error), error.line, error.column) == (UnknownName, 1, column)
    assert error.hint == hint
    assert str(error).endswith(f"{source}\n{' ' * (column - 1)}^")


@pytest.mark.parametrize(
    ("source", "error", "hint"),
    [
        ("traits.age == None", NotAllowed, "missing"),
        ("traits.age is 3", NotAllowed, "=="),
        ("1 < 2", NotAllowed, "trait"),
        ("traits.name.lower() == 'x'", NotAllowed, r"lower\(…\)"),
        ("traits[0] == 1", NotAllowed, "favourite genre"),
        ("9 ** 9 ** 9 > traits.age", NotAllowed, r"\+ - \* /"),
        ("traits.age << 3 > 2", NotAllowed, r"\+ - \* /"),
        ("f'{traits.age}' == 'x'", NotAllowed, "comparisons"),
        ("(lambda: 1)() == traits.age", NotAllowed, "Name one"),
        ("[x for x in traits.a] == 1", NotAllowed, "comparisons"),
        ("traits.age if consent.email else 3", NotAllowed, "comparisons"),
        ("(traits.age > 3) == consent.email", NotAllowed, "Join conditions"),
        ("exists(traits.age) == True", NotAllowed, "as a condition"),
        ("traits.age in []", NotAllowed, "at least one"),
        ("traits.age in [1, traits.x]", NotAllowed, "or"),
        ("__import__('os').system('x')", NotAllowed, "manual"),
        ("traits.age := 3", ConditionSyntaxError, "traits.age >= 18"),
        ("traits.age = 3", ConditionSyntaxError, "traits.age >= 18"),
        ("traits.age) or (consent.email", ConditionSyntaxError, "Write an expression"),
        ("traits.age, consent.email", ConditionSyntaxError, "Write an expression"),
        ("", ConditionSyntaxError, "Write an expression"),
        ("# nothing", ConditionSyntaxError, "Write an expression"),
        ("traits.x == '\\ud800'", NotAllowed, "whole characters"),
        ('"a" * 1000000000 == traits.x', KindMismatch, "Numbers, times"),
        ('traits.age > "a" and now > 3', KindMismatch, "one kind"),
        ("now - event.at > 3", KindMismatch, "one kind"),
        ("now - 3 > event.at", KindMismatch, "days"),
        ("hour", KindMismatch, ">= 1"),
        ("consent.email > True", KindMismatch, "=="),
        ('"a" in "abc"', KindMismatch, "contains"),
        ("hour == 'x'", KindMismatch, "one kind"),
        ("hour in [1, 'x']", KindMismatch, "one kind"),
        ("1 / 0 > traits.age", InvalidArgument, "never be true"),
        ("traits.age > 9223372036854775808", InvalidArgument, "64 bits"),
        ("traits.age > 1e999", InvalidArgument, "64 bits"),
        ("now > 'tomorrow'", InvalidArgument, "2026-01-31"),
        ("lower(traits.x, 3) == 'a'", InvalidArgument, "between the parentheses"),
        ("default(traits.x, traits.y) == 1", InvalidArgument, "default"),
        ("exists(3)", InvalidArgument, "exists"),
        ("journey.welcome", InvalidArgument, "phase"),
        ("traits", InvalidArgument, "traits.city"),
        ("events.count(viewed) > 1", InvalidArgument, "product_viewed"),
        ("events.count('viewed', product) > 1", InvalidArgument, "bare name"),
        ("events.sum('viewed') > 1", InvalidArgument, "bare name"),
        ("events.sum('viewed', a, b) > 1", InvalidArgument, "bare name"),
        ("events.count('viewed', product='x') > 1", InvalidArgument, "product == …"),
        ("events.count('viewed', last='7') > 1", InvalidArgument, "2w"),
        ("events.count('viewed', last=7) > 1", InvalidArgument, "2w"),
        ("events.count('viewed', last='0d') > 1", InvalidArgument, "than nothing"),
        ("events.count('viewed', price > traits.x) > 1", UnknownName, "properties"),
        ("events.count('viewed', at > now) > 1", UnknownName, "properties"),
        ("events.count('viewed', events.count('x') > 1) > 1", UnknownName, "Here there are"),
    ],
)
def test_what_conditions_leave_out_is_refused_with_a_remedy(
    source: str, error: type[ConditionError], hint: str
) -> None:
    with pytest.raises(error) as caught:
        parse(source)

    assert caught.match(hint)
    assert caught.value.code == error.code


@pytest.mark.parametrize(
    "source",
    ["now > '2026-01-01'", "days_since(traits.x) > 3", "context.page == 'x'", "'a' in segments"],
)
def test_a_segment_cannot_speak_of_what_changes_with_the_moment(source: str) -> None:
    error = refused(source, SEGMENT)

    assert "cannot be used in a segment" in error.problem
    assert error.hint == "Here there are: consent, events, traits."


def test_a_condition_over_several_lines_points_at_the_line_at_fault() -> None:
    error = refused('traits.age >= 18\n  and consent.email  # given\r\n  and fo.x == "é"')

    assert (error.line, error.column) == (3, 7)
    assert error.excerpt == '  and fo.x == "é"\n      ^'


def test_an_open_parenthesis_points_at_the_end_of_the_text() -> None:
    error = refused("(traits.age > 3")

    assert (error.line, error.column) == (1, 16)


@pytest.mark.parametrize(
    ("source", "limits", "problem"),
    [
        ("traits.age > 3", ConditionLimits(characters=10), "characters 14, over the limit of 10"),
        ("not " * 30 + "consent.a", ConditionLimits(depth=9), "depth 10, over the limit of 9"),
        (
            " or ".join(["consent.a"] * 50),
            ConditionLimits(nodes=100),
            "nodes 101, over the limit of 100",
        ),
        ("traits.a in [1, 2, 3]", ConditionLimits(list_items=2), "3 values, over the limit of 2"),
        (
            "events.count('a') > 1 and events.count('b') > 1",
            ConditionLimits(series=1),
            "more than 1 series",
        ),
        ("events.count('a', last='8d') > 1", ConditionLimits(window_days=7), "limit of 7 days"),
    ],
)
def test_a_limit_is_named_with_its_value(
    source: str, limits: ConditionLimits, problem: str
) -> None:
    with pytest.raises(ConditionTooLarge) as caught:
        parse(source, limits=limits)

    assert problem in caught.value.problem


@pytest.mark.parametrize(
    "build",
    [lambda n: "abs(" * n + "1" + ")" * n, lambda n: "-" * n + "1", lambda n: "traits" + ".a" * n],
)
def test_nesting_of_any_depth_is_an_error_and_not_a_crash(build: Callable[[int], str]) -> None:
    for depth in (100, 900, 50_000):
        error = refused(f"{build(depth)} > traits.x")

        assert isinstance(error, ConditionTooLarge | ConditionSyntaxError)


TOKENS = r"""
traits events segments consent now event . ( ) [ ] , and or not in is == != < >= + - * / % **
count sum last exists default date days lower 1 0 1e308 'a' "b" '7d' None True lambda if else
for : = := # \ f'{x}' b'x' ... ; @ é ﬁ ' " ''' 9999999999999999999
"""
tokens = st.sampled_from([*TOKENS.split(), "\n", "\x00", "\ud800"])


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(), st.lists(tokens, max_size=25).map(" ".join), conditions))
@example("traits.a\x0c")
@example("\\")
@example("0_7 == traits.a")
@example("traits.a == 0777")
def test_any_text_is_a_condition_or_a_condition_error(source: str) -> None:
    try:
        condition = parse(source)
    except ConditionError as error:
        assert all((error.line >= 1, error.column >= 1, error.problem, error.hint))  # noqa: PT017
    else:
        RuleSet([condition])
