"""Starts ended processes again, after pauses that grow with each failure."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infra.child_process import ChildProcess
from infra.nats_store_probe import NatsStoreProbe

MAX_PAUSE_S = 60.0
STABLE_S = 60.0
"""A process that has lived for so long begins anew with the shortest pause."""

CHECK_EVERY_S = 0.2


@dataclass(slots=True)
class _SupervisedProcess:
    process: ChildProcess
    started: float
    pause_s: float = 0.0
    due: float | None = None
    """When it is started again; None while it runs."""


class Supervisor:
    """Watches running processes, reports in a line each death and start, and runs the probes.

    `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        processes: Sequence[ChildProcess],
        report: Callable[[str], None],
        probes: Sequence[NatsStoreProbe] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watched = [_SupervisedProcess(process, clock()) for process in processes]
        self._report = report
        self._probes = probes
        self._clock = clock

    def run(self) -> None:
        while True:
            self.check()
            time.sleep(CHECK_EVERY_S)

    def check(self) -> None:
        """Note who has died since the last look, and start those whose pause is over."""
        for probe in self._probes:
            if reason := probe.check(self._clock()):
                self._report(f"nats listens and stores nothing ({reason}); started again.")
        for watched in self._watched:
            if watched.due is None:
                self._note_death(watched)
            elif self._clock() >= watched.due:
                self._start(watched)

    def _note_death(self, watched: _SupervisedProcess) -> None:
        status = watched.process.status()
        if status is not None:
            self._pause(watched, f"ended with status {status}")

    def _start(self, watched: _SupervisedProcess) -> None:
        try:
            watched.process.start()
        except OSError as error:  # no memory or no process left, say: not for ever
            self._pause(watched, f"cannot be started ({error.strerror})")
            return
        watched.started, watched.due = self._clock(), None
        self._report(f"{watched.process.name} is started again.")

    def _pause(self, watched: _SupervisedProcess, what: str) -> None:
        now = self._clock()
        if watched.due is None and now - watched.started >= STABLE_S:
            watched.pause_s = 0.0
        watched.pause_s = min(max(1.0, watched.pause_s * 2), MAX_PAUSE_S)
        watched.due = now + watched.pause_s
        log = watched.process.log
        self._report(
            f"{watched.process.name} {what}; it is started again in {watched.pause_s:.0f} s"
            f" (its log is {log})."
        )
