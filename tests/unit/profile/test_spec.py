"""The Segment spec, read by hand: right, or refused with what to mend; never a crash."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.enums import LinkSource, SenderClass
from services.contracts.identity import ANONYMOUS_TYPES
from services.profile.domain.calls import (
    BatchContext,
    Call,
    ClaimsOff,
    EventInFuture,
    InvalidClaim,
    InvalidEvent,
    NoIdentity,
    Provenance,
    SignedClaim,
    UnprovedProvenance,
)
from services.profile.domain.enums import (
    ConsentStatus,
    ContextCategory,
    LawfulBasis,
    TraitKind,
)
from services.profile.domain.identities import Identity
from services.profile.domain.spec import CALLS, read_call
from services.profile.service.call_reader import CallReader

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
READING = BatchContext(NOW, timedelta(minutes=5), uuid4, SenderClass.SERVER)


def read(kind: str = "track", reading: BatchContext = READING, **fields: Any) -> Call:
    """Read an event of user u."""
    event = {"type": kind, "userId": "u", **({"event": "x"} if kind == "track" else {}), **fields}
    return read_call(event, reading)


@pytest.mark.parametrize(
    ("kind", "fields", "name", "properties"),
    [
        ("track", {"event": "A b", "properties": {"n": 1}}, "A b", {"n": 1}),
        (
            "page",
            {"name": "Home", "properties": {"url": "/"}},
            "page",
            {"url": "/", "name": "Home"},
        ),
        ("screen", {"category": "shop"}, "screen", {"category": "shop"}),
        ("group", {"groupId": 7, "traits": {"plan": "x"}}, "group", {"plan": "x", "groupId": "7"}),
        ("identify", {"traits": {"age": 3}}, "identify", {"age": 3}),
        ("alias", {"previousId": "old"}, "alias", {"previousId": "old"}),
    ],
)
def test_every_call_has_a_name_and_carries_what_it_says(
    kind: str, fields: dict[str, Any], name: str, properties: dict[str, Any]
) -> None:
    call = read(kind, **fields)

    assert (call.kind, call.name, call.properties) == (kind, name, properties)


def test_identities_come_from_ids_traits_external_ids_and_device_strongest_first() -> None:
    call = read(
        "identify",
        anonymousId="a",
        traits={"email": "Ann@X.nl", "phone": "+31 6", "loyalty_id": 12, "crm_id": " "},
        context={
            "device": {"id": "d"},
            "externalIds": [{"type": "crm_id", "id": "K"}, {"type": "ga_id", "id": "1"}, 7],
        },
    )

    assert call.identities == (
        Identity("user_id", "u"),
        Identity("crm_id", "K"),
        Identity("loyalty_id", "12"),
        Identity("email", "ann@x.nl"),
        Identity("phone", "+316"),
        Identity("anonymous_id", "a"),
        Identity("device", "d"),
    )


def test_an_email_in_a_track_call_names_nobody() -> None:
    assert read(properties={"email": "ann@x.nl"}).identities == (Identity("user_id", "u"),)


@pytest.mark.parametrize(
    ("timestamp", "sent_at", "occurred_at"),
    [
        ("2026-11-22T08:00:00Z", None, NOW - timedelta(hours=1)),
        ("2026-11-22T09:00:00+01:00", None, NOW - timedelta(hours=1)),
        ("2026-11-22T08:00:00", None, NOW - timedelta(hours=1)),
        ("2030-01-01T00:00:10Z", "2030-01-01T00:01:00Z", NOW - timedelta(seconds=50)),
        ("2020-01-01T00:00:10Z", "2020-01-01T00:00:00Z", NOW + timedelta(seconds=10)),
        (None, "2020-01-01T00:00:00Z", NOW),
    ],
)
def test_the_senders_clock_is_corrected_by_what_it_said_on_sending(
    timestamp: str | None, sent_at: str | None, occurred_at: datetime
) -> None:
    assert read(timestamp=timestamp, sentAt=sent_at).occurred_at == occurred_at


def test_a_clock_far_in_the_future_is_refused_and_five_minutes_are_not() -> None:
    within = (NOW + timedelta(minutes=5)).isoformat()
    beyond = (NOW + timedelta(minutes=5, microseconds=1)).isoformat()

    assert read(timestamp=within).occurred_at == NOW + timedelta(minutes=5)
    with pytest.raises(EventInFuture, match=r"0:05:00\.000001.*sentAt"):
        read(timestamp=beyond)


def test_traits_are_declared_and_relational_unless_said_otherwise() -> None:
    raak = {"kind": "derived", "context": "PERSONAL", "source": "model", "lawfulBasis": "CT"}

    plain = read("identify", traits={"x": 1}).provenance
    stated = read("identify", traits={"x": 1}, context={"raak": raak}).provenance

    assert plain == Provenance(
        TraitKind.DECLARED, ContextCategory.RELATIONAL, "segment", LawfulBasis.LI
    )
    assert stated == Provenance(
        TraitKind.DERIVED, ContextCategory.PERSONAL, "model", LawfulBasis.CT
    )


def test_consents_ride_on_any_call() -> None:
    preferences = {"email": True, "sms": False, "ads": "dn"}

    call = read(context={"consent": {"categoryPreferences": preferences}})

    assert {purpose: word.status for purpose, word in call.consents.items()} == {
        "email": ConsentStatus.GIVEN,
        "sms": ConsentStatus.DENIED,
        "ads": ConsentStatus.DEFAULT_DENIED,
    }
    assert call.consents["email"].lawful_basis is LawfulBasis.CONSENT


def test_the_context_of_a_batch_stands_behind_each_events_own() -> None:
    reading = READING._replace(context={"ip": "1", "locale": "nl"})

    assert read(reading=reading, context={"locale": "en"}).context == {"ip": "1", "locale": "en"}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"type": "trck"}, r"'trck'.*Did you mean `track`"),
        ({"type": None}, r"type is missing.*Known: alias, group"),
        ({"event": ""}, r"event is ''"),
        ({"event": "x" * 256}, r"event has 256 characters"),
        ({"properties": [1]}, r"properties is \[1\], not an object"),
        ({"userId": True}, r"userId is True"),
        ({"messageId": {}}, r"messageId is \{\}"),
        ({"timestamp": "yesterday"}, r"timestamp is 'yesterday', not a time.*ISO 8601"),
        ({"timestamp": 1732266000}, r"timestamp is 1732266000, not a time"),
        ({"context": {"externalIds": {}}}, r"externalIds is \{\}, not a list"),
        ({"context": {"raak": {"kind": "X"}}}, r"raak.kind is 'X'.*FACTUAL, DECLARED, DERIVED"),
        (
            {"context": {"consent": {"categoryPreferences": {"email": "yes"}}}},
            r"consent for 'email' is 'yes'.*true, false or one of y, n, p, u, dy, dn",
        ),
        (
            {"timestamp": "0001-01-01T00:00:00Z", "sentAt": "9999-12-31T00:00:00Z"},
            r"too far apart",
        ),
    ],
)
def test_what_is_wrong_is_told_with_the_value_and_the_remedy(
    fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidEvent, match=problem):
        read_call({"type": "track", "event": "x", "userId": "u", **fields}, READING)


def test_an_event_that_names_nobody_is_refused() -> None:
    with pytest.raises(NoIdentity, match="userId or anonymousId"):
        read_call({"type": "track", "event": "x", "userId": " "}, READING)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["email", "crm_id", "y", "2026-11-22T09:00:00Z", "9999-12-31T23:59:59Z"])
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
FIELDS = st.sampled_from(
    [
        "type",
        "event",
        "userId",
        "anonymousId",
        "messageId",
        "timestamp",
        "originalTimestamp",
        "sentAt",
        "properties",
        "traits",
        "context",
        "groupId",
        "previousId",
        "name",
        "category",
    ]
)
CONTEXTS = st.dictionaries(
    st.sampled_from(["externalIds", "device", "raak", "consent", "x"]),
    JSON
    | st.dictionaries(
        st.sampled_from(["id", "type", "kind", "source", "lawfulBasis", "categoryPreferences"]),
        JSON,
    )
    | st.lists(st.dictionaries(st.sampled_from(["id", "type"]), JSON)),
)
EVENTS = st.builds(
    lambda fields, kind, context, user: {
        **fields,
        **({"type": kind} if kind else {}),
        **({"context": context} if context is not None else {}),
        **({"userId": user} if user else {}),
    },
    st.dictionaries(FIELDS, JSON),
    st.sampled_from([None, *CALLS]),
    st.none() | CONTEXTS,
    st.none() | st.just("u"),
)


@given(EVENTS | JSON, st.sampled_from([SenderClass.SERVER, SenderClass.WRITE_KEY]))
def test_any_json_is_read_or_refused_and_never_crashes(event: Any, sender: SenderClass) -> None:
    reader = CallReader(32 * 1024, timedelta(minutes=5))

    [*calls], [*rejected] = reader.read_all([event], reader.open_batch(sender, NOW))

    assert len(calls) + len(rejected) == 1
    for call in calls:
        assert call.identities
        assert all(len(i.value) <= 255 for i in call.identities)
        assert call.occurred_at.utcoffset() == timedelta()
        if sender is SenderClass.WRITE_KEY:
            [browser] = call.identities
            assert browser.type in ANONYMOUS_TYPES
            assert call.previous is None
            assert not call.is_proved
    for one in rejected:
        assert one.error.problem
        assert one.error.hint


# --- who says so -------------------------------------------------------------------------

BROWSER, USER = Identity("anonymous_id", "a"), Identity("user_id", "u")
PAGE = BatchContext(NOW, timedelta(minutes=5), uuid4, SenderClass.WRITE_KEY)


def proving(*identities: Identity) -> BatchContext:
    """A page whose claims, whatever they are, say that browser a is used by the holder of these."""
    claim = SignedClaim(BROWSER, frozenset(identities))
    return PAGE._replace(verify=lambda text, now: claim)


def test_a_page_speaks_for_its_browser_and_claims_the_rest() -> None:
    context = {
        "device": {"id": "d"},
        "traits": {"email": "Ann@X.y", "phone": "x" * 300, "plan": "gold"},
        "externalIds": [{"type": "crm_id", "id": "k"}, {"type": "anonymous_id", "id": "b"}],
    }
    traits = {"email": "ann@x.y", "loyalty_id": "l", "phone": None, "town": "Delft"}

    call = read("identify", PAGE, anonymousId="a", context=context, traits=traits)

    assert call.identities == (BROWSER,)
    assert [f"{one.type}:{one.value}" for one in call.claims] == [
        "user_id:u",
        "crm_id:k",
        "loyalty_id:l",
        "email:ann@x.y",
    ]
    assert call.traits == call.properties == {"town": "Delft"}
    assert (call.is_proved, call.linked_by) == (False, LinkSource.WRITE_KEY)


def test_a_device_is_whose_an_app_without_an_anonymous_id_is() -> None:
    call = read(reading=PAGE, context={"device": {"id": "d"}})

    assert call.identities == (Identity("device", "d"),)


def test_a_claim_makes_the_call_its_customers_own_word() -> None:
    context = {"raak": {"claim": "…", "context": "PERSONAL"}}
    traits = {"email": "ann@x.y", "crm_id": "k"}
    email = Identity("email", "ann@x.y")

    call = read("identify", proving(USER, email), anonymousId="a", context=context, traits=traits)

    assert call.identities == (USER, email, BROWSER)
    assert (call.sender, call.linked_by, call.is_proved) == (
        SenderClass.APP,
        LinkSource.CLAIM,
        True,
    )
    assert (call.traits, call.claims) == ({"email": "ann@x.y"}, (Identity("crm_id", "k"),))
    assert call.context == {"raak": {"context": "PERSONAL"}}


@pytest.mark.parametrize("anonymous", [{"anonymousId": "b"}, {}])
def test_a_claim_of_another_browser_is_refused(anonymous: dict[str, str]) -> None:
    with pytest.raises(InvalidClaim, match="another browser"):
        read(reading=proving(USER), context={"raak": {"claim": "…"}}, **anonymous)


@pytest.mark.parametrize("sender", SenderClass)
def test_a_claim_that_nobody_can_check_is_told(sender: SenderClass) -> None:
    reading = BatchContext(NOW, timedelta(minutes=5), uuid4, sender)

    with pytest.raises(ClaimsOff, match="RAAK_PROFILE_CLAIM_SECRETS"):
        read(reading=reading, anonymousId="a", context={"raak": {"claim": "…"}})


@pytest.mark.parametrize("sender", [s for s in SenderClass if not s.is_trusted])
@pytest.mark.parametrize(
    "lie", [{"kind": "FACTUAL"}, {"kind": "derived"}, {"source": "crm"}, {"lawfulBasis": "CT"}]
)
def test_only_those_who_are_trusted_say_more_of_their_word_than_that_it_was_declared(
    sender: SenderClass, lie: dict[str, str]
) -> None:
    event: dict[str, Any] = {"anonymousId": "a", "context": {"raak": lie}}
    mere = BatchContext(NOW, timedelta(minutes=5), uuid4, sender)

    read("identify", **event)

    with pytest.raises(UnprovedProvenance, match=next(iter(lie))):
        read("identify", mere, **event)


@pytest.mark.parametrize(
    "context",
    [
        {"externalIds": None},
        {"externalIds": [None, {"type": None, "id": None}]},
        {"device": None},
        {"device": {"id": None}},
        {"consent": None},
        {"consent": {"categoryPreferences": None}},
        {"consent": {"categoryPreferences": {"email": None}}},
        {"raak": None},
        {"raak": {"kind": None, "context": None, "source": None, "lawfulBasis": None}},
    ],
)
def test_null_in_a_context_is_as_if_left_out(context: dict[str, Any]) -> None:
    call = read(context=context)

    assert (call.identities, call.provenance, call.consents) == (
        (Identity("user_id", "u"),),
        Provenance(),
        {},
    )


OPTIONAL = (
    "anonymousId messageId timestamp originalTimestamp sentAt properties traits context"
    " integrations previousId name category channel"
)


@pytest.mark.parametrize("field", OPTIONAL.split())
@pytest.mark.parametrize("kind", ["track", "identify", "page", "screen"])
def test_null_in_an_optional_field_is_as_if_left_out(kind: str, field: str) -> None:
    fields: dict[str, Any] = {field: None}
    blank, left_out = read(kind, **fields), read(kind)

    assert blank._replace(event_id=left_out.event_id, message_id="") == left_out._replace(
        message_id=""
    )


def test_an_empty_list_is_an_empty_object() -> None:
    call = read("identify", traits=[], context=[])

    assert (call.traits, call.context) == ({}, {})


def test_a_null_leaves_what_the_batch_says_of_all() -> None:
    shared = READING._replace(context={"device": {"id": "d"}, "locale": "nl"})

    call = read(reading=shared, context={"device": None, "locale": "fr"})

    assert Identity("device", "d") in call.identities
    assert call.context["locale"] == "fr"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22t08:00:00z", NOW - timedelta(hours=1)),
        ("2026-11-22T07:59:60Z", NOW - timedelta(hours=1)),
        ("2026-11-22T07:59:60.250Z", NOW - timedelta(minutes=59, seconds=59.75)),
    ],
)
def test_times_are_read_as_rfc_3339_writes_them(text: str, moment: datetime) -> None:
    assert read(timestamp=text).occurred_at == moment


@pytest.mark.parametrize("sent_at", ["yesterday", 7, {}, ""])
def test_a_time_of_sending_that_is_none_is_as_if_left_out(sent_at: object) -> None:
    at = NOW - timedelta(hours=1)

    assert read(timestamp=at.isoformat(), sentAt=sent_at).occurred_at == at


READER = CallReader(2_000, timedelta(minutes=5))


def refusals(event: dict[str, Any], context: object = None) -> list[str]:
    """Why an event of a batch with this context is refused."""
    reading = READER.open_batch(SenderClass.SERVER, NOW, context=context)
    _, rejected = READER.read_all(
        [{"type": "track", "event": "x", "userId": "u", **event}], reading
    )
    return [one.error.problem for one in rejected]


def nested(levels: int) -> Any:
    """An object of so many levels."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("field", ["properties", "traits", "context", "anything"])
def test_an_event_is_no_deeper_than_what_can_leave_again(field: str) -> None:
    assert refusals({field: nested(32)}) == []
    for levels in (33, 100, 250, 260):
        assert refusals({field: nested(levels)}) == [
            "The event nests deeper than 32 levels of lists and objects."
        ]


def test_many_brackets_are_not_deep() -> None:
    assert refusals({"properties": {"list": [[]] * 200}}) == []


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"a": "x\0"}, "The batch's context holds a NUL character."),
        ({"a\0": "x"}, "The batch's context holds a NUL character."),
        ({"a": "\ud83d"}, "The batch's context cannot be written as JSON"),
        ({"a": nested(32)}, "The batch's context nests deeper than 32 levels"),
        ({"a": "x" * 2_000}, "The batch's context has 2008 bytes"),
        ({"a": "x" * 1_960}, "The event has 2009 bytes as JSON, over the limit of 2000"),
        ("x", "The batch's context is 'x', not an object."),
        ({"externalIds": {}}, "context.externalIds is {}, not a list."),
    ],
)
def test_what_is_wrong_with_a_batchs_context_is_told_of_each_event(
    context: object, expected: str
) -> None:
    [problem] = refusals({}, context)

    assert problem.startswith(expected)


@pytest.mark.parametrize("context", [None, [], {}])
def test_a_batch_may_say_nothing_of_all(context: object) -> None:
    assert refusals({}, context) == []
