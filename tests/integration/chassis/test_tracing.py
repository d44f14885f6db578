"""One trace: from a request, through SQL and the outbox, over NATS, to the handler."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.chassis import telemetry
from services.chassis.database import Database
from tests.integration.chassis import sample_service as oven
from tests.integration.chassis.sample_events import load_texts
from tests.waiting import until

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"


class Traces:
    """The spans of this process, as they would have been sent."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider: TracerProvider = telemetry.keep_traces("tests", self._exporter)

    def of(self, trace_id: str) -> list[ReadableSpan]:
        """The finished spans of one trace."""
        self.provider.force_flush()
        spans = self._exporter.get_finished_spans()
        return [s for s in spans if s.context and f"{s.context.trace_id:032x}" == trace_id]


@pytest.fixture(scope="module")
def traces() -> Iterator[Traces]:
    """Traces are kept while this module's tests run (a process can begin to but once)."""
    traces = Traces()
    yield traces
    telemetry._state["tracing"] = False
    traces.provider.shutdown()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The log as a process writes it."""
    written: list[str] = []

    class RecordedSpans(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler = RecordedSpans()
    handler.setFormatter(telemetry.JsonFormatter("oven"))
    logging.getLogger().addHandler(handler)
    caplog.set_level(logging.INFO)
    yield written
    logging.getLogger().removeHandler(handler)


async def test_a_trace_goes_from_a_request_through_sql_and_nats_to_the_handler(
    traces: Traces,
    lines: list[str],
    database_url: str,
    nats_url: str,
    database: Database,
    key_files: tuple[Path, Path],
) -> None:
    app = oven.create(database_url=database_url, nats_url=nats_url, verify_key_file=key_files[1])
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://oven") as client,
    ):
        await client.post("/say/ann@example.com", headers={"traceparent": CALLER})

        async def are_written() -> bool:
            return await load_texts(database) == ["ann@example.com"]

        await until(are_written)

    spans = traces.of(TRACE)
    names = [span.name for span in spans]
    assert {"POST /say/{name}", "SELECT", "INSERT", "handle tests.spoken.v1"} <= set(names)
    handled = next(s for s in spans if s.name == "handle tests.spoken.v1")
    assert any(s.parent and s.parent.span_id == handled.context.span_id for s in spans)
    assert "ann@example.com" not in "".join(span.to_json() for span in spans)

    traced = [json.loads(line) for line in lines if TRACE in line]
    assert [line["message"] for line in traced] == ["said", "heard"]


async def test_a_failing_request_is_traced_by_type_and_without_text(
    traces: Traces, database_url: str, nats_url: str, key_files: tuple[Path, Path]
) -> None:
    app = oven.create(database_url=database_url, nats_url=nats_url, verify_key_file=key_files[1])
    trace = TRACE[::-1]
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://oven") as client,
    ):
        await client.get("/bug/ann", headers={"traceparent": CALLER.replace(TRACE, trace)})

    [span] = traces.of(trace)
    assert span.name == "GET /bug/{name}"
    assert span.status.description == "ValueError"
    assert "secret" not in span.to_json()
