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
from gateway.graphql_http.persisted_operations import PersistedOperations
from gateway.live.activity import ACTIVITY_KINDS, Activity, CustomerDiff
from gateway.live.customer_watch import CustomerWatch, WatchedCustomer
from gateway.live.operation_stream import OperationStreams
from gateway.live.subgraph import LiveSubgraph
from gateway.schema_source import read_subgraphs
from gateway.supergraph import NotIdempotentInSubscription, RoutingTransport, compose, plan_document
from services.chassis.errors import UnknownCustomer
from services.chassis.graphql_http.request import read_parameters
from services.chassis.masking import MASK, Masking
from services.chassis.principal import Principal
from services.contracts.base import Event
from services.contracts.decision import OutcomeRecorded
from services.contracts.enums import Role
from services.contracts.journey import InstanceEnded, MessageDue, StepEntered
from services.contracts.profile import EventRecorded
from tests.callers import ROLES, caller
from tests.unit.gateway.clock import Clock
from tests.unit.gateway.live.events import ANN, AT, EVENTS, changed, recorded
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
FIELDS: Mapping[str, dict[str, Any]] = {
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
"""What an activity has besides what all have, by kind; MERGED has ids of its own."""


class FakeFeed:
    """A feed of activities that are there already; it notes which customers are watched."""

    def __init__(self, *activities: Activity) -> None:
        self._activities = activities
        self.watched: set[UUID] = set()
        self.needs_proof = False

    @asynccontextmanager
    async def watch(
        self, customer_id: UUID, *, follows_unproved: bool
    ) -> AsyncIterator[CustomerWatch]:
        self.needs_proof = not follows_unproved
        self.watched.add(customer_id)
        watch = CustomerWatch(WatchedCustomer(customer_id), 100)
        for activity in self._activities:
            watch.put(activity)
        try:
            yield watch
        finally:
            self.watched.discard(customer_id)


async def find_ann(principal: Principal, ref: dict[str, Any]) -> UUID:
    """Every reference is to Ann."""
    return ANN


def activity(event: Event, content: Event | CustomerDiff | None = None) -> Activity:
    return Activity(
        event.event_id, event.occurred_at, ACTIVITY_KINDS[type(event)], ANN, content or event
    )


def headers(role: Role = Role.AGENT) -> dict[str, str]:
    return read_headers(caller(role))


def read_headers(principal: Principal) -> dict[str, str]:
    """What the gateway sends with requests of a caller."""
    return {"Authorization": ServiceTokens(KEY).authorization(principal, "live")}


def body(query: str = QUERY) -> bytes:
    return orjson.dumps({"query": query, "variables": {"ref": {"id": str(ANN)}}})


async def first(live: LiveSubgraph, query: str = QUERY, role: Role = Role.AGENT) -> dict[str, Any]:
    async with live.stream("live", body(query), headers(role)) as answers:
        return await anext(aiter(answers))


def live_with(*activities: Activity, find: Any = find_ann) -> LiveSubgraph:
    return LiveSubgraph(FakeFeed(*activities), find)  # type: ignore[arg-type]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
async def test_each_event_is_sent_in_the_words_of_the_graph(event: Event) -> None:
    content = CustomerDiff(traits=("town",)) if event.compacted else event

    answer = await first(live_with(activity(event, content)))

    fields = {k: v for k, v in answer["data"]["customerActivity"].items() if v is not None}
    kind = fields.pop("kind")
    assert fields.pop("customer") == {"id": str(ANN)}
    assert (fields.pop("id"), fields.pop("at")) == (str(event.event_id), AT.isoformat())
    assert kind == ACTIVITY_KINDS[type(event)].value
    if kind == "MERGED":
        assert fields["merge"]["intoCustomer"] == {"id": str(ANN)}
    else:
        assert fields == FIELDS[kind]


async def test_activities_are_sent_in_order() -> None:
    live = live_with(*(activity(recorded(name)) for name in ("a", "b", "c")))

    async with live.stream("live", body(), headers()) as answers:
        received = [await anext(aiter(answers)) for _ in range(3)]

    names = [answer["data"]["customerActivity"]["event"]["name"] for answer in received]
    assert names == ["a", "b", "c"]


@pytest.mark.parametrize(("role", "needed"), [(Role.VISITOR, True), (Role.AGENT, False)])
async def test_only_staff_follows_a_merge_that_nobody_proved(role: Role, needed: bool) -> None:
    feed = FakeFeed(activity(recorded()))
    live = LiveSubgraph(feed, find_ann)  # type: ignore[arg-type]

    async with live.stream("live", body(), headers(role)) as answers:
        await anext(aiter(answers))

    assert feed.needs_proof is needed


async def test_leaving_the_stream_ends_the_watch() -> None:
    feed = FakeFeed(activity(recorded()))
    live = LiveSubgraph(feed, find_ann)  # type: ignore[arg-type]

    async with live.stream("live", body(), headers()) as answers:
        await anext(aiter(answers))
        watched = set(feed.watched)

    assert watched == {ANN}
    assert feed.watched == set()


async def test_an_unknown_customer_cannot_be_watched() -> None:
    async def nobody(principal: Principal, ref: dict[str, Any]) -> UUID:
        raise UnknownCustomer("There is no such customer.", hint="Look again.")

    answer = await first(live_with(find=nobody))

    assert answer["data"] is None
    assert answer["errors"][0]["extensions"]["code"] == "UNKNOWN_CUSTOMER"


async def test_a_failure_of_ours_is_masked() -> None:
    async def broken(principal: Principal, ref: dict[str, Any]) -> UUID:
        raise RuntimeError("secret")

    answer = await first(live_with(find=broken))

    assert answer["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert "secret" not in str(answer)


async def test_a_customer_does_not_get_their_journeys_or_what_an_agent_noted() -> None:
    live = live_with(*(activity(event) for event in EVENTS if not event.compacted))

    async with live.stream("live", body(), headers(Role.VISITOR)) as answers:
        received = [await anext(aiter(answers)) for _ in range(len(EVENTS) - 1)]

    activities = [answer["data"]["customerActivity"] for answer in received]
    assert all(one["journey"] is None and one["merge"] is None for one in activities)
    (outcome,) = [one["outcome"] for one in activities if one["outcome"]]
    assert outcome["reason"] is None
    assert outcome["action"] == {"key": "jazz_weeks"}


SECRET = "ann@example.com"
PROPERTIES = {"email": "2002", "note": [f"of {SECRET}"], "town": "Delft"}


def identifying(event: Event) -> Event:
    """The event, with what identifies a customer wherever free text may stand."""
    changes: dict[str, Any] = {"reason": f"as {SECRET} wished"} if hasattr(event, "reason") else {}
    if isinstance(event, EventRecorded):
        changes |= {"name": f"looked {SECRET}", "properties": PROPERTIES}
    if isinstance(event, StepEntered | InstanceEnded | MessageDue):
        changes["state"] = event.state.model_copy(update={"key": "2002"})
    if isinstance(event, MessageDue):
        changes["content"] = {"title": "Dear Ann", "of": f"{SECRET} 2002"}
    return event.model_copy(update=changes)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
async def test_a_caller_that_may_not_read_identities_gets_what_happens_and_not_to_whom(
    event: Event,
) -> None:
    content = CustomerDiff(traits=("email",)) if event.compacted else identifying(event)
    live = live_with(activity(event, content))

    masked = str(await first(live, role=Role.MARKETER))
    plain = str(await first(live))

    assert not [secret for secret in (SECRET, "2002", "Dear Ann") if secret in masked]
    if isinstance(event, EventRecorded | OutcomeRecorded | InstanceEnded | MessageDue):
        assert SECRET in plain
        assert MASK in masked
    assert ("Delft" in masked) == isinstance(event, EventRecorded)


async def test_an_operator_s_further_names_are_masked_and_a_customer_gets_all_of_their_own() -> (
    None
):
    event = identifying(next(one for one in EVENTS if isinstance(one, EventRecorded)))
    feed = FakeFeed(activity(event, event))
    live = LiveSubgraph(feed, find_ann, Masking(frozenset({"town"})))  # type: ignore[arg-type]

    assert "Delft" not in str(await first(live, role=Role.MARKETER))
    assert "Delft" in str(await first(live, role=Role.APP))


async def test_without_the_scope_to_read_customers_nothing_is_watched() -> None:
    nobody = read_headers(Principal(Role.AGENT, "tester"))
    feed = FakeFeed(activity(recorded()))
    live = LiveSubgraph(feed, find_ann)  # type: ignore[arg-type]

    async with live.stream("live", body(), nobody) as answers:
        answer = await anext(aiter(answers))

    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHORIZED_FIELD_OR_TYPE"
    assert feed.watched == set()


async def test_a_subscription_beyond_the_rate_is_slowed_and_then_ends_with_the_reason() -> None:
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)

    rates = RateLimits(rate_per_s=1, burst=2)
    door = Admission(RateLimiter(rates, Clock()), LoadShedder(), Priorities.read(), sleep=sleep)
    live = live_with(*(activity(recorded(f"e{n}")) for n in range(20)))
    transport = RoutingTransport({"live": live}, InProcess())
    front = replace(
        graph(InProcess()),
        supergraph=compose(read_subgraphs()),
        roles=ROLES,
        transport=transport,
        admission=door,
    )
    watch = 'subscription { customerActivity(ref: {id: "1"}) { event { name } } }'
    parameters = read_parameters({"query": watch})
    operation = OperationStreams(lambda: front, PersistedOperations(OperationRegistry())).open(
        parameters, caller(Role.AGENT, "agnes"), may_change=True
    )

    answers = [answer async for answer in operation.execute()]

    *activities, last = answers
    names = [answer["data"]["customerActivity"]["event"]["name"] for answer in activities]
    assert names[:2] == ["e0", "e1"]
    assert naps == sorted(naps)
    assert max(naps) <= 5
    [error] = last["errors"]
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert "events of this subscription" in error["message"]
    assert error["extensions"]["retryAfterMs"] > 5_000


def test_a_decision_is_refused_below_a_subscription() -> None:
    decide = 'nextBestActions(channel: WEB, placement: "home") { id }'
    supergraph = compose(read_subgraphs())
    watch = 'subscription { customerActivity(ref: {id: "1"}) { customer { %s } } }'

    with pytest.raises(NotIdempotentInSubscription, match=r"Customer\.nextBestActions"):
        plan_document(supergraph, watch % decide)
    assert plan_document(supergraph, watch % "traits { value } decisions { edges { node { id } } }")
    assert plan_document(supergraph, f'{{ customer(ref: {{id: "1"}}) {{ {decide} }} }}')


async def test_it_answers_with_its_sdl_as_any_subgraph_does() -> None:
    request = orjson.dumps({"query": "{ _service { sdl } }"})

    reply = await live_with().fetch("live", request, headers(), is_idempotent=True)

    assert "customerActivity" in orjson.loads(reply.body)["data"]["_service"]["sdl"]


async def test_a_snapshot_is_never_sent_whole() -> None:
    change = activity(changed(2, town="Delft"), CustomerDiff(traits=("town",)))

    assert "Delft" not in str(await first(live_with(change)))
