"""Every filter by itself, and all of them in their order."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.enums import Channel
from services.decision.domain.control_groups import is_in_control_group
from services.decision.domain.decision import decide
from services.decision.domain.explanation import explain, explain_absence
from services.decision.domain.input_codec import pack_input, unpack_input
from services.decision.domain.trace import STAGES, FailedCondition, Stage
from tests.unit.decision.factories import (
    ADA,
    NOW,
    decide_for,
    explain_all,
    make_action,
    make_catalogue,
    make_contact,
    make_input,
    propose,
)


def test_consent_refused_or_never_requested_stops_an_action() -> None:
    shop = make_catalogue(
        make_action("plain"), make_action("personal", consent=["ads", "profiling"])
    )

    refused = explain_all(shop, make_input(consent={"ads": True, "profiling": False}))["personal"]
    never_asked = explain_all(shop, make_input())["personal"]
    allowed = propose(shop, make_input(consent={"ads": True, "profiling": True}))

    assert (refused.stage, refused.failed) == (
        Stage.CONSENT,
        [FailedCondition("consent.profiling", False)],
    )
    assert never_asked.failed == [
        FailedCondition("consent.ads", "missing"),
        FailedCondition("consent.profiling", "missing"),
    ]
    assert allowed == ["plain", "personal"]


def test_an_action_is_valid_from_its_first_moment_until_just_before_its_last() -> None:
    shop = make_catalogue(
        make_action("sale", valid_from="2026-11-22T12:00:00Z", valid_until="2026-11-23"),
        make_action("paused", status="PAUSED"),
    )
    last = datetime(2026, 11, 23, tzinfo=UTC)
    second = timedelta(seconds=1)

    moments = [NOW - second, NOW, last - second, last]

    assert [propose(shop, make_input(now=at)) for at in moments] == [[], ["sale"], ["sale"], []]
    assert explain_all(shop, make_input())["paused"].failed == [
        FailedCondition("status is ACTIVE", "PAUSED")
    ]
    assert explain_all(shop, make_input(now=last))["sale"].failed == [
        FailedCondition("valid until 2026-11-23T00:00:00+00:00", "2026-11-23T00:00:00+00:00")
    ]


@pytest.mark.parametrize("stage", ["eligibility", "applicability", "suitability"])
def test_each_condition_of_a_stage_must_hold(stage: str) -> None:
    conditions = ["traits.age >= 18", "traits.country == 'NL'"]
    shop = make_catalogue(make_action("beer", **{stage: conditions}))

    grown = {"age": 18, "country": "NL"}
    failed = explain_all(shop, make_input(traits={"country": "BE"}))["beer"]

    assert propose(shop, make_input(traits=grown)) == ["beer"]
    assert propose(shop, make_input(traits=grown | {"age": 17})) == []
    assert failed.stage == stage.upper()
    assert failed.failed == [
        FailedCondition("traits.age >= 18", "missing"),
        FailedCondition("traits.country == 'NL'", "BE"),
    ]


def test_a_failed_or_tells_what_each_alternative_saw() -> None:
    shop = make_catalogue(make_action("beer", eligibility="traits.age >= 18 or traits.staff"))

    [failed] = explain_all(shop, make_input(traits={"age": 17, "staff": False}))["beer"].failed

    assert failed.actual == {"traits.age >= 18": 17, "traits.staff": False}


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
    actions = [make_action("contact_policy"), make_action("control_group", group="held")]
    for stage, more in later_first.items():
        fails |= more
        actions.append(make_action(stage.lower(), **fails))
    suppressed = [
        make_contact(one["key"], 1, "REJECTED") for one in actions if one["group"] != "held"
    ]
    shop = make_catalogue(
        *actions,
        make_action("arbitration", group="free"),
        contact_policies={"suppressions": [{"key": "s", "after": "REJECTED", "for": "1d"}]},
        control_groups=[
            {
                "key": "holdout",
                "share_percent": 99.999999,
                "withholds": {"group": ["held", "records"]},
            }
        ],
    )

    found = explain_all(shop, make_input(contacts=suppressed))

    assert {key: trace.stage.lower() for key, trace in found.items()} == {key: key for key in found}
    assert [key for key, trace in found.items() if trace.passed] == ["arbitration"]
    assert set(found) == {stage.lower() for stage in STAGES}


def test_only_actions_with_a_treatment_for_channel_and_placement_are_considered() -> None:
    on_app = {"key": "t", "channel": "APP", "placements": ["hero"], "content": {}}
    shop = make_catalogue(make_action("web"), make_action("app", treatments=[on_app]))

    assert set(explain_all(shop, make_input())) == {"web"}
    assert set(explain_all(shop, make_input(channel=Channel.APP))) == {"app"}
    assert explain_absence(shop.catalogue, "app", "WEB", "hero").failed == (
        FailedCondition("has a treatment for hero on WEB", "APP hero"),
    )


def test_a_control_group_withholds_and_says_so() -> None:
    groups = [{"key": "holdout", "share_percent": 50, "withholds": {"kind": "OFFER"}}]
    shop = make_catalogue(
        make_action("offer"), make_action("note", kind="SERVICE_MESSAGE"), control_groups=groups
    )
    inside = next(c for c in customers(100) if is_in_control_group(c, "holdout", 50))
    outside = next(c for c in customers(100) if not is_in_control_group(c, "holdout", 50))

    held = decide_for(shop, make_input(customer=inside))
    free = decide_for(shop, make_input(customer=outside))

    assert (held.withheld, held.control_group) == (["offer"], "holdout")
    assert propose(shop, make_input(customer=inside)) == ["note"]
    assert (free.withheld, free.control_group) == ([], None)
    assert explain_all(shop, make_input(customer=inside))["offer"].failed == [
        FailedCondition("not in control group holdout", "in it")
    ]


def test_a_control_group_that_had_nothing_to_withhold_is_not_named() -> None:
    groups = [{"key": "holdout", "share_percent": 99.999999, "withholds": "all"}]
    shop = make_catalogue(make_action("offer", eligibility="traits.age > 3"), control_groups=groups)

    assert decide_for(shop, make_input()).control_group is None


def test_shares_of_control_groups_are_exact_and_independent_and_grow_without_churn() -> None:
    people = customers(50_000)

    five = {c for c in people if is_in_control_group(c, "salt", 5)}
    ten = {c for c in people if is_in_control_group(c, "salt", 10)}
    other = {c for c in people if is_in_control_group(c, "pepper", 10)}

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
def test_every_action_ends_at_one_stage_and_what_is_withheld_is_never_proposed(
    actions: list[dict[str, Any]],
    traits: dict[str, Any],
    consent: bool,
    page: str,
    limit: int,
    person: int,
    contacted: list[tuple[int, str]],
) -> None:
    named = [make_action(f"a{number}", **fields) for number, fields in enumerate(actions)]
    shop = make_catalogue(*named, contact_policies=POLICIES, control_groups=HOLDOUT)
    at = make_input(
        limit=limit,
        customer=UUID(int=ADA.int + person),
        traits=traits,
        consent={"ads": consent},
        context={"page": page},
        contacts=[make_contact(f"a{number}", 3, kind) for number, kind in contacted],
    )
    propensity = shop.levels.compute_propensities(shop.levels.build_evidence({}))

    result = decide(shop, propensity, at)
    traces = explain(shop, propensity, at, result.stages)

    assert sorted(trace.action for trace in traces) == sorted(one["key"] for one in named)
    ranks = [trace.arbitration.rank for trace in traces if trace.arbitration]
    assert ranks == list(range(1, len(ranks) + 1))
    scores = [trace.arbitration.score for trace in traces if trace.arbitration]
    assert scores == sorted(scores, reverse=True)
    assert [trace.action for trace in traces if trace.passed] == [
        proposed.action.key for proposed in result.propositions
    ]
    assert len(result.propositions) == min(limit, len(ranks))
    assert all(bool(trace.failed) != trace.passed for trace in traces)
    assert all((trace.stage is Stage.ARBITRATION) == bool(trace.arbitration) for trace in traces)
    assert not {p.action.key for p in result.propositions} & set(result.withheld)
    stored = pack_input(shop, propensity, at, result)
    assert explain(shop, *unpack_input(stored, shop, at.customer_id, Channel.WEB, "hero")) == traces
