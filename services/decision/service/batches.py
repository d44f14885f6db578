"""Requests that share one round trip: what arrives while the database works goes along next.

One at a time a request waits for nobody; under load a batch grows by itself, so the costs of a
statement, a transaction and a flush to disk are shared by all that wait.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Generic, NamedTuple, TypeVar

from services.chassis.database import AWAY, Connection, Database, DatabaseUnavailable
from services.decision.service.errors import Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Connection, Sequence[Item]], Awaitable[Sequence[Result]]]


class _Waiting(NamedTuple, Generic[Item, Result]):
    item: Item
    answer: "asyncio.Future[Result]"


class Batches(Generic[Item, Result]):
    """Does work for many requests at once, on one connection it holds.

    `work` gets the items of a batch and gives a result for each, in their order. If it fails for
    a batch, it is tried for each item alone, so that one bad item fails alone; if the database is
    away, everyone who waits is told, and nobody gets an answer that is not true.
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
        self._waiting.append(_Waiting(item, answer))
        self._arrived.set()
        return await answer

    async def run(self) -> None:
        """Work until cancelled, over as many connections as it takes."""
        while True:
            try:
                async with self._held() as connection:
                    with suppress(*AWAY):  # those it was raised at have been told
                        await self._work_on(connection)
            except AWAY as error:
                while self._waiting:
                    self._refuse(self._taken(), error)
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[Connection]:
        """A connection that is not given back after every statement: that costs a round trip."""
        async with self._database.connection() as connection:
            if self._prepare:
                await connection.execute(self._prepare)
            yield connection

    async def _work_on(self, connection: Connection) -> None:
        """Do batch after batch until the connection is closed."""
        while True:
            await self._arrived.wait()
            if connection.is_closed():
                return
            await self._do(connection, self._taken())

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

    async def _do(self, connection: Connection, batch: list[_Waiting[Item, Result]]) -> None:
        if not batch:
            return
        try:
            results = await self._work(connection, [waiting.item for waiting in batch])
        except AWAY as error:
            self._refuse(batch, error)
            raise
        except asyncio.CancelledError:
            self._refuse(batch, ConnectionError("the service is stopping"))
            raise
        except Exception as error:  # whatever it was, each item's own request has to hear of it
            if len(batch) == 1:
                self._fail(batch[0], error)
            else:
                for waiting in batch:
                    await self._do(connection, [waiting])
        else:
            for waiting, result in zip(batch, results, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(result)

    def _refuse(self, batch: list[_Waiting[Item, Result]], error: BaseException) -> None:
        for waiting in batch:
            self._fail(waiting, _unavailable(error))

    @staticmethod
    def _fail(waiting: _Waiting[Item, Result], error: Exception) -> None:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)


def _unavailable(error: BaseException) -> DatabaseUnavailable:
    """A failure of our own for each who waits: one exception cannot be raised in many tasks."""
    return DatabaseUnavailable(
        f"PostgreSQL went away in the middle of this ({type(error).__name__}).",
        hint="Try again shortly; if it lasts, look at the database server.",
    )
