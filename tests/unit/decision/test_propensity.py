"""Propensities by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.decision.domain.propensity import Arm, Levels, Tally

WEB_A, WEB_B = Arm("jazz", "WEB", "a"), Arm("jazz", "WEB", "b")
CALL, POP = Arm("jazz", "CALL_CENTRE", "a"), Arm("pop", "WEB", "a")
ARMS = (WEB_A, WEB_B, CALL, POP)


def levels(**priors: float) -> Levels:
    """The arms above, shrunk with the weight of ten presentations."""
    return Levels(ARMS, priors, strength=10, default=0.1)


def test_before_anything_is_known_everything_has_the_default() -> None:
    found = levels().compute_propensities(levels().build_evidence({}))

    assert found.tolist() == pytest.approx([0.1] * 4)


def test_evidence_is_shrunk_level_by_level() -> None:
    counts = {WEB_A: Tally(90, 27), CALL: Tally(10, 1)}

    found = levels().compute_propensities(levels().build_evidence(counts))

    everything = (10 * 0.1 + 28) / 110
    jazz = (10 * everything + 28) / 110
    on_web, on_phone = (10 * jazz + 27) / 100, (10 * jazz + 1) / 20
    assert found.tolist() == pytest.approx(
        [(10 * on_web + 27) / 100, on_web, (10 * on_phone + 1) / 20, everything]
    )


def test_an_action_that_states_where_it_starts_starts_there() -> None:
    found = levels(pop=0.4).compute_propensities(levels().build_evidence({WEB_A: Tally(90, 27)}))

    assert found[3] == pytest.approx(0.4)


def test_with_strength_one_and_a_half_to_start_it_is_the_form_pega_publishes() -> None:
    one = Levels([WEB_A], {"jazz": 0.5}, strength=1, default=0.1)

    evidence = one.build_evidence({WEB_A: Tally(9, 3)})

    action = (0.5 + 3) / (1 + 9)
    channel = (action + 3) / 10
    assert one.compute_propensities(evidence)[0] == pytest.approx((channel + 3) / 10)


def test_what_was_counted_for_a_treatment_that_is_gone_still_speaks_for_its_action() -> None:
    gone = Arm("jazz", "WEB", "gone")
    elsewhere = Arm("nothing", "WEB", "x")

    with_it = levels().compute_propensities(levels().build_evidence({gone: Tally(100, 90)}))
    unrelated = levels().build_evidence({elsewhere: Tally(5, 0)})

    assert with_it[0] == with_it[1] > with_it[2] > with_it[3] > 0.1
    assert unrelated.observations == 5


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([*ARMS, Arm("jazz", "WEB", "gone")]),
            st.builds(lambda n, k: Tally(n, min(n, k)), st.integers(0, 50), st.integers(0, 50)),
        )
    )
)
def test_counting_on_is_counting_anew_and_propensities_are_probabilities(
    steps: list[tuple[Arm, Tally]],
) -> None:
    grown, total = (
        levels().build_evidence({}),
        dict.fromkeys([*ARMS, *(a for a, _ in steps)], Tally(0, 0)),
    )
    for arm, more in steps:
        levels().add(grown, arm, more)
        total[arm] = Tally(total[arm].presented + more.presented, total[arm].positives + more[1])

    anew = levels().compute_propensities(levels().build_evidence(total))

    np.testing.assert_allclose(levels().compute_propensities(grown), anew)
    assert ((anew > 0) & (anew < 1)).all()
