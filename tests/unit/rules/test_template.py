"""Personal content."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.rules import InvalidTemplate, parse_template
from services.rules.template import format_value, parse_path

ROOTS = ("traits", "context", "event")
SOURCES: dict[str, dict[str, Any] | str] = {
    "traits": {"name": "Ann", "points": 12.0, "vip": True, "tags": ["a"], "home": {"city": "Ede"}},
    "context": {"page": "{{ traits.name }}"},
    "event": {
        "name": "bought",
        "at": datetime(2026, 3, 2, tzinfo=UTC),
        "properties": {"total": 19.95, "zero": 0, "name": "a record", "prénom": "Zoë"},
    },
    "key": "o-1",
}


def filled(content: Any, sources: Any = SOURCES) -> Any:
    """The content with its placeholders filled in."""
    return parse_template(content, ROOTS, exact=("key",)).fill(sources)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hi {{ traits.name | there }}!", "Hi Ann!"),
        ("Hi {{traits.nickname|there}}!", "Hi there!"),
        ("Hi {{ traits.nickname }}!", "Hi !"),
        ("{{ traits.points }} and {{ event.total }} and {{ event.zero }}", "12 and 19.95 and 0"),
        ("{{ traits.home.city }}, {{ key }}, {{ traits.vip }}", "Ede, o-1, yes"),
        ("{{ traits.tags | none }}, {{ traits.home | nowhere }}", "none, nowhere"),
        ("{{ traits.name.first | x }}{{ traits.home.street | y }}", "xy"),
        ("{{ event.prénom }} {{ traits.nickname | a | b\n}}", "Zoë a | b"),
        ("no { braces } at { { all } }", "no { braces } at { { all } }"),
    ],
)
def test_placeholders_are_filled_in(text: str, said: str) -> None:
    assert filled(text) == said


def test_the_event_is_named_as_in_conditions() -> None:
    text = "{{ event.name }} {{ event.properties.name }} for {{ event.total }} on {{ event.at }}"

    assert filled(text) == "bought a record for 19.95 on 2026-03-02T00:00:00+00:00"
    assert filled(text, {"event": {}}) == "  for  on "
    assert parse_path("event.properties") == ("event", "properties", "properties")


def test_a_filled_in_value_is_not_filled_in_again() -> None:
    assert filled("{{ context.page }}") == "{{ traits.name }}"


def test_a_long_value_is_cut_and_a_long_text_is_not() -> None:
    said = filled("{{ traits.name }}" + "y" * 300, {"traits": {"name": "x" * 5_000}})

    assert said == "x" * 200 + "y" * 300


def test_content_is_filled_wherever_it_has_text_and_the_rest_is_left_alone() -> None:
    still = {"text": "x", "list": [1, None]}
    content = {"a": ["{{ key }}", 1, None, True], "b": {"c": "{{ traits.name }}"}, "still": still}

    said = filled(content)

    assert said == {"a": ["o-1", 1, None, True], "b": {"c": "Ann"}, "still": still}
    assert said["still"] is still
    assert content["a"] == ["{{ key }}", 1, None, True]


def test_a_template_tells_what_it_needs_and_where() -> None:
    content = {"a": ["{{ key }}", "{{ traits.home.city | x }} {{ event.total }}"]}

    read = parse_template(content, ROOTS, exact=("key",))

    assert [(one.keys, one.path) for one in read.placeholders] == [
        (("key",), ("a", 0)),
        (("traits", "home", "city"), ("a", 1)),
        (("event", "properties", "total"), ("a", 1)),
    ]


@pytest.mark.parametrize(
    ("text", "problem", "offset"),
    [
        ("Hi {{ name }}", "'{{ name }}' cannot be filled in.", 3),
        ("{{ traits }}", "'{{ traits }}' cannot be filled in.", 0),
        ("{{ key.x }}", "'{{ key.x }}' cannot be filled in.", 0),
        ("{{ os.path }}", "'{{ os.path }}' cannot be filled in.", 0),
        ("{{ traits.a() }}", "'{{ traits.a() }}' cannot be filled in.", 0),
        ("{{ traits.a. }}", "'{{ traits.a. }}' cannot be filled in.", 0),
        ("{{ traits.a.b-c }}", "'{{ traits.a.b-c }}' cannot be filled in.", 0),
        ("{{ }}", "'{{ }}' cannot be filled in.", 0),
        ("Hi {{ traits.a", "'Hi {{ traits.a' opens {{ and does not close it.", 3),
        ("{{ key }} { traits.b }}", "'{{ key }} { traits.b }}' has }} without {{.", 21),
        ("{{ key | {{ key }}", "'{{ key | {{ key }}' cannot be filled in.", 0),
    ],
)
def test_what_is_no_placeholder_is_refused_at_its_place(
    text: str, problem: str, offset: int
) -> None:
    with pytest.raises(InvalidTemplate, match=r"Write \{\{ traits\.name") as caught:
        filled({"x": ["fine", text]})

    [flaw] = caught.value.flaws
    assert (flaw.path, flaw.problem, flaw.offset) == (("x", 1), problem, offset)


def test_all_flaws_are_reported_at_once() -> None:
    content = {"a": "{{ nobody }} {{ traits.a", "b": "{{ context.x }}"}

    with pytest.raises(InvalidTemplate, match=r"the roots are traits\.…, key\.") as caught:
        parse_template(content, ["traits"], exact=["key"])

    assert [flaw.path for flaw in caught.value.flaws] == [("a",), ("a",), ("b",)]
    assert [flaw.prefix(("send",)).path for flaw in caught.value.flaws][2] == ("send", "b")


@pytest.mark.parametrize(
    ("value", "said"),
    [(True, "yes"), (False, "no"), (0, "0"), (2.0, "2"), (2.5, "2.5"), (1e16, "1e+16"), ({}, "")],
)
def test_values_are_shown_as_they_are_read_aloud(value: Any, said: str) -> None:
    assert format_value(value) == said
