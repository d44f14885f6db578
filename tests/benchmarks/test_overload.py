"""Three times as much is asked of a gateway as the service behind it can answer, over sockets.

Measured for ten seconds each, with shedding and without: how many answers with data a second
(goodput), how long it took until what was let in was answered or had failed, and what became of
each class. Requests come when they come, whether or not earlier ones were answered (an open loop),
as those of the public do.
Targets with shedding: goodput at least 0.8 of capacity, the 99th percentile of what is let in under
0.5 s, ingest answered to at least 99%, reports refused most. Without it all wait for the deadline
of the service, or for its breaker, and most of ingest is lost with the rest.
Run: pytest -m benchmark tests/benchmarks/test_overload.py -s
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from subprocess import Popen
from time import perf_counter

import aiohttp
import pytest

from gateway.access.authentication.caller_tokens import issue_token
from gateway.access.authentication.service_tokens import load_private_key
from services.contracts.enums import Role
from tests.benchmarks.overload import CAPACITY
from tests.conftest import free_port

MIX = {
    "reporting": ("{ segments }", 2.2 * CAPACITY),
    "decisions": ("{ nextBestActions }", 0.5 * CAPACITY),
    "ingest": ("mutation { track }", 0.3 * CAPACITY),
}
WARM_UP_S, MEASURED_S = 4.0, 10.0
CALLERS = 50


@dataclass
class Outcome:
    """What became of the requests of a class."""

    sent: int = 0
    whole: int = 0
    shed: int = 0
    seconds: list[float] = field(default_factory=list)
    """How long those took that were not refused."""


@contextmanager
def process(*arguments: str) -> Iterator[None]:
    script = str(Path(__file__).with_name("overload.py"))
    running = Popen([sys.executable, script, *arguments], cwd=Path(__file__).parents[2])
    try:
        yield
    finally:
        running.terminate()
        running.wait(20)


@asynccontextmanager
async def house(signing_key: Path, shedding: str) -> AsyncIterator[str]:
    """The address of a gateway before the stub, each in a process."""
    stub, gateway = free_port(), free_port()
    url = f"http://127.0.0.1:{gateway}"
    before_it = ("gateway", str(gateway), f"http://127.0.0.1:{stub}", str(signing_key), shedding)
    with process("stub", str(stub)), process(*before_it):
        await until_up(f"{url}/health/live")
        yield url


async def until_up(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(300):
            try:
                async with session.get(url):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)
    raise AssertionError(f"{url} did not come up")


async def offer(url: str, tokens: list[str], seconds: float, seed: int) -> dict[str, Outcome]:
    """Send the mix for so long, at random moments; returns when everything was answered."""
    random = Random(seed)
    outcomes = {kind: Outcome() for kind in MIX}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def ask(kind: str) -> None:
            headers = {"Authorization": f"Bearer {random.choice(tokens)}"}
            outcomes[kind].sent += 1
            started = perf_counter()
            async with session.post(
                f"{url}/graphql", json={"query": MIX[kind][0]}, headers=headers
            ) as response:
                body = await response.json()
            if response.status == 503:
                outcomes[kind].shed += 1
                return
            outcomes[kind].whole += "errors" not in body
            outcomes[kind].seconds.append(perf_counter() - started)

        async def send(kind: str, per_s: float) -> list[asyncio.Task[None]]:
            loop, tasks = asyncio.get_running_loop(), []
            at, until = loop.time(), loop.time() + seconds
            while (at := at + random.expovariate(per_s)) < until:
                await asyncio.sleep(max(0.0, at - loop.time()))
                tasks.append(asyncio.create_task(ask(kind)))
            return tasks

        sent = await asyncio.gather(*(send(kind, per_s) for kind, (_, per_s) in MIX.items()))
        await asyncio.gather(*(task for tasks in sent for task in tasks))
    return outcomes


def percentile(seconds: list[float], share: float) -> float:
    return sorted(seconds)[min(int(len(seconds) * share), len(seconds) - 1)]


@dataclass
class Measured:
    goodput: float
    p50_s: float
    p99_s: float
    outcomes: dict[str, Outcome]

    def __str__(self) -> str:
        parts = ", ".join(
            f"{kind} {o.whole / o.sent:.1%} answered, {o.shed / o.sent:.1%} shed"
            for kind, o in self.outcomes.items()
        )
        return (
            f"goodput {self.goodput:.0f}/s of {CAPACITY:.0f}, "
            f"p50 {self.p50_s * 1000:.0f} ms, p99 {self.p99_s * 1000:.0f} ms; {parts}"
        )


def tokens_of_callers(signing_key: Path) -> list[str]:
    key = load_private_key(signing_key.read_text())
    return [issue_token(key, Role.ADMIN, f"caller-{n}") for n in range(CALLERS)]


async def measured(signing_key: Path, shedding: str) -> Measured:
    tokens = tokens_of_callers(signing_key)
    async with house(signing_key, shedding) as url:
        await offer(url, tokens, WARM_UP_S, seed=1)
        outcomes = await offer(url, tokens, MEASURED_S, seed=2)
    seconds = [s for outcome in outcomes.values() for s in outcome.seconds]
    return Measured(
        sum(outcome.whole for outcome in outcomes.values()) / MEASURED_S,
        percentile(seconds, 0.5),
        percentile(seconds, 0.99),
        outcomes,
    )


@pytest.mark.benchmark
async def test_at_three_times_the_capacity(key_files: tuple[Path, Path]) -> None:
    signing_key, _ = key_files
    shed = await measured(signing_key, "on")
    print(f"\nwith shedding:    {shed}")
    unshed = await measured(signing_key, "off")
    print(f"without shedding: {unshed}")

    assert shed.goodput > 0.8 * CAPACITY
    assert shed.p99_s < 0.5
    assert shed.outcomes["ingest"].whole > 0.99 * shed.outcomes["ingest"].sent
    assert shed.outcomes["reporting"].shed > 0.5 * shed.outcomes["reporting"].sent
    assert unshed.outcomes["reporting"].shed < 0.05 * unshed.outcomes["reporting"].sent
    assert unshed.outcomes["ingest"].whole < 0.5 * unshed.outcomes["ingest"].sent
