"""The audit log knows which calls a request of Segment's holds, and whom they name."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.surfaces.audited_events import EVENT_CALLS, AuditedEvents, read_events


def named(call: str, document: Any) -> list[tuple[str, str]]:
    """Whom a request names, by type and value."""
    _, references = read_events(call, document)
    return [(ref["identity"]["type"], ref["identity"]["value"]) for ref in references]


def test_a_record_tells_the_calls_of_a_batch_and_how_many() -> None:
    track, page = {"type": "track", "userId": "1"}, {"type": "page", "userId": "1"}
    batch = {"batch": [track, page, track, {"type": "trak"}, {"type": ["track"]}, 7, None]}

    request, references = read_events("batch", batch)

    assert request.members == {
        "kind": "ingest",
        "operation": "batch",
        "calls": {"track": 2, "page": 1, "unknown": 4},
    }
    assert references == [{"identity": {"type": "user_id", "value": "1"}}]


def test_a_call_is_what_it_was_sent_to_whatever_it_says() -> None:
    request, _ = read_events("track", {"type": "identify"})

    assert request == AuditedEvents("track", {"track": 1})


@pytest.mark.parametrize(
    ("event", "who"),
    [
        ({"userId": "42", "anonymousId": "v-1"}, {("user_id", "42"), ("anonymous_id", "v-1")}),
        ({"userId": 42}, {("user_id", "42")}),
        (
            {"traits": {"email": "a@b.c", "phone": "+31 6", "crm_id": 7, "city": "Breda"}},
            {("email", "a@b.c"), ("phone", "+31 6"), ("crm_id", "7")},
        ),
        (
            {
                "context": {
                    "externalIds": [{"type": "loyalty_id", "id": "L"}, {"type": "x", "id": 1}]
                }
            },
            {("loyalty_id", "L")},
        ),
        ({"context": {"device": {"id": "d-1"}}}, {("device", "d-1")}),
        ({"userId": " ", "anonymousId": None, "traits": {"email": ["a@b.c"]}}, set()),
        ({"userId": True, "context": {"device": "d", "externalIds": {}}, "traits": 1}, set()),
    ],
)
def test_a_customer_is_named_as_profile_would_find_them(
    event: dict[str, Any], who: set[tuple[str, str]]
) -> None:
    assert set(named("identify", event)) == who
    assert set(named("batch", {"batch": [{"type": "identify", **event}]})) == who


def test_traits_of_a_group_are_not_those_of_a_customer() -> None:
    assert named("group", {"userId": "1", "traits": {"email": "office@b.c"}}) == [("user_id", "1")]


def test_an_alias_names_both_who_was_and_who_is() -> None:
    event = {"userId": "42", "previousId": "v-1"}

    assert named("alias", event) == [("user_id", "42"), ("user_id", "v-1"), ("anonymous_id", "v-1")]
    assert named("track", event) == [("user_id", "42")]


def test_the_context_of_a_batch_stands_for_all_its_events() -> None:
    context = {"device": {"id": "d-1"}}

    assert named("batch", {"batch": [{"type": "page"}], "context": context}) == [("device", "d-1")]
    assert named("batch", {"batch": [], "context": context}) == []


NAMES = ("batch", "type", "userId", "previousId", "traits", "email", "context", "device", "id")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.sampled_from([*EVENT_CALLS, "batch"]), JSON)
def test_whatever_is_sent_can_be_written_down(call: str, document: Any) -> None:
    request, references = read_events(call, document)

    assert set(request.members["calls"]) <= {*EVENT_CALLS, "unknown"}
    assert all(isinstance(ref["identity"]["value"], str) for ref in references)
