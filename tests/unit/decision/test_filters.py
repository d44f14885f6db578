"""Every filter alone, and all of them in their order."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.words import Channel
from services.decision.domain.control_groups import belongs
from services.decision.domain.decision import decide
from services.decision.domain.explanation import explain, not_considered
from services.decision.domain.input_codec import packed, unpacked
from services.decision.domain.trace import STAGES, Failed, Stage
from tests.unit.decision.factories import (
    ADA,
    NOW,
    action,
    catalogue,
    contact,
    decided,
    shown,
    situation,
    traces,
)


def test_consent_not_given_or_never_asked_stops_an_action() -> None:
    shop = catalogue(action("plain"), action("personal", consent=["ads", "profiling"]))

    refused = traces(shop, situation(consent={"ads": True, "profiling": False}))["personal"]
    never_asked = traces(shop, situation())["personal"]
    allowed = shown(shop, situation(consent={"ads": True, "profiling": True}))

    assert (refused.stage, refused.failed) == (
        Stage.CONSENT,
        [Failed("consent.profiling", False)],
    )
    assert never_asked.failed == [
        Failed("consent.ads", "missing"),
        Failed("consent.profiling", "missing"),
    ]
    assert allowed == ["plain", "personal"]


def test_an_action_is_valid_from_its_first_moment_until_just_before_its_last() -> None:
    shop = catalogue(
        action("sale", valid_from="2026-11-22T12:00:00Z", valid_until="2026-11-23"),
        action("paused", status="PAUSED"),
    )
    last = datetime(2026, 11, 23, tzinfo=UTC)
    second = timedelta(seconds=1)

    moments = [NOW - second, NOW, last - second, last]

    assert [shown(shop, situation(now=at)) for at in moments] == [[], ["sale"], ["sale"], []]
    assert traces(shop, situation())["paused"].failed == [Failed("status is ACTIVE", "PAUSED")]
    assert traces(shop, situation(now=last))["sale"].failed == [
        Failed("valid until 2026-11-23T00:00:00+00:00", "2026-11-23T00:00:00+00:00")
    ]


@pytest.mark.parametrize("stage", ["eligibility", "applicability", "suitability"])
def test_each_condition_of_a_stage_must_hold(stage: str) -> None:
    conditions = ["traits.age >= 18", "traits.country == 'NL'"]
    shop = catalogue(action("beer", **{stage: conditions}))

    grown = {"age": 18, "country": "NL"}
    failed = traces(shop, situation(traits={"country": "BE"}))["beer"]

    assert shown(shop, situation(traits=grown)) == ["beer"]
    assert shown(shop, situation(traits=grown | {"age": 17})) == []
    assert failed.stage == stage.upper()
    assert failed.failed == [
        Failed("traits.age >= 18", "missing"),
        Failed("traits.country == 'NL'", "BE"),
    ]


def test_a_failed_or_tells_what_each_alternative_saw() -> None:
    shop = catalogue(action("beer", eligibility="traits.age >= 18 or traits.staff"))

    [failed] = traces(shop, situation(traits={"age": 17, "staff": False}))["beer"].failed

    assert failed.seen == {"traits.age >= 18": 17, "traits.staff": False}


def test_actions_fall_at_the_first_stage_that_refuses_them() -> None:
    """Each action fails its own stage and all later ones, and must fall at its own."""
    no = "traits.nothing == 1"
    later_first: dict[str, dict[str, Any]] = {
        "SUITABILITY": {"suitability": no},
        "APPLICABILITY": {"applicability": no},
        "ELIGIBILITY": {"eligibility": no},
        "VALIDITY": {"status": "PAUSED"},
        "CONSENT": {"consent": "ads"},
    }
    fails: dict[str, Any] = {}
    actions = [action("contact_policy"), action("control_group", group="held")]
    for stage, more in later_first.items():
        fails |= more
        actions.append(action(stage.lower(), **fails))
    suppressed = [contact(one["key"], 1, "REJECTED") for one in actions if one["group"] != "held"]
    shop = catalogue(
        *actions,
        action("arbitration", group="free"),
        contact_policies={"suppressions": [{"key": "s", "after": "REJECTED", "for": "1d"}]},
        control_groups=[
            {
                "key": "holdout",
                "share_percent": 99.999999,
                "withholds": {"group": ["held", "records"]},
            }
        ],
    )

    found = traces(shop, situation(contacts=suppressed))

    assert {key: trace.stage.lower() for key, trace in found.items()} == {key: key for key in found}
    assert [key for key, trace in found.items() if trace.passed] == ["arbitration"]
    assert set(found) == {stage.lower() for stage in STAGES}


def test_only_actions_with_a_treatment_for_channel_and_placement_are_considered() -> None:
    on_app = {"key": "t", "channel": "APP", "placements": ["hero"], "content": {}}
    shop = catalogue(action("web"), action("app", treatments=[on_app]))

    assert set(traces(shop, situation())) == {"web"}
    assert set(traces(shop, situation(channel=Channel.APP))) == {"app"}
    assert not_considered(shop.catalogue, "app", "WEB", "hero").failed == (
        Failed("has a treatment for hero on WEB", "APP hero"),
    )


def test_a_control_group_withholds_and_says_so() -> None:
    groups = [{"key": "holdout", "share_percent": 50, "withholds": {"kind": "OFFER"}}]
    shop = catalogue(action("offer"), action("note", kind="SERVICE_MESSAGE"), control_groups=groups)
    inside = next(c for c in customers(100) if belongs(c, "holdout", 50))
    outside = next(c for c in customers(100) if not belongs(c, "holdout", 50))

    held = decided(shop, situation(customer=inside))
    free = decided(shop, situation(customer=outside))

    assert (held.withheld, held.control_group) == (["offer"], "holdout")
    assert shown(shop, situation(customer=inside)) == ["note"]
    assert (free.withheld, free.control_group) == ([], None)
    assert traces(shop, situation(customer=inside))["offer"].failed == [
        Failed("not in control group holdout", "in it")
    ]


def test_a_control_group_that_had_nothing_to_withhold_is_not_named() -> None:
    groups = [{"key": "holdout", "share_percent": 99.999999, "withholds": "all"}]
    shop = catalogue(action("offer", eligibility="traits.age > 3"), control_groups=groups)

    assert decided(shop, situation()).control_group is None


def test_shares_of_control_groups_are_exact_and_independent_and_grow_without_churn() -> None:
    people = customers(50_000)

    five = {c for c in people if belongs(c, "salt", 5)}
    ten = {c for c in people if belongs(c, "salt", 10)}
    other = {c for c in people if belongs(c, "pepper", 10)}

    assert five < ten
    assert len(five) == pytest.approx(2_500, abs=4 * (50_000 * 0.05 * 0.95) ** 0.5)
    assert len(ten) == pytest.approx(5_000, abs=4 * (50_000 * 0.1 * 0.9) ** 0.5)
    assert len(ten & other) == pytest.approx(500, abs=4 * 500**0.5)


def customers(number: int) -> list[UUID]:
    """So many ids, one after the other, as a clock would give them."""
    return [UUID(int=ADA.int + (step << 64)) for step in range(number)]


CONDITIONS = ["traits.a > 1", "traits.b == 'x' or traits.a < 0", "context.page == 'home'"]
ACTIONS: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    consent=st.sampled_from([[], ["ads"]]),
    status=st.sampled_from(["ACTIVE", "ACTIVE", "PAUSED"]),
    eligibility=st.lists(st.sampled_from(CONDITIONS), max_size=2),
    applicability=st.lists(st.sampled_from(CONDITIONS), max_size=1),
    suitability=st.lists(st.sampled_from(CONDITIONS), max_size=1),
    value_cents=st.integers(0, 3),
    lever=st.sampled_from([0.5, 1.0]),
    group=st.sampled_from(["g1", "g2"]),
)
POLICIES = {
    "caps": [{"key": "c", "per": "group", "at_most": 1, "within": "2d"}],
    "suppressions": [{"key": "s", "after": "REJECTED", "for": "1d"}],
}
HOLDOUT = [{"key": "h", "share_percent": 50, "withholds": {"action": "a0"}}]


@given(
    actions=st.lists(ACTIONS, min_size=1, max_size=12),
    traits=st.fixed_dictionaries({}, optional={"a": st.integers(-2, 3), "b": st.just("x")}),
    consent=st.booleans(),
    page=st.sampled_from(["home", "away"]),
    limit=st.integers(1, 5),
    person=st.integers(0, 20),
    contacted=st.lists(st.tuples(st.integers(0, 11), st.sampled_from(["PRESENTED", "REJECTED"]))),
)
def test_every_action_ends_at_one_stage_and_what_is_withheld_is_never_shown(
    actions: list[dict[str, Any]],
    traits: dict[str, Any],
    consent: bool,
    page: str,
    limit: int,
    person: int,
    contacted: list[tuple[int, str]],
) -> None:
    named = [action(f"a{number}", **fields) for number, fields in enumerate(actions)]
    shop = catalogue(*named, contact_policies=POLICIES, control_groups=HOLDOUT)
    at = situation(
        limit=limit,
        customer=UUID(int=ADA.int + person),
        traits=traits,
        consent={"ads": consent},
        context={"page": page},
        contacts=[contact(f"a{number}", 3, kind) for number, kind in contacted],
    )
    propensity = shop.levels.propensities(shop.levels.tallied({}))

    verdict = decide(shop, propensity, at)
    told = explain(shop, propensity, at, verdict.stages)

    assert sorted(trace.action for trace in told) == sorted(one["key"] for one in named)
    ranks = [trace.scored.rank for trace in told if trace.scored]
    assert ranks == list(range(1, len(ranks) + 1))
    scores = [trace.scored.score for trace in told if trace.scored]
    assert scores == sorted(scores, reverse=True)
    assert [trace.action for trace in told if trace.passed] == [
        proposed.action.key for proposed in verdict.proposed
    ]
    assert len(verdict.proposed) == min(limit, len(ranks))
    assert all(bool(trace.failed) != trace.passed for trace in told)
    assert all((trace.stage is Stage.ARBITRATION) == bool(trace.scored) for trace in told)
    assert not {p.action.key for p in verdict.proposed} & set(verdict.withheld)
    stored = packed(shop, propensity, at, verdict)
    assert explain(shop, *unpacked(stored, shop, at.customer_id, Channel.WEB, "hero")) == told
