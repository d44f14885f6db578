"""The whole stack on one machine, with the load generator on the same cores.

Prints one table: the figure, its target, and the ratio of the two. Nothing here fails by time.
Run: `make bench`.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import orjson
import psutil
import pytest
from rich.console import Console
from rich.table import Table

from infra import cdnow, demo, standalone
from infra.cdnow import Buyer
from infra.demo import DemoSession
from infra.instance import LISTENERS, EmbeddedInstance
from infra.tokens import issue
from services.chassis.bus import open_bus
from services.chassis.database import open_database
from services.chassis.outbox import count_backlog
from services.contracts.profile import CustomerChanged
from tests.stack import free_ports

OFFERS = """
query($customer: CustomerRef!) {
  nextBestActions(customer: $customer, channel: CALL_CENTRE, placement: "agent_desktop") {
    id
    propositions { id rank action { key name } content propensity value { cents } score reason }
  }
}"""


@dataclass
class Figures:
    """What was measured, as rows of the table."""

    rows: list[tuple[str, str, str, str]]

    def add(self, what: str, measured: float, target: float, unit: str) -> None:
        """Note a figure and its ratio to the target."""
        ratio = measured / target
        self.rows.append((what, f"{measured:,.1f} {unit}", f"{target:,.0f} {unit}", f"{ratio:.2f}"))


@dataclass(frozen=True)
class Bench:
    """A running Raak with the CDNOW customers in it."""

    instance: EmbeddedInstance
    session: DemoSession
    buyers: list[Buyer]
    figures: Figures


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Start, measure the idle memory, import (timed), publish, and wait until all is settled."""
    folder: Path = tmp_path_factory.mktemp("raak")
    instance = EmbeddedInstance(folder, free_ports(len(LISTENERS)))
    console = Console()
    figures = Figures([])

    with standalone.run_instance(instance) as processes:
        time.sleep(3)
        pids = [process.running.pid for process in processes if process.running]
        figures.add("idle memory of the whole stack (PSS)", memory_mb(folder, pids), 700, "MB")
        session = demo.open_session(instance, console)
        buyers = cdnow.read(cdnow.fetch(Path(".raak/cdnow")), datetime.now(UTC).date())
        figures.add("import of CDNOW", demo.import_customers(session, buyers), 25, "s")
        demo.apply_examples(session)
        started = time.perf_counter()
        asyncio.run(wait_until_recomputed(instance))
        figures.add("published until all is recomputed", time.perf_counter() - started, 60, "s")
        yield Bench(instance, session, buyers, figures)
    table = Table("figure", "measured", "target", "ratio", title="The stack, 2 cores shared")
    for row in figures.rows:
        table.add_row(*row)
    console.print(table)


OUTDATED = """
SELECT count(*) FROM customer
WHERE merged_into IS NULL AND rules_version < (SELECT max(version) FROM rulebook)
"""


async def wait_until_recomputed(instance: EmbeddedInstance) -> None:
    """Return when every customer is of the newest segments, and all who listen know it.

    By what the database and NATS say: how much of a core idle processes use depends on the machine.
    """
    async with (
        open_database(instance.database_urls["profile"]) as database,
        open_bus(instance.nats_url) as bus,
    ):
        while True:
            async with database.connection() as connection:
                waiting = await connection.fetchval(OUTDATED)
                waiting += await count_backlog(connection, bus, CustomerChanged)
            if not waiting:
                return
            await asyncio.sleep(0.1)


def memory_mb(folder: Path, pids: list[int]) -> float:
    """Proportional set size of our processes and of PostgreSQL and NATS, in megabytes."""
    ours = {psutil.Process(pid) for pid in pids}
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in part for part in process.info["cmdline"] or ()):
            ours.add(process)
    everybody = ours | {child for process in ours for child in process.children(recursive=True)}
    return sum(process.memory_full_info().pss for process in everybody) / 1e6


def requests_for(bench: Bench, number: int) -> list[bytes]:
    """Bodies that ask for offers, each for another customer."""
    step = max(1, len(bench.buyers) // number)
    return [
        orjson.dumps(
            {
                "query": OFFERS,
                "variables": {"customer": {"identity": {"type": "email", "value": buyer.email}}},
            }
        )
        for buyer in bench.buyers[::step][:number]
    ]


async def ask(session: aiohttp.ClientSession, url: str, body: bytes) -> float:
    """Ask once; gives the seconds it took. An answer with errors fails the benchmark."""
    started = time.perf_counter()
    async with session.post(f"{url}/graphql", data=body) as response:
        answer = orjson.loads(await response.read())
    assert "errors" not in answer, answer["errors"]
    return time.perf_counter() - started


def session_for(bench: Bench) -> aiohttp.ClientSession:
    """A client with an agent's token."""
    token = issue(bench.instance.keys.tokens, "agent", "bench")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0))


@pytest.mark.benchmark
async def test_offers_at_fifty_a_second(bench: Bench) -> None:
    """Open loop: requests leave on time, whether or not the last one has been answered."""
    rate, seconds = 50, 20
    bodies = requests_for(bench, rate * seconds)
    async with session_for(bench) as session:
        for body in bodies[:100]:
            await ask(session, bench.instance.url, body)
        begin = asyncio.get_running_loop().time()
        tasks = []
        for number, body in enumerate(bodies):
            await asyncio.sleep(begin + number / rate - asyncio.get_running_loop().time())
            tasks.append(asyncio.create_task(ask(session, bench.instance.url, body)))
        took = sorted(await asyncio.gather(*tasks))

    bench.figures.add("offers at 50/s, p50", took[len(took) // 2] * 1000, 10, "ms")
    bench.figures.add("offers at 50/s, p99", took[int(len(took) * 0.99)] * 1000, 40, "ms")


@pytest.mark.benchmark
async def test_offers_at_saturation(bench: Bench) -> None:
    """Closed loop: sixteen callers who ask again at once."""
    bodies = iter(requests_for(bench, 4_000))
    done = 0
    started = time.perf_counter()
    async with session_for(bench) as session:

        async def caller() -> None:
            nonlocal done
            for body in bodies:
                await ask(session, bench.instance.url, body)
                done += 1

        await asyncio.gather(*(caller() for _ in range(16)))

    bench.figures.add("offers at saturation", done / (time.perf_counter() - started), 250, "/s")


SAW = """
query($ref: CustomerRef!) {
  nextBestActions(customer: $ref, channel: WEB, placement: "home") {
    propositions { action { key } }
  }
}"""


@pytest.mark.benchmark
async def test_from_an_event_to_the_next_decision(bench: Bench) -> None:
    """Two looks at jazz are tracked; how long until the jazz offer comes?"""
    took = []
    headers = {"Authorization": aiohttp.encode_basic_auth(bench.session.write_key, "")}
    async with session_for(bench) as session, aiohttp.ClientSession(headers=headers) as tracker:
        for number in range(60):
            visitor = f"bench-{number}"
            calls = [
                {
                    "type": "track",
                    "anonymousId": visitor,
                    "event": "product_viewed",
                    "properties": {"genre": "jazz"},
                    "messageId": f"{visitor}-{look}",
                }
                for look in range(2)
            ]
            ref = {"identity": {"type": "anonymous_id", "value": visitor}}
            question = orjson.dumps({"query": SAW, "variables": {"ref": ref}})
            started = time.perf_counter()
            async with tracker.post(
                f"{bench.instance.url}/v1/batch", json={"batch": calls}
            ) as answer:
                assert answer.status == 200, await answer.text()
            while True:
                async with session.post(f"{bench.instance.url}/graphql", data=question) as reply:
                    if b"jazz_weeks" in await reply.read():
                        break
            took.append(time.perf_counter() - started)

    cuts = statistics.quantiles(took, n=20)
    bench.figures.add("tracked until decided by, p50", statistics.median(took) * 1000, 50, "ms")
    bench.figures.add("tracked until decided by, p95", cuts[18] * 1000, 100, "ms")
