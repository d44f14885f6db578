"""A process that dies is started again: soon at first, later when it goes on dying."""

from pathlib import Path

import pytest

from infra.child_process import ChildProcess
from infra.supervision import Supervisor


class Dying(ChildProcess):
    """A process that is dead or alive as a test says; it is never run."""

    status_now: int | None = None
    starts: int = 0
    refusal: OSError | None = None

    def start(self) -> None:
        """Count the start."""
        if self.refusal:
            raise self.refusal
        self.starts += 1
        self.status_now = None

    def status(self) -> int | None:
        """What the test says."""
        return self.status_now


class House:
    """A supervisor over one process, and a clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.told: list[str] = []
        self.process = Dying("profile", [], Path("logs/profile.log"), lambda: True)
        self.supervisor = Supervisor([self.process], self.told.append, clock=lambda: self.now)

    def die(self, status: int = 1) -> None:
        """End the process, and have it looked at."""
        self.process.status_now = status
        self.supervisor.check()

    def after(self, seconds: float) -> int:
        """Look again after so long; how often it was started by then."""
        self.now += seconds
        self.supervisor.check()
        return self.process.starts


@pytest.fixture
def house() -> House:
    """A process that has run for a while."""
    return House()


def test_a_process_that_keeps_dying_waits_twice_as_long_each_time_up_to_a_minute(
    house: House,
) -> None:
    pauses = []
    for _ in range(9):
        house.die()
        began, starts = house.now, house.process.starts
        while house.after(0.5) == starts:
            pass
        pauses.append(house.now - began)

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_each_death_and_each_start_is_told_with_status_and_pause(house: House) -> None:
    house.die(-9)
    house.after(1)
    house.die(3)
    house.after(1)

    assert [line.partition(" (")[0] for line in house.told] == [
        "profile ended with status -9; it is started again in 1 s",
        "profile is started again.",
        "profile ended with status 3; it is started again in 2 s",
    ]
    assert "logs/profile.log" in house.told[0]


def test_a_process_that_has_lived_for_a_minute_begins_anew(house: House) -> None:
    for pause in (1, 2, 4):
        house.die()
        house.after(pause)
    house.after(60)
    house.die()

    assert "in 1 s" in house.told[-1]


def test_a_process_that_lives_for_less_goes_on_waiting_longer(house: House) -> None:
    for pause in (1, 2, 4):
        house.die()
        house.after(pause)
    house.after(59)
    house.die()

    assert "in 8 s" in house.told[-1]


def test_a_process_that_cannot_be_started_is_tried_again_later(house: House) -> None:
    house.die()
    house.process.refusal = BlockingIOError(11, "Resource temporarily unavailable")
    house.after(1)
    house.process.refusal = None

    assert "cannot be started (Resource temporarily unavailable)" in house.told[-1]
    assert "in 2 s" in house.told[-1]
    assert house.after(1.9) == 0
    assert house.after(0.1) == 1


def test_one_that_lives_is_left_alone(house: House) -> None:
    assert house.after(3_600) == 0
    assert house.told == []
