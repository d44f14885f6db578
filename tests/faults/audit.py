"""What must hold of a whole Raak when it has come to rest, whatever happened before.

Every rule compares what two stores know, or a store and a sender's ledger, and tells what is
missing, doubled or different. Rules that need no ledger look at everything there is.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import nats
from nats.js import JetStreamManager
from nats.js.errors import NotFoundError

from infra.processes import SERVICES
from services.chassis.epochs import stamp_sql
from services.chassis.streams import DEAD_LETTERS
from tests.faults.load import Client, Ledger, Refused
from tests.stack import Stack
from tests.waiting import until

WELL_AGAIN_S = 300
"""How soon after a fault's end everything holds again, on however busy a machine."""

QUOTED = 5
EXPLAINED = 'd{}: decision(id: "{}") {{ id trace {{ stage }} }}'
AT_ONCE = 10  # fields of one operation that the gateway allows

Rule = Callable[["Books", Ledger], AsyncIterator[str]]


class Books:
    """The databases of the four services, the bus, and the graph, open to be looked into."""

    def __init__(
        self,
        raak: Stack,
        client: Client,
        databases: "dict[str, asyncpg.Connection[asyncpg.Record]]",
        jetstream: JetStreamManager,
    ) -> None:
        self.raak = raak
        self.client = client
        self.jetstream = jetstream
        self._databases = databases

    async def column(self, service: str, query: str, *parameters: Any) -> list[Any]:
        """The values of a query's only column."""
        return [row[0] for row in await self._databases[service].fetch(query, *parameters)]

    async def rows(self, service: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return [tuple(row) for row in await self._databases[service].fetch(query, *parameters)]


@asynccontextmanager
async def opened(raak: Stack, client: Client) -> AsyncIterator[Books]:
    """Open the books of a running Raak."""
    async with AsyncExitStack() as stack:
        databases = {}
        for service in SERVICES:
            connection = await asyncpg.connect(f"{raak.instance.postgres_url}/raak_{service}")
            stack.push_async_callback(connection.close)
            databases[service] = connection
        bus = await nats.connect(raak.instance.nats_url)
        stack.push_async_callback(bus.close)
        yield Books(raak, client, databases, bus.jsm())


async def at_rest(raak: Stack, client: Client, ledger: Ledger) -> None:
    """Return when all rules hold; fail with what they found if that takes longer."""
    found: list[str] = []
    async with opened(raak, client) as books:

        async def all_rules_hold() -> bool:
            found[:] = await findings(books, ledger)
            return not found

        try:
            await until(all_rules_hold, WELL_AGAIN_S, every_s=0.3)
        except TimeoutError:
            raise AssertionError("\n".join(found)) from None


async def findings(books: Books, ledger: Ledger) -> list[str]:
    """Everything that does not hold; nothing, when all is well and at rest."""
    return [found for rule in RULES for found in [f async for f in rule(books, ledger)]]


def differences(what: str, expected: Iterable[Hashable], found: Iterable[Hashable]) -> list[str]:
    """What is missing from the things found, and what is there once too often."""
    wanted, got = Counter(expected), Counter(found)
    findings = []
    for word, odd in (("missing", wanted - got), ("too many", got - wanted)):
        if odd:
            some = ", ".join(str(one) for one in list(odd)[:QUOTED])
            findings.append(f"{what}: {odd.total()} {word}, such as {some}")
    return findings


# --- at rest --------------------------------------------------------------------------------


async def everybody_runs(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    """Nobody died of another's fault, and all say they are ready."""
    for name, process in books.raak.processes.items():
        if process.status() is not None or not process.ready():
            yield f"{name} is not ready, status {process.status()}"


async def nothing_is_under_way(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    """All outboxes are empty, and every consumer has acknowledged everything."""
    for service in SERVICES:
        if waiting := (await books.column(service, "SELECT count(*) FROM outbox"))[0]:
            yield f"{waiting} events wait in the outbox of {service}"
        if unheard := (await books.column(service, "SELECT count(*) FROM relayed"))[0]:
            yield f"{unheard} events of {service} are kept until somebody has heard them"
        telling = "SELECT count(*) FROM resync WHERE finished_at IS NULL"
        if (await books.column(service, telling))[0]:
            yield f"{service} is telling again what it holds"
    for stream in await books.jetstream.streams_info():
        assert stream.config.name
        for consumer in await books.jetstream.consumers_info(stream.config.name):
            if waiting := (consumer.num_pending or 0) + (consumer.num_ack_pending or 0):
                yield f"{waiting} events are under way to {consumer.name}"


async def check_no_event_was_dropped(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    """No fault makes a dead letter of an event."""
    try:
        state = (await books.jetstream.stream_info(DEAD_LETTERS)).state
    except NotFoundError:
        yield "there is no stream for dead letters"
        return
    if state.messages:
        yield f"{state.messages} dead letters"


# --- events ---------------------------------------------------------------------------------


async def every_event_is_recorded_once(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    recorded = await books.column(
        "profile", "SELECT message_id FROM event WHERE message_id = ANY($1)", list(ledger.events)
    )
    for found in differences("acknowledged events in profile", ledger.events, recorded):
        yield found


async def every_event_counts_in_its_customer(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    """The series of all customers hold as many orders as their events say."""
    ordered = await books.rows(
        "profile",
        "SELECT customer_id, count(*) FROM event WHERE name = 'order_completed' GROUP BY 1",
    )
    counted = await books.rows(
        "profile",
        """
        SELECT customer_id, (series -> '"order_completed"' ->> 'count')::int AS orders
        FROM customer
        WHERE merged_into IS NULL AND (series -> '"order_completed"' ->> 'count')::int > 0
        """,
    )
    for found in differences("orders counted per customer", ordered, counted):
        yield found


async def everybody_knows_the_latest_snapshot(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    """Decision and journey hold the version profile has, and decision what is in it."""
    is_ = f"""SELECT customer_id, {stamp_sql("version")},
        coalesce((series -> '"order_completed"' ->> 'count'), '')
        FROM customer WHERE merged_into IS NULL"""
    held = """SELECT customer_id, version,
        coalesce((facts -> 'series' -> '"order_completed"' ->> 'count'), '')
        FROM customer_snapshot"""
    latest = await books.rows("profile", is_)
    for found in differences("snapshots in decision", latest, await books.rows("decision", held)):
        yield found
    versions = [(customer, version) for customer, version, _ in latest]
    held = "SELECT customer_id, version FROM customer WHERE merged_into IS NULL"
    for found in differences("snapshots in journey", versions, await books.rows("journey", held)):
        yield found


async def everybody_heeds_the_last_word(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    """Whether a person may be spoken to: the same for all who ask, and the latest word."""
    who = dict(
        await books.rows(
            "profile",
            """SELECT customer_id, identity_value FROM identity
            WHERE identity_type = 'user_id' AND identity_value = ANY($1)""",
            list(ledger.consents),
        )
    )
    held = {
        "decision": "SELECT customer_id, facts -> 'consents' ->> $2 FROM customer_snapshot",
        "journey": "SELECT customer_id, snapshot -> 'consents' ->> $2 FROM customer",
    }
    wanted = [(person, str(parameters).lower()) for person, parameters in ledger.consents.items()]
    for service, query in held.items():
        rows = await books.rows(
            service, f"{query} WHERE customer_id = ANY($1)", list(who), "personalisation"
        )
        heeded = [(who[customer], parameters) for customer, parameters in rows]
        for found in differences(f"consents in {service}", wanted, heeded):
            yield found


async def every_order_began_one_run(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    begun = await books.column(
        "journey", "SELECT key FROM run WHERE key = ANY($1)", list(ledger.orders)
    )
    for found in differences("runs of orders", ledger.orders, begun):
        yield found


async def every_alarm_went_off_once(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    """Whether its timer was due before, in or after the fault."""
    gone_off = await books.column(
        "journey",
        "SELECT run.key FROM run JOIN message USING (run_id) WHERE run.key = ANY($1)",
        list(ledger.alarms),
    )
    for found in differences("alarms gone off", ledger.alarms, gone_off):
        yield found


# --- decisions and outcomes -----------------------------------------------------------------


async def every_decision_can_be_explained(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    answered = sorted(ledger.decisions)
    for start in range(0, len(answered), AT_ONCE):
        some = answered[start : start + AT_ONCE]
        fields = " ".join(EXPLAINED.format(n, one) for n, one in enumerate(some))
        try:
            stored = (await books.client.ask(f"{{ {fields} }}")).values()
        except Refused as refusal:  # over a connection to a gateway that has died, say
            yield f"asking for decisions is refused: {refusal}"
            return
        explained = [decision["id"] for decision in stored if decision and decision["trace"]]
        for found in differences("decisions with their trace", some, explained):
            yield found


async def every_outcome_is_recorded_once(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    """Under one id, however often it was reported."""
    findings = [(key, one) for key, answered in ledger.outcomes.items() for one in answered]
    stored = await books.rows(
        "decision",
        """
        SELECT key, outcome_id::text FROM outcome_key JOIN outcome USING (outcome_id)
        WHERE key = ANY($1)
        """,
        list(ledger.outcomes),
    )
    for found in differences("outcomes of idempotency keys", findings, stored):
        yield found


async def the_model_counts_every_outcome_once(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    happened = await books.rows(
        "decision",
        """
        SELECT action, channel, treatment, count(DISTINCT (decision_id, rank)),
            count(DISTINCT (decision_id, rank)) FILTER (WHERE kind IN ('ACCEPTED', 'CONVERTED'))
        FROM outcome GROUP BY 1, 2, 3
        """,
    )
    learned = await books.rows(
        "decision", "SELECT action, channel, treatment, presented, positives FROM arm_tally"
    )
    for found in differences("counts of the model", happened, learned):
        yield found


async def outcomes_are_events_of_the_customer(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    recorded = await books.column("profile", "SELECT message_id FROM event WHERE kind = 'outcome'")
    outcomes = await books.column("decision", "SELECT outcome_id::text FROM outcome")
    for found in differences("outcomes in profile", outcomes, recorded):
        yield found


async def check_measurement_has_everything_once(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    sources = {
        "DECISION": ("decision", "SELECT decision_id FROM decision"),
        "OUTCOME": ("decision", "SELECT outcome_id FROM outcome"),
        "MESSAGE": ("journey", "SELECT message_id FROM message"),
        "CONVERSION": ("profile", "SELECT event_id FROM event WHERE name = 'order_completed'"),
    }
    for kind, (service, query) in sources.items():
        recorded = await books.column(
            "measurement", "SELECT touchpoint_id FROM touchpoint WHERE kind = $1", kind
        )
        for found in differences(
            f"touchpoints {kind}", await books.column(service, query), recorded
        ):
            yield found


async def the_results_count_everything_once(books: Books, ledger: Ledger) -> AsyncIterator[str]:
    decided = await books.column(
        "decision", "SELECT coalesce(sum(json_array_length(propositions)), 0) FROM decision"
    )
    reacted = await books.rows(
        "decision",
        """
        SELECT count(DISTINCT (decision_id, rank)),
            count(DISTINCT (decision_id, rank)) FILTER (WHERE kind = 'CLICKED'),
            count(DISTINCT (decision_id, rank)) FILTER (WHERE kind = 'ACCEPTED')
        FROM outcome
        """,
    )
    counted = await books.rows(
        "measurement",
        """
        SELECT coalesce(sum(decided), 0), coalesce(sum(presented), 0), coalesce(sum(clicked), 0),
            coalesce(sum(accepted), 0)
        FROM daily_count
        """,
    )
    expected = [(decided[0], *reacted[0])]
    for found in differences("decided, presented, clicked, accepted", expected, counted):
        yield found


RULES: tuple[Rule, ...] = (
    everybody_runs,
    nothing_is_under_way,
    check_no_event_was_dropped,
    every_event_is_recorded_once,
    every_event_counts_in_its_customer,
    everybody_knows_the_latest_snapshot,
    everybody_heeds_the_last_word,
    every_order_began_one_run,
    every_alarm_went_off_once,
    every_decision_can_be_explained,
    every_outcome_is_recorded_once,
    the_model_counts_every_outcome_once,
    outcomes_are_events_of_the_customer,
    check_measurement_has_everything_once,
    the_results_count_everything_once,
)
