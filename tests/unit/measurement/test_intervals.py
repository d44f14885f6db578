"""Wilson intervals, against the ones Newcombe published."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.measurement.domain.intervals import ImpossibleRate, Rate, wilson_rate


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_intervals_are_those_newcombe_printed(
    successes: int, trials: int, low: float, high: float
) -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    found = wilson_rate(successes, trials)

    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


def test_nothing_is_known_without_trials() -> None:
    assert wilson_rate(0, 0) == Rate(0, 0, None, None, None)


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (3, 2), (-1, 5)])
def test_more_successes_than_trials_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ImpossibleRate, match=f"{successes} successes of {trials} trials"):
        wilson_rate(successes, trials)


@given(st.integers(1, 10**9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_estimate_and_stays_a_share(counted: tuple[int, int]) -> None:
    found = wilson_rate(*counted)

    assert found.low is not None
    assert found.estimate is not None
    assert found.high is not None
    assert 0 <= found.low <= found.estimate <= found.high <= 1


def test_more_trials_make_it_surer() -> None:
    few, many = wilson_rate(3, 10), wilson_rate(300, 1_000)

    assert few.low is not None
    assert many.low is not None
    assert few.low < many.low < 0.3
