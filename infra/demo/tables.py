"""Answers as tables for a terminal."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rich import box
from rich.table import Table

from infra.demo.session import DemoSession


def plain_table(*columns: str, title: str | None = None) -> Table:
    """A table without a frame, so that it fits a terminal of eighty columns."""
    table = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.columns[0].no_wrap = columns[0] != "rank"
    return table


def print_offers(session: DemoSession, decision: dict[str, Any]) -> None:
    """Offers with their reasons; for staff also propensity, value and score."""
    columns = [name for name in OFFER_COLUMNS if name not in STAFF_COLUMNS or "trace" in decision]
    table = plain_table(*columns)
    for proposition in decision["propositions"]:
        table.add_row(*(OFFER_COLUMNS[name](proposition) for name in columns))
    session.console.print(table)
    for word in ("degraded", "controlGroup"):
        if decision.get(word):
            session.console.print(f"  {word}: {decision[word]}")


OFFER_COLUMNS: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "rank": lambda p: str(p["rank"]),
    "action": lambda p: str(p["action"]["name"]),
    "why": lambda p: str(p["reason"]),
    "chance": lambda p: f"{p['propensity']:.1%}",
    "value": lambda p: f"{p['value']['cents'] / 100:.2f}",
    "score": lambda p: f"{p['score']:.1f}",
}
STAFF_COLUMNS = frozenset({"chance", "value", "score"})


def print_trace(session: DemoSession, decision: dict[str, Any], only: str | None = None) -> None:
    """At which stage other actions fell out, and why; `only` one of them."""
    table = plain_table("action", "fell out at", "because", title="Why not the others")
    for row in decision["trace"]:
        if row["rank"] is None and only in (None, row["action"]["key"]):
            failed = "; ".join(f"{f['condition']} (was {f['actual']})" for f in row["failed"])
            table.add_row(row["action"]["key"], row["stage"], failed)
    session.console.print(table)


def print_journeys(session: DemoSession, customer: dict[str, Any]) -> None:
    table = plain_table("journey", "step", "phase", "since")
    for journey in customer["journeys"]:
        since = datetime.fromisoformat(journey["since"])
        table.add_row(journey["journey"], journey["step"], journey["phase"], f"{since:%H:%M:%S}")
    session.console.print(table)
    for message in customer["inbox"]:
        session.console.print(f"  in the inbox ({message['channel']}): {message['content']}")


def print_results(session: DemoSession, rows: list[dict[str, Any]]) -> None:
    table = plain_table(
        "action", "channel", "ranked", "shown", "clicked", "yes", "no", "yes of shown"
    )
    for row in rows:
        counts = ("decided", "presented", "clicked", "accepted", "rejected")
        numbers = (str(row[count]) for count in counts)
        table.add_row(
            row["action"], row["channel"], *numbers, _format_interval(row["acceptanceRate"])
        )
    session.console.print(table)
    session.console.print(
        "  In brackets: the per cent between which the true rate lies, with 95% confidence."
    )


def _format_interval(rate: dict[str, Any]) -> str:
    if rate["estimate"] is None:
        return "–"
    return f"{rate['estimate']:.0%} ({100 * rate['low']:.0f}–{100 * rate['high']:.0f})"
