"""Traces and metrics sent over OTLP, as OpenTelemetry's own variables say.

`RAAK_OTLP_ENDPOINT` is a base address, to which `/v1/traces` and `/v1/metrics` are added; without
it `OTEL_EXPORTER_OTLP_ENDPOINT` and its like hold. What else there is (headers, timeouts, sampling,
the name of the service) the SDK reads from `OTEL_…` by itself.
"""

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from time import time_ns

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

CUMULATIVE = AggregationTemporality.CUMULATIVE
EVERY_MS = 60_000
"""What the standard says where `OTEL_METRIC_EXPORT_INTERVAL` does not."""


def resource(process: str) -> Resource:
    """Who sends: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` hold before our own name."""
    ours = Resource({"service.name": f"raak-{process}", "service.namespace": "raak"})
    named = Resource.create()
    if str(named.attributes["service.name"]).startswith("unknown_service"):
        return named.merge(ours)
    return ours.merge(named)


def _address(signal: str, base: str | None) -> str | None:
    """Where a signal goes by our setting; "" where the SDK's variables say it; None: nowhere."""
    if _is_off(signal):
        return None
    if base:
        return f"{base.rstrip('/')}/v1/{signal}"
    variables = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    return "" if any(os.environ.get(one) for one in variables) else None


def _is_off(signal: str) -> bool:
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return is_disabled or os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp") == "none"


def span_exporter(base: str | None) -> SpanExporter | None:
    """What sends traces; None if they go nowhere."""
    address = _address("traces", base)
    return None if address is None else OTLPSpanExporter(address or None)


def metric_exporter(base: str | None) -> MetricExporter | None:
    """What sends metrics; None if they go nowhere."""
    address = _address("metrics", base)
    return None if address is None else OTLPMetricExporter(address or None)


def send_metrics(
    exporter: MetricExporter, sender: Resource, registry: CollectorRegistry = REGISTRY
) -> Callable[[], None]:
    """Send what Prometheus would read, again and again in a thread; gives what ends it, which sends
    a last time.
    """
    started_at = time_ns()
    every_s = int(os.environ.get("OTEL_METRIC_EXPORT_INTERVAL") or EVERY_MS) / 1000
    is_over = threading.Event()

    def send() -> None:
        exporter.export(convert(registry.collect(), sender, started_at, time_ns()))

    def run() -> None:
        while not is_over.wait(every_s):
            send()
        send()
        exporter.shutdown()

    thread = threading.Thread(target=run, name="metrics over OTLP", daemon=True)
    thread.start()

    def end() -> None:
        is_over.set()
        thread.join(timeout=5)

    return end


def convert(
    families: Iterable[Family], sender: Resource, since_ns: int, now_ns: int
) -> MetricsData:
    """Prometheus' metrics as OpenTelemetry's. What counts has counted since `since_ns`."""
    metrics = [
        Metric(family.name, family.documentation, "", convert_family(family, since_ns, now_ns))
        for family, convert_family in (
            (family, CONVERSIONS[family.type]) for family in families if family.type in CONVERSIONS
        )
    ]
    scope = ScopeMetrics(InstrumentationScope("raak"), metrics, "")
    return MetricsData([ResourceMetrics(sender, [scope], "")])


def _numbers(family: Family, suffix: str, since_ns: int, now_ns: int) -> Iterable[NumberDataPoint]:
    for sample in family.samples:
        if sample.name == family.name + suffix:
            yield NumberDataPoint(sample.labels, since_ns, now_ns, sample.value)


def _sum(family: Family, since_ns: int, now_ns: int) -> Sum:
    points = list(_numbers(family, "_total", since_ns, now_ns))
    return Sum(points, CUMULATIVE, is_monotonic=True)


def _gauge(family: Family, since_ns: int, now_ns: int) -> Gauge:
    return Gauge(list(_numbers(family, "", since_ns, now_ns)))


def _histogram(family: Family, since_ns: int, now_ns: int) -> Histogram:
    by_labels: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in family.samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        by_labels.setdefault(labels, []).append(sample)
    points = [
        _distribution(family.name, dict(labels), samples, since_ns, now_ns)
        for labels, samples in by_labels.items()
    ]
    return Histogram(points, CUMULATIVE)


def _distribution(
    name: str, labels: Mapping[str, str], samples: list[Sample], since_ns: int, now_ns: int
) -> HistogramDataPoint:
    """One histogram: Prometheus' buckets count what is below them, too."""
    below = [
        (float(one.labels["le"]), one.value) for one in samples if one.name == f"{name}_bucket"
    ]
    counts = [count - (below[n - 1][1] if n else 0) for n, (_, count) in enumerate(below)]
    (total,) = (one.value for one in samples if one.name == f"{name}_sum")
    return HistogramDataPoint(
        labels,
        since_ns,
        now_ns,
        count=int(below[-1][1]),
        sum=total,
        bucket_counts=[int(count) for count in counts],
        explicit_bounds=[bound for bound, _ in below[:-1]],
        min=0.0,
        max=0.0,
    )


CONVERSIONS: Mapping[str, Callable[[Family, int, int], Sum | Gauge | Histogram]] = {
    "counter": _sum,
    "gauge": _gauge,
    "histogram": _histogram,
}
