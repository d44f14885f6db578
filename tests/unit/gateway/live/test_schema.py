"""What the subgraph `live` answers: each event in the words of the graph, and nothing of others."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson
import pytest

from gateway.access.authentication.service_tokens import ServiceTokens
from gateway.access.limits.load_shedding import Admission, LoadShedder, Priorities
from gateway.access.limits.rate_limits import RateLimiter, RateLimits
from gateway.access.limits.registered_operations import OperationRegistry
from gateway.graphql_http.documents import Documents
from gateway.live.activity import KINDS, Activity, Changes
from gateway.live.answering import Answering
from gateway.live.subgraph import LiveSubgraph, UnknownCustomer
from gateway.live.watch import Topic, Watch
from gateway.schema_source import read_subgraphs
from gateway.supergraph import NotIdempotentBelowEvents, PlanCache, Transports, compose
from services.chassis.graphql_http import read_parameters
from services.chassis.masking import MASK, Masking
from services.chassis.principal import Principal
from services.contracts.base import Event
from services.contracts.decision import OutcomeRecorded
from services.contracts.journey import InstanceEnded, MessageDue, StepEntered
from services.contracts.profile import EventRecorded
from services.contracts.words import Role
from tests.callers import ROLES, caller
from tests.unit.gateway.clock import Clock
from tests.unit.gateway.live.happenings import ANN, AT, HAPPENINGS, changed, recorded
from tests.unit.gateway.small_graph import KEY, InProcess, graph

QUERY = """
subscription($ref: CustomerRef!) { customerActivity(ref: $ref) {
  id at kind customer { id }
  event { name properties }
  changes { traits consents segmentsEntered segmentsLeft identities }
  merge { id fromCustomer intoCustomer { id } reason }
  decision { id }
  outcome { id proposition kind action { key } treatment channel placement reason
    value { cents currency } }
  journey { instance journey version key step phase endReason }
  message { id channel template content }
} }
"""
JOURNEY = {
    "instance": str(UUID(int=3)),
    "journey": "welcome",
    "version": 2,
    "key": "order-1",
    "step": "wait",
    "phase": "orientation",
    "endReason": None,
}
DECISION = {"id": str(UUID(int=0xD))}
TOLD: Mapping[str, dict[str, Any]] = {
    "EVENT": {"event": {"name": "Cart Viewed", "properties": {"price": 20}}},
    "PROFILE_CHANGED": {
        "changes": {
            "traits": ["town"],
            "consents": [],
            "segmentsEntered": [],
            "segmentsLeft": [],
            "identities": [],
        }
    },
    "DECISION": {"decision": DECISION},
    "OUTCOME": {
        "decision": DECISION,
        "outcome": {
            "id": str(UUID(int=1)),
            "proposition": str(UUID(int=2)),
            "kind": "ACCEPTED",
            "action": {"key": "jazz_weeks"},
            "treatment": "jazz_banner",
            "channel": "WEB",
            "placement": "home",
            "reason": "liked it",
            "value": {"cents": 500, "currency": "EUR"},
        },
    },
    "JOURNEY_STEP": {"journey": JOURNEY},
    "JOURNEY_ENDED": {"journey": JOURNEY | {"endReason": "bought"}},
    "MESSAGE": {
        "journey": JOURNEY,
        "message": {
            "id": str(UUID(int=4)),
            "channel": "EMAIL",
            "template": "hello",
            "content": {"title": "Hi"},
        },
    },
}
"""What is told beside what every activity has, by kind; MERGED has ids of its own."""


class Ear:
    """A feed that has heard some things already, and notes who was listened for."""

    def __init__(self, *heard: Activity) -> None:
        self._heard = heard
        self.listening: set[UUID] = set()
        self.proof_needed = False

    @asynccontextmanager
    async def watching(self, customer_id: UUID, *, follows_unproved: bool) -> AsyncIterator[Watch]:
        self.proof_needed = not follows_unproved
        self.listening.add(customer_id)
        watch = Watch(Topic(customer_id), 100)
        for activity in self._heard:
            watch.tell(activity)
        try:
            yield watch
        finally:
            self.listening.discard(customer_id)


async def ann(asking: Principal, ref: dict[str, Any]) -> UUID:
    """Who is meant is always Ann."""
    return ANN


def activity(event: Event, fact: Event | Changes | None = None) -> Activity:
    return Activity(event.event_id, event.occurred_at, KINDS[type(event)], ANN, fact or event)


def headers(role: Role = Role.AGENT) -> dict[str, str]:
    return headers_of(caller(role))


def headers_of(principal: Principal) -> dict[str, str]:
    """What the gateway sends with requests of a caller."""
    return {"Authorization": ServiceTokens(KEY).authorization(principal, "live")}


def body(query: str = QUERY) -> bytes:
    return orjson.dumps({"query": query, "variables": {"ref": {"id": str(ANN)}}})


async def first(live: LiveSubgraph, query: str = QUERY, role: Role = Role.AGENT) -> dict[str, Any]:
    async with live.stream("live", body(query), headers(role)) as answers:
        return await anext(aiter(answers))


def live_with(*heard: Activity, find: Any = ann) -> LiveSubgraph:
    return LiveSubgraph(Ear(*heard), find)  # type: ignore[arg-type]


@pytest.mark.parametrize("event", HAPPENINGS, ids=lambda event: type(event).__name__)
async def test_each_event_is_told_in_the_words_of_the_graph(event: Event) -> None:
    fact = Changes(traits=("town",)) if event.compacted else event

    answer = await first(live_with(activity(event, fact)))

    told = {k: v for k, v in answer["data"]["customerActivity"].items() if v is not None}
    kind = told.pop("kind")
    assert told.pop("customer") == {"id": str(ANN)}
    assert (told.pop("id"), told.pop("at")) == (str(event.event_id), AT.isoformat())
    assert kind == KINDS[type(event)].value
    if kind == "MERGED":
        assert told["merge"]["intoCustomer"] == {"id": str(ANN)}
    else:
        assert told == TOLD[kind]


async def test_everything_heard_is_told_in_order() -> None:
    live = live_with(*(activity(recorded(name)) for name in ("a", "b", "c")))

    async with live.stream("live", body(), headers()) as answers:
        told = [await anext(aiter(answers)) for _ in range(3)]

    names = [answer["data"]["customerActivity"]["event"]["name"] for answer in told]
    assert names == ["a", "b", "c"]


@pytest.mark.parametrize(("role", "needed"), [(Role.VISITOR, True), (Role.AGENT, False)])
async def test_only_staff_follows_whom_nobody_proved_to_be_the_same(
    role: Role, needed: bool
) -> None:
    ear = Ear(activity(recorded()))
    live = LiveSubgraph(ear, ann)  # type: ignore[arg-type]

    async with live.stream("live", body(), headers(role)) as answers:
        await anext(aiter(answers))

    assert ear.proof_needed is needed


async def test_leaving_the_stream_ends_the_listening() -> None:
    ear = Ear(activity(recorded()))
    live = LiveSubgraph(ear, ann)  # type: ignore[arg-type]

    async with live.stream("live", body(), headers()) as answers:
        await anext(aiter(answers))
        listened = set(ear.listening)

    assert listened == {ANN}
    assert ear.listening == set()


async def test_who_is_unknown_cannot_be_watched() -> None:
    async def nobody(asking: Principal, ref: dict[str, Any]) -> UUID:
        raise UnknownCustomer("There is no such customer.", hint="Look again.")

    answer = await first(live_with(find=nobody))

    assert answer["data"] is None
    assert answer["errors"][0]["extensions"]["code"] == "UNKNOWN_CUSTOMER"


async def test_a_failure_of_ours_is_masked() -> None:
    async def broken(asking: Principal, ref: dict[str, Any]) -> UUID:
        raise RuntimeError("secret")

    answer = await first(live_with(find=broken))

    assert answer["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert "secret" not in str(answer)


async def test_a_customer_is_not_shown_his_journeys_or_what_an_agent_noted() -> None:
    live = live_with(*(activity(event) for event in HAPPENINGS if not event.compacted))

    async with live.stream("live", body(), headers(Role.VISITOR)) as answers:
        told = [await anext(aiter(answers)) for _ in range(len(HAPPENINGS) - 1)]

    activities = [answer["data"]["customerActivity"] for answer in told]
    assert all(said["journey"] is None and said["merge"] is None for said in activities)
    (reacted,) = [said["outcome"] for said in activities if said["outcome"]]
    assert reacted["reason"] is None
    assert reacted["action"] == {"key": "jazz_weeks"}


SECRET = "ann@example.com"
SAID = {"email": "2002", "note": [f"of {SECRET}"], "town": "Delft"}


def telling(event: Event) -> Event:
    """The event, with what tells who somebody is wherever somebody's words may stand."""
    changes: dict[str, Any] = {"reason": f"as {SECRET} wished"} if hasattr(event, "reason") else {}
    if isinstance(event, EventRecorded):
        changes |= {"name": f"looked {SECRET}", "properties": SAID}
    if isinstance(event, StepEntered | InstanceEnded | MessageDue):
        changes["state"] = event.state.model_copy(update={"key": "2002"})
    if isinstance(event, MessageDue):
        changes["content"] = {"title": "Dear Ann", "of": f"{SECRET} 2002"}
    return event.model_copy(update=changes)


@pytest.mark.parametrize("event", HAPPENINGS, ids=lambda event: type(event).__name__)
async def test_who_may_not_read_identities_hears_what_happens_and_not_to_whom(
    event: Event,
) -> None:
    fact = Changes(traits=("email",)) if event.compacted else telling(event)
    live = live_with(activity(event, fact))

    hidden = str(await first(live, role=Role.MARKETER))
    shown = str(await first(live))

    assert not [secret for secret in (SECRET, "2002", "Dear Ann") if secret in hidden]
    if isinstance(event, EventRecorded | OutcomeRecorded | InstanceEnded | MessageDue):
        assert SECRET in shown
        assert MASK in hidden
    assert ("Delft" in hidden) == isinstance(event, EventRecorded)


async def test_an_operator_s_further_names_are_hidden_and_a_customer_hears_all_of_themselves() -> (
    None
):
    event = telling(next(one for one in HAPPENINGS if isinstance(one, EventRecorded)))
    ear = Ear(activity(event, event))
    live = LiveSubgraph(ear, ann, Masking.over(["town"]))  # type: ignore[arg-type]

    assert "Delft" not in str(await first(live, role=Role.MARKETER))
    assert "Delft" in str(await first(live, role=Role.APP))


async def test_without_the_scope_to_read_customers_nothing_is_watched() -> None:
    nobody = headers_of(Principal(Role.AGENT, "tester"))
    ear = Ear(activity(recorded()))
    live = LiveSubgraph(ear, ann)  # type: ignore[arg-type]

    async with live.stream("live", body(), nobody) as answers:
        answer = await anext(aiter(answers))

    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHORIZED_FIELD_OR_TYPE"
    assert ear.listening == set()


async def test_who_hears_more_than_may_be_asked_is_slowed_and_then_told_why_it_ends() -> None:
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)

    rates = RateLimits(rate_per_s=1, burst=2)
    door = Admission(RateLimiter(rates, Clock()), LoadShedder(), Priorities.read(), sleep=sleep)
    live = live_with(*(activity(recorded(f"e{n}")) for n in range(20)))
    transport = Transports({"live": live}, InProcess())
    front = replace(
        graph(InProcess()),
        supergraph=compose(read_subgraphs()),
        roles=ROLES,
        transport=transport,
        admission=door,
    )
    watch = 'subscription { customerActivity(ref: {id: "1"}) { event { name } } }'
    asked = read_parameters({"query": watch})
    operation = Answering(lambda: front, Documents(OperationRegistry())).open(
        asked, caller(Role.AGENT, "agnes"), may_change=True
    )

    answers = [answer async for answer in operation.answers()]

    *told, last = answers
    names = [answer["data"]["customerActivity"]["event"]["name"] for answer in told]
    assert names[:2] == ["e0", "e1"]
    assert naps == sorted(naps)
    assert max(naps) <= 5
    [error] = last["errors"]
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert "events of this subscription" in error["message"]
    assert error["extensions"]["retryAfterMs"] > 5_000


def test_a_decision_is_not_asked_for_by_each_event_it_would_be_itself() -> None:
    decide = 'nextBestActions(channel: WEB, placement: "home") { id }'
    cache = PlanCache(compose(read_subgraphs()))
    watch = 'subscription { customerActivity(ref: {id: "1"}) { customer { %s } } }'

    with pytest.raises(NotIdempotentBelowEvents, match=r"Customer\.nextBestActions"):
        cache.plan(watch % decide)
    assert cache.plan(watch % "traits { value } decisions { edges { node { id } } }")
    assert cache.plan(f'{{ customer(ref: {{id: "1"}}) {{ {decide} }} }}')


async def test_the_schema_is_told_as_of_any_subgraph() -> None:
    request = orjson.dumps({"query": "{ _service { sdl } }"})

    reply = await live_with().fetch("live", request, headers(), is_idempotent=True)

    assert "customerActivity" in orjson.loads(reply.body)["data"]["_service"]["sdl"]


async def test_a_snapshot_is_never_told_itself() -> None:
    told = activity(changed(2, town="Delft"), Changes(traits=("town",)))

    assert "Delft" not in str(await first(live_with(told)))
