"""Who has become whom."""

from uuid import UUID

from services.decision.domain.merges import resolved

A, B, C, D = (UUID(int=number) for number in range(1, 5))


def test_a_chain_ends_where_it_ends_in_whatever_order_it_is_heard() -> None:
    expected = {A: D, B: D, C: D}

    assert resolved([(A, B), (B, C), (C, D)], {}) == expected
    assert resolved([(C, D), (B, C), (A, B)], {}) == expected


def test_what_was_resolved_before_leads_on() -> None:
    assert resolved([(A, B)], {B: D}) == {A: D}


def test_hearing_it_again_changes_nothing_and_nobody_becomes_himself() -> None:
    assert resolved([(A, B)], {A: B}) == {A: B}
    assert resolved([(B, A), (B, B)], {A: B}) == {}
