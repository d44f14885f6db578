"""What the story begins with: the customers imported, the shop's definitions published."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import httpx
import orjson
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from infra import definitions
from infra.cdnow import Buyer
from infra.demo.session import EXAMPLES, Stage

BATCH_BYTES = 400_000  # of the 500 KB that a batch may have
AT_ONCE = 3


def import_customers(stage: Stage, buyers: Sequence[Buyer]) -> float:
    """Send everything to /v1/batch, as a shop's server would; gives the seconds it took."""
    stage.say(f"Importing {len(buyers):,} customers through {stage.url}/v1/batch")
    total = sum(1 + len(buyer.orders) for buyer in buyers)
    columns = (
        TextColumn("  events"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    started = time.perf_counter()
    with Progress(*columns, console=stage.console) as progress:
        bar = progress.add_task("import", total=total)
        asyncio.run(_send_all(stage, buyers, lambda n: progress.advance(bar, n)))
    took = time.perf_counter() - started
    stage.console.print(f"  {total:,} events in {took:.1f} s, {total / took:,.0f} a second")
    return took


async def _send_all(stage: Stage, buyers: Iterable[Buyer], sent: Callable[[int], object]) -> None:
    batches = _batches(buyers)
    async with httpx.AsyncClient(auth=(stage.api_key, ""), timeout=60, trust_env=False) as client:

        async def send() -> None:
            for batch in batches:  # the generator is shared: each sender takes the next batch
                await _send(client, f"{stage.url}/v1/batch", batch)
                sent(len(batch))

        await asyncio.gather(*(send() for _ in range(AT_ONCE)))


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


def apply_examples(stage: Stage) -> None:
    """Publish the record shop's segments, catalogue and journeys."""
    stage.say("Publishing examples/records")
    graph = stage.as_("marketer")
    for path in definitions.apply(graph, EXAMPLES):
        stage.console.print(f"  {path.relative_to(EXAMPLES)}")
