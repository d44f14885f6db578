"""What waits in a service, as metrics: events for NATS, events for its handlers, dead letters, and
requests for a connection.

Counters count what happens; these figures are looked up now and then, for nothing happens when
nobody works.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from prometheus_client import Gauge

from services.chassis import outbox
from services.chassis.bus import Bus
from services.chassis.database import Connection, Database

EVERY_S = 10.0

OUTBOX = Gauge("raak_outbox_backlog", "Events yet to reach NATS, 10,000 and more as 10,000")
LAG = Gauge("raak_consumer_lag", "Events a consumer has yet to handle", ["consumer"])
DEAD_LETTERS = Gauge("raak_dead_letters", "Dead letters that wait for an operator", ["service"])
CONNECTIONS = Gauge(
    "raak_database_connections", "Connections to PostgreSQL: in use, idle, most", ["state"]
)

Count = Callable[[Connection], Awaitable[int]]


@dataclass(frozen=True)
class Backlog:
    """Looks up what waits in one service; `counts` are figures of its own, by their gauges."""

    service: str
    database: Database
    bus: Bus
    counts: Mapping[Gauge, Count] = field(default_factory=dict)

    async def run(self) -> None:
        """Measure again and again, until cancelled; raises what outages raise."""
        self._watch_pool()
        while True:
            await self.measure()
            await asyncio.sleep(EVERY_S)

    def _watch_pool(self) -> None:
        """The pool is asked when somebody reads the metric: its state lasts for milliseconds."""
        pool = self.database.pool
        CONNECTIONS.labels("in use").set_function(lambda: pool.get_size() - pool.get_idle_size())
        CONNECTIONS.labels("idle").set_function(pool.get_idle_size)
        CONNECTIONS.labels("most").set_function(pool.get_max_size)

    async def measure(self) -> None:
        async with self.database.connection() as connection:
            OUTBOX.set(await outbox.count_unrelayed(connection))
            for gauge, count in self.counts.items():
                gauge.set(await count(connection))
        for consumer, waiting in (await self.bus.count_lag()).items():
            LAG.labels(consumer).set(waiting)
        DEAD_LETTERS.labels(self.service).set(await self.bus.count_dead_letters(self.service))
