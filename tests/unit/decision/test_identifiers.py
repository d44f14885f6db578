"""What ids of decisions and propositions say of one another."""

from uuid import UUID, uuid4

from services.decision.domain.identifiers import (
    MOST_RANKS,
    make_decision_id,
    make_proposition_id,
    make_tracking_code,
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
