"""What goes to a collector: where it goes, who sends it, and the same figures as on /metrics."""

from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import Gauge as OtlpGauge
from opentelemetry.sdk.metrics.export import Histogram as OtlpHistogram
from opentelemetry.sdk.metrics.export import Sum
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.chassis import otlp

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (BASE, "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


def addresses(base: str | None) -> tuple[str | None, str | None]:
    """Where traces and metrics go."""
    exporters: tuple[Any, Any] = (otlp.span_exporter(base), otlp.metric_exporter(base))
    traces, metrics = (exporter and exporter._endpoint for exporter in exporters)
    return traces, metrics


@pytest.mark.parametrize(
    ("base", "variables", "traces", "metrics"),
    [
        (None, {}, None, None),
        ("http://c:4318", {}, "http://c:4318/v1/traces", "http://c:4318/v1/metrics"),
        ("http://c:4318/", {}, "http://c:4318/v1/traces", "http://c:4318/v1/metrics"),
        (None, {BASE: "http://c/otlp"}, "http://c/otlp/v1/traces", "http://c/otlp/v1/metrics"),
        ("http://a", {BASE: "http://b"}, "http://a/v1/traces", "http://a/v1/metrics"),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/t"}, "http://c/t", None),
        ("http://a", {"OTEL_METRICS_EXPORTER": "none"}, "http://a/v1/traces", None),
        ("http://a", {"OTEL_SDK_DISABLED": "true"}, None, None),
    ],
)
def test_signals_go_where_the_standard_says(
    base: str | None,
    variables: dict[str, str],
    traces: str | None,
    metrics: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert addresses(base) == (traces, metrics)


def test_a_sender_has_our_name_unless_the_environment_gives_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert otlp.resource("decision").attributes["service.name"] == "raak-decision"

    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    assert otlp.resource("decision").attributes["deployment.environment"] == "test"
    assert otlp.resource("decision").attributes["service.name"] == "raak-decision"

    monkeypatch.setenv("OTEL_SERVICE_NAME", "offers")
    assert otlp.resource("decision").attributes["service.name"] == "offers"


def test_figures_are_those_that_prometheus_reads() -> None:
    registry = CollectorRegistry()
    counter = Counter("raak_loaves", "Loaves", ["kind"], registry=registry)
    gauge = Gauge("raak_heat", "Heat", registry=registry)
    histogram = Histogram("raak_time", "Time", ["oven"], registry=registry, buckets=(1, 2))
    counter.labels("rye").inc(3)
    gauge.set(230.5)
    for seconds in (0.5, 1.5, 1.7, 9):
        histogram.labels("big").observe(seconds)

    data = otlp.convert(registry.collect(), otlp.resource("oven"), 10, 20)

    metrics = {m.name: m.data for m in data.resource_metrics[0].scope_metrics[0].metrics}
    loaves, heat, time = (metrics[name] for name in ("raak_loaves", "raak_heat", "raak_time"))
    assert isinstance(loaves, Sum)
    assert isinstance(heat, OtlpGauge)
    assert isinstance(time, OtlpHistogram)
    assert loaves.is_monotonic
    [point] = loaves.data_points
    assert (point.attributes, point.value) == ({"kind": "rye"}, 3)
    assert (point.start_time_unix_nano, point.time_unix_nano) == (10, 20)
    assert [one.value for one in heat.data_points] == [230.5]
    [spread] = time.data_points
    assert spread.attributes == {"oven": "big"}
    assert (spread.count, spread.sum) == (4, 12.7)
    assert list(spread.bucket_counts) == [1, 2, 1]
    assert list(spread.explicit_bounds) == [1, 2]
