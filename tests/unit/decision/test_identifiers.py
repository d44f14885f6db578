"""What ids of decisions and propositions say of one another."""

from uuid import UUID, uuid4

import pytest

from services.decision.domain.identifiers import (
    MOST_RANKS,
    make_decision_id,
    make_proposition_id,
    make_tracking_code,
    read_proposition_id,
    split_proposition_id,
)


def test_a_proposition_knows_its_decision_and_its_rank() -> None:
    decision = make_decision_id(uuid4())

    propositions = [make_proposition_id(decision, rank) for rank in range(1, MOST_RANKS + 1)]

    assert [split_proposition_id(one) for one in propositions] == [
        (decision, r) for r in range(1, MOST_RANKS + 1)
    ]
    assert split_proposition_id(decision) == (decision, 0)
    codes = {make_tracking_code(one) for one in propositions}
    assert len(codes) == MOST_RANKS
    assert make_tracking_code(UUID(int=0)) == "a" * 26


def test_a_proposition_is_named_by_its_id_or_its_tracking_code() -> None:
    proposition = make_proposition_id(make_decision_id(uuid4()), 3)
    code = make_tracking_code(proposition)

    for name in (str(proposition), proposition.hex, code, code.upper()):
        assert read_proposition_id(name) == proposition


@pytest.mark.parametrize("name", ["", "x", "1" * 26, "a" * 25 + "b", "é" * 26, "a" * 27, "\0" * 26])
def test_any_other_text_names_no_proposition(name: str) -> None:
    with pytest.raises(ValueError, match=r"\w*"):
        read_proposition_id(name)
