"""A snapshot fits through the bus, whatever is in it, and says nothing that is not so."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.contracts.profile import CustomerChanged, CustomersMerged, IdentityPayload

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
LARGEST = 20_000


def snapshot(**fields: Any) -> CustomerChanged:
    """A snapshot of nothing but these."""
    plain: dict[str, Any] = {
        "identities": (),
        "traits": {},
        "consents": {},
        "segments": (),
        "series": {},
        "series_versions": {"decision": 3},
    }
    return CustomerChanged(
        event_id=UUID(int=1),
        customer_id=UUID(int=2),
        occurred_at=NOW,
        version=7,
        **{**plain, **fields},
    )


def test_the_largest_traits_go_first_and_no_more_than_must() -> None:
    whole = snapshot(traits={"a": "x" * 15_000, "b": "x" * 9_000, "c": "x" * 8_000, "d": False})

    fitting = whole.fit(LARGEST)

    assert fitting.traits.keys() == {"b", "c", "d"}
    assert len(fitting.to_cloudevent()) <= LARGEST


def test_a_trait_that_is_left_out_is_not_named_as_unproved() -> None:
    whole = snapshot(traits={"a": "x" * 25_000, "b": "x"}, unproved_traits=("a", "b"))

    assert whole.fit(LARGEST).unproved_traits == ("b",)


def test_traits_of_which_no_one_is_large_go_too() -> None:
    whole = snapshot(traits={f"{number:0200}": number for number in range(1_000)})

    fitting = whole.fit(LARGEST)

    assert 50 < len(fitting.traits) < 100
    assert len(fitting.to_cloudevent()) <= LARGEST


def test_a_series_that_does_not_fit_is_unknown_and_the_others_stay() -> None:
    short = {"count": 1, "first": [1, None], "last": [1, None], "times": [1]}
    long = {"count": 9_999, "first": [1, None], "last": [9, None], "times": list(range(9_999))}
    whole = snapshot(traits={"city": "Breda"}, series={"short": short, "long": long})

    fitting = whole.fit(LARGEST)

    assert fitting.series == {"short": short, "long": None}
    assert len(fitting.to_cloudevent()) <= LARGEST


def test_ids_of_browsers_go_before_those_of_a_person() -> None:
    browsers = tuple(IdentityPayload(type="anonymous_id", value=f"{n:0100}") for n in range(1_000))
    person = IdentityPayload(type="user_id", value="ann")

    fitting = snapshot(identities=(*browsers, person)).fit(LARGEST)

    assert person in fitting.identities
    assert len(fitting.to_cloudevent()) <= LARGEST


def test_consents_and_segments_are_all_there() -> None:
    consents = {f"purpose-{number}": False for number in range(100)}
    segments = tuple(f"segment-{number}" for number in range(100))

    fitting = snapshot(traits={"note": "x" * 50_000}, consents=consents, segments=segments).fit(
        LARGEST
    )

    assert (fitting.consents, fitting.segments, fitting.version) == (consents, segments, 7)
    assert fitting.series_versions == {"decision": 3}


def test_a_merge_of_thousands_of_browsers_fits() -> None:
    merge = CustomersMerged(
        event_id=UUID(int=1),
        customer_id=UUID(int=2),
        occurred_at=NOW,
        change_id=UUID(int=3),
        from_customer_id=UUID(int=4),
        identities=tuple(IdentityPayload(type="device", value=f"{n:0100}") for n in range(1_000)),
        reason="alias",
    )

    assert len(merge.fit(LARGEST).to_cloudevent()) <= LARGEST
