"""The dashboard and the alerts ask for metrics and labels that there are."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from infra.dashboards import DASHBOARD
from infra.processes import PROCESSES

OBSERVE = DASHBOARD.parents[2]
ALERTS = OBSERVE / "alerts.yml"
OF_PROMETHEUS = {"job", "instance", "le"}
"""Labels that Prometheus itself adds, or a histogram has."""
FUNCTIONS = {"up"}


def metrics() -> Mapping[str, frozenset[str]]:
    """The labels of each metric, by the names it has in PromQL."""
    for process in PROCESSES:
        import_module("gateway.app" if process == "gateway" else f"services.{process}.app")
    return {
        name: frozenset(collector._labelnames)
        for name, collector in REGISTRY._names_to_collectors.items()
        if name.startswith("raak_") and hasattr(collector, "_labelnames")
    }


METRICS = metrics()


def dashboard_queries() -> Iterator[tuple[str, str]]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def alert_rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


QUERIES = [*dashboard_queries(), *((rule["alert"], rule["expr"]) for rule in alert_rules())]


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[title for title, _ in QUERIES])
def test_a_query_asks_for_metrics_and_labels_that_there_are(title: str, query: str) -> None:
    names = set(re.findall(r"\braak_\w+", query))
    labels = set(re.findall(r"(\w+)(?:=|!=|=~)\"", query))
    for grouping in re.findall(r"by \(([^)]*)\)", query):
        labels |= set(re.split(r", *", grouping))

    assert names <= METRICS.keys()
    for name in names:
        assert labels - OF_PROMETHEUS <= METRICS[name], title
    assert names or FUNCTIONS & set(re.findall(r"\b\w+\b", query))


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_bad_it_is_and_what_happened(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    grouped = {
        label for g in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in g.split(", ")
    }

    assert used <= grouped | {"job"}


def test_operations_says_what_to_do_about_every_alert() -> None:
    page = (OBSERVE.parents[1] / "docs" / "operations.md").read_text()

    assert [rule["alert"] for rule in alert_rules() if f"`{rule['alert']}`" not in page] == []


def test_every_metric_that_a_page_names_exists() -> None:
    pages = Path(OBSERVE.parents[1], "docs").glob("*.md")
    names = {n for page in pages for n in re.findall(r"`(raak_\w+)[`{]", page.read_text())}
    databases = {f"raak_{process}" for process in PROCESSES}

    assert names - METRICS.keys() - databases == set()


@pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool on this machine")
def test_prometheus_takes_the_rules() -> None:
    subprocess.run(["promtool", "check", "rules", str(ALERTS)], check=True)
