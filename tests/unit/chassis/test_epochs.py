"""Numbers as others see them: those of a later epoch are higher, whatever they count."""

from services.chassis.epochs import stamp_number
from services.rules import Declaration


def test_numbers_of_the_first_epoch_are_as_they_were_given() -> None:
    assert [stamp_number(number, 0) for number in (0, 1, 7)] == [0, 1, 7]


def test_any_number_of_a_later_epoch_is_above_all_of_an_earlier_one() -> None:
    assert stamp_number(0, 1) > stamp_number(1 << 39, 0)
    assert stamp_number(1, 2) > stamp_number(stamp_number(1 << 39, 0), 1)


def test_a_number_is_stamped_once_and_keeps_its_order_in_its_epoch() -> None:
    first, second = stamp_number(3, 5), stamp_number(4, 5)

    assert stamp_number(first, 5) == first < second
    assert stamp_number(second, 4) == second  # of an epoch that is later already


def test_a_declaration_nobody_asked_anything_in_stays_answered() -> None:
    declaration = Declaration().renumber(lambda number: stamp_number(number, 3))

    assert declaration.grew_in == 0
