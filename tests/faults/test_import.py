"""The power goes in the middle of an import: sent again, every row is there once."""

import asyncio
from collections.abc import Iterator

from tests.faults.audit import WELL_AGAIN_S, at_rest
from tests.faults.faults import kill_everything, start_everything
from tests.faults.load import PAUSE_S, Client, Json, Ledger, Refused
from tests.stack import Stack

BUYERS, ORDERS = 300, 5
BATCH = 60
AT_ONCE = 3


def batches() -> Iterator[list[Json]]:
    """What a shop has of its customers."""
    calls = [call for buyer in range(BUYERS) for call in calls_of(f"imported-{buyer}")]
    for start in range(0, len(calls), BATCH):
        yield calls[start : start + BATCH]


def calls_of(buyer: str) -> Iterator[Json]:
    """One customer and their orders."""
    yield {"type": "identify", "userId": buyer, "messageId": buyer}
    for number in range(ORDERS):
        order = f"{buyer}-{number}"
        properties = {"order_id": order, "total": 10, "currency": "USD"}
        ordered = {"type": "track", "event": "order_completed", "properties": properties}
        yield ordered | {"userId": buyer, "messageId": order}


class Import:
    """Senders who share the batches, and send each until it is acknowledged."""

    def __init__(self, client: Client) -> None:
        self.ledger = Ledger()
        self.refused = 0
        self.half_done = asyncio.Event()
        self._client = client
        self._batches = batches()

    async def run(self) -> None:
        """Send everything."""
        async with asyncio.TaskGroup() as senders:
            for _ in range(AT_ONCE):
                senders.create_task(self._send())

    async def _send(self) -> None:
        for batch in self._batches:
            await self._deliver(batch)
            self.ledger.events |= {call["messageId"] for call in batch}
            self.ledger.orders |= {c["messageId"] for c in batch if c["type"] == "track"}
            if len(self.ledger.orders) > BUYERS * ORDERS / 2:
                self.half_done.set()

    async def _deliver(self, batch: list[Json]) -> None:
        while True:
            try:
                await self._client.send(batch)
            except Refused:
                self.refused += 1
                await asyncio.sleep(PAUSE_S)
            else:
                return


async def test_an_import_cut_off_in_the_middle_is_whole_when_sent_again(
    raak: Stack, client: Client
) -> None:
    shop = Import(client)
    importing = asyncio.create_task(shop.run())

    async with asyncio.timeout(WELL_AGAIN_S):
        await shop.half_done.wait()
    await asyncio.to_thread(kill_everything, raak)
    await asyncio.to_thread(start_everything, raak)
    async with asyncio.timeout(WELL_AGAIN_S):
        await importing

    assert shop.refused
    assert len(shop.ledger.orders) == BUYERS * ORDERS
    await at_rest(raak, client, shop.ledger)
