"""Profile must take in what a shop sends, in bulk and one by one.

Measured on real PostgreSQL (without fsync), one process, the way from the body's bytes to the
commit, events published to the outbox: batches of 1,500 events over 500 customers, of a kind three
segments ask for; the same of a kind no condition asks for; a first import, where every customer is
new; and one track call at a time.
Target: 6,000 events/s in batches, a single track in 10 ms at the median.
Run: pytest -m benchmark --benchmark-compare-fail=median:20%
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from services.chassis.clock import utc_now
from services.chassis.database import open_database
from services.chassis.principal import Verifier
from services.contracts.enums import SenderClass
from services.profile.collect import Collector, read_json
from tests.integration.profile.conftest import Profile

BATCH, CUSTOMERS = 1_500, 500
SEGMENTS = """
segments:
- {key: hot, name: Hot, condition: 'events.count("product_viewed", last="7d") >= 2'}
- {key: rich, name: Rich, condition: 'events.sum("product_viewed", price, last="30d") > 500'}
- key: rocker
  name: Rocker
  condition: events.count("product_viewed", category == "rock") > 50 or consent.email
"""

Stage = tuple[asyncio.Runner, Collector]
_numbers = count()


@pytest.fixture
def stage(
    database_url_for: Callable[[str], AbstractAsyncContextManager[str]],
    key_files: tuple[Path, Path],
) -> Iterator[Stage]:
    """A loop of our own, and the collect endpoint over a fresh database in it."""
    stack = AsyncExitStack()

    async def opened() -> Collector:
        url = await stack.enter_async_context(database_url_for("profile"))
        database = await stack.enter_async_context(open_database(url))
        profile = Profile(database, Verifier(key_files[1], "profile"), now=utc_now())
        await profile.publish(SEGMENTS)
        return profile.collector()

    with asyncio.Runner() as runner:
        yield runner, runner.run(opened())
        runner.run(stack.aclose())


def event(name: str, customer: object) -> dict[str, Any]:
    """A view of a product as a browser sends it, about 600 bytes."""
    return {
        "type": "track",
        "event": name,
        "anonymousId": f"visitor-{customer}",
        "messageId": f"message-{next(_numbers)}",
        "timestamp": datetime.now(UTC).isoformat(),
        "properties": {"product": "cd", "price": 12.5, "category": "rock", "sku": "X-123"},
        "context": {
            "page": {"url": "https://shop.example/rock/x-123", "title": "A record"},
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0",
            "campaign": {"source": "newsletter", "medium": "email", "name": "autumn"},
            "library": {"name": "analytics.js", "version": "2.1"},
            "locale": "nl-NL",
        },
    }


def batch(name: str, *, new: bool = False) -> bytes:
    """A batch as it arrives."""
    run = next(_numbers) if new else ""
    events = [event(name, f"{run}-{n % CUSTOMERS}") for n in range(BATCH)]
    return orjson.dumps({"batch": events, "sentAt": datetime.now(UTC).isoformat()})


async def send(collector: Collector, call: str, body: bytes) -> dict[str, Any]:
    """What the route does with a body."""
    return (await collector.record(SenderClass.SERVER, call, read_json(body), datetime.now(UTC)))[1]


@pytest.mark.benchmark(group="collect 1,500 events")
@pytest.mark.parametrize(
    ("name", "new"),
    [("product_viewed", False), ("cart_opened", False), ("product_viewed", True)],
    ids=["counted", "not asked for", "every customer new"],
)
def test_collecting_a_batch(
    benchmark: BenchmarkFixture, stage: Stage, name: str, new: bool
) -> None:
    runner, collector = stage
    runner.run(send(collector, "batch", batch(name)))

    answer = benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda body: runner.run(send(collector, "batch", body)),
        setup=lambda: ((batch(name, new=new),), {}),
        rounds=12,
        warmup_rounds=1,
    )

    assert answer["accepted"] == BATCH


@pytest.mark.benchmark(group="one track call")
def test_tracking_one_event(benchmark: BenchmarkFixture, stage: Stage) -> None:
    runner, collector = stage

    answer = benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda body: runner.run(send(collector, "track", body)),
        setup=lambda: ((orjson.dumps(event("product_viewed", 1)),), {}),
        rounds=200,
        warmup_rounds=5,
    )

    assert answer["accepted"] == 1
