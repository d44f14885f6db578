"""Requests that share a round trip keep what is their own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from services.chassis import telemetry
from services.chassis.database import Connection, Database
from services.decision.service.batches import Batches

TRACE = 0x0AF7651916CD43DD8448EB211C80319C


class NoDatabase:
    """Gives connections that nothing is asked of."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Somebody to listen to, who never says anything."""

        class Silent:
            def add_termination_listener(self, _: object) -> None:
                pass

        yield Silent()


async def test_the_work_of_a_batch_belongs_to_the_trace_of_its_first_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(telemetry._state, "tracing", True)
    seen: list[str | None] = []

    async def work(_: Connection, items: Sequence[str]) -> Sequence[str]:
        seen.append(telemetry.traceparent())
        return items

    database = cast(Database, NoDatabase())
    batches: Batches[str, str] = Batches(database, work, waiting=10, largest=10)
    running = asyncio.create_task(batches.run())
    caller = SpanContext(TRACE, 0xB7AD6B7169203331, is_remote=True, trace_flags=TraceFlags(1))

    with trace.use_span(NonRecordingSpan(caller)):
        await batches.submit("offers")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running

    [traceparent] = seen
    assert traceparent is not None
    assert f"{TRACE:032x}" in traceparent
