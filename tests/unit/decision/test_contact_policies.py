"""How often, how soon and when."""

from datetime import UTC, datetime, time
from typing import Any

import pytest

from services.contracts.enums import Channel
from services.decision.domain.contact_policies import is_within
from services.decision.domain.trace import FailedCondition, Stage
from tests.unit.decision.factories import (
    explain_all,
    make_action,
    make_catalogue,
    make_contact,
    make_input,
    propose,
)

SHOP = (
    make_action("jazz"),
    make_action("blues"),
    make_action("card", group="cards"),
    make_action("notice", kind="SERVICE_MESSAGE", group="news", issue="care"),
)


def shop(**policies: Any) -> Any:
    """The actions above under these policies."""
    return make_catalogue(*SHOP, contact_policies=policies)


@pytest.mark.parametrize(
    ("per", "left"),
    [
        ("action", ["blues", "card", "notice"]),
        ("group", ["card", "notice"]),
        ("issue", ["notice"]),
        ("all", []),
    ],
)
def test_a_cap_closes_the_unit_it_counts_by(per: str, left: list[str]) -> None:
    cap = {"key": "cap", "per": per, "at_most": 2, "within": "7d"}
    contacts = [make_contact("jazz", 1), make_contact("jazz", 100)]

    capped = shop(caps=[cap])

    assert propose(capped, make_input(limit=9, contacts=contacts)) == left
    assert len(propose(capped, make_input(limit=9, contacts=contacts[:1]))) == 4


def test_a_cap_looks_back_exactly_its_period() -> None:
    cap = {"key": "cap", "per": "action", "at_most": 1, "within": "7d"}

    def jazz_after(hours: float) -> bool:
        return "jazz" in propose(
            shop(caps=[cap]), make_input(limit=9, contacts=[make_contact("jazz", hours)])
        )

    assert [jazz_after(hours) for hours in (0, 7 * 24 - 0.001, 7 * 24)] == [False, False, True]


def test_only_the_first_outcome_of_a_proposition_is_a_presentation() -> None:
    cap = {"key": "cap", "per": "action", "at_most": 2, "within": "7d"}
    contacts = [make_contact("jazz", 2), make_contact("jazz", 1, "CLICKED", first=False)]

    assert "jazz" in propose(shop(caps=[cap]), make_input(limit=9, contacts=contacts))


def test_a_cap_on_a_channel_counts_and_closes_that_channel_only() -> None:
    cap = {"key": "cap", "per": "action", "at_most": 1, "within": "7d", "channel": "APP"}
    on_app = [make_contact("jazz", 1, channel="APP")]
    both: list[dict[str, Any]] = [
        {"key": channel, "channel": channel.upper(), "placements": "hero", "content": {}}
        for channel in ("web", "app")
    ]
    capped = make_catalogue(make_action("jazz", treatments=both), contact_policies={"caps": [cap]})

    assert propose(capped, make_input(contacts=on_app)) == ["jazz"]
    assert propose(capped, make_input(contacts=on_app, channel=Channel.APP)) == []
    on_web = make_input(contacts=[make_contact("jazz", 1)], channel=Channel.APP)
    assert propose(capped, on_web) == ["jazz"]


def test_a_cap_counts_and_closes_only_what_it_is_about() -> None:
    only = {"kind": "OFFER"}
    cap = {"key": "cap", "per": "all", "at_most": 1, "within": "7d", "only": only}

    capped = shop(caps=[cap])

    assert propose(capped, make_input(limit=9, contacts=[make_contact("jazz", 1)])) == ["notice"]
    assert len(propose(capped, make_input(limit=9, contacts=[make_contact("notice", 1)]))) == 4


def test_contacts_about_actions_that_are_gone_count_for_nothing() -> None:
    cap = {"key": "cap", "per": "all", "at_most": 1, "within": "7d"}

    assert (
        len(propose(shop(caps=[cap]), make_input(limit=9, contacts=[make_contact("polka", 1)])))
        == 4
    )


def test_a_suppression_follows_the_outcomes_it_names_whichever_came_first() -> None:
    rest = {"key": "rest", "per": "group", "after": ["REJECTED", "DISMISSED"], "for": "30d"}
    resting = shop(suppressions=[rest])

    rejected = [make_contact("jazz", 700, "REJECTED", first=False)]
    clicked = [make_contact("jazz", 1, "CLICKED")]

    assert propose(resting, make_input(limit=9, contacts=rejected)) == ["card", "notice"]
    assert len(propose(resting, make_input(limit=9, contacts=clicked))) == 4


def test_the_trace_names_the_policy_and_what_it_counted() -> None:
    policies = {
        "caps": [{"key": "often", "per": "action", "at_most": 2, "within": "36h"}],
        "suppressions": [{"key": "rest", "after": "REJECTED", "for": "2w"}],
    }
    contacts = [make_contact("jazz", 1), make_contact("jazz", 2, "REJECTED")]

    trace = explain_all(shop(**policies), make_input(contacts=contacts))["jazz"]

    assert trace.stage is Stage.CONTACT_POLICY
    assert trace.failed == [
        FailedCondition("often: fewer than 2 presented per action in 36h", 2),
        FailedCondition("rest: 14d without REJECTED per action", "2026-11-22T10:00:00+00:00"),
    ]


def test_quiet_hours_are_read_on_the_clock_of_their_place() -> None:
    quiet = {
        "key": "night",
        "channels": "WEB",
        "from": "21:00",
        "until": "08:00",
        "time_zone": "Europe/Amsterdam",
        "only": {"kind": "OFFER"},
    }
    silent = shop(quiet_hours=[quiet])

    winter_evening = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)  # 21:00 in Amsterdam
    summer_morning = datetime(2026, 7, 1, 6, 0, tzinfo=UTC)  # 08:00 there

    assert propose(silent, make_input(now=winter_evening)) == ["notice"]
    assert len(propose(silent, make_input(now=summer_morning))) == 3
    assert explain_all(silent, make_input(now=winter_evening))["jazz"].failed == [
        FailedCondition("night: not from 21:00 until 08:00 Europe/Amsterdam", "21:00")
    ]


@pytest.mark.parametrize(
    ("moment", "start", "end", "expected"),
    [
        (time(22), time(21), time(8), True),
        (time(7, 59), time(21), time(8), True),
        (time(8), time(21), time(8), False),
        (time(12), time(9), time(17), True),
        (time(17), time(9), time(17), False),
        (time(3), time(0), time(0), True),
    ],
)
def test_hours_may_pass_midnight(moment: time, start: time, end: time, expected: bool) -> None:
    assert is_within(moment, start, end) is expected
