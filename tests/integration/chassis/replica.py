"""A replica of a service that only listens, in a process of its own, to be frozen by a test.

`python -m tests.integration.chassis.replica <database> <nats> <silence in s>` says `in hand` when
it holds events in an open transaction, and takes its time then; a test freezes it there.
"""

import asyncio
import signal
import sys
from collections.abc import Sequence

from services.chassis import bus as chassis_bus
from services.chassis.bus import open_bus
from services.chassis.consumer import Consumer
from services.chassis.database import Connection, open_database
from services.chassis.outbox import Relay
from services.chassis.server import supervise
from tests.integration.chassis.sample_events import Spoken, write_down

REDELIVER_AFTER_S = 2
WOKEN = asyncio.Event()


async def main(database_url: str, nats_url: str, silence_s: int) -> None:
    """Relay and listen until told to stop."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGCONT, WOKEN.set)
    async with (
        open_database(database_url, silence_s=silence_s) as database,
        open_bus(nats_url) as bus,
    ):
        await bus.ensure_streams([Spoken])
        consumer = Consumer("listener", Spoken, write_down_slowly, database, bus)
        async with supervise({"relay": Relay(database, bus).run, "consumer": consumer.run}):
            await asyncio.Event().wait()


async def write_down_slowly(connection: Connection, events: Sequence[Spoken]) -> None:
    """Write down, and hold on to it until woken from being frozen."""
    await write_down(connection, events)
    print("in hand", flush=True)
    await WOKEN.wait()


if __name__ == "__main__":
    chassis_bus.REDELIVER_AFTER_S = REDELIVER_AFTER_S
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
