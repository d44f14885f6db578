"""Load shedding: what is judged a standing queue, what then is refused, and what never is."""

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncGenerator, Hashable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest
from graphql import GraphQLObjectType

from gateway.access.limits.load_shedding import (
    Admission,
    LoadShedder,
    LoadTuning,
    Priorities,
    WorkClass,
    Workload,
)
from gateway.access.limits.load_shedding.admission import NEW_OPERATION_COST
from gateway.access.limits.load_shedding.load_shedder import INTERVAL_S, LATE_FOR, SHED, Overloaded
from gateway.access.limits.load_shedding.workload import InvalidPriorities
from gateway.access.limits.rate_limits import RateLimited, RateLimiter, RateLimits
from gateway.app import read_subgraphs
from gateway.pipeline.request import GraphQLRequest
from gateway.supergraph import compose
from services.chassis.principal import Principal
from services.contracts.enums import Role
from tests.unit.gateway.clock import Clock
from tests.unit.gateway.small_graph import InProcess, graph

REPORT, DECISION, INGEST = (Workload(kind, kind.value) for kind in WorkClass)
STRICT = LoadTuning(queueing_target_ms=50, start=100, floor=8)


# --- classes --------------------------------------------------------------------------------------


def test_every_root_field_has_a_class_and_no_other_field_is_named() -> None:
    schema = compose(read_subgraphs()).schema
    roots = [schema.query_type, schema.mutation_type, schema.subscription_type]

    fields = {f"{root.name}.{name}" for root in roots if root for name in fields_of(root)}

    named = set(Priorities.read().classes)
    assert fields <= named
    assert {name for name in named - fields if not name.startswith("Subscription.")} == set()


def fields_of(type_: GraphQLObjectType) -> list[str]:
    return list(type_.fields)


def test_an_operation_is_what_the_least_of_its_fields_is() -> None:
    priorities = Priorities.read()

    assert priorities.classify({"Mutation.track", "Mutation.__typename"}).kind is WorkClass.INGEST
    assert priorities.classify({"Query.nextBestActions"}).kind is WorkClass.DECISIONS
    assert (
        priorities.classify({"Query.nextBestActions", "Query.segments"}).kind is WorkClass.REPORTING
    )
    assert priorities.classify({"Query.__schema"}).kind is WorkClass.REPORTING
    assert priorities.classify({"Query.never_heard_of"}).kind is WorkClass.REPORTING


@pytest.mark.parametrize("text", ["urgent: [Query.a]", "- a", "ingest: 1", "a: [", ""])
def test_a_file_of_priorities_that_cannot_be_read_says_how_to_write_one(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "priorities.yaml"
    file.write_text(text)

    with pytest.raises(InvalidPriorities, match="under reporting, decisions, ingest"):
        Priorities.read(file)


# --- one process with its services, in simulated time ---------------------------------------------


@dataclass
class House:
    """A service that works on `workers` requests at once, `service_s` each, in order of arrival."""

    load: LoadShedder
    workers: int = 4
    service_s: float = 0.02
    slow: dict[WorkClass, float] = field(default_factory=dict)
    """Classes with a service of their own that takes so long, however many ask."""
    lag_s: float = 0.0
    now: float = 0.0
    admitted: Counter[WorkClass] = field(default_factory=Counter)
    shed: Counter[WorkClass] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def run(self, seconds: float, per_s: dict[Workload, float], seed: int = 1) -> "House":
        """Send requests at random moments, so many a second of each kind."""
        self.admitted, self.shed, self.latencies = Counter(), Counter(), []
        events = self._arrivals(seconds, per_s, Random(seed))
        events += [
            (self.now + n * INTERVAL_S, -n, None, 0.0) for n in range(1, int(seconds / INTERVAL_S))
        ]
        heapq.heapify(events)
        free = [self.now] * self.workers
        while events:
            self.now, order, work, entered = heapq.heappop(events)
            if work is None:
                self.load.judge(self.lag_s)
            elif order < 0:
                self.load.leave(work, entered, is_whole=True)
                self.latencies.append(self.now - entered)
            else:
                self._arrive(work, order, events, free)
        return self

    def _arrivals(
        self, seconds: float, per_s: dict[Workload, float], random: Random
    ) -> list[tuple[float, int, Workload | None, float]]:
        arrivals: list[tuple[float, int, Workload | None, float]] = []
        for work, rate in per_s.items():
            at = self.now
            while (at := at + random.expovariate(rate)) < self.now + seconds:
                arrivals.append((at, len(arrivals) + 1, work, 0.0))
        return arrivals

    def _arrive(self, work: Workload, order: int, events: list, free: list[float]) -> None:  # type: ignore[type-arg]
        try:
            entered = self.load.enter(work)
        except Overloaded:
            self.shed[work.kind] += 1
            return
        self.admitted[work.kind] += 1
        if work.kind in self.slow:
            done = self.now + self.slow[work.kind]
        else:
            done = max(heapq.heappop(free), self.now) + self.service_s
            heapq.heappush(free, done)
        heapq.heappush(events, (done, -1_000_000 - order, work, entered))

    @property
    def p99_s(self) -> float:
        return sorted(self.latencies)[int(len(self.latencies) * 0.99)]


@pytest.fixture
def house() -> House:
    """Its service takes 200 requests a second."""
    house = House(load=None)  # type: ignore[arg-type]
    house.load = LoadShedder(STRICT, clock=lambda: house.now, random=lambda: 0.5)
    return house


def test_nothing_is_refused_below_capacity(house: House) -> None:
    house.run(60, {REPORT: 60, DECISION: 60, INGEST: 40})

    assert not house.shed


def test_at_three_times_the_capacity_the_rest_is_refused_and_what_is_let_in_is_quick(
    house: House,
) -> None:
    house.run(10, {DECISION: 600})
    house.run(60, {DECISION: 600}, seed=2)

    assert house.admitted.total() > 0.95 * 200 * 60
    assert house.p99_s < 0.25


def test_without_shedding_the_same_load_makes_everybody_wait(house: House) -> None:
    house.load = LoadShedder(LoadTuning(10**6, 10**6, start=10**6), clock=lambda: house.now)

    house.run(60, {DECISION: 600}, seed=2)

    assert house.p99_s > 30


def test_reports_are_refused_first_and_ingest_last(house: House) -> None:
    house.run(10, {REPORT: 400, DECISION: 60, INGEST: 60})
    house.run(60, {REPORT: 400, DECISION: 60, INGEST: 60}, seed=2)

    assert house.shed[WorkClass.REPORTING] > 0.7 * 400 * 60
    assert house.shed[WorkClass.DECISIONS] < 0.05 * 60 * 60
    assert house.shed[WorkClass.INGEST] < 0.002 * 60 * 60


def test_decisions_go_before_reports_and_after_ingest(house: House) -> None:
    house.run(10, {REPORT: 100, DECISION: 400, INGEST: 100})
    house.run(60, {REPORT: 100, DECISION: 400, INGEST: 100}, seed=2)

    shed = {
        kind: house.shed[kind] / (house.shed[kind] + house.admitted[kind]) for kind in WorkClass
    }
    assert shed[WorkClass.REPORTING] > shed[WorkClass.DECISIONS] > 0.4
    assert shed[WorkClass.INGEST] < 0.05


def test_an_overload_that_lasts_does_not_come_to_look_normal(house: House) -> None:
    house.run(200, {DECISION: 400})
    house.run(60, {DECISION: 400}, seed=2)

    assert house.p99_s < 0.3


def least_s(load: LoadShedder, like: Hashable) -> float:
    least = load._least.get(like)
    assert least is not None
    return least.seconds


def test_the_least_latency_ages_but_not_while_there_is_a_queue() -> None:
    now = 0.0
    load = LoadShedder(replace(STRICT, floor=100), clock=lambda: now)
    queued = LoadShedder(replace(STRICT, floor=8), clock=lambda: now)

    def answered(by: LoadShedder, seconds: float) -> None:
        nonlocal now
        entered = by.enter(DECISION)
        now += seconds
        by.leave(DECISION, entered, is_whole=True)

    for each in (load, queued):
        answered(each, 0.02)
        for _ in range(500):
            answered(each, 0.2)
            each.judge()

    # The limit of the first can't shrink, so it is no queue that makes it slow.
    assert least_s(load, DECISION.like) == pytest.approx(0.2)
    assert least_s(queued, DECISION.like) == pytest.approx(0.02)


def test_kinds_that_are_asked_once_push_out_nothing_that_is_asked_again_and_again() -> None:
    load = LoadShedder(replace(STRICT, kinds_remembered=10), clock=lambda: 0.0)

    for n in range(100):
        for work in (DECISION, Workload(WorkClass.REPORTING, f"odd {n}")):
            load.leave(work, load.enter(work), is_whole=True)

    assert len(load._least) == 10
    assert DECISION.like in load._least


def test_capacity_that_comes_back_is_used_again(house: House) -> None:
    house.run(30, {DECISION: 600})
    house.workers = 40
    house.run(20, {DECISION: 600}, seed=2)

    house.run(20, {DECISION: 600}, seed=3)

    assert house.shed.total() == 0


def test_a_service_that_becomes_slower_for_good_is_got_used_to(house: House) -> None:
    house.run(30, {DECISION: 100})
    house.service_s, house.workers = 0.2, 40
    house.run(120, {DECISION: 100}, seed=2)

    house.run(60, {DECISION: 100}, seed=3)

    assert house.shed.total() == 0


def test_one_class_that_waits_for_its_own_service_leaves_the_others_alone(house: House) -> None:
    house.run(30, {REPORT: 50, INGEST: 50})
    house.slow = {WorkClass.REPORTING: 1.5}

    house.run(60, {REPORT: 200, INGEST: 100}, seed=2)

    assert house.shed[WorkClass.REPORTING] > 2_000
    assert house.shed[WorkClass.INGEST] < 20  # before it shows that only reports wait
    assert house.load.limits[WorkClass.REPORTING].limit < house.load.total.limit


def test_a_late_event_loop_is_overload_too(house: House) -> None:
    house.service_s, house.workers = 0.3, 1_000

    house.run(10, {DECISION: 190})
    assert house.load.total.limit > 60
    house.lag_s = 0.2
    house.run(10, {DECISION: 400}, seed=2)

    assert house.load.total.limit < 20


def test_failures_that_come_at_once_teach_nothing_but_slow_ones_count() -> None:
    now = 0.0
    load = LoadShedder(STRICT, clock=lambda: now)

    def answered(seconds: float, *, is_whole: bool) -> None:
        nonlocal now
        entered = load.enter(DECISION)
        now += seconds
        load.leave(DECISION, entered, is_whole=is_whole)

    answered(0.3, is_whole=True)
    for _ in range(20):
        answered(0.0001, is_whole=False)
    for _ in range(20):
        answered(0.31, is_whole=True)
    load.judge()
    assert load._congested_at < 0

    for _ in range(20):
        answered(2.0, is_whole=False)
    load.judge()
    assert load._congested_at == now


# --- what is told ---------------------------------------------------------------------------------


def test_who_is_refused_is_told_the_limit_and_when_to_come_back(house: House) -> None:
    house.load = LoadShedder(LoadTuning(max_in_flight=10, floor=1, start=10), random=lambda: 0.25)
    before = SHED.labels("reporting")._value.get()
    for _ in range(4):
        house.load.enter(REPORT)

    with pytest.raises(Overloaded) as refusal:
        house.load.enter(REPORT)

    assert refusal.value.problem == (
        "The gateway is too busy for reporting: 4 requests are under way. "
        "The limit is 40% of 10 now (at most max_in_flight, 10)."
    )
    assert (refusal.value.status, refusal.value.retry_after_s) == (503, 1.5)
    assert SHED.labels("reporting")._value.get() == before + 1
    house.load.enter(DECISION)


def test_operations_that_are_new_are_refused_when_reports_are_and_when_the_loop_is_late() -> None:
    load = LoadShedder(replace(STRICT, max_in_flight=10, floor=1, start=10), random=lambda: 0.0)
    load.check_new()

    for _ in range(LATE_FOR - 1):
        load.judge(lag_s=0.2)
    load.check_new()  # a moment's lateness is nothing: planning itself makes one
    load.judge(lag_s=0.2)
    with pytest.raises(Overloaded, match="too busy to plan"):
        load.check_new()

    load.judge(lag_s=0.0)
    load.check_new()
    for _ in range(4):
        load.enter(DECISION)
    with pytest.raises(Overloaded, match="register the operation"):
        load.check_new()


def test_a_limit_that_is_set_below_the_floor_is_not_raised_to_it() -> None:
    load = LoadShedder(LoadTuning(max_in_flight=8))
    for _ in range(8):
        load.total.enter()

    load.total.adjust(is_congested=True)

    assert load.total.limit == 8
    assert load.total.is_at_floor


# --- admission ------------------------------------------------------------------------------------


def admission(clock: Clock | None = None, **rates: int) -> Admission:
    tuning = LoadTuning(max_in_flight=2, floor=1, start=2)
    limits = RateLimiter(RateLimits(**rates))
    return Admission(limits, LoadShedder(tuning), Priorities.read(), clock or Clock())


def test_a_ticket_is_given_back_however_the_request_ends() -> None:
    door = admission()

    for _ in range(10):
        with pytest.raises(ZeroDivisionError), door.enter("ann", INGEST):
            _ = 1 / 0

    assert door.load.total.in_flight == 0


def test_who_is_shed_is_not_counted_as_under_way() -> None:
    door = admission(max_concurrent=3)
    with door.enter("ann", INGEST), door.enter("ann", INGEST):
        for _ in range(5):
            with pytest.raises(Overloaded), door.enter("ann", INGEST):
                pass


def test_an_operation_that_is_new_counts_as_several_requests() -> None:
    door = admission(rate_per_s=1, burst=NEW_OPERATION_COST)
    door.arrive("ann")

    with door.charge_planning("ann"):
        pass

    with pytest.raises(RateLimited):
        door.arrive("ann")


@pytest.mark.parametrize(("took_s", "is_let_in"), [(0.001, True), (0.040, True), (0.041, False)])
def test_an_operation_that_takes_long_to_plan_counts_by_its_time_though_it_is_refused(
    took_s: float, is_let_in: bool
) -> None:
    clock = Clock()
    door = admission(clock, rate_per_s=1, burst=81)  # 80 of them are 40 ms

    with suppress(OSError), door.charge_planning("ann"):
        clock.now += took_s
        raise OSError

    if is_let_in:
        door.arrive("ann")
    else:
        with pytest.raises(RateLimited):
            door.arrive("ann")


async def answers(log: list[str]) -> AsyncGenerator[int, None]:
    try:
        for n in range(3):
            yield n
            await asyncio.sleep(0)
    finally:
        log.append("closed")


async def test_a_subscription_is_under_way_until_it_ends_or_is_closed() -> None:
    door = admission(max_concurrent=1)
    log: list[str] = []

    ended = door.hold("ann", answers(log))
    assert await anext(ended) == 0
    with pytest.raises(RateLimited):
        await anext(door.hold("ann", answers(log)))
    assert [n async for n in ended] == [1, 2]

    closed = door.hold("ann", answers(log))
    await anext(closed)
    await closed.aclose()
    await closed.aclose()

    never_begun = door.hold("ann", answers(log))
    await never_begun.aclose()

    await anext(door.hold("ann", answers([])))
    assert log == ["closed", "closed"]


def slept(clock: Clock, naps: list[float], **rates: int) -> Admission:
    """An admission whose waiting passes at once, by its own clock."""

    async def sleep(seconds: float) -> None:
        naps.append(seconds)
        clock.now += seconds

    limits = RateLimiter(RateLimits(**rates), clock)
    return Admission(limits, LoadShedder(), Priorities.read(), clock, sleep)


async def endless() -> AsyncGenerator[int, None]:
    while True:
        yield 1


async def test_each_event_is_the_callers_expense_and_who_takes_too_many_is_slowed_down() -> None:
    clock, naps = Clock(), list[float]()
    door = slept(clock, naps, rate_per_s=2, burst=4)
    events = door.hold("ann", endless())

    for _ in range(8):
        await anext(events)

    assert naps == [pytest.approx(0.5)] * 4, "four at once, and then two a second"
    with pytest.raises(RateLimited):
        door.arrive("ann")
    door.arrive("bob")
    await events.aclose()


async def test_a_dear_event_counts_for_more_and_who_would_wait_too_long_is_told_why_it_ends() -> (
    None
):
    clock, naps = Clock(), list[float]()
    door = slept(clock, naps, rate_per_s=1, burst=10, cost_per_token=100, max_concurrent=1)
    events = door.hold("ann", endless(), 700)

    await anext(events)
    await anext(events)  # 14 tokens of 10: the next waits for five seconds
    await anext(events)
    with pytest.raises(RateLimited, match=r"events of this subscription.* would wait") as refused:
        await anext(events)

    assert naps == [pytest.approx(5.0)]
    assert refused.value.retry_after_s == pytest.approx(7.0)
    clock.now += 100
    assert await anext(door.hold("ann", endless())), "it is not under way any more"


# --- in the graph ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "down", "is_whole"),
    [
        ("{ segments }", set(), True),
        ("{ segments }", {"profile"}, False),
        ('{ customer(ref: {id: "1"}) { id name } }', set(), True),  # `name` is denied
    ],
)
async def test_an_answer_is_a_measure_unless_a_service_failed(
    query: str, down: set[str], is_whole: bool
) -> None:
    notes: list[bool] = []

    class Noting(LoadShedder):
        def leave(self, work: Workload, entered: float, *, is_whole: bool) -> None:
            notes.append(is_whole)

    door = Admission(RateLimiter(RateLimits()), Noting(), Priorities.read())
    answering = replace(graph(InProcess(down=down)), admission=door)
    caller = Principal(Role.ANALYST, "tester")
    asked = GraphQLRequest(query)

    await answering.answer(answering.prepare(asked, caller), asked, caller)

    assert notes == [is_whole]
