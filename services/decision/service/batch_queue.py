"""Requests that share one round trip: what arrives while the database works goes along next.

One at a time a request waits for nobody; under load a batch grows by itself, so the costs of a
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
    AWAY,
    Connection,
    Database,
    DatabaseUnavailable,
    is_away,
    is_contention,
    reason,
)
from services.decision.service.errors import Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Connection, Sequence[Item]], Awaitable[Sequence[Result]]]


BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises when a connection breaks between two of its own steps."""


class ConnectionLost(Exception):
    """The connection that was held is of no more use; who waited for it has been told."""


@dataclass
class _Held:
    """A connection; once its pool has dropped it, it cannot even be asked whether it is closed."""

    connection: Connection
    lost: bool = False


class _Waiting(NamedTuple, Generic[Item, Result]):
    item: Item
    answer: "asyncio.Future[Result]"
    traceparent: str | None


class Batches(Generic[Item, Result]):
    """Does work for many requests at once, on one connection it holds.

    `work` gets the items of a batch and gives a result for each, in their order. If it fails for
    a batch, it is tried for each item alone, so that one bad item fails alone, and what met others
    in the database is done again; if the database is away, everyone who waits is told, and nobody
    gets an answer that is not true.
    """

    def __init__(
        self,
        database: Database,
        work: Work[Item, Result],
        *,
        waiting: int,
        largest: int,
        prepare: str = "",
    ) -> None:
        self._database = database
        self._work = work
        self._most_waiting = waiting
        self._largest = largest
        self._prepare = prepare
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._arrived = asyncio.Event()

    async def submit(self, item: Item) -> Result:
        """Have the work done for an item; raises Overloaded, or what the work raised."""
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded(len(self._waiting))
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, answer, telemetry.traceparent()))
        self._arrived.set()
        return await answer

    async def run(self) -> None:
        """Work until cancelled, over as many connections as it takes."""
        try:
            while True:
                try:
                    async with self._held() as held:
                        with suppress(ConnectionLost):  # those it was raised at have been told
                            await self._work_on(held)
                except AWAY as error:
                    self._refuse_all(error)
                    await asyncio.sleep(0.05)
        finally:
            self._refuse_all(ConnectionError("the service is stopping"))

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[_Held]:
        """A connection that is not given back after every statement: that costs a round trip."""
        async with self._database.connection() as connection:
            held = _Held(connection)

            def lost(_: object) -> None:
                held.lost = True
                self._arrived.set()

            connection.add_termination_listener(lost)
            if self._prepare:
                await connection.execute(self._prepare)
            yield held

    async def _work_on(self, held: _Held) -> None:
        """Do batch after batch until the connection is closed."""
        while not held.lost:
            await self._do(held, self._taken())
            await self._arrived.wait()

    def _taken(self) -> list[_Waiting[Item, Result]]:
        """The next batch, without those who have stopped waiting."""
        batch: list[_Waiting[Item, Result]] = []
        while self._waiting and len(batch) < self._largest:
            waiting = self._waiting.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
        if not self._waiting:
            self._arrived.clear()
        return batch

    async def _do(self, held: _Held, batch: list[_Waiting[Item, Result]]) -> None:
        if not batch:
            return
        try:
            # a batch is told as part of its first item's trace
            with telemetry.span("batch", SpanKind.INTERNAL, batch[0].traceparent, items=len(batch)):
                results = await self._work(held.connection, [waiting.item for waiting in batch])
        except asyncio.CancelledError as error:
            self._refuse(batch, error)
            raise
        except Exception as error:  # whatever it was, each item's own request has to hear of it
            cannot = is_away(error) and not is_contention(error)
            if held.lost or cannot or _is_broken(error):
                self._database.note_refusal(error)
                self._refuse(batch, error)
                if not held.lost:
                    held.connection.terminate()
                raise ConnectionLost from error
            await self._do_each(held, batch, error)
        else:
            for waiting, result in zip(batch, results, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(result)

    async def _do_each(
        self, held: _Held, batch: list[_Waiting[Item, Result]], error: Exception
    ) -> None:
        """Find the item a batch failed by."""
        if len(batch) == 1:
            self._fail(batch[0], _unavailable(error) if is_away(error) else error)
            return
        for position, waiting in enumerate(batch):
            try:
                await self._do(held, [waiting])
            except ConnectionLost as lost:
                self._refuse(batch[position + 1 :], lost)
                raise

    def _refuse_all(self, error: BaseException) -> None:
        while self._waiting:
            self._refuse(self._taken(), error)

    def _refuse(self, batch: list[_Waiting[Item, Result]], error: BaseException) -> None:
        for waiting in batch:
            self._fail(waiting, _unavailable(error))

    @staticmethod
    def _fail(waiting: _Waiting[Item, Result], error: Exception) -> None:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)


def _is_broken(error: Exception) -> bool:
    """Whether it is the connection's fault; asyncpg's DataError, a ValueError, is the item's."""
    return isinstance(error, BROKEN) and not isinstance(error, ValueError)


def _unavailable(error: BaseException) -> DatabaseUnavailable:
    """A failure of our own for each who waits: one exception cannot be raised in many tasks."""
    return DatabaseUnavailable(
        f"PostgreSQL went away in the middle of this ({reason(error)}).",
        hint="Try again shortly; if it lasts, look at the database server.",
    )
