"""Work that fails again and again is told of, and is well again by itself."""

from services.chassis.progress import Progress


class Clock:
    """Seconds in the test's hand."""

    now = 1_000.0

    def __call__(self) -> float:
        """What the test says it is."""
        return self.now


def test_work_that_fails_now_and_then_stands_not_still() -> None:
    progress = Progress(Clock())

    for _ in range(20):
        progress.fail("relay", "ValueError", 0.1)
        progress.recover("relay")

    assert progress.standstill() is None


def test_work_that_fails_five_times_in_a_row_is_named_with_the_class_of_the_failure() -> None:
    progress = Progress(Clock())

    for _ in range(4):
        progress.fail("relay", "ValueError", 0.1)
    before = progress.standstill()
    progress.fail("relay", "EventTooLarge", 0.1)

    assert before is None
    assert progress.standstill() == (
        "The background work 'relay' has not got on for 0 s (EventTooLarge)."
    )


def test_work_that_recovers_is_forgotten() -> None:
    progress = Progress(Clock())
    for _ in range(5):
        progress.fail("relay", "ValueError", 0.1)

    progress.recover("relay")

    assert progress.standstill() is None


def test_work_that_waits_for_another_is_told_of_once_it_has_for_a_minute() -> None:
    progress = Progress(clock := Clock())

    for _ in range(60):
        progress.fail("feed", "BusUnavailable", 0.0, is_away=True)
        clock.now += 1
    before = progress.standstill()
    clock.now += 1

    assert before is None
    assert progress.standstill() == (
        "The background work 'feed' has not got on for 61 s (BusUnavailable)."
    )


def test_a_process_that_can_do_without_the_other_does_not_mind() -> None:
    progress = Progress(clock := Clock(), standstill_s=float("inf"))

    progress.fail("feed", "BusUnavailable", 0.0, is_away=True)
    clock.now += 10_000

    assert progress.standstill() is None


def test_work_that_takes_long_to_fail_has_to_run_longer_to_have_recovered() -> None:
    progress = Progress(Clock())

    progress.fail("refresher", "TimeoutError", 30.0, is_away=True)

    assert progress.quiet_s("refresher") > 30
    assert progress.quiet_s("relay") < 30


def test_work_that_ran_for_long_and_fails_once_got_on_until_then() -> None:
    progress = Progress(Clock())

    progress.fail("relay", "BusUnavailable", 3_600.0, is_away=True)

    assert progress.standstill() is None
    assert progress.quiet_s("relay") < 30
