"""Deciding must leave the request to the network and the database.

Measured, for a catalogue of 200 actions with 3 conditions each, caps, suppressions, quiet hours
and a control group: one decision; one decision with its packed input; explaining one; and 200
requests at once that are answered when PostgreSQL has committed them.
Target: median of a decision, and of a decision with its input, under 0.5 ms.
Run: pytest -m benchmark --benchmark-compare-fail=median:20%
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from services.chassis.clock import utc_now
from services.chassis.database import open_database
from services.chassis.migrations import migrate
from services.chassis.server import supervised
from services.contracts.enums import Channel
from services.contracts.profile import CustomerChanged
from services.decision import handlers
from services.decision.app import list_background_work, open_decision_context
from services.decision.domain.catalogue import Catalogue
from services.decision.domain.compiled_catalogue import CompiledCatalogue, compile_catalogue
from services.decision.domain.contact_policies import Contact
from services.decision.domain.decision import decide
from services.decision.domain.decision_input import DecisionInput
from services.decision.domain.explanation import explain
from services.decision.domain.input_codec import pack_input
from services.decision.service.deciding import (
    DecisionContext,
    DecisionRequest,
    decide_next_best_actions,
)
from services.decision.settings import DecisionSettings
from services.decision.store.customers import CustomerRef
from services.rules import Facts

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ACTIONS = 200
AT_ONCE = 200
TRAITS = {"age": 24, "country": "NL", "balance": 900, "first_name": "Jo"}
CONSENT = {"personalisation": True}
SEGMENTS = ("s1", "s3")


def action(number: int) -> dict[str, Any]:
    """An action with three conditions, of which about half of the customers meet all."""
    content = {"title": "Hello {{ traits.first_name | friend }}", "number": number}
    return {
        "key": f"a{number}",
        "name": f"Action {number}",
        "kind": "OFFER",
        "issue": f"i{number % 5}",
        "group": f"g{number % 20}",
        "value_cents": 100 + number,
        "consent": "personalisation",
        "eligibility": f"traits.age >= {18 + number % 10} and traits.country == 'NL'",
        "applicability": f"events.count('purchase', last='{7 + number % 30}d') >= {number % 4}",
        "suitability": f"'s{number % 7}' in segments or traits.balance > {number * 10}",
        "context_weights": [{"when": f"context.page == 'p{number % 9}'", "weight": 55}],
        "treatments": [{"key": "t", "channel": "WEB", "placements": "hero", "content": content}],
    }


DOCUMENT = {
    "currency": "EUR",
    "placements": [{"key": "hero", "channels": "WEB", "limit": 3}],
    "actions": [action(number) for number in range(ACTIONS)],
    "contact_policies": {
        "caps": [
            {"key": "each", "per": "action", "at_most": 3, "within": "7d"},
            {"key": "all", "per": "all", "at_most": 50, "within": "1d"},
        ],
        "suppressions": [{"key": "rest", "per": "group", "after": "REJECTED", "for": "30d"}],
        "quiet_hours": [
            {
                "key": "night",
                "channels": "WEB",
                "from": "23:00",
                "until": "07:00",
                "time_zone": "Europe/Amsterdam",
            }
        ],
    },
    "control_groups": [{"key": "holdout", "share_percent": 0.001, "withholds": "all"}],
}


def history(now: datetime) -> dict[str, Any]:
    """Twenty purchases, one every three days."""
    times = [int((now - timedelta(days=3 * n)).timestamp() * 1e6) for n in range(20, 0, -1)]
    entry = [times[0], None]
    return {'"purchase"': {"count": 20, "first": entry, "last": entry, "times": times}}


@pytest.fixture(scope="module")
def shop() -> CompiledCatalogue:
    """The catalogue, ready."""
    return compile_catalogue(1, Catalogue.model_validate(DOCUMENT))


@pytest.fixture
def decision_input() -> DecisionInput:
    """A customer with twenty earlier contacts."""
    facts = Facts(
        now=NOW,
        traits=TRAITS,
        segments=frozenset(SEGMENTS),
        consent=CONSENT,
        context={"page": "p3"},
        history=history(NOW),
    )
    contacts = [
        Contact(f"a{n * 7}", "WEB", "PRESENTED", NOW.timestamp() - n * 36_000, True)
        for n in range(1, 21)
    ]
    return DecisionInput(uuid4(), Channel.WEB, "hero", 3, facts, contacts)


@pytest.mark.benchmark
def test_deciding_among_200_actions(
    benchmark: BenchmarkFixture, shop: CompiledCatalogue, decision_input: DecisionInput
) -> None:
    propensity = shop.levels.compute_propensities(shop.levels.build_evidence({}))

    result = benchmark(decide, shop, propensity, decision_input)

    assert len(result.propositions) == 3


@pytest.mark.benchmark
def test_deciding_among_200_actions_and_packing_the_input(
    benchmark: BenchmarkFixture, shop: CompiledCatalogue, decision_input: DecisionInput
) -> None:
    propensity = shop.levels.compute_propensities(shop.levels.build_evidence({}))

    def decide_and_pack() -> bytes:
        return pack_input(
            shop, propensity, decision_input, decide(shop, propensity, decision_input)
        )

    assert len(benchmark(decide_and_pack)) < 2_000


@pytest.mark.benchmark
def test_explaining_200_actions(
    benchmark: BenchmarkFixture, shop: CompiledCatalogue, decision_input: DecisionInput
) -> None:
    propensity = shop.levels.compute_propensities(shop.levels.build_evidence({}))
    stages = decide(shop, propensity, decision_input).stages

    assert len(benchmark(explain, shop, propensity, decision_input, stages)) == ACTIONS


@asynccontextmanager
async def replica_on(
    url: str, shop: CompiledCatalogue, people: list[UUID]
) -> AsyncIterator[DecisionContext]:
    """A replica at work, that knows these people."""
    await migrate("decision", url)
    async with open_database(url) as database:
        context = open_decision_context(DecisionSettings(), database, utc_now)
        context.catalogue_cache.use(shop)
        async with database.transaction() as connection:
            await handlers.save_customers(connection, [known(person) for person in people])
        async with supervised(list_background_work(context)):
            yield context


def known(person: UUID) -> CustomerChanged:
    """What profile says of a person."""
    return CustomerChanged(
        event_id=uuid4(),
        customer_id=person,
        occurred_at=NOW,
        version=1,
        identities=(),
        traits=TRAITS,
        consents=CONSENT,
        segments=SEGMENTS,
        series=history(utc_now()),
        series_versions={"decision": 1},
    )


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """An event loop of the benchmark's own."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.mark.benchmark
def test_200_durable_decisions_at_once(
    benchmark: BenchmarkFixture, shop: CompiledCatalogue, postgres_url: str, runner: asyncio.Runner
) -> None:
    people = [uuid4() for _ in range(AT_ONCE)]
    opened = replica_on(f"{postgres_url}/benchmark_decision", shop, people)
    context = runner.run(opened.__aenter__())
    page = {"page": "p3"}

    async def all_at_once() -> int:
        requests = [
            DecisionRequest(CustomerRef(p), Channel.WEB, "hero", context=page) for p in people
        ]
        decisions = await asyncio.gather(
            *(decide_next_best_actions(context, one) for one in requests)
        )
        return sum(len(decision.propositions) for decision in decisions)

    try:
        proposed = benchmark.pedantic(  # type: ignore[no-untyped-call]
            lambda: runner.run(all_at_once()), rounds=15, warmup_rounds=3
        )
    finally:
        runner.run(opened.__aexit__(None, None, None))

    assert proposed == 3 * AT_ONCE
