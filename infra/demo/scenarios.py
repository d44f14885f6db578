"""The scenarios of the demo: a web visitor, an app user, calls, and the results."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from infra.cdnow import Buyer
from infra.demo.queries import (
    allow_personal_offers,
    customer,
    offers,
    record,
    ref,
    results,
    send_call,
    track,
    wait_until,
    wait_until_considered,
)
from infra.demo.session import DemoSession
from infra.demo.tables import print_journeys, print_offers, print_results, print_trace
from infra.graph_client import GraphClient


@dataclass(frozen=True, slots=True)
class DemoCustomers:
    newly_known: Buyer
    """Bought once; visits the site and logs in."""
    loyal: Buyer
    """Buys often, and lately; opens the app."""
    lapsing: tuple[Buyer, ...]
    """Bought often, not for months; they call, until one is not in a control group."""

    @classmethod
    def from_buyers(cls, buyers: Sequence[Buyer], now: datetime) -> "DemoCustomers":
        """Choose the customers who spent most of each kind."""
        recent, year = now - timedelta(days=85), now - timedelta(days=355)
        lapsing_since = now - timedelta(days=95)
        once = [b for b in buyers if len(b.orders) == 1]
        loyal = [b for b in buyers if len(b.orders) >= 5 and b.orders[-1].at > recent]
        lapsing = [
            b for b in buyers if len(b.orders) >= 3 and year < b.orders[-1].at < lapsing_since
        ]
        return cls(
            newly_known=max(once, key=lambda b: b.spent),
            loyal=max(loyal, key=lambda b: b.spent),
            lapsing=tuple(sorted(lapsing, key=lambda b: -b.spent)[:9]),
        )


def run_web_scenario(session: DemoSession, buyer: Buyer) -> None:
    """Web: an unknown visitor, then the same person after logging in."""
    visitor = f"visitor-{uuid4().hex[:8]}"
    anonymous = f"anonymous_id={visitor}"
    graph = session.client_for("visitor", anonymous)
    me = ref("anonymous_id", visitor)

    session.announce(f"Web: {visitor} opens the shop's page; they are unknown")
    decision = offers(graph, me, "WEB", "home")
    print_offers(session, decision)

    session.announce("They look at two jazz records, and the page asks again")
    track(session, visitor, "product_viewed", {"genre": "jazz", "product": "Kind of Blue"})
    track(session, visitor, "product_viewed", {"genre": "jazz", "product": "A Love Supreme"})
    wait_until_considered(session, me, "jazz_weeks", "WEB", "home")
    print_offers(session, offers(graph, me, "WEB", "home"))

    session.announce(f"They log in: it is {buyer.email}, who gives consent for personal offers")
    # The shop's server has checked their password, and signs for the page who they are.
    login = {"anonymousId": visitor, "userId": buyer.name}
    claim = {"raak": {"claim": session.claim(visitor, buyer.name)}}
    send_call(session, "identify", {**login, "context": claim})
    known = session.client_for("visitor", f"user_id={buyer.name}")
    me = ref("user_id", buyer.name)
    allow_personal_offers(known, me)
    wait_until_considered(session, me, "second_order", "WEB", "home")
    print_offers(session, offers(known, me, "WEB", "home"))


def run_app_scenario(session: DemoSession, buyer: Buyer) -> None:
    """App: a loyal customer takes an offer, orders, and a journey begins."""
    graph = session.client_for("app", f"user_id={buyer.name}")
    me = ref("user_id", buyer.name)
    allow_personal_offers(graph, me)
    wait_until_considered(session, me, "loyalty_card", "APP", "app_home")

    session.announce(f"App: {buyer.email}, {len(buyer.orders)} orders, ${buyer.spent:,.0f}")
    first = offers(graph, me, "APP", "app_home")
    print_offers(session, first)
    best = first["propositions"][0]
    for proposition in first["propositions"]:
        record(graph, proposition, "PRESENTED")
    record(graph, best, "CLICKED")
    record(graph, best, "ACCEPTED")

    session.announce(f"They accept “{best['action']['name']}”, and the app asks again")
    print_offers(session, offers(graph, me, "APP", "app_home"))

    session.announce("They order; a journey follows the order up")
    order = {"order_id": f"app-{uuid4().hex[:6]}", "cds": 2, "total": 24.98, "currency": "USD"}
    track(session, buyer.name, "order_completed", order, known=True)
    agent = session.client_for("agent")
    wait_until(lambda: customer(agent, me)["journeys"])
    print_journeys(session, customer(agent, me))


def run_call_centre_scenario(session: DemoSession, callers: Sequence[Buyer]) -> None:
    """Call centre: lapsing customers, looked up by e-mail, and the reason of each offer."""
    graph = session.client_for("agent")
    for buyer in callers:
        caller = ref("email", buyer.email)
        allow_personal_offers(graph, caller)
        wait_until_considered(session, caller, "win_back_voucher", "CALL_CENTRE", "agent_desktop")
        session.announce(
            f"Call centre: {buyer.email} calls; last order {buyer.orders[-1].at:%d %B %Y}"
        )
        first = offers(graph, caller, "CALL_CENTRE", "agent_desktop", explained=True)
        print_offers(session, first)
        print_trace(session, first)
        if first["controlGroup"] is None and first["propositions"]:
            _decline(session, graph, caller, first["propositions"][0])
            return
        session.console.print("  The win-back offer is withheld from them, to measure its effect.")


def _decline(
    session: DemoSession, graph: GraphClient, caller: dict[str, Any], best: dict[str, Any]
) -> None:
    record(graph, best, "PRESENTED")
    record(graph, best, "REJECTED", reason="not now")
    session.announce(f"They decline “{best['action']['name']}”, and the agent asks again")
    again = offers(graph, caller, "CALL_CENTRE", "agent_desktop", explained=True)
    print_offers(session, again)
    print_trace(session, again, only=best["action"]["key"])


def show_results(session: DemoSession) -> None:
    """Marketing: presented and accepted offers, per action and channel."""
    session.announce("Results")
    graph = session.client_for("analyst")
    now = datetime.now(UTC)
    span = (now - timedelta(days=1), now + timedelta(days=1))
    wait_until(lambda: any(row["accepted"] for row in results(graph, *span)))
    print_results(session, results(graph, *span))
