"""Whose records go where."""

from itertools import permutations
from uuid import UUID

import pytest

from services.measurement.domain.merges import find_new_owners

ANN, BOB, CIS, DAN = (UUID(int=n) for n in range(1, 5))


@pytest.mark.parametrize("order", [*permutations([(ANN, BOB), (BOB, CIS), (CIS, DAN)])])
def test_a_chain_ends_with_its_last_whatever_the_order(
    order: tuple[tuple[UUID, UUID], ...],
) -> None:
    assert find_new_owners(order, {}) == {ANN: DAN, BOB: DAN, CIS: DAN}


def test_a_merge_into_one_who_is_another_by_now_goes_on_to_them() -> None:
    assert find_new_owners([(ANN, BOB)], {BOB: CIS}) == {ANN: CIS}


@pytest.mark.parametrize("again", [(ANN, BOB), (ANN, CIS)])
def test_who_has_moved_moves_no_more(again: tuple[UUID, UUID]) -> None:
    assert find_new_owners([again], {ANN: BOB}) == {}


@pytest.mark.parametrize("circle", [[(ANN, ANN)], [(ANN, BOB), (BOB, ANN)]])
def test_nobody_becomes_himself(circle: list[tuple[UUID, UUID]]) -> None:
    assert ANN not in find_new_owners(circle, {}).values()
