"""Numbers as others see them: those of a later epoch are higher, whatever they count."""

from services.chassis.epochs import stamped
from services.rules import Declaration


def test_numbers_of_the_first_epoch_are_as_they_were_given() -> None:
    assert [stamped(number, 0) for number in (0, 1, 7)] == [0, 1, 7]


def test_any_number_of_a_later_epoch_is_above_all_of_an_earlier_one() -> None:
    assert stamped(0, 1) > stamped(1 << 39, 0)
    assert stamped(1, 2) > stamped(stamped(1 << 39, 0), 1)


def test_a_number_is_stamped_once_and_keeps_its_order_in_its_epoch() -> None:
    first, second = stamped(3, 5), stamped(4, 5)

    assert stamped(first, 5) == first < second
    assert stamped(second, 4) == second  # of an epoch that is later already


def test_a_declaration_nobody_asked_anything_in_stays_answered() -> None:
    declaration = Declaration().renumber(lambda number: stamped(number, 3))

    assert declaration.grew_in == 0
