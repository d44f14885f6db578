"""What is proposed first."""

import numpy as np
import pytest

from services.decision.domain.arbitration import InvalidPropensity, compute_scores, rank_candidates
from services.decision.domain.decision import decide
from services.decision.domain.propensity import Arm, Tally
from tests.unit.decision.factories import (
    decide_for,
    explain_all,
    make_action,
    make_catalogue,
    make_input,
    propose,
)


def test_a_likely_cheap_action_loses_to_an_unlikely_dear_one() -> None:
    likely_cheap = make_action("cheap", propensity=0.9, value_cents=100)
    unlikely_dear = make_action("dear", propensity=0.1, value_cents=2_000)

    assert propose(make_catalogue(likely_cheap, unlikely_dear), make_input()) == ["dear", "cheap"]


def test_the_score_is_propensity_times_context_times_value_times_lever() -> None:
    shop = make_catalogue(
        make_action(
            "jazz",
            propensity=0.2,
            value_cents=300,
            lever=1.5,
            context_weights=[
                {"when": "context.page == 'jazz'", "weight": 55},
                {"when": "traits.fan", "weight": -50},
                {"when": "traits.never", "weight": 900},
            ],
        )
    )

    scored = explain_all(shop, make_input(context={"page": "jazz"}, traits={"fan": True}))[
        "jazz"
    ].arbitration

    assert scored is not None
    assert scored.context_weight == pytest.approx(1.55 * 0.5)
    assert scored.score == pytest.approx(0.2 * 1.55 * 0.5 * 300 * 1.5)


def test_the_first_conditional_value_that_holds_counts() -> None:
    values = [
        {"when": "traits.tier == 'gold'", "cents": 700},
        {"when": "traits.age > 60", "cents": 400},
    ]
    shop = make_catalogue(make_action("card", value_by=values))

    def value(**traits: object) -> int:
        scored = explain_all(shop, make_input(traits=traits))["card"].arbitration
        assert scored is not None
        return scored.value_cents

    assert value(tier="gold", age=70) == 700
    assert value(age=70) == 400
    assert value() == 100


def test_equal_actions_keep_the_order_of_the_catalogue() -> None:
    many_equal = [
        make_action(f"a{number}") for number in range(50)
    ]  # enough to upset an unstable sort
    shop = make_catalogue(*many_equal, make_action("best", value_cents=101))

    assert propose(shop, make_input(limit=30)) == ["best", *(f"a{number}" for number in range(29))]


def test_of_one_action_only_the_treatment_most_likely_to_work_is_proposed() -> None:
    treatments = [
        {"key": key, "channel": "WEB", "placements": "hero", "content": {"title": key}}
        for key in ("red", "blue", "green")
    ]
    shop = make_catalogue(
        make_action("jazz", treatments=treatments), make_action("pop", value_cents=99)
    )
    learned = shop.levels.build_evidence({Arm("jazz", "WEB", "blue"): Tally(100, 50)})

    before = decide_for(shop, make_input())
    after = decide(shop, shop.levels.compute_propensities(learned), make_input())

    assert [p.treatment.key for p in before.propositions] == ["red", "t"]
    assert [p.treatment.key for p in after.propositions] == ["blue", "t"]


def test_a_placement_shows_no_more_than_fit() -> None:
    placements = [{"key": "hero", "channels": "WEB", "limit": 2}]
    shop = make_catalogue(*(make_action(f"a{n}") for n in range(5)), placements=placements)

    assert len(propose(shop, make_input(limit=4))) == 2
    assert len(propose(shop, make_input(limit=1))) == 1


def test_what_was_outranked_says_by_how_much() -> None:
    shop = make_catalogue(make_action("first", value_cents=2), make_action("second", value_cents=1))

    trace = explain_all(shop, make_input(limit=1))["second"]

    assert [tuple(failed) for failed in trace.failed] == [("rank is at most 1", 2)]
    assert trace.arbitration is not None
    assert (trace.arbitration.rank, trace.arbitration.probability) == (2, 0.0)


def test_log_odds_are_refused_with_a_remedy() -> None:
    ones = np.ones(2)

    with pytest.raises(InvalidPropensity, match=r"candidate 1 is -1\.2.*apply `sigmoid`"):
        compute_scores(np.array([0.5, -1.2]), ones, ones.astype(np.int64), ones)
    with pytest.raises(InvalidPropensity, match="candidate 0 is nan"):
        compute_scores(np.array([np.nan, 0.5]), ones, ones.astype(np.int64), ones)


def test_ranking_keeps_the_best_of_each_action() -> None:
    score = np.array([1.0, 3.0, 2.0, 3.0, 0.5])
    actions = np.array([0, 0, 1, 2, 3])

    assert rank_candidates(score, actions).tolist() == [1, 3, 2, 4]
