"""Requests that share one round trip: what arrives while the database works is the next batch.

A single request never waits for others; under load batches grow by themselves, so the costs of a
statement, a transaction and a flush to disk are shared by all that wait.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import asyncpg
from opentelemetry.trace import SpanKind

from services.chassis import telemetry
from services.chassis.database import (
    OUTAGE_ERRORS,
    Connection,
    Database,
    DatabaseUnavailable,
    is_contention,
    is_outage,
    reason,
)
from services.decision.service.errors import DecisionsOverloaded

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Connection, Sequence[Item]], Awaitable[Sequence[Result]]]


BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises when a connection breaks between two of its own steps."""


class ConnectionLost(Exception):
    """The connection of the queue is of no more use; the items that waited for it have failed."""


@dataclass
class _BatchConnection:
    """A connection; once its pool has dropped it, it cannot even say whether it is closed."""

    raw: Connection
    is_lost: bool = False


class _QueuedItem(NamedTuple, Generic[Item, Result]):
    item: Item
    answer: "asyncio.Future[Result]"
    traceparent: str | None


class BatchQueue(Generic[Item, Result]):
    """Does work for many requests at once, on a connection of its own.

    `work` gets the items of a batch and returns a result for each, in their order. If it fails for
    a batch, it is tried for each item separately, so that a bad item fails by itself, and a batch
    that conflicted with another transaction is done again. If the database is away, all that wait
    fail at once.
    """

    def __init__(
        self,
        database: Database,
        work: Work[Item, Result],
        *,
        max_waiting: int,
        max_batch: int,
        prepare: str = "",
    ) -> None:
        self._database = database
        self._work = work
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._prepare = prepare
        self._queue: deque[_QueuedItem[Item, Result]] = deque()
        self._has_items = asyncio.Event()

    async def submit(self, item: Item) -> Result:
        """Have the work done for an item; raises DecisionsOverloaded, or what the work raised."""
        if len(self._queue) >= self._max_waiting:
            raise DecisionsOverloaded(
                f"{len(self._queue)} requests are waiting for the database already.",
                hint="Ask again shortly; run more replicas if it lasts.",
            )
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append(_QueuedItem(item, answer, telemetry.traceparent()))
        self._has_items.set()
        return await answer

    async def run(self) -> None:
        """Work until cancelled, over as many connections as it takes."""
        try:
            while True:
                try:
                    async with self._connect() as connection:
                        with suppress(ConnectionLost):  # their items have failed already
                            await self._work_on(connection)
                except OUTAGE_ERRORS as error:
                    self._refuse_all(error)
                    await asyncio.sleep(0.05)
        finally:
            self._refuse_all(ConnectionError("the service is stopping"))

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[_BatchConnection]:
        """A connection that is not released after every statement: that costs a round trip."""
        async with self._database.connection() as connection:
            batch_connection = _BatchConnection(connection)

            def on_termination(_: object) -> None:
                batch_connection.is_lost = True
                self._has_items.set()

            connection.add_termination_listener(on_termination)
            if self._prepare:
                await connection.execute(self._prepare)
            yield batch_connection

    async def _work_on(self, connection: _BatchConnection) -> None:
        while not connection.is_lost:
            await self._do(connection, self._take_batch())
            await self._has_items.wait()

    def _take_batch(self) -> list[_QueuedItem[Item, Result]]:
        """The next batch, without items whose request has stopped waiting."""
        batch: list[_QueuedItem[Item, Result]] = []
        while self._queue and len(batch) < self._max_batch:
            queued = self._queue.popleft()
            if not queued.answer.done():
                batch.append(queued)
        if not self._queue:
            self._has_items.clear()
        return batch

    async def _do(
        self, connection: _BatchConnection, batch: list[_QueuedItem[Item, Result]]
    ) -> None:
        if not batch:
            return
        try:
            # a batch belongs to the trace of its first item
            with telemetry.span("batch", SpanKind.INTERNAL, batch[0].traceparent, items=len(batch)):
                results = await self._work(connection.raw, [queued.item for queued in batch])
        except asyncio.CancelledError as error:
            self._refuse(batch, error)
            raise
        except Exception as error:  # whatever it was, each item's request has to fail by it
            is_refused = is_outage(error) and not is_contention(error)
            if connection.is_lost or is_refused or _is_broken(error):
                self._database.note_refusal(error)
                self._refuse(batch, error)
                if not connection.is_lost:
                    connection.raw.terminate()
                raise ConnectionLost from error
            await self._do_each(connection, batch, error)
        else:
            for queued, result in zip(batch, results, strict=True):
                if not queued.answer.done():
                    queued.answer.set_result(result)

    async def _do_each(
        self,
        connection: _BatchConnection,
        batch: list[_QueuedItem[Item, Result]],
        error: Exception,
    ) -> None:
        if len(batch) == 1:
            self._fail(batch[0], _to_unavailable(error) if is_outage(error) else error)
            return
        for position, queued in enumerate(batch):
            try:
                await self._do(connection, [queued])
            except ConnectionLost as loss:
                self._refuse(batch[position + 1 :], loss)
                raise

    def _refuse_all(self, error: BaseException) -> None:
        while self._queue:
            self._refuse(self._take_batch(), error)

    def _refuse(self, batch: list[_QueuedItem[Item, Result]], error: BaseException) -> None:
        for queued in batch:
            self._fail(queued, _to_unavailable(error))

    @staticmethod
    def _fail(queued: _QueuedItem[Item, Result], error: Exception) -> None:
        if not queued.answer.done():
            queued.answer.set_exception(error)


def _is_broken(error: Exception) -> bool:
    """Whether it is the connection's fault; asyncpg's DataError, a ValueError, is the item's."""
    return isinstance(error, BROKEN) and not isinstance(error, ValueError)


def _to_unavailable(error: BaseException) -> DatabaseUnavailable:
    """An error for each item: one exception cannot be raised in many tasks."""
    return DatabaseUnavailable(
        f"PostgreSQL went away in the middle of this ({reason(error)}).",
        hint="Try again shortly; if it lasts, look at the database server.",
    )
