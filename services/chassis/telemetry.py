"""What a process tells about itself: traces, metrics and JSON logs, none with personal data."""

import logging
import sys
from datetime import UTC, datetime
from time import time_ns
from typing import Any

import orjson
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from services.chassis.settings import ProcessSettings

tracer = trace.get_tracer("raak")

_state = {"tracing": False}


def tracing() -> bool:
    """Whether traces are kept; when not, nothing is spent on them."""
    return _state["tracing"]


def setup(settings: ProcessSettings, exporter: SpanExporter | None = None) -> None:
    """Log as JSON on standard error, and send traces where the settings say.

    `exporter` takes the place of OTLP in tests.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(settings.process))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in ("uvicorn.access", "httpx", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if exporter is None and settings.otlp_endpoint:
        exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint)
    if exporter is not None:
        keep_traces(settings.process, exporter)


def keep_traces(process: str, exporter: SpanExporter) -> TracerProvider:
    """Send the spans of this process to `exporter` from now on."""
    provider = TracerProvider(resource=Resource.create({"service.name": f"raak-{process}"}))
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
    """The context in which work asked for by another process goes on; None: the present one."""
    return propagate.extract({"traceparent": traceparent}) if traceparent and tracing() else None


def trace_query(query: Any) -> None:
    """Record a finished SQL statement (asyncpg's LoggedQuery) as a span, without parameters."""
    ended = time_ns()
    started = ended - int(query.elapsed * 1e9)
    span = tracer.start_span(
        query.query.split(maxsplit=1)[0].upper() if query.query.strip() else "SQL",
        kind=trace.SpanKind.CLIENT,
        start_time=started,
        attributes={"db.system.name": "postgresql", "db.query.text": query.query},
    )
    span.end(ended)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, process, logger, message, and the trace it belongs to.

    Fields given as `extra={"fields": {…}}` stand beside them. An exception is told by its type and
    place, not by its text: that may hold what a person typed.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
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
