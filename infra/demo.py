"""The demo: real customers in, explained offers out, outcomes back, and what they taught.

It goes through the public surfaces only, so it tells the same story of an embedded Raak, of one
under Compose, or of one far away.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from infra import cdnow, definitions, tokens
from infra.cdnow import Buyer
from infra.client import Graph
from infra.instance import Instance
from services.chassis.errors import RaakError

EXAMPLES = Path(__file__).parents[1] / "examples" / "records"
BATCH_BYTES = 400_000  # of the 500 KB that a batch may have
AT_ONCE = 3
SETTLED_S = 60
PASSED_THE_RULES = {"CONTACT_POLICY", "CONTROL_GROUP", "ARBITRATION"}

OFFERS = """
query($customer: CustomerRef!, $channel: Channel!, $placement: String!, $context: JSON) {
  nextBestActions(
    customer: $customer, channel: $channel, placement: $placement, limit: 5, context: $context
  ) {
    id controlGroup degraded customer { id }
    propositions {
      id rank propensity score reason trackingCode
      action { key name kind }
      value { cents currency }
    }
    trace {
      stage passed rank
      action { key }
      failed { condition seen }
    }
  }
}"""
OUTCOME = """
mutation($input: OutcomeInput!) { recordOutcome(input: $input) { kind } }"""
CONSENT = """
mutation($input: ConsentInput!) { setConsent(input: $input) { id } }"""
JOURNEYS = """
query($ref: CustomerRef!) {
  customer(ref: $ref) {
    segments { key }
    journeys { journey step phase active since }
    inbox { channel content }
  }
}"""
WHY_NOT = """
query($ref: CustomerRef!, $action: ID!, $channel: Channel!, $placement: String!) {
  customer(ref: $ref) {
    whyNot(action: $action, channel: $channel, placement: $placement) { stage }
  }
}"""
RESULTS = """
query($from: DateTime!, $to: DateTime!) {
  actionResults(from: $from, to: $to) {
    action channel
    decided presented clicked accepted rejected
    acceptanceRate { estimate low high }
  }
}"""


def days_ago(days: float) -> datetime:
    """A moment in the past."""
    return datetime.now(UTC) - timedelta(days=days)


class NotSettled(RaakError):
    """What was sent has not arrived everywhere in time."""

    code = "NOT_SETTLED"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the story is told: a gateway, its keys, and somebody listening."""

    url: str
    write_key: str
    token: Callable[[str, str, str], str]
    """(role, subject, customer as type=value) to a signed token."""
    console: Console

    def as_(self, role: str, customer: str = "") -> Graph:
        """The graph as a role sees it."""
        return Graph(self.url, self.token(role, f"demo {role}", customer))

    def say(self, text: str) -> None:
        """Tell what happens next."""
        self.console.print(f"\n[bold]{text}[/]")


def tell(instance: Instance, console: Console, customers: int) -> None:
    """The whole story on an embedded instance."""
    signing, _ = instance.keys

    def token(role: str, subject: str, customer: str) -> str:
        return tokens.issue(signing, role, subject, customer)

    buyers = cdnow.read(
        cdnow.fetch(instance.folder / "cdnow"),
        yesterday=days_ago(1).date(),
        most=customers,
    )
    tell_on(Stage(instance.url, instance.secret("write-key"), token, console), buyers)


def tell_on(stage: Stage, buyers: Sequence[Buyer]) -> None:
    """The whole story, on any stage."""
    stage.console.print(
        "The customers are real, from CDNOW; their names are not, for the data has none: "
        "identities such as cdnow-00042@example.com were made, and dates moved so that the last "
        "purchase was yesterday."
    )
    import_customers(stage, buyers)
    apply_examples(stage)
    cast = Cast.of(buyers, datetime.now(UTC))
    visit_the_site(stage, cast.newly_known)
    open_the_app(stage, cast.loyal)
    call_the_shop(stage, cast.lapsing)
    show_results(stage)


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


# --- the import -----------------------------------------------------------------------------


def import_customers(stage: Stage, buyers: Sequence[Buyer]) -> float:
    """Send everything to /v1/batch, as a shop's server would; gives the seconds it took."""
    stage.say(f"Importing {len(buyers):,} customers through {stage.url}/v1/batch")
    total = sum(1 + len(buyer.orders) for buyer in buyers)
    columns = (
        TextColumn("  events"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    started = time.perf_counter()
    with Progress(*columns, console=stage.console) as progress:
        bar = progress.add_task("import", total=total)
        asyncio.run(_send_all(stage, buyers, lambda n: progress.advance(bar, n)))
    took = time.perf_counter() - started
    stage.console.print(f"  {total:,} events in {took:.1f} s, {total / took:,.0f} a second")
    return took


async def _send_all(stage: Stage, buyers: Iterable[Buyer], sent: Callable[[int], object]) -> None:
    batches = _batches(buyers)
    async with httpx.AsyncClient(auth=(stage.write_key, ""), timeout=60, trust_env=False) as client:

        async def send() -> None:
            for batch in batches:  # the generator is shared: each sender takes the next batch
                await _send(client, f"{stage.url}/v1/batch", batch)
                sent(len(batch))

        await asyncio.gather(*(send() for _ in range(AT_ONCE)))


def _batches(buyers: Iterable[Buyer]) -> Iterator[list[bytes]]:
    """Calls, serialised, in lists that fit into one batch; a customer's stay in order."""
    batch: list[bytes] = []
    size = 0
    for buyer in buyers:
        calls = [orjson.dumps(call) for call in buyer.calls()]
        length = sum(map(len, calls)) + len(calls)
        if batch and size + length > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch += calls
        size += length
    if batch:
        yield batch


async def _send(client: httpx.AsyncClient, url: str, batch: list[bytes]) -> None:
    body = b'{"batch":[' + b",".join(batch) + b"]}"
    for _ in range(5):
        response = await client.post(
            url, content=body, headers={"Content-Type": "application/json"}
        )
        if response.status_code != 503:
            break
        await asyncio.sleep(float(response.headers.get("Retry-After", "1")))
    answer = response.json()
    if response.status_code != 200 or answer.get("rejected"):
        raise definitions.NotPublished(
            f"/v1/batch answered {response.status_code}: {str(answer)[:300]}",
            hint="Look at the logs of gateway and profile.",
        )


def apply_examples(stage: Stage) -> None:
    """Publish the record shop's segments, catalogue and journeys."""
    stage.say("Publishing examples/records")
    graph = stage.as_("marketer")
    for path in definitions.apply(graph, EXAMPLES):
        stage.console.print(f"  {path.relative_to(EXAMPLES)}")


# --- three users ----------------------------------------------------------------------------


def visit_the_site(stage: Stage, buyer: Buyer) -> None:
    """Web: somebody we have never seen, then the same person after logging in."""
    visitor = f"visitor-{uuid4().hex[:8]}"
    anonymous = f"anonymous_id={visitor}"
    graph = stage.as_("visitor", anonymous)
    me = _ref("anonymous_id", visitor)

    stage.say(f"Web: {visitor} opens the shop's page; nobody knows him")
    decision = _offers(graph, me, "WEB", "home")
    _print_offers(stage, decision)

    stage.say("He looks at two jazz records, and the page asks again")
    _track(stage, visitor, "product_viewed", {"genre": "jazz", "product": "Kind of Blue"})
    _track(stage, visitor, "product_viewed", {"genre": "jazz", "product": "A Love Supreme"})
    _until_considered(stage, me, "jazz_weeks", "WEB", "home")
    _print_offers(stage, _offers(graph, me, "WEB", "home"))

    stage.say(f"He logs in: it is {buyer.email}, who gives consent for personal offers")
    _send_call(stage, "identify", {"anonymousId": visitor, "userId": buyer.name})
    known = stage.as_("visitor", f"user_id={buyer.name}")
    me = _ref("user_id", buyer.name)
    known.data(CONSENT, input={"customer": me, "purpose": "personalisation", "status": "GIVEN"})
    _until_considered(stage, me, "second_order", "WEB", "home")
    _print_offers(stage, _offers(known, me, "WEB", "home"))


def open_the_app(stage: Stage, buyer: Buyer) -> None:
    """App: a loyal customer takes an offer, orders, and a journey begins."""
    graph = stage.as_("app", f"user_id={buyer.name}")
    me = _ref("user_id", buyer.name)
    graph.data(CONSENT, input={"customer": me, "purpose": "personalisation", "status": "GIVEN"})
    _until_considered(stage, me, "loyalty_card", "APP", "app_home")

    stage.say(f"App: {buyer.email}, {len(buyer.orders)} orders, ${buyer.spent:,.0f}")
    first = _offers(graph, me, "APP", "app_home")
    _print_offers(stage, first)
    best = first["propositions"][0]
    for proposition in first["propositions"]:
        _record(graph, proposition, "PRESENTED")
    _record(graph, best, "CLICKED")
    _record(graph, best, "ACCEPTED")

    stage.say(f"He accepts “{best['action']['name']}”, and the app asks again")
    _print_offers(stage, _offers(graph, me, "APP", "app_home"))

    stage.say("He orders; a journey looks after the order")
    order = {"order_id": f"app-{uuid4().hex[:6]}", "cds": 2, "total": 24.98, "currency": "USD"}
    _track(stage, buyer.name, "order_completed", order, known=True)
    _until(lambda: _customer(graph, me)["journeys"])
    _print_journeys(stage, _customer(graph, me))


def call_the_shop(stage: Stage, callers: Sequence[Buyer]) -> None:
    """Call centre: lapsing customers, found by e-mail, and the reason of each offer."""
    graph = stage.as_("agent")
    for buyer in callers:
        caller = _ref("email", buyer.email)
        given = {"customer": caller, "purpose": "personalisation", "status": "GIVEN"}
        graph.data(CONSENT, input=given)
        _until_considered(stage, caller, "win_back_voucher", "CALL_CENTRE", "agent_desktop")
        stage.say(f"Call centre: {buyer.email} calls; last order {buyer.orders[-1].at:%d %B %Y}")
        first = _offers(graph, caller, "CALL_CENTRE", "agent_desktop")
        _print_offers(stage, first)
        _print_trace(stage, first)
        if first["controlGroup"] is None and first["propositions"]:
            _decline(stage, graph, caller, first["propositions"][0])
            return
        stage.console.print("  From him the win-back offer is withheld, to measure what it does.")


def _decline(stage: Stage, graph: Graph, caller: dict[str, Any], best: dict[str, Any]) -> None:
    """The customer says no, and is not asked that again."""
    _record(graph, best, "PRESENTED")
    _record(graph, best, "REJECTED", reason="not now")
    stage.say(f"He declines “{best['action']['name']}”, and the agent asks again")
    again = _offers(graph, caller, "CALL_CENTRE", "agent_desktop")
    _print_offers(stage, again)
    _print_trace(stage, again, only=best["action"]["key"])


def show_results(stage: Stage) -> None:
    """Marketing: what was shown and accepted, per action and channel."""
    stage.say("What was measured")
    graph = stage.as_("analyst")
    now = datetime.now(UTC)
    span = {
        "from": (now - timedelta(days=1)).isoformat(),
        "to": (now + timedelta(days=1)).isoformat(),
    }
    _until(lambda: any(row["accepted"] for row in graph.data(RESULTS, **span)["actionResults"]))
    table = _table("action", "channel", "ranked", "shown", "clicked", "yes", "no", "yes of shown")
    for row in graph.data(RESULTS, **span)["actionResults"]:
        counts = ("decided", "presented", "clicked", "accepted", "rejected")
        numbers = (str(row[count]) for count in counts)
        table.add_row(row["action"], row["channel"], *numbers, _interval(row["acceptanceRate"]))
    stage.console.print(table)
    stage.console.print("  In brackets: where the true rate lies, with 95% confidence.")


def _interval(rate: dict[str, Any]) -> str:
    if rate["estimate"] is None:
        return "–"
    return f"{rate['estimate']:.0%} ({rate['low']:.0%}–{rate['high']:.0%})"


# --- asking and showing -----------------------------------------------------------------------


def _ref(type: str, value: str) -> dict[str, Any]:
    return {"identity": {"type": type, "value": value}}


def _offers(graph: Graph, customer: dict[str, Any], channel: str, placement: str) -> dict[str, Any]:
    data = graph.data(OFFERS, customer=customer, channel=channel, placement=placement)
    decision: dict[str, Any] = data["nextBestActions"]
    return decision


def _customer(graph: Graph, ref: dict[str, Any]) -> dict[str, Any]:
    customer: dict[str, Any] = graph.data(JOURNEYS, ref=ref)["customer"]
    return customer


def _track(
    stage: Stage, who: str, event: str, properties: dict[str, Any], *, known: bool = False
) -> None:
    """A Segment track call, as a page or an app sends it."""
    call = {"userId" if known else "anonymousId": who, "event": event, "properties": properties}
    _send_call(stage, "track", call)


def _send_call(stage: Stage, name: str, call: dict[str, Any]) -> None:
    moment = datetime.now(UTC).isoformat()
    response = httpx.post(
        f"{stage.url}/v1/{name}",
        auth=(stage.write_key, ""),
        json={"messageId": str(uuid4()), "timestamp": moment, **call},
        trust_env=False,
    )
    response.raise_for_status()


def _record(
    graph: Graph, proposition: dict[str, Any], kind: str, reason: str | None = None
) -> None:
    key = f"{proposition['id']}-{kind}"
    given = {"proposition": proposition["id"], "kind": kind, "idempotencyKey": key}
    graph.data(OUTCOME, input=given | ({"reason": reason} if reason else {}))


def _until_considered(
    stage: Stage, ref: dict[str, Any], action: str, channel: str, placement: str
) -> None:
    """Return when decision has heard enough of a customer for an action to pass its rules.

    Asked by `whyNot`, which decides nothing and leaves no trace in the results.
    """
    graph = stage.as_("agent")
    asked = {"ref": ref, "action": action, "channel": channel, "placement": placement}

    def considered() -> bool:
        customer = graph.data(WHY_NOT, **asked)["customer"]
        return customer is not None and customer["whyNot"]["stage"] in PASSED_THE_RULES

    _until(considered)


def _until(holds: Callable[[], object]) -> None:
    """Return as soon as something holds: an event takes some milliseconds to reach decision."""
    give_up = time.monotonic() + SETTLED_S
    while not holds():
        if time.monotonic() > give_up:
            raise NotSettled(
                f"What was sent did not arrive everywhere within {SETTLED_S} s.",
                hint="Look at the logs, and at `raak dead-letters list`.",
            )
        time.sleep(0.02)


def _table(*columns: str, title: str | None = None) -> Table:
    """A table without a frame, so that it fits a terminal of eighty columns."""
    table = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.columns[0].no_wrap = columns[0] != "rank"
    return table


def _print_offers(stage: Stage, decision: dict[str, Any]) -> None:
    table = _table("rank", "action", "why", "chance", "value", "score")
    for p in decision["propositions"]:
        table.add_row(
            str(p["rank"]),
            p["action"]["name"],
            p["reason"],
            f"{p['propensity']:.1%}",
            f"{p['value']['cents'] / 100:.2f}",
            f"{p['score']:.1f}",
        )
    stage.console.print(table)
    for word in ("degraded", "controlGroup"):
        if decision[word]:
            stage.console.print(f"  {word}: {decision[word]}")


def _print_trace(stage: Stage, decision: dict[str, Any], only: str | None = None) -> None:
    table = _table("action", "fell out at", "because", title="Why not the others")
    for row in decision["trace"]:
        if row["rank"] is None and only in (None, row["action"]["key"]):
            failed = "; ".join(f"{f['condition']} (saw {f['seen']})" for f in row["failed"])
            table.add_row(row["action"]["key"], row["stage"], failed)
    stage.console.print(table)


def _print_journeys(stage: Stage, customer: dict[str, Any]) -> None:
    table = _table("journey", "step", "phase", "since")
    for journey in customer["journeys"]:
        since = datetime.fromisoformat(journey["since"])
        table.add_row(journey["journey"], journey["step"], journey["phase"], f"{since:%H:%M:%S}")
    stage.console.print(table)
    for message in customer["inbox"]:
        stage.console.print(f"  in the inbox ({message['channel']}): {message['content']}")
