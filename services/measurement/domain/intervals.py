"""Rates and their confidence intervals."""

from dataclasses import dataclass
from math import sqrt

from services.chassis.errors import RaakError

Z_95 = 1.959963984540054
"""The standard normal quantile of 0.975: 95% lie within ± this."""


class ImpossibleRate(RaakError, code="MEASUREMENT_IMPOSSIBLE_RATE"):
    """There are more successes than trials, or fewer than none."""

    def __init__(self, successes: int, trials: int) -> None:
        super().__init__(
            f"{successes!r} successes of {trials!r} trials is not a rate.",
            hint="Count as success only what was counted as trial.",
        )


@dataclass(frozen=True, slots=True)
class Rate:
    """Successes of trials. Estimate and bounds, in [0, 1], are None when nothing was tried."""

    successes: int
    trials: int
    estimate: float | None
    low: float | None
    high: float | None


def wilson_rate(successes: int, trials: int, z: float = Z_95) -> Rate:
    """A rate with its Wilson score interval.

    Args:
        successes: How often it happened, 0 to `trials`.
        trials: How often it could have happened.
        z: Quantile of the standard normal for the confidence wanted; 1.96 for 95%.

    Returns:
        The share observed, and the interval around it. The interval lies within [0, 1], is not
        symmetrical, and is of use from the first trial on.

    Raises:
        ImpossibleRate: `successes` is outside [0, `trials`].

    Source:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
        JASA 22 (1927) 209-212; recommended over Wald's by R. G. Newcombe, "Two-sided confidence
        intervals for the single proportion", Statistics in Medicine 17 (1998) 857-872, method 3.
    """
    if not 0 <= successes <= trials:
        raise ImpossibleRate(successes, trials)
    if trials == 0:
        return Rate(0, 0, None, None, None)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    reach *= z / (1 + z * z / trials)
    low = 0.0 if successes == 0 else max(0.0, centre - reach)
    high = 1.0 if successes == trials else min(1.0, centre + reach)
    return Rate(successes, trials, share, low, high)
