"""Pages of a list, one after the other."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.chassis.pagination import (
    LARGEST_PAGE,
    InvalidPage,
    decode_cursor,
    encode_cursor,
    page_size,
)


def test_a_cursor_gives_back_the_key_it_was_made_of() -> None:
    moment, customer = datetime(2026, 11, 22, tzinfo=UTC), UUID(int=7)

    key = decode_cursor(encode_cursor(moment, customer), datetime.fromisoformat, UUID)

    assert key == (moment, customer)


def test_without_a_cursor_a_list_begins_at_its_beginning() -> None:
    assert decode_cursor(None, str, str) is None


@pytest.mark.parametrize(
    "after",
    ["", "x", "né", "e30=", encode_cursor(1), encode_cursor(1, 2, 3), "💥", encode_cursor(1, "x")],
)
def test_a_cursor_of_somebody_elses_is_refused(after: str) -> None:
    with pytest.raises(InvalidPage, match=r"after is .* Pass the endCursor"):
        decode_cursor(after, int, UUID)


@pytest.mark.parametrize("first", [0, -1, LARGEST_PAGE + 1])
def test_a_page_of_an_impossible_size_is_refused(first: int) -> None:
    with pytest.raises(InvalidPage, match=f"first is {first}"):
        page_size(first)


@pytest.mark.parametrize("first", [1, LARGEST_PAGE])
def test_a_page_may_be_small_or_large(first: int) -> None:
    assert page_size(first) == first
