"""Traces, metrics and JSON logs of a process, without personal data."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import time_ns
from typing import Any

import orjson
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from services.chassis import otlp
from services.chassis.settings import ProcessSettings

tracer = trace.get_tracer("raak")

_state = {"tracing": False}
_endings: list[Callable[[], object]] = []


def tracing() -> bool:
    return _state["tracing"]


def setup(settings: ProcessSettings) -> None:
    """Log as JSON on standard error, and send traces and metrics where the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(settings.process))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in ("uvicorn.access", "httpx", "asyncio", "mcp"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_no_traceback_as_text)
    if spans := otlp.span_exporter(settings.otlp_endpoint):
        _endings.append(keep_traces(settings.process, spans).shutdown)
    if metrics := otlp.metric_exporter(settings.otlp_endpoint):
        _endings.append(otlp.send_metrics(metrics, otlp.resource(settings.process)))


def end() -> None:
    """Send what has not been sent yet: a process that a signal ends runs nothing afterwards."""
    while _endings:
        _endings.pop()()


def keep_traces(process: str, exporter: SpanExporter) -> TracerProvider:
    provider = TracerProvider(resource=otlp.resource(process))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    _state["tracing"] = True
    return provider


def traceparent() -> str | None:
    """The W3C header of the current span, to be carried over a wire; None when not tracing."""
    if not tracing():
        return None
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")


def remote_context(traceparent: str | None) -> Context | None:
    """The trace context of another process; None: the current one."""
    return propagate.extract({"traceparent": traceparent}) if traceparent and tracing() else None


@contextmanager
def span(
    name: str, kind: SpanKind, parent: str | None = None, **attributes: int | str
) -> Iterator[Span]:
    """Make the block a span, of the trace of `parent` (a W3C header) if there is one.

    Of an exception only the type is recorded: its text may hold personal data.
    """
    with tracer.start_as_current_span(
        name,
        context=remote_context(parent),
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_status(Status(StatusCode.ERROR, type(error).__qualname__))
            raise


def trace_query(query: Any) -> None:
    """Record a finished SQL statement (asyncpg's LoggedQuery) as a span, without its parameters."""
    words = query.query.split(maxsplit=1)
    tracer.start_span(
        words[0].upper() if words else "SQL",
        kind=SpanKind.CLIENT,
        start_time=time_ns() - int(query.elapsed * 1e9),
        attributes={"db.system.name": "postgresql", "db.query.text": query.query},
    ).end()


def _no_traceback_as_text(record: logging.LogRecord) -> bool:
    """Starlette logs a failed start as text; `server` has logged it in one line already."""
    return not str(record.msg).startswith("Traceback ")


class JsonFormatter(logging.Formatter):
    """One JSON object a line; fields come as `extra={"fields": {…}}`.

    An exception is logged by type and place: its text may hold personal data.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"] = trace.format_trace_id(span.trace_id)
            line["span_id"] = trace.format_span_id(span.span_id)
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = describe(record.exc_info[1])
        return orjson.dumps(line, default=str).decode()


def describe(error: BaseException | None) -> str:
    """An exception's type and the places it passed, innermost last, without its text."""
    if error is None:
        return ""
    places = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('site-packages/')[2]}:{step.tb_lineno}")
        step = step.tb_next
    return f"{type(error).__qualname__} at {' > '.join(places[-8:])}"
