"""Three users and what was learned of them."""

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
    until,
    until_considered,
)
from infra.demo.session import Stage
from infra.demo.tables import print_journeys, print_offers, print_results, print_trace
from infra.graph_client import Graph


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays in the story."""

    newly_known: Buyer
    """Bought once; visits the site and logs in."""
    loyal: Buyer
    """Buys often, and lately; opens the app."""
    lapsing: tuple[Buyer, ...]
    """Bought often, not for months; they call, until one is not in a control group."""

    @classmethod
    def of(cls, buyers: Sequence[Buyer], now: datetime) -> "Cast":
        """The most telling customers of each sort."""
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


def visit_the_site(stage: Stage, buyer: Buyer) -> None:
    """Web: somebody we have never seen, then the same person after logging in."""
    visitor = f"visitor-{uuid4().hex[:8]}"
    anonymous = f"anonymous_id={visitor}"
    graph = stage.as_("visitor", anonymous)
    me = ref("anonymous_id", visitor)

    stage.say(f"Web: {visitor} opens the shop's page; nobody knows him")
    decision = offers(graph, me, "WEB", "home")
    print_offers(stage, decision)

    stage.say("He looks at two jazz records, and the page asks again")
    track(stage, visitor, "product_viewed", {"genre": "jazz", "product": "Kind of Blue"})
    track(stage, visitor, "product_viewed", {"genre": "jazz", "product": "A Love Supreme"})
    until_considered(stage, me, "jazz_weeks", "WEB", "home")
    print_offers(stage, offers(graph, me, "WEB", "home"))

    stage.say(f"He logs in: it is {buyer.email}, who gives consent for personal offers")
    # The shop's server has checked his password, and signs for the page who he is.
    login = {"anonymousId": visitor, "userId": buyer.name}
    claim = {"raak": {"claim": stage.claim(visitor, buyer.name)}}
    send_call(stage, "identify", {**login, "context": claim})
    known = stage.as_("visitor", f"user_id={buyer.name}")
    me = ref("user_id", buyer.name)
    allow_personal_offers(known, me)
    until_considered(stage, me, "second_order", "WEB", "home")
    print_offers(stage, offers(known, me, "WEB", "home"))


def open_the_app(stage: Stage, buyer: Buyer) -> None:
    """App: a loyal customer takes an offer, orders, and a journey begins."""
    graph = stage.as_("app", f"user_id={buyer.name}")
    me = ref("user_id", buyer.name)
    allow_personal_offers(graph, me)
    until_considered(stage, me, "loyalty_card", "APP", "app_home")

    stage.say(f"App: {buyer.email}, {len(buyer.orders)} orders, ${buyer.spent:,.0f}")
    first = offers(graph, me, "APP", "app_home")
    print_offers(stage, first)
    best = first["propositions"][0]
    for proposition in first["propositions"]:
        record(graph, proposition, "PRESENTED")
    record(graph, best, "CLICKED")
    record(graph, best, "ACCEPTED")

    stage.say(f"He accepts “{best['action']['name']}”, and the app asks again")
    print_offers(stage, offers(graph, me, "APP", "app_home"))

    stage.say("He orders; a journey looks after the order")
    order = {"order_id": f"app-{uuid4().hex[:6]}", "cds": 2, "total": 24.98, "currency": "USD"}
    track(stage, buyer.name, "order_completed", order, known=True)
    agent = stage.as_("agent")
    until(lambda: customer(agent, me)["journeys"])
    print_journeys(stage, customer(agent, me))


def call_the_shop(stage: Stage, callers: Sequence[Buyer]) -> None:
    """Call centre: lapsing customers, found by e-mail, and the reason of each offer."""
    graph = stage.as_("agent")
    for buyer in callers:
        caller = ref("email", buyer.email)
        allow_personal_offers(graph, caller)
        until_considered(stage, caller, "win_back_voucher", "CALL_CENTRE", "agent_desktop")
        stage.say(f"Call centre: {buyer.email} calls; last order {buyer.orders[-1].at:%d %B %Y}")
        first = offers(graph, caller, "CALL_CENTRE", "agent_desktop", explained=True)
        print_offers(stage, first)
        print_trace(stage, first)
        if first["controlGroup"] is None and first["propositions"]:
            _decline(stage, graph, caller, first["propositions"][0])
            return
        stage.console.print("  From him the win-back offer is withheld, to measure what it does.")


def _decline(stage: Stage, graph: Graph, caller: dict[str, Any], best: dict[str, Any]) -> None:
    """The customer says no, and is not asked that again."""
    record(graph, best, "PRESENTED")
    record(graph, best, "REJECTED", reason="not now")
    stage.say(f"He declines “{best['action']['name']}”, and the agent asks again")
    again = offers(graph, caller, "CALL_CENTRE", "agent_desktop", explained=True)
    print_offers(stage, again)
    print_trace(stage, again, only=best["action"]["key"])


def show_results(stage: Stage) -> None:
    """Marketing: what was shown and accepted, per action and channel."""
    stage.say("What was measured")
    graph = stage.as_("analyst")
    now = datetime.now(UTC)
    span = (now - timedelta(days=1), now + timedelta(days=1))
    until(lambda: any(row["accepted"] for row in results(graph, *span)))
    print_results(stage, results(graph, *span))
