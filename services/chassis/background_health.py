"""Whether background work succeeds: work that keeps failing makes its process not ready."""

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
class WorkFailures:
    since: float
    """The first failure, by the clock of the process, in seconds."""
    reason: str
    """The class of the last failure: its text may hold personal data."""
    failures: int = 0
    """Without those of a bus or database that was away."""
    ran_s: float = 0.0
    """How long it ran before it last failed."""


class BackgroundHealth:
    """The failures of background work, by name. `clock` is in seconds.

    Work stands still that failed five times, or for `standstill_s`, without recovering in between.
    """

    def __init__(
        self, clock: Callable[[], float] = monotonic, *, standstill_s: float = STANDSTILL_S
    ) -> None:
        self._clock = clock
        self._standstill_s = standstill_s
        self._failing: dict[str, WorkFailures] = {}

    def recovery_time_s(self, work: str) -> float:
        """How long work has to run without failing to have recovered."""
        failing = self._failing.get(work)
        return min(QUIET_S + (failing.ran_s if failing else 0.0), LONGEST_TRY_S)

    def fail(self, work: str, reason: str, ran_s: float, *, is_outage: bool = False) -> None:
        """Note that work failed after so long; `is_outage`: because PostgreSQL or NATS is away."""
        failing = self._failing.setdefault(work, WorkFailures(self._clock(), reason))
        failing.reason, failing.ran_s = reason, ran_s
        failing.failures += not is_outage
        FAILURES.labels(work).set(failing.failures)

    def recover(self, work: str) -> None:
        self._failing.pop(work, None)
        FAILURES.labels(work).set(0)

    def find_standstill(self) -> str | None:
        """Which work stands still, since when and why; None if none does."""
        for work, failing in sorted(self._failing.items()):
            for_s = self._clock() - failing.since
            if failing.failures >= FAILURES_IN_A_ROW or for_s > self._standstill_s:
                return (
                    f"The background work {work!r} has made no progress for {for_s:.0f} s"
                    f" ({failing.reason})."
                )
        return None
