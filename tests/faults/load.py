"""A small, seeded load on a Raak, and a ledger of what it acknowledged.

Senders do as the house asks of them: what was not acknowledged they send again, under the same
message id or idempotency key, until it is. Some send what was acknowledged once more, too.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

import aiohttp

from tests.stack import Stack

RATE = 25  # arrivals a second
HUNG_S = 14  # longer than any deadline of the house
PAUSE_S = 0.3  # before sending again

OFFERS = """
query($customer: CustomerRef!) {
  nextBestActions(customer: $customer, channel: WEB, placement: "home") {
    id propositions { id }
  }
}"""
OUTCOME = """
mutation($input: OutcomeInput!) { recordOutcome(input: $input) { id } }"""

CLEAR = frozenset(
    {
        "NOT_REACHED",
        "SUBGRAPH_UNAVAILABLE",
        "SUBGRAPH_TIMEOUT",
        "PROFILE_UNAVAILABLE",
        "CONCURRENT_UPDATE",
        "DATABASE_UNAVAILABLE",
        "DECISION_NOT_DURABLE",
        "OVERLOADED",
        "KEYS_UNKNOWN",
    }
)
"""What a refused caller may be told: each means that he had better try again shortly."""

IDENTITIES = {"userId": "user_id", "anonymousId": "anonymous_id"}
"""Segment's words for them, and ours."""

Json = dict[str, Any]


class Refused(Exception):
    """A call was not acknowledged; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Refusal(NamedTuple):
    """That a call was refused: `ingest`, `offers` or `outcome`, and why."""

    call: str
    code: str


@dataclass
class Ledger:
    """What was acknowledged, and what was refused in between."""

    events: set[str] = field(default_factory=set)
    """Message ids."""
    orders: set[str] = field(default_factory=set)
    """Order ids, each the key of a run of the journey after_purchase."""
    alarms: set[str] = field(default_factory=set)
    """Keys of runs of the journey that waits."""
    consents: dict[str, bool] = field(default_factory=dict)
    """User ids, each with the last word on personalisation."""
    decisions: set[str] = field(default_factory=set)
    outcomes: dict[str, set[str]] = field(default_factory=dict)
    """Idempotency keys, each with the ids of the outcome it was answered with: one, always."""
    refusals: Counter[Refusal] = field(default_factory=Counter)


class Client:
    """The public surfaces, as a shop's servers call them. Raises Refused, and nothing else."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._url = stack.instance.url
        self._sender = {"Authorization": aiohttp.encode_basic_auth(stack.stage.api_key)}
        self._agent = {"Authorization": f"Bearer {stack.token('agent')}"}

    async def send(self, calls: Sequence[Json]) -> None:
        """A batch of Segment calls, acknowledged when this returns."""
        status, answer = await self._post("/v1/batch", {"batch": calls}, headers=self._sender)
        if status != 200:
            raise Refused(answer.get("error", {}).get("code", str(status)))
        assert answer["rejected"] == []

    async def ask(self, query: str, **variables: Any) -> Json:
        """A GraphQL operation, answered without errors."""
        body = {"query": query, "variables": variables}
        _, answer = await self._post("/graphql", body, headers=self._agent)
        if answer.get("errors"):
            raise Refused(answer["errors"][0]["extensions"]["code"])
        data: Json = answer["data"]
        return data

    async def _post(self, path: str, body: Json, **more: Any) -> tuple[int, Json]:
        try:
            async with self._session.post(self._url + path, json=body, **more) as response:
                return response.status, await response.json()
        except TimeoutError:
            raise Refused("HUNG") from None
        except (aiohttp.ClientError, OSError):
            raise Refused("NOT_REACHED") from None


class Load:
    """Customers of one shop, identified by its name, who come and go as the seed says."""

    def __init__(self, client: Client, name: str, seed: int) -> None:
        self.ledger = Ledger()
        self.answered = asyncio.Event()
        """Set at every decision that is answered."""
        self._client = client
        self._random = Random(seed)
        self._people = [f"{name}-{n}" for n in range(24)]
        self._visitors = [f"{name}-visitor-{n}" for n in range(24)]
        self._name = name
        self._number = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._sent: list[list[Json]] = []
        self._doors = {self._shop: 12, self._look: 9, self._merge: 1, self._repeat: 3}

    async def introduce(self) -> None:
        """Make the people known, each with the consent that messages need."""
        await self.consent(True)

    async def consent(self, given: bool) -> None:
        """Have everybody say once more whether he may be spoken to."""
        await self._deliver([self._identify(person, given) for person in self._people])
        self.ledger.consents = dict.fromkeys(self._people, given)

    def mark(self) -> Callable[[], None]:
        """Note what is acknowledged by now; calling the answer forgets what was since."""
        kept = deepcopy(self.ledger)

        def back() -> None:
            self.ledger = kept

        return back

    def open(self, seconds: float) -> None:
        """Let customers come for so long, whether or not the ones before have been served."""
        self._start(self._arrive(seconds))

    async def served(self, within_s: float) -> None:
        """Return when all have come and everything was acknowledged; fail if that takes longer."""
        try:
            async with asyncio.timeout(within_s):
                for task in self._tasks:  # arrivals go on adding to it
                    await task
        except TimeoutError:
            raise AssertionError(f"not acknowledged in time: {self.ledger.refusals}") from None

    def close(self) -> None:
        """Send nothing any more."""
        for task in self._tasks:
            task.cancel()

    async def _arrive(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        for number in range(int(seconds * RATE)):
            await asyncio.sleep(begin + number / RATE - loop.time())
            [door] = self._random.choices(list(self._doors), list(self._doors.values()))
            self._start(door())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    # --- what customers do ------------------------------------------------------------------

    def _shop(self) -> Coroutine[Any, Any, None]:
        """One to four events of one customer, in one batch."""
        who = self._anyone()
        kinds = [self._order, self._alarm, self._view] if "userId" in who else [self._view]
        calls = [self._random.choice(kinds)(who) for _ in range(self._random.randint(1, 4))]
        self._sent.append(calls)
        return self._deliver(calls)

    def _repeat(self) -> Coroutine[Any, Any, None]:
        """Send once more what was sent before: acknowledged, refused or still under way."""
        return self._deliver(self._random.choice(self._sent)) if self._sent else self._shop()

    def _merge(self) -> Coroutine[Any, Any, None]:
        """Make a visitor known."""
        visitor = {"anonymousId": self._random.choice(self._visitors)}
        return self._deliver([self._identify(self._random.choice(self._people)) | visitor])

    def _look(self) -> Coroutine[Any, Any, None]:
        """Ask for offers, and report what becomes of some."""
        [(field, value)] = self._anyone().items()
        identity = {"type": IDENTITIES[field], "value": value}
        outcomes = self._random.choice([[], ["PRESENTED"], ["PRESENTED", "CLICKED", "ACCEPTED"]])
        return self._decide({"identity": identity}, outcomes)

    def _anyone(self) -> dict[str, str]:
        if self._random.random() < 0.7:
            return {"userId": self._random.choice(self._people)}
        return {"anonymousId": self._random.choice(self._visitors)}

    # --- calls ------------------------------------------------------------------------------

    def _order(self, who: Json) -> Json:
        order = self._next("order")
        properties = {"order_id": order, "total": 20, "currency": "USD"}
        return self._track(who, "order_completed", properties, order)

    def _alarm(self, who: Json) -> Json:
        alarm = self._next("alarm")
        return self._track(who, "alarm_set", {"alarm": alarm}, alarm)

    def _view(self, who: Json) -> Json:
        return self._track(who, "product_viewed", {"genre": "jazz"}, self._next("view"))

    @staticmethod
    def _track(who: Json, event: str, properties: Json, id: str) -> Json:
        call = {"type": "track", "event": event, "properties": properties, "messageId": id}
        return call | who

    def _identify(self, person: str, given: bool = True) -> Json:
        return {
            "type": "identify",
            "userId": person,
            "messageId": self._next("identify"),
            "traits": {"email": f"{person}@example.com"},
            "context": {"consent": {"categoryPreferences": {"personalisation": given}}},
        }

    def _next(self, what: str) -> str:
        self._number += 1
        return f"{self._name}-{what}-{self._number}"

    # --- senders ----------------------------------------------------------------------------

    async def _deliver(self, calls: list[Json]) -> None:
        await self._insist("ingest", lambda: self._client.send(calls))
        self.ledger.events |= {call["messageId"] for call in calls}
        self.ledger.orders |= _ids(calls, "order_completed")
        self.ledger.alarms |= _ids(calls, "alarm_set")

    async def _decide(self, customer: Json, outcomes: list[str]) -> None:
        """Ask once: who asks for offers does not ask again for the same moment."""
        try:
            answer = await self._client.ask(OFFERS, customer=customer)
        except Refused as refused:
            self._note("offers", refused)
            return
        decision = answer["nextBestActions"]
        self.ledger.decisions.add(decision["id"])
        self.answered.set()
        for proposition in decision["propositions"][:2]:
            for kind in outcomes:
                await self._report(proposition["id"], kind)

    async def _report(self, proposition: str, kind: str) -> None:
        """Report an outcome, and then once more, as a caller does who missed the answer."""
        key = f"{proposition} {kind}"
        said = {"proposition": proposition, "kind": kind, "idempotencyKey": key}
        for _ in range(2):
            answer = await self._insist("outcome", lambda: self._client.ask(OUTCOME, input=said))
            self.ledger.outcomes.setdefault(key, set()).add(answer["recordOutcome"]["id"])

    async def _insist(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Call until it is acknowledged."""
        while True:
            try:
                return await call()
            except Refused as refused:
                self._note(name, refused)
                await asyncio.sleep(PAUSE_S)

    def _note(self, call: str, refused: Refused) -> None:
        """Write a refusal down; fail when it does not say clearly that it is worth another try."""
        assert refused.code in CLEAR, f"{call} was refused: {refused.code}"
        self.ledger.refusals[Refusal(call, refused.code)] += 1


def _ids(calls: list[Json], event: str) -> set[str]:
    return {call["messageId"] for call in calls if call.get("event") == event}
