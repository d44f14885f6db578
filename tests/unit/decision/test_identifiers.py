"""What ids of decisions and propositions say of one another."""

from uuid import UUID, uuid4

from services.decision.domain.identifiers import (
    MOST_RANKS,
    decision_id,
    proposition_id,
    split,
    tracking_code,
)


def test_a_proposition_knows_its_decision_and_its_rank() -> None:
    decision = decision_id(uuid4())

    propositions = [proposition_id(decision, rank) for rank in range(1, MOST_RANKS + 1)]

    assert [split(one) for one in propositions] == [(decision, r) for r in range(1, MOST_RANKS + 1)]
    assert split(decision) == (decision, 0)
    codes = {tracking_code(one) for one in propositions}
    assert len(codes) == MOST_RANKS
    assert tracking_code(UUID(int=0)) == "a" * 26
