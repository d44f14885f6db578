"""Over any federated graph, any operation is answered as if the graph were one schema.

The graphs, the operations and the data are drawn; see `graphs`, `operations` and `world`. The
`services` are strict: they fail if they are asked for what they can't know.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import orjson
from graphql import build_schema, lexicographic_sort_schema, print_schema
from hypothesis import given, note, settings
from hypothesis import strategies as st

from gateway.supergraph import (
    ExecutionOptions,
    QueryPlan,
    SubgraphResponse,
    SubgraphTimeout,
    SubgraphUnavailable,
    Supergraph,
    compose,
    compose_sdl,
    execute,
    plan,
    read_supergraph,
)
from tests.unit.gateway.supergraph.random import expectations
from tests.unit.gateway.supergraph.random.graphs import draw_world
from tests.unit.gateway.supergraph.random.operations import Operation, draw_operation
from tests.unit.gateway.supergraph.random.services import Services, Whole
from tests.unit.gateway.supergraph.random.world import EACH, JSON, World, chance

steady = settings(max_examples=30, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**32)


@dataclass
class Case:
    """One operation over one graph."""

    world: World
    supergraph: Supergraph
    operation: Operation
    plan: QueryPlan
    labels: frozenset[str]
    entity_ids: dict[str, set[str]] = field(default_factory=dict)
    """Ids of objects that an answer was told to hold, by the type they were told as."""

    def whole(self) -> Whole:
        return Whole(self.world, self.supergraph.schema)

    def services(self) -> Services:
        return Services(self.world, self.labels)

    def answer(self, services: Services, denied: frozenset[str] = frozenset()) -> JSON:
        def witnessed(type_name: str, ids: set[str]) -> None:
            abstract = self.world.abstracts.get(type_name)
            names = abstract.members if abstract else [type_name]
            assert ids <= {f"{name}:{n}" for name in names for n in range(EACH)}
            self.entity_ids[type_name] = ids

        return asyncio.run(
            execute(
                self.plan,
                self.operation.variables,
                services,
                ExecutionOptions(
                    labels=self.labels, denied=denied, max_errors=10_000, on_entity_ids=witnessed
                ),
            )
        )


def draw_case(seed: int) -> Case:
    random = Random(seed)
    world = draw_world(random)
    sdls = sdls_of(world)
    is_read = random.random() < 0.3
    supergraph = read_supergraph(compose_sdl(sdls)) if is_read else compose(sdls)
    operation = draw_operation(random, supergraph.schema)
    labels = frozenset(label for label in ("beta", "percent(50)") if random.random() < 0.5)
    for name, sdl in sdls.items():
        note(f"--- {name}\n{sdl}")
    note(f"{operation.text}\n{operation.variables} {set(labels)}")
    witness = {
        type_.name: "id"
        for type_ in world.types.values()
        if "id" in type_.fields and type_.all_keys and random.random() < 0.3
    }
    planned = plan(supergraph, operation.document, entity_id_fields=witness)
    return Case(world, supergraph, operation, planned, labels)


def sdls_of(world: World) -> dict[str, str]:
    return {name: world.sdl(name) for name in world.services if world.known[name]}


@settings(steady, max_examples=15)
@given(seeds)
def test_any_graph_is_what_its_services_say_together(seed: int) -> None:
    world = draw_world(Random(seed))
    sdls = sdls_of(world)

    composed = compose(sdls)

    said = lexicographic_sort_schema(build_schema(world.merged))
    assert print_schema(lexicographic_sort_schema(composed.schema)) == print_schema(said)
    read = read_supergraph(compose_sdl(sdls))
    assert read.sdl == composed.sdl
    operation = draw_operation(Random(seed + 1), composed.schema)
    assert requests(plan(read, operation.document)) == requests(plan(composed, operation.document))


def requests(planned: QueryPlan) -> list[tuple[str, str]]:
    variant = planned.variant({"yes": True})
    return [(r.subgraph, r.operation) for stage in variant.stages for r in stage.fetches]


@steady
@given(seeds)
def test_any_operation_over_any_graph_is_answered_like_one_schema(seed: int) -> None:
    case = draw_case(seed)
    whole, services = case.whole(), case.services()
    expected = whole.answer(case.operation.document, case.operation.variables)

    answer = case.answer(services)

    assert expectations.essence(answer) == expectations.essence(expected)
    done = services.ledger.done
    if expected["data"] is None:  # then mutations that are left may be done or not
        done = done[: len(whole.ledger.done)]
    assert done == whole.ledger.done
    expectations.check_requests(services.sent)
    variant = case.plan.variant(case.operation.variables, labels=case.labels)
    expectations.check_plan(variant, case.operation)
    apart = expectations.count_apart(case.supergraph, case.operation, case.labels)
    assert expectations.count_requests(variant) <= apart
    expectations.check_entity_ids(
        case.entity_ids, case.plan.entity_id_fields, whole, case.operation
    )


@steady
@given(seeds)
def test_any_denied_fields_are_null_and_not_asked_for(seed: int) -> None:
    case = draw_case(seed)
    random = Random(seed + 1)
    coordinates = sorted(case.plan.coordinates)
    denied = frozenset(random.sample(coordinates, min(len(coordinates), random.randint(1, 3))))
    note(f"denied {set(denied)}")
    whole, services = case.whole(), case.services()
    expected = whole.answer(case.operation.document, case.operation.variables, denied)

    answer = case.answer(services, denied)

    assert expectations.essence(answer) == expectations.essence(expected)
    expectations.check_denied(services.sent, services.schemas(), denied)


class Failing(Services):
    """Services of which some fail, now and then or always, in one way or another."""

    def __init__(self, case: Case, seed: int) -> None:
        super().__init__(case.world, case.labels)
        self._seed = seed
        self.failed: set[str] = set()
        self.is_reported = True
        """Whether all that is missing is told by those who don't give it."""

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> SubgraphResponse:
        reply = await super().fetch(subgraph, body, headers, is_idempotent=is_idempotent)
        if chance(self._seed, subgraph) % 3 or chance(self._seed, body) % 3 == 0:
            return reply
        self.failed.add(subgraph)
        match chance(self._seed, body, "how") % 6:
            case 0:
                raise SubgraphUnavailable(subgraph)
            case 1:
                raise SubgraphTimeout(subgraph)
            case 2:
                return SubgraphResponse(500, b"oh no")
            case 3:
                return SubgraphResponse(
                    200, b'{"data": null, "errors": [{"message": "all wrong"}]}'
                )
            case _:
                return self._without_some(orjson.loads(reply.body))

    def _without_some(self, answer: JSON) -> SubgraphResponse:
        """Some of what it found, it did not find."""
        errors = answer.setdefault("errors", [])
        for key, value in (answer["data"] or {}).items():
            for i, entity in enumerate(value) if key.startswith("_") else ():
                if entity and chance(self._seed, key, i) % 2:
                    value[i] = None
                    if chance(self._seed) % 3:
                        errors.append({"message": "lost", "path": [key, i]})
                    else:
                        self.is_reported = False
        if not errors:
            del answer["errors"]
        return SubgraphResponse(200, orjson.dumps(answer))


@steady
@given(seeds)
def test_whatever_fails_the_rest_is_answered_and_each_gap_is_told(seed: int) -> None:
    case = draw_case(seed)
    whole, services = case.whole(), Failing(case, seed)
    expected = whole.answer(case.operation.document, case.operation.variables)

    answer = case.answer(services)

    if services.failed:
        expectations.check_degraded(answer, whole, case.operation, is_reported=services.is_reported)
    else:
        assert expectations.essence(answer) == expectations.essence(expected)
