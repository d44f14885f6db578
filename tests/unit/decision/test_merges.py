"""Who has become whom."""

from uuid import UUID

from services.decision.domain.merges import resolve_merges

A, B, C, D = (UUID(int=number) for number in range(1, 5))


def test_a_chain_ends_where_it_ends_in_whatever_order_it_arrives() -> None:
    expected = {A: D, B: D, C: D}

    assert resolve_merges([(A, B), (B, C), (C, D)], {}) == expected
    assert resolve_merges([(C, D), (B, C), (A, B)], {}) == expected


def test_what_was_resolved_before_leads_on() -> None:
    assert resolve_merges([(A, B)], {B: D}) == {A: D}


def test_a_repeated_merge_changes_nothing_and_no_customer_becomes_themselves() -> None:
    assert resolve_merges([(A, B)], {A: B}) == {A: B}
    assert resolve_merges([(B, A), (B, B)], {A: B}) == {}
