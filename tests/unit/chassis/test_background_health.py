"""Work that fails again and again is told of, and is well again by itself."""

import pytest

from services.chassis.background_health import BackgroundHealth
from services.chassis.server import RESTART_S


class Clock:
    """Seconds in the test's hand."""

    now = 1_000.0

    def __call__(self) -> float:
        """What the test says it is."""
        return self.now


def test_work_that_fails_now_and_then_stands_not_still() -> None:
    health = BackgroundHealth(Clock())

    for _ in range(20):
        health.fail("relay", "ValueError", 0.1)
        health.recover("relay")

    assert health.find_standstill() is None


def test_work_that_fails_five_times_in_a_row_is_named_with_the_class_of_the_failure() -> None:
    health = BackgroundHealth(Clock())

    for _ in range(4):
        health.fail("relay", "ValueError", 0.1)
    before = health.find_standstill()
    health.fail("relay", "MessageTooLarge", 0.1)

    assert before is None
    assert health.find_standstill() == (
        "The background work 'relay' has made no progress for 0 s (MessageTooLarge)."
    )


def test_work_that_recovers_is_forgotten() -> None:
    health = BackgroundHealth(Clock())
    for _ in range(5):
        health.fail("relay", "ValueError", 0.1)

    health.recover("relay")

    assert health.find_standstill() is None


def test_work_that_waits_for_another_is_told_of_once_it_has_for_a_minute() -> None:
    health = BackgroundHealth(clock := Clock())

    for _ in range(60):
        health.fail("feed", "BusUnavailable", 0.0, is_outage=True)
        clock.now += 1
    before = health.find_standstill()
    clock.now += 1

    assert before is None
    assert health.find_standstill() == (
        "The background work 'feed' has made no progress for 61 s (BusUnavailable)."
    )


def test_a_process_that_can_do_without_the_other_does_not_mind() -> None:
    health = BackgroundHealth(clock := Clock(), standstill_s=float("inf"))

    health.fail("feed", "BusUnavailable", 0.0, is_outage=True)
    clock.now += 10_000

    assert health.find_standstill() is None


@pytest.mark.parametrize("ran_s", [0.0, 3.0, 29.0, 35.0, 44.0, 3_600.0])
def test_work_that_fails_once_recovers_before_it_is_told_of(ran_s: float) -> None:
    health = BackgroundHealth(clock := Clock())

    health.fail("relay", "BusUnavailable", ran_s, is_outage=True)
    clock.now += RESTART_S + health.recovery_time_s("relay")

    assert health.find_standstill() is None


def fail_again_and_again(ran_s: float) -> BackgroundHealth:
    """Work that fails a hundred times, each time after so long, as its supervisor notes it."""
    health = BackgroundHealth(clock := Clock())
    for _ in range(100):
        clock.now += RESTART_S + ran_s
        if ran_s >= health.recovery_time_s("refresher"):
            health.recover("refresher")
        health.fail("refresher", "TimeoutError", ran_s, is_outage=True)
    return health


@pytest.mark.parametrize("ran_s", [0.0, 3.0, 11.0, 30.0, 35.0])
def test_work_that_fails_whenever_it_is_tried_never_recovers_however_long_that_takes(
    ran_s: float,
) -> None:
    assert "'refresher'" in str(fail_again_and_again(ran_s).find_standstill())


def test_work_that_runs_longer_than_anything_waits_gets_on_between_its_failures() -> None:
    assert fail_again_and_again(46.0).find_standstill() is None
