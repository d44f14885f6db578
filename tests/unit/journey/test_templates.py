"""Personal content."""

from typing import Any

import pytest

from services.journey.domain.template import personalised, unreadable

VALUES: dict[str, Any] = {
    "traits": {"name": "Ann", "points": 12.0, "vip": True, "tags": ["a"], "home": {"city": "Ede"}},
    "event": {"total": 19.95, "zero": 0},
    "key": "o-1",
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("Hi {{ traits.name | there }}!", "Hi Ann!"),
        ("Hi {{traits.nickname|there}}!", "Hi there!"),
        ("Hi {{ traits.nickname }}!", "Hi !"),
        ("{{ traits.points }} and {{ event.total }} and {{ event.zero }}", "12 and 19.95 and 0"),
        ("{{ traits.home.city }}, {{ key }}, {{ traits.vip }}", "Ede, o-1, yes"),
        ("{{ traits.tags | none }}, {{ traits.home | nowhere }}", "none, nowhere"),
        ("{{ traits.name.first | x }}", "x"),
        ("No braces {at} all", "No braces {at} all"),
    ],
)
def test_placeholders_are_filled_in(text: str, filled: str) -> None:
    assert personalised(text, VALUES) == filled


def test_a_filled_in_value_is_not_filled_in_again() -> None:
    sly = {"traits": {"name": "{{ traits.secret }}", "secret": "s"}}

    assert personalised("{{ traits.name }}", sly) == "{{ traits.secret }}"


def test_lists_and_objects_are_filled_in_and_other_values_left() -> None:
    content = {"a": ["{{ key }}", 1, None, True], "b": {"c": "{{ traits.name }}"}}

    assert personalised(content, VALUES) == {"a": ["o-1", 1, None, True], "b": {"c": "Ann"}}


@pytest.mark.parametrize(
    "text",
    ["{{ name }}", "{{ traits }}", "{{ traits.a.b-c }}", "{{ }}", "{{ traits.a", "b }}", "{{{{"],
)
def test_what_cannot_be_filled_in_is_found(text: str) -> None:
    assert unreadable(text) is not None


def test_what_can_be_filled_in_is_not_complained_of() -> None:
    assert unreadable("{{ traits.a | b }} {{ key }} {{ event.c.d }}") is None
