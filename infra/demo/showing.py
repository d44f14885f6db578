"""Answers as tables a person wants to read."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rich import box
from rich.table import Table

from infra.demo.stage import Stage


def plain_table(*columns: str, title: str | None = None) -> Table:
    """A table without a frame, so that it fits a terminal of eighty columns."""
    table = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.columns[0].no_wrap = columns[0] != "rank"
    return table


def print_offers(stage: Stage, decision: dict[str, Any]) -> None:
    """What is offered, with the reason to say aloud; to staff also what it was decided by."""
    columns = [name for name in OFFERED if name not in FOR_STAFF or "trace" in decision]
    shown = plain_table(*columns)
    for proposition in decision["propositions"]:
        shown.add_row(*(OFFERED[name](proposition) for name in columns))
    stage.console.print(shown)
    for word in ("degraded", "controlGroup"):
        if decision.get(word):
            stage.console.print(f"  {word}: {decision[word]}")


OFFERED: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "rank": lambda p: str(p["rank"]),
    "action": lambda p: str(p["action"]["name"]),
    "why": lambda p: str(p["reason"]),
    "chance": lambda p: f"{p['propensity']:.1%}",
    "value": lambda p: f"{p['value']['cents'] / 100:.2f}",
    "score": lambda p: f"{p['score']:.1f}",
}
FOR_STAFF = frozenset({"chance", "value", "score"})


def print_trace(stage: Stage, decision: dict[str, Any], only: str | None = None) -> None:
    """Where the other actions fell out, and what value they saw; `only` one of them."""
    shown = plain_table("action", "fell out at", "because", title="Why not the others")
    for row in decision["trace"]:
        if row["rank"] is None and only in (None, row["action"]["key"]):
            failed = "; ".join(f"{f['condition']} (was {f['actual']})" for f in row["failed"])
            shown.add_row(row["action"]["key"], row["stage"], failed)
    stage.console.print(shown)


def print_journeys(stage: Stage, customer: dict[str, Any]) -> None:
    """Where his journeys stand, and what is in his inbox."""
    shown = plain_table("journey", "step", "phase", "since")
    for journey in customer["journeys"]:
        since = datetime.fromisoformat(journey["since"])
        shown.add_row(journey["journey"], journey["step"], journey["phase"], f"{since:%H:%M:%S}")
    stage.console.print(shown)
    for message in customer["inbox"]:
        stage.console.print(f"  in the inbox ({message['channel']}): {message['content']}")


def print_results(stage: Stage, rows: list[dict[str, Any]]) -> None:
    """What was shown and accepted, per action and channel."""
    shown = plain_table(
        "action", "channel", "ranked", "shown", "clicked", "yes", "no", "yes of shown"
    )
    for row in rows:
        counts = ("decided", "presented", "clicked", "accepted", "rejected")
        numbers = (str(row[count]) for count in counts)
        shown.add_row(row["action"], row["channel"], *numbers, _interval(row["acceptanceRate"]))
    stage.console.print(shown)
    stage.console.print(
        "  In brackets: the per cent between which the true rate lies, with 95% confidence."
    )


def _interval(rate: dict[str, Any]) -> str:
    if rate["estimate"] is None:
        return "–"
    return f"{rate['estimate']:.0%} ({100 * rate['low']:.0f}–{100 * rate['high']:.0f})"
