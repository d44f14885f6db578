"""Requests that share a round trip keep what is their own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import asyncpg
import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from services.chassis import telemetry
from services.chassis.database import Connection, Database, DatabaseUnavailable, is_contention
from services.decision.service.batch_queue import BatchQueue, Work
from tests.postgres_errors import OUTAGE_ERRORS, raised

TRACE = 0x0AF7651916CD43DD8448EB211C80319C


class NoDatabase:
    """Gives connections that nothing is asked of, and notes what it was refused by."""

    def __init__(self) -> None:
        self.opened = 0
        self.refusals: list[str] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Somebody to listen to, who never says anything."""

        class Silent:
            def add_termination_listener(self, _: object) -> None:
                pass

            def terminate(self) -> None:
                pass

        self.opened += 1
        yield Silent()

    def note_refusal(self, error: Exception) -> None:
        """As a database does."""
        self.refusals.append(type(error).__name__)


@asynccontextmanager
async def working(
    work: Work[str, str], database: NoDatabase | None = None
) -> AsyncIterator[BatchQueue[str, str]]:
    """Batches of this work, done while the block runs."""
    opened = cast(Database, database or NoDatabase())
    batches: BatchQueue[str, str] = BatchQueue(opened, work, max_waiting=10, max_batch=10)
    running = asyncio.create_task(batches.run())
    yield batches
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_the_work_of_a_batch_belongs_to_the_trace_of_its_first_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(telemetry._state, "tracing", True)
    traceparents: list[str | None] = []

    async def work(_: Connection, items: Sequence[str]) -> Sequence[str]:
        traceparents.append(telemetry.traceparent())
        return items

    caller = SpanContext(TRACE, 0xB7AD6B7169203331, is_remote=True, trace_flags=TraceFlags(1))

    async with working(work) as batches:
        with trace.use_span(NonRecordingSpan(caller)):
            await batches.submit("offers")

    [traceparent] = traceparents
    assert traceparent is not None
    assert f"{TRACE:032x}" in traceparent


@pytest.mark.parametrize("kind", OUTAGE_ERRORS, ids=[kind.__name__ for kind in OUTAGE_ERRORS])
async def test_all_items_fail_when_the_database_cannot_do_them_now(kind: Any) -> None:
    tried: list[int] = []

    async def refused(_: Connection, items: Sequence[str]) -> Sequence[str]:
        tried.append(len(items))
        raise raised(kind)

    database = NoDatabase()
    async with working(refused, database) as batches:
        answers = await asyncio.gather(
            *(batches.submit(item) for item in "abc"), return_exceptions=True
        )

    assert {type(answer) for answer in answers} == {DatabaseUnavailable}
    assert len(set(map(id, answers))) == 3  # one exception cannot be raised in many tasks
    assert tried == ([3, 1, 1, 1] if is_contention(raised(kind)) else [3])
    assert set(database.refusals) <= {kind.__name__}


async def test_a_batch_that_conflicts_with_others_is_done_again_one_by_one() -> None:
    async def deadlock_in_batches(_: Connection, items: Sequence[str]) -> Sequence[str]:
        if len(items) > 1:
            raise asyncpg.DeadlockDetectedError
        return [item.upper() for item in items]

    async with working(deadlock_in_batches) as batches:
        answers = await asyncio.gather(*(batches.submit(item) for item in "abc"))

    assert answers == ["A", "B", "C"]
