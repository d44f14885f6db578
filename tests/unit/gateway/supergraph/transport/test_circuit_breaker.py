"""A failing service is asked again where that does no harm, and left alone while it fails."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import pytest
from prometheus_client import REGISTRY

from gateway.supergraph import (
    ResilientTransport,
    SubgraphError,
    SubgraphInvalidResponse,
    SubgraphResponse,
    SubgraphTimeout,
    SubgraphUnavailable,
)
from gateway.supergraph.transport.circuit_breaker import ResilienceSettings
from gateway.supergraph.transport.subgraph_response import SubgraphResponseTooLarge
from gateway.supergraph.transport.transport import request_deadline
from tests.unit.gateway.clock import Clock

GOOD = SubgraphResponse(200, b'{"data": {}}')
UNREACHED = SubgraphUnavailable("a", was_sent=False)
BROKEN_OFF = SubgraphUnavailable("a")
LATE = SubgraphTimeout("a")
GARBAGE = SubgraphResponse(200, b"<html>")


class ScriptedTransport:
    """A transport that answers what it is told to, one after the other, and then well."""

    def __init__(self, clock: Clock, takes_s: float = 0.0) -> None:
        self.outcomes: list[SubgraphResponse | SubgraphError] = []
        self.always: SubgraphResponse | SubgraphError | None = None
        self.attempts = 0
        self.ends: list[float | None] = []
        self.gate: asyncio.Event | None = None
        self._clock = clock
        self._takes_s = takes_s

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> SubgraphResponse:
        self.attempts += 1
        self.ends.append(request_deadline.get())
        self._clock.now += self._takes_s
        if self.gate:
            await self.gate.wait()
        return self._outcome()

    def _outcome(self) -> SubgraphResponse:
        outcome = self.always or (self.outcomes.pop(0) if self.outcomes else GOOD)
        if isinstance(outcome, SubgraphError):
            raise outcome
        return outcome

    @asynccontextmanager
    async def stream(
        self, subgraph: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        self.attempts += 1
        self._outcome()
        yield self._nothing()

    async def _nothing(self) -> AsyncIterator[dict[str, Any]]:
        return
        yield


class Patient:
    """A resilient transport over a told one, with its clock."""

    def __init__(
        self, rules: ResilienceSettings | None = None, takes_s: float = 0.0, within_s: float = inf
    ) -> None:
        self.clock = Clock()
        self.inner = ScriptedTransport(self.clock, takes_s)
        self.transport = ResilientTransport(
            self.inner,
            within_s=lambda _: within_s,
            settings=rules,
            clock=self.clock,
            draw=lambda: 1.0,
        )

    async def ask(self, *, is_idempotent: bool = True) -> SubgraphResponse | SubgraphError:
        try:
            return await self.transport.fetch("a", b"", {}, is_idempotent=is_idempotent)
        except SubgraphError as error:
            return error

    async def break_down(self) -> None:
        """Fail until the breaker is open."""
        self.inner.always = UNREACHED
        while self.state != "open":
            await self.ask()
        self.inner.always = None
        self.inner.attempts = 0

    @property
    def state(self) -> str:
        return self.transport.circuit_states().get("a", "unknown")


@pytest.mark.parametrize(
    ("outcome", "is_idempotent", "attempts"),
    [
        (UNREACHED, True, 2),
        (UNREACHED, False, 2),
        (BROKEN_OFF, True, 2),
        (BROKEN_OFF, False, 1),
        (LATE, True, 1),
        (LATE, False, 1),
        (GARBAGE, True, 2),
        (GARBAGE, False, 1),
        (SubgraphResponse(502, b""), True, 2),
        (SubgraphResponse(503, b'{"errors": []}'), True, 2),
        (SubgraphResponse(504, b""), False, 1),
        (SubgraphResponse(500, b""), True, 1),
        (SubgraphResponse(200, b'{"errors": [{}]}'), True, 1),
        (SubgraphResponse(400, b'{"errors": [{}]}'), True, 1),
        (SubgraphResponseTooLarge("a", 9), True, 1),
        (SubgraphInvalidResponse("a", "it is not HTTP"), True, 2),
    ],
)
async def test_what_is_asked_again(
    outcome: SubgraphResponse | SubgraphError, is_idempotent: bool, attempts: int
) -> None:
    patient = Patient()
    patient.inner.outcomes = [outcome]

    answered = await patient.ask(is_idempotent=is_idempotent)

    assert patient.inner.attempts == attempts
    assert answered is (GOOD if attempts == 2 else outcome)


async def test_it_is_asked_again_once_only() -> None:
    patient = Patient()
    patient.inner.outcomes = [UNREACHED, BROKEN_OFF]

    assert await patient.ask() is BROKEN_OFF
    assert patient.inner.attempts == 2


@pytest.mark.parametrize(
    ("takes_s", "left_s", "attempts", "ends"),
    [(2.0, None, 2, 3.0), (2.0, 9.0, 2, 3.0), (2.0, 2.5, 2, 2.5), (3.0, None, 1, None)],
)
async def test_who_is_asked_again_has_only_the_time_that_the_first_left(
    takes_s: float, left_s: float | None, attempts: int, ends: float | None
) -> None:
    patient = Patient(takes_s=takes_s, within_s=3.0)
    patient.inner.outcomes = [BROKEN_OFF]
    began = patient.clock()
    request_deadline.set(left_s and began + left_s)

    await patient.ask()

    assert patient.inner.attempts == attempts
    assert patient.inner.ends[-1] == (left_s and began + left_s if ends is None else began + ends)
    assert request_deadline.get() == (left_s and began + left_s)


async def test_retries_are_a_fifth_of_the_requests_and_a_few_more() -> None:
    patient = Patient(ResilienceSettings(failure_ratio=1.1, max_unreachable=10**9))
    patient.inner.always = BROKEN_OFF

    for _ in range(1_000):
        patient.clock.now += 0.005
        await patient.ask()

    assert 200 <= patient.inner.attempts - 1_000 <= 210


async def test_the_budget_counts_the_last_ten_seconds_only() -> None:
    patient = Patient(ResilienceSettings(failure_ratio=1.1, min_retries_per_s=0.0))
    for _ in range(10):
        await patient.ask()

    patient.clock.now += 11
    patient.inner.outcomes = [BROKEN_OFF]

    assert await patient.ask() is BROKEN_OFF
    assert patient.inner.attempts == 11


async def test_retries_and_those_refused_are_counted() -> None:
    def count(outcome: str) -> float:
        labels = {"subgraph": "a", "outcome": outcome}
        return REGISTRY.get_sample_value("raak_subgraph_retries_total", labels) or 0.0

    patient = Patient(ResilienceSettings(failure_ratio=1.1, min_retries_per_s=0.1, retry_ratio=0.0))
    patient.inner.always = BROKEN_OFF
    retried, refused = count("made"), count("over budget")

    await patient.ask()
    await patient.ask()

    assert (count("made") - retried, count("over budget") - refused) == (1, 1)


async def test_who_can_not_be_reached_five_times_in_a_row_is_left_alone() -> None:
    patient = Patient(ResilienceSettings(min_retries_per_s=0.0, retry_ratio=0.0))
    patient.inner.outcomes = [*[UNREACHED] * 4, GOOD, *[UNREACHED] * 4]
    for _ in range(9):
        await patient.ask()
    assert patient.state == "closed"

    patient.inner.always = UNREACHED
    await patient.ask()

    assert patient.state == "open"


async def test_while_the_breaker_is_open_nobody_is_asked() -> None:
    patient = Patient()
    await patient.break_down()

    refused = await patient.ask()

    assert patient.inner.attempts == 0
    assert isinstance(refused, SubgraphUnavailable)
    assert "try again in 1.0 s" in refused.hint


async def test_half_of_twenty_failing_is_too_much_and_of_nineteen_is_not() -> None:
    patient = Patient(ResilienceSettings(min_retries_per_s=0.0, retry_ratio=0.0))
    outcomes: list[SubgraphResponse | SubgraphError] = [GOOD, LATE]
    for outcome in [*outcomes * 9, LATE]:
        patient.inner.outcomes = [outcome]
        await patient.ask()
    assert patient.state == "closed"

    await patient.ask()

    assert patient.state == "closed", "half of 20 failed, but the last one was fine"
    patient.inner.outcomes = [SubgraphResponse(500, b"")]
    await patient.ask()
    assert patient.state == "open"


async def test_errors_in_an_answer_are_no_failure() -> None:
    patient = Patient()
    patient.inner.always = SubgraphResponse(200, b'{"data": null, "errors": [{"message": "no"}]}')

    for _ in range(100):
        await patient.ask()

    assert patient.state == "closed"


async def test_failures_are_forgotten_after_ten_seconds() -> None:
    patient = Patient(ResilienceSettings(min_retries_per_s=0.0, retry_ratio=0.0))
    for _ in range(4):
        patient.inner.outcomes = [LATE] * 10
        for _ in range(15):
            await patient.ask()
        patient.clock.now += 11

    assert patient.state == "closed"


async def test_after_a_rest_one_probe_goes_first_and_a_good_one_ends_it() -> None:
    patient = Patient()
    await patient.break_down()
    patient.clock.now += 1.0
    patient.inner.gate = asyncio.Event()

    probe = asyncio.create_task(patient.ask())
    await asyncio.sleep(0)
    meanwhile = await patient.ask()
    state_meanwhile = patient.state
    patient.inner.gate.set()

    assert isinstance(meanwhile, SubgraphUnavailable)
    assert state_meanwhile == "half-open"
    assert await probe is GOOD
    assert patient.inner.attempts == 1
    assert patient.state == "closed"


async def test_each_failing_probe_doubles_the_rest_up_to_a_limit() -> None:
    patient = Patient(ResilienceSettings(open_s=1.0, max_open_s=3.0))
    await patient.break_down()
    patient.inner.always = LATE

    for open_s in (1.0, 2.0, 3.0, 3.0):
        patient.inner.attempts = 0
        patient.clock.now += open_s - 0.01
        await patient.ask()
        assert patient.inner.attempts == 0
        patient.clock.now += 0.01
        await patient.ask()
        assert patient.inner.attempts == 1


async def test_rests_differ_so_that_gateways_do_not_probe_at_once() -> None:
    clock = Clock()
    inner = ScriptedTransport(clock)
    inner.always = UNREACHED
    drawn = iter([0.0, 0.5])
    transport = ResilientTransport(inner, clock=clock, draw=lambda: next(drawn))

    for _ in range(3):
        with pytest.raises(SubgraphUnavailable):
            await transport.fetch("a", b"", {}, is_idempotent=True)
    assert transport.circuit_states() == {"a": "open"}
    attempts = inner.attempts
    clock.now += 0.5
    with pytest.raises(SubgraphUnavailable):
        await transport.fetch("a", b"", {}, is_idempotent=True)

    assert inner.attempts == attempts + 1


async def test_a_probe_that_is_called_off_leaves_the_next_one_to_probe() -> None:
    patient = Patient()
    await patient.break_down()
    patient.clock.now += 1.0
    patient.inner.gate = asyncio.Event()
    probe = asyncio.create_task(patient.ask())
    await asyncio.sleep(0)

    probe.cancel()
    await asyncio.wait([probe])
    patient.inner.gate = None

    assert await patient.ask() is GOOD


async def test_what_began_before_the_breaker_opened_does_not_close_it() -> None:
    patient = Patient()
    patient.inner.gate = asyncio.Event()
    early = asyncio.create_task(patient.ask())
    await asyncio.sleep(0)
    gate, patient.inner.gate = patient.inner.gate, None
    await patient.break_down()

    gate.set()

    assert await early is GOOD
    assert patient.state == "open"


async def test_what_began_before_the_breaker_opened_does_not_make_its_rest_longer() -> None:
    patient = Patient()
    gate = patient.inner.gate = asyncio.Event()
    early = asyncio.create_task(patient.ask(is_idempotent=False))
    await asyncio.sleep(0)
    patient.inner.gate = None
    await patient.break_down()
    patient.inner.outcomes = [UNREACHED]
    patient.clock.now += 0.5

    gate.set()
    await early
    patient.clock.now += 0.5

    assert await patient.ask() is GOOD


async def test_one_service_leaves_the_others_be() -> None:
    patient = Patient()
    await patient.break_down()

    await patient.transport.fetch("b", b"", {}, is_idempotent=True)

    assert patient.transport.circuit_states() == {"a": "open", "b": "closed"}


async def test_streams_pass_the_same_breaker() -> None:
    patient = Patient(ResilienceSettings(min_retries_per_s=0.0, max_unreachable=2))
    patient.inner.outcomes = [UNREACHED, UNREACHED]
    for _ in range(2):
        with pytest.raises(SubgraphUnavailable):
            async with patient.transport.stream("a", b"", {}):
                pass
    assert patient.state == "open"
    with pytest.raises(SubgraphUnavailable):
        async with patient.transport.stream("a", b"", {}):
            pass
    assert patient.inner.attempts == 2

    patient.clock.now += 1.0
    async with patient.transport.stream("a", b"", {}):
        pass

    assert patient.state == "closed"


async def test_what_goes_wrong_within_a_stream_is_its_readers_business() -> None:
    patient = Patient()

    with pytest.raises(SubgraphUnavailable):
        async with patient.transport.stream("a", b"", {}):
            raise UNREACHED

    assert patient.state == "closed"
