"""Set the demo up: import the customers, publish the shop's definitions."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import httpx
import orjson
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from infra import definitions
from infra.cdnow import Buyer
from infra.demo.session import EXAMPLES, DemoSession

BATCH_BYTES = 400_000  # of the 500 KB that a batch may have
SENDERS = 3


def import_customers(session: DemoSession, buyers: Sequence[Buyer]) -> float:
    """Send everything to /v1/batch, as a shop's server would; gives the seconds it took."""
    session.announce(f"Importing {len(buyers):,} customers through {session.url}/v1/batch")
    total = sum(1 + len(buyer.orders) for buyer in buyers)
    columns = (
        TextColumn("  events"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    started = time.perf_counter()
    with Progress(*columns, console=session.console) as progress:
        bar = progress.add_task("import", total=total)
        asyncio.run(_send_all(session, buyers, lambda n: progress.advance(bar, n)))
    took = time.perf_counter() - started
    session.console.print(f"  {total:,} events in {took:.1f} s, {total / took:,.0f} a second")
    return took


async def _send_all(
    session: DemoSession, buyers: Iterable[Buyer], report: Callable[[int], object]
) -> None:
    batches = _batches(buyers)
    async with httpx.AsyncClient(auth=(session.api_key, ""), timeout=60, trust_env=False) as client:

        async def send() -> None:
            for batch in batches:  # the generator is shared: each sender takes the next batch
                await _send(client, f"{session.url}/v1/batch", batch)
                report(len(batch))

        await asyncio.gather(*(send() for _ in range(SENDERS)))


def _batches(buyers: Iterable[Buyer]) -> Iterator[list[bytes]]:
    """Calls, serialised, in lists that fit into one batch; a customer's stay in order."""
    batch: list[bytes] = []
    size = 0
    for buyer in buyers:
        calls = [orjson.dumps(call) for call in buyer.calls()]
        length = sum(map(len, calls)) + len(calls)
        if batch and size + length > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch += calls
        size += length
    if batch:
        yield batch


async def _send(client: httpx.AsyncClient, url: str, batch: list[bytes]) -> None:
    body = b'{"batch":[' + b",".join(batch) + b"]}"
    for _ in range(5):
        response = await client.post(
            url, content=body, headers={"Content-Type": "application/json"}
        )
        if response.status_code != 503:
            break
        await asyncio.sleep(float(response.headers.get("Retry-After", "1")))
    answer = response.json()
    if response.status_code != 200 or answer.get("rejected"):
        raise definitions.NotPublished(
            f"/v1/batch answered {response.status_code}: {str(answer)[:300]}",
            hint="Look at the logs of gateway and profile.",
        )


def apply_examples(session: DemoSession) -> None:
    session.announce("Publishing examples/records")
    graph = session.client_for("marketer")
    for path in definitions.apply(graph, EXAMPLES):
        session.console.print(f"  {path.relative_to(EXAMPLES)}")
