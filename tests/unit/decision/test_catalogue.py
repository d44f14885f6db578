"""The catalogue as marketers write it."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.chassis.definitions import InvalidDefinition
from services.decision.domain.catalogue import Catalogue
from services.decision.domain.catalogue_changes import compare_catalogues
from services.decision.domain.catalogue_validation import find_warnings
from services.decision.service.catalogue_cache import read_catalogue
from tests.unit.decision.factories import make_action, make_catalogue, parse_catalogue

MINIMAL = """
currency: EUR
placements: [{key: hero, channels: WEB}]
actions:
  - key: jazz
    name: Jazz
    kind: OFFER
    issue: sales
    group: vinyl
    value_cents: 100
    treatments: [{key: t, channel: WEB, placements: hero, content: {}}]
"""


def problems(text: str) -> list[tuple[int, str, str]]:
    """Line, path and what is text of every problem of a document."""
    with pytest.raises(InvalidDefinition) as caught:
        read_catalogue(text, 1)
    return [(p.line, p.path, f"{p.problem} {p.hint}") for p in caught.value.problems]


def test_little_has_to_be_written() -> None:
    compiled = read_catalogue(MINIMAL, 7)

    assert compiled.version == 7
    assert compiled.actions[0].lever == 1.0


def test_periods_moments_and_hours_are_read_as_people_write_them() -> None:
    text = (
        MINIMAL.replace("value_cents", "valid_from: 2026-12-01\n    value_cents")
        + """
contact_policies:
  caps: [{key: c, per: all, at_most: 1, within: 2w}]
  quiet_hours:
    - {key: q, channels: [WEB], from: 21:30, until: 08:00, time_zone: Europe/Amsterdam}
control_groups: [{key: g, share_percent: 5, withholds: all}]
"""
    )
    read = parse_catalogue(text)

    assert read.actions[0].valid_from == datetime(2026, 12, 1, tzinfo=UTC)
    assert read.contact_policies.caps[0].within == timedelta(days=14)
    hours = read.contact_policies.quiet_hours[0]
    assert (hours.start, hours.end) == (time(21, 30), time(8))
    assert read.control_groups[0].withholds.has_action(read.actions[0])


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "problem"),
    [
        ("kind: OFFER", "kind: OFER", 7, "actions[0].kind", "'OFER' does not fit"),
        ("group: vinyl", "gruop: vinyl", 9, "actions[0].gruop", "Did you mean `group`?"),
        ("placements: hero", "placements: heero", 11, "placements[0]", "Did you mean `hero`?"),
        ("channel: WEB", "channel: APP", 11, "placements[0]", "It is on WEB"),
        ("value_cents: 100", "value_cents: -1", 10, "actions[0].value_cents", "greater"),
        ("content: {}", 'content: {a: "{{ traits.x "}', 11, "content", "does not close"),
        ("content: {}", 'content: {a: "{{ customer.x }}"}', 11, "content", "the roots are"),
        ("issue: sales", "issue: sales\n    eligibility: traits.age >", 9, "eligibility", ""),
        (
            "issue: sales",
            "issue: sales\n    eligibility: [traits.ok, trait.age > 3]",
            9,
            "eligibility[1]",
            "traits",
        ),
        (
            "issue: sales",
            "issue: sales\n    valid_from: 2027-01-01\n    valid_until: 2026-01-01",
            10,
            "actions[0].valid_until",
            "ends before it begins",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_line_field_and_remedy(
    old: str, new: str, line: int, path: str, problem: str
) -> None:
    found = problems(MINIMAL.replace(old, new, 1))

    assert any(at == line and path in where and problem in text for at, where, text in found)


@pytest.mark.parametrize(
    ("more", "path", "problem"),
    [
        ("caps: [{key: c, per: day, at_most: 1, within: 7d}]", "caps[0].per", "'day'"),
        (
            "caps: [{key: c, per: all, at_most: 1, within: week}]",
            "caps[0].within",
            "as in 30s",
        ),
        ("caps: [{key: c, per: all, at_most: 1, within: 900d}]", "caps[0].within", "at most 400d"),
        (
            "caps: [{key: c, per: all, at_most: 1, within: 7d, only: {group: vinil}}]",
            "only.group[0]",
            "Did you mean `vinyl`?",
        ),
        (
            "quiet_hours: [{key: q, channels: WEB, from: '9:00', until: '8:00', time_zone: Mars}]",
            "quiet_hours[0].time_zone",
            "IANA",
        ),
        (
            "caps: [{key: c, per: all, at_most: 1, within: 7d},"
            " {key: c, per: all, at_most: 2, within: 7d}]",
            "caps[1].key",
            "a second time",
        ),
    ],
)
def test_mistakes_in_policies_are_reported_too(more: str, path: str, problem: str) -> None:
    found = problems(f"{MINIMAL}contact_policies:\n  {more}\n")

    assert any(path in where and problem in text for _, where, text in found)
    assert {line for line, _, _ in found} <= {12, 13}


def test_repeated_keys_are_refused() -> None:
    twice = MINIMAL + MINIMAL[MINIMAL.index("  - key: jazz") :]

    assert problems(twice)[0][1] == "actions[1].key"


def test_a_catalogue_has_at_most_2500_actions() -> None:
    one = make_action("a")

    with pytest.raises(ValidationError, match="at most 2500"):
        Catalogue.model_validate(
            {"currency": "EUR", "placements": [], "actions": [one] * 2_501},
        )


def test_changes_are_reported_action_by_action() -> None:
    old = make_catalogue(
        make_action("same"),
        make_action("dearer"),
        make_action("gone"),
        make_action("off", status="PAUSED"),
    )
    new = make_catalogue(
        make_action("new"), make_action("dearer", value_cents=101), make_action("same")
    )

    found = compare_catalogues(old.catalogue, new.catalogue)

    assert (found.added, found.removed) == (("new",), ("gone", "off"))
    assert (found.changed, found.unchanged) == (("dearer",), ("same",))
    assert found.removed_while_active == ("gone",)
    assert compare_catalogues(None, new.catalogue).added == ("new", "dearer", "same")


def test_what_is_probably_a_mistake_is_warned_of() -> None:
    placements: list[dict[str, Any]] = [
        {"key": "hero", "channels": "WEB"},
        {"key": "footer", "channels": "WEB"},
    ]
    shop = make_catalogue(
        make_action("mute", treatments=[]),
        make_action("free", value_cents=0),
        placements=placements,
    )

    assert find_warnings(shop.catalogue) == [
        "Action 'mute' has no treatment, so it is never shown.",
        "No action has a treatment for placement 'footer'.",
        "Action 'free' is worth 0 cents and can only come last.",
    ]
