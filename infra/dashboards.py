"""The Grafana dashboard of a Raak: its rows as data, written by `make generate`.

Grafana's JSON says a hundred things of a panel that are the same for all; here is what differs.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

DASHBOARD = Path(__file__).with_name("observe") / "grafana" / "dashboards" / "raak.json"

WIDTH, HEIGHT, ACROSS = 24, 8, 3
"""Of the grid, of a panel, and how many stand side by side; in Grafana's units."""
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}


Queries = Mapping[str, str]
"""PromQL by the legend of its lines."""


class Panel(NamedTuple):
    title: str
    unit: str
    """As Grafana calls it: `s`, `reqps`, `short`."""
    queries: Queries


def _legend(labels: Sequence[str]) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in labels)


def _total(function: str, metric: str, *labels: str) -> Queries:
    """A metric, `sum` or `max` by some labels; without any, one line that has its name."""
    if not labels:
        return {metric.removeprefix("raak_"): f"{function}({metric})"}
    return {_legend(labels): f"{function} by ({', '.join(labels)}) ({metric})"}


def _rate(counter: str, *labels: str) -> Queries:
    return _total("sum", f"rate({counter}[$__rate_interval])", *labels)


def _slowest(histogram: str, *labels: str, shares: Sequence[float] = (0.99,)) -> Queries:
    """The time that so large a share of what is measured needs at most."""
    buckets = f"sum by ({', '.join(('le', *labels))}) (rate({histogram}_bucket[$__rate_interval]))"
    return {
        f"{_legend(labels)} p{share * 100:g}": f"histogram_quantile({share}, {buckets})"
        for share in shares
    }


ROWS: Mapping[str, Sequence[Panel]] = {
    "Requests": (
        Panel("GraphQL requests", "reqps", _rate("raak_graphql_requests_total", "type")),
        Panel(
            "Time to answer a GraphQL request",
            "s",
            _slowest("raak_graphql_seconds", "type", shares=(0.5, 0.99)),
        ),
        Panel("By first error", "reqps", _rate("raak_graphql_requests_total", "code")),
        Panel("Time of each process", "s", _slowest("raak_http_request_seconds", "job", "path")),
        Panel("Refused for overload", "reqps", _rate("raak_shed_total", "class")),
        Panel("Under way", "short", _total("sum", "raak_in_flight", "valve")),
    ),
    "Decisions and journeys": (
        Panel("Decisions", "reqps", _rate("raak_decisions_total", "channel")),
        Panel(
            "Decisions that knew too little",
            "reqps",
            _rate('raak_decisions_total{degraded!=""}', "degraded"),
        ),
        Panel("Messages that came due", "reqps", _rate("raak_messages_due_total", "channel")),
        Panel("Overdue timers", "short", _total("max", "raak_timers_overdue")),
        Panel("Set aside", "reqps", _rate("raak_set_aside_total", "service", "work", "reason")),
        Panel("Customers watched", "short", _total("sum", "raak_live_watched_customers")),
    ),
    "Events": (
        Panel("Handled", "reqps", _rate("raak_events_handled_total", "service", "fact")),
        Panel("Age when handled", "s", _slowest("raak_event_age_seconds", "service", "fact")),
        Panel("Waiting for a handler", "short", _total("max", "raak_consumer_lag", "consumer")),
        Panel("Waiting for NATS", "short", _total("max", "raak_outbox_backlog", "job")),
        Panel("Age of the oldest of them", "s", _total("max", "raak_outbox_age_seconds", "job")),
        Panel("Dead letters", "short", _total("max", "raak_dead_letters", "service")),
    ),
    "Databases and services": (
        Panel("Connections", "short", _total("sum", "raak_database_connections", "job", "state")),
        Panel("Waiting for one", "short", _total("sum", "raak_database_waiting", "job")),
        Panel(
            "PostgreSQL away",
            "reqps",
            _rate("raak_database_unavailable_total", "job", "because"),
        ),
        Panel(
            "Calls by outcome",
            "reqps",
            _rate("raak_subgraph_fetches_total", "subgraph", "outcome"),
        ),
        Panel("Open breakers", "short", _total("max", "raak_subgraph_breaker_open", "subgraph")),
        Panel("Failing work", "short", _total("max", "raak_background_failures", "job", "work")),
    ),
}


def render() -> str:
    """The dashboard as Grafana reads it."""
    board = {
        "uid": "raak",
        "title": "Raak",
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "schemaVersion": 41,
        "panels": list(_panels()),
    }
    return json.dumps(board, indent=1) + "\n"


def _panels() -> Iterator[dict[str, Any]]:
    y = 0
    for title, panels in ROWS.items():
        yield {
            "type": "row",
            "title": title,
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
            "panels": [],
        }
        y += 1
        for n, panel in enumerate(panels):
            width = WIDTH // ACROSS
            place = {
                "x": n % ACROSS * width,
                "y": y + n // ACROSS * HEIGHT,
                "w": width,
                "h": HEIGHT,
            }
            yield _panel(panel, place)
        y += -(-len(panels) // ACROSS) * HEIGHT


def _panel(panel: Panel, place: Mapping[str, int]) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": chr(ord("A") + n), "expr": query, "legendFormat": legend}
            for n, (legend, query) in enumerate(panel.queries.items())
        ],
    }
