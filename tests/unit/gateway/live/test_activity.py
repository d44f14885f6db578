"""What is told of an event of the bus, and what is not."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from gateway.live.activity import (
    ACTIVITY_KINDS,
    EVENTS_BY_TYPE,
    CustomerDiff,
    CustomerDigests,
    read_event,
)
from services.contracts.decision import DecisionSeriesNeeded
from services.contracts.profile import CustomerChanged, IdentityPayload
from tests.unit.gateway.live.events import ANN, BEN, EVENTS, outcome


def snapshot(version: int = 2, **more: Any) -> CustomerChanged:
    known: dict[str, Any] = {
        "identities": (IdentityPayload(type="email", value="ann@example.com"),),
        "traits": {"name": "Ann", "town": "Delft"},
        "consents": {"email": True},
        "segments": ("loyal",),
        "series": {"clicks": [1, 2]},
    }
    return CustomerChanged(
        event_id=uuid4(),
        customer_id=ANN,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        version=version,
        **(known | more),
    )


def changes(before: CustomerChanged, after: CustomerChanged) -> CustomerDiff:
    return CustomerDigests.from_event(before).compare(CustomerDigests.from_event(after))


def test_every_event_that_is_reported_is_read_back_from_the_bus() -> None:
    for event in EVENTS:
        assert read_event(event.address(), event.to_cloudevent()) == event

    assert {type(event) for event in EVENTS} == set(ACTIVITY_KINDS)
    assert len(EVENTS_BY_TYPE) == len(ACTIVITY_KINDS)


def test_events_for_services_are_not_reported() -> None:
    needed = DecisionSeriesNeeded(
        event_id=uuid4(),
        customer_id=None,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        version=1,
        series=(),
    )

    assert read_event(needed.address(), needed.to_cloudevent()) is None


def test_an_event_of_another_customer_than_its_subject_says_is_refused() -> None:
    event = outcome()

    with pytest.raises(ValueError, match="another customer"):
        read_event(event.address().replace(str(ANN), str(BEN)), event.to_cloudevent())


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"{}", b'{"data": {}}', b"\xff"])
def test_what_is_no_event_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # pydantic's, orjson's or ours
        read_event(outcome().address(), document)


def test_a_snapshot_with_nothing_new_but_an_event_is_no_change() -> None:
    assert not changes(snapshot(), snapshot(3, series={"clicks": [1, 2, 3]}))


@pytest.mark.parametrize(
    ("new", "told"),
    [
        ({"traits": {"name": "Ann", "town": "Breda"}}, CustomerDiff(traits=("town",))),
        ({"traits": {"name": "Ann"}}, CustomerDiff(traits=("town",))),
        ({"consents": {"email": False, "sms": True}}, CustomerDiff(consents=("email", "sms"))),
        (
            {"segments": ("lapsed",)},
            CustomerDiff(segments_entered=("lapsed",), segments_left=("loyal",)),
        ),
        (
            {"identities": (IdentityPayload(type="phone", value="+31"),)},
            CustomerDiff(identities=("email", "phone")),
        ),
    ],
)
def test_changes_are_reported_by_name(new: dict[str, Any], told: CustomerDiff) -> None:
    assert changes(snapshot(), snapshot(3, **new)) == told


def test_digests_of_a_customer_hold_none_of_their_values() -> None:
    remembered = repr(CustomerDigests.from_event(snapshot()))

    assert "Delft" not in remembered
    assert "ann@example.com" not in remembered
    assert UUID(int=0).hex not in remembered
