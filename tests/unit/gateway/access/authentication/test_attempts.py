"""Attempts to be believed: how often an address may fail, and how many signatures are checked."""

import asyncio

import pytest

from gateway.access.authentication.attempts import (
    AuthenticationAttempt,
    FailedAuthentications,
    SignatureChecks,
    current_attempt,
)
from gateway.access.limits.rate_limits import RateLimited, RateLimits
from tests.unit.gateway.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


GUESSER, OFFICE = "203.0.113.7", "198.51.100.1"


def guessed(failures: FailedAuthentications, address: str) -> int:
    """How many guesses an address gets answered before it has to wait."""
    return next(n for n in range(1_000) if failures.failed(address) is not None)


def test_an_address_that_guesses_has_to_wait_and_is_answered_again_in_time(clock: Clock) -> None:
    failures = FailedAuthentications(RateLimits(max_failed_authentications=20), clock)

    assert guessed(failures, GUESSER) == 20
    assert failures.is_suspect(GUESSER)
    assert not failures.is_suspect(OFFICE)
    clock.now += 30
    assert guessed(failures, GUESSER) == 10


def test_guessing_on_does_not_make_the_wait_longer(clock: Clock) -> None:
    failures = FailedAuthentications(RateLimits(max_failed_authentications=3), clock)
    guessed(failures, GUESSER)

    refusals = [failures.failed(GUESSER) for _ in range(100)]

    assert max(refusal.retry_after_s for refusal in refusals if refusal) == pytest.approx(20)
    assert None not in refusals
    assert "The limit is 3 a minute (max_failed_authentications)" in str(refusals[0])


def test_no_more_addresses_are_remembered_than_set(clock: Clock) -> None:
    failures = FailedAuthentications(RateLimits(callers_remembered=50), clock)

    for n in range(1_000):
        failures.failed(f"10.0.0.{n}")

    assert len(failures._buckets._full_at) == 50


# --- signatures -----------------------------------------------------------------------------------


async def count(checks: SignatureChecks, address: str, *, is_suspect: bool, tokens: int) -> int:
    """How many of so many fresh tokens, sent at once, are checked without waiting long."""
    current_attempt.set(AuthenticationAttempt(address, is_suspect))
    turns = (checks.turn() for _ in range(tokens))
    done = await asyncio.gather(*turns, return_exceptions=True)
    return sum(result is None for result in done)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits take no time, and are noted."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("gateway.access.authentication.attempts.asyncio.sleep", sleep)
    return waits


async def test_fresh_tokens_wait_their_turn_and_the_next_come_later(
    clock: Clock, hurried: list[float]
) -> None:
    checks = SignatureChecks(RateLimits(signature_checks_per_s=100), clock)

    assert await count(checks, OFFICE, is_suspect=False, tokens=300) == 200

    assert len(hurried) == 100
    assert max(hurried) == pytest.approx(1.0)
    with pytest.raises(RateLimited, match=r"100 a second \(signature_checks_per_s\)") as refusal:
        await checks.turn()
    clock.now += refusal.value.retry_after_s
    await checks.turn()


async def test_suspect_addresses_take_nothing_from_others_and_little_from_one_another(
    clock: Clock, hurried: list[float]
) -> None:
    checks = SignatureChecks(RateLimits(signature_checks_per_s=100), clock)

    assert await count(checks, GUESSER, is_suspect=True, tokens=1_000) == 10

    assert await count(checks, "192.0.2.1", is_suspect=True, tokens=1) == 1
    assert await count(checks, OFFICE, is_suspect=False, tokens=1_000) == 200
    floods = [
        await count(checks, f"192.0.2.{n}", is_suspect=True, tokens=100) for n in range(2, 50)
    ]
    assert sum(floods) == 50 - 10 - 1
