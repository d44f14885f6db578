"""Whether background work gets on: work that fails again and again makes its process not ready."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from prometheus_client import Gauge

FAILURES_IN_A_ROW = 5
STANDSTILL_S = 60.0
QUIET_S = 10.0
"""Work that runs so long, beyond what it ran before it last failed, has recovered."""
LONGEST_TRY_S = 45.0
"""Work that runs so long has recovered, whatever it did before: no statement or call waits longer.
It is less than `STANDSTILL_S`, so that no work stands still that has failed once."""

FAILURES = Gauge(
    "raak_background_failures", "Failures of background work since it last got on", ["work"]
)


@dataclass(slots=True)
class Trouble:
    """Work that has failed and not recovered."""

    since: float
    """The first failure, by the clock of the process, in seconds."""
    because: str
    """The class of the last failure: its text may hold personal data."""
    failures: int = 0
    """Without those of a bus or database that was away."""
    ran_s: float = 0.0
    """How long it ran before it last failed."""


class Progress:
    """What each piece of a process's background work is held up by. `clock` is in seconds.

    Work stands still that has failed five times, or for `standstill_s` whatever keeps it, and never
    recovered in between.
    """

    def __init__(
        self, clock: Callable[[], float] = monotonic, *, standstill_s: float = STANDSTILL_S
    ) -> None:
        self._clock = clock
        self._standstill_s = standstill_s
        self._troubles: dict[str, Trouble] = {}

    def quiet_s(self, work: str) -> float:
        """How long work has to run without failing to have recovered."""
        trouble = self._troubles.get(work)
        return min(QUIET_S + (trouble.ran_s if trouble else 0.0), LONGEST_TRY_S)

    def fail(self, work: str, because: str, ran_s: float, *, is_away: bool = False) -> None:
        """Note that work failed after having run for so long; `is_away`: it waits for another."""
        trouble = self._troubles.setdefault(work, Trouble(self._clock(), because))
        trouble.because, trouble.ran_s = because, ran_s
        trouble.failures += not is_away
        FAILURES.labels(work).set(trouble.failures)

    def recover(self, work: str) -> None:
        """Note that work gets on again."""
        self._troubles.pop(work, None)
        FAILURES.labels(work).set(0)

    def standstill(self) -> str | None:
        """Which work stands still, since when and why; None if none does."""
        for work, trouble in sorted(self._troubles.items()):
            for_s = self._clock() - trouble.since
            if trouble.failures >= FAILURES_IN_A_ROW or for_s > self._standstill_s:
                return (
                    f"The background work {work!r} has not got on for {for_s:.0f} s"
                    f" ({trouble.because})."
                )
        return None
