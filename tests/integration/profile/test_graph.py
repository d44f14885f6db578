"""The graph: what callers see of customers, what they can tell us, and whom they cannot see."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from services.chassis.pagination import encode_cursor
from services.contracts.enums import Role
from services.contracts.identity import derive_customer_id
from tests.callers import caller
from tests.integration.profile.conftest import (
    AGENT,
    MARKETER,
    START,
    Profile,
    app,
    customer_principal,
    identify,
    track,
    visitor,
)

WHOLE = """query ($ref: CustomerRef!) { customer(ref: $ref) {
  id identities { type value }
  traits(names: ["city", "age"]) { name value kind context source lawfulBasis observedAt }
  consents { purpose status lawfulBasis source }
  segments { key since segment { name } } features { name value }
} }"""
SEGMENTS = """
segments:
- {key: active, name: Active, condition: 'events.count("product_viewed", last="7d") >= 1'}
- {key: reachable, name: Reachable, condition: consent.email}
"""


def by(type: str, value: str) -> dict[str, Any]:
    """A reference by identity."""
    return {"identity": {"type": type, "value": value}}


def keys(*ids: UUID) -> list[dict[str, str]]:
    """Entity keys as a router sends them (made anew for each request: Strawberry eats them)."""
    return [{"__typename": "Customer", "id": str(one)} for one in ids]


def codes(answer: dict[str, Any]) -> list[str]:
    """The codes of the errors in an answer."""
    return [error["extensions"]["code"] for error in answer["errors"]]


async def test_all_that_is_known_of_a_customer_can_be_read(profile: Profile) -> None:
    await profile.publish(SEGMENTS)
    raak = {"kind": "FACTUAL", "context": "PERSONAL", "source": "crm", "lawfulBasis": "CT"}
    await profile.collect(
        identify(userId="u", traits={"city": "Breda", "email": "A@b.nl"}, context={"raak": raak}),
        track(
            userId="u", context={"consent": {"categoryPreferences": {"email": "dy", "sms": "p"}}}
        ),
    )

    answer = await profile.ask(WHOLE, ref=by("email", "a@B.nl "))

    node = answer["data"]["customer"]
    assert node["identities"] == [
        {"type": "user_id", "value": "u"},
        {"type": "email", "value": "a@b.nl"},
    ]
    assert node["traits"] == [
        {
            "name": "city",
            "value": "Breda",
            "kind": "FACTUAL",
            "context": "PERSONAL",
            "source": "crm",
            "lawfulBasis": "CT",
            "observedAt": START.isoformat(),
        }
    ]
    consents = {c["purpose"]: (c["status"], c["lawfulBasis"]) for c in node["consents"]}
    assert consents == {"email": ("DEFAULT_GIVEN", "CONSENT"), "sms": ("PENDING", "CONSENT")}
    assert [s["key"] for s in node["segments"]] == ["active", "reachable"]
    assert node["segments"][0]["segment"] == {"name": "Active"}
    assert node["features"] == [{"name": 'events.count("product_viewed", last="7d")', "value": 1}]
    assert (await profile.snapshot("user_id", "u")).consents == {"email": True}


async def test_nobody_known_by_a_reference_is_null_and_a_mutation_on_an_unknown_id_an_error(
    profile: Profile,
) -> None:
    unknown = "0192f000-0000-7000-8000-000000000000"

    nobody = await profile.ask(WHOLE, ref=by("email", "nobody@example.com"))
    by_id = await profile.ask(WHOLE, ref={"id": unknown})
    refused = await profile.ask(
        'mutation ($id: ID!) { track(input: {customer: {id: $id}, event: "x"}) { duplicate } }',
        id=unknown,
    )

    assert (nobody, by_id) == ({"data": {"customer": None}, "errors": []},) * 2
    assert codes(refused) == ["PROFILE_UNKNOWN_CUSTOMER"]
    assert unknown in refused["errors"][0]["message"]
    assert await profile.count("SELECT count(*) FROM customer") == 0


@pytest.mark.parametrize(
    ("ref", "code"),
    [
        ({}, "BAD_USER_INPUT"),
        ({"id": "x", **by("email", "a@b.nl")}, "BAD_USER_INPUT"),
        ({"id": "x"}, "PROFILE_INVALID_ID"),
        (by("e-mail", "a@b.nl"), "PROFILE_UNKNOWN_IDENTITY_TYPE"),
        (by("email", "nobody"), "PROFILE_INVALID_IDENTITY"),
    ],
)
async def test_a_reference_that_means_nobody_is_refused_by_name(
    profile: Profile, ref: dict[str, Any], code: str
) -> None:
    assert codes(await profile.ask(WHOLE, ref=ref)) == [code]


async def test_identify_and_set_consent_change_what_is_read_in_the_same_request(
    profile: Profile,
) -> None:
    answer = await profile.ask(
        """mutation ($ref: CustomerRef!) {
          first: identify(input: {customer: $ref, traits: {age: 40}, kind: FACTUAL,
            identities: [{type: "crm_id", value: "K-1"}]}) { traits { name value kind } }
          given: setConsent(input: {customer: $ref, purpose: "email", status: GIVEN}) {
            consents { purpose status } }
          taken: setConsent(input: {customer: $ref, purpose: "email", status: DENIED,
            lawfulBasis: LI}) { consents { purpose status lawfulBasis source } }
        }""",
        ref=by("email", "ann@example.com"),
    )

    data = answer["data"]
    assert data["first"]["traits"] == [{"name": "age", "value": 40, "kind": "FACTUAL"}]
    assert data["given"]["consents"] == [{"purpose": "email", "status": "GIVEN"}]
    assert data["taken"]["consents"] == [
        {"purpose": "email", "status": "DENIED", "lawfulBasis": "LI", "source": "graph"}
    ]
    assert (await profile.snapshot("crm_id", "K-1")).consents == {"email": False}


async def test_consents_in_the_context_of_an_event_need_the_scope_of_set_consent(
    profile: Profile,
) -> None:
    consent = {"categoryPreferences": {"email": True}}
    customer = by("email", "ann@x.com")
    event = {"customer": customer, "event": "visited", "context": {"consent": consent}}
    track = "mutation ($input: TrackInput!) { track(input: $input) { duplicate } }"
    may_write = replace(AGENT, scopes=frozenset({"customers:write"}))
    may_both = replace(AGENT, scopes=frozenset({"customers:write", "consents:write"}))

    refused = await profile.ask(track, may_write, input=event)
    without = await profile.ask(track, may_write, input=event | {"context": {}})
    number = await profile.count("SELECT count(*) FROM consent")
    allowed = await profile.ask(track, may_both, input=event)

    assert codes(refused) == ["FORBIDDEN"]
    assert "consents:write" in refused["errors"][0]["extensions"]["hint"]
    assert (without["errors"], allowed["errors"], number) == ([], [], 0)
    assert (await profile.snapshot("email", "ann@x.com")).consents == {"email": True}


async def test_track_answers_with_the_customer_and_counts_a_message_id_once(
    profile: Profile,
) -> None:
    mutation = """mutation ($ref: CustomerRef!) {
      track(input: {customer: $ref, event: "call", messageId: "m-1", properties: {n: 1}}) {
        duplicate customer { events(first: 1) {
          edges { node { name kind properties messageId } } pageInfo { hasNextPage } } } } }"""

    first = await profile.ask(mutation, ref=by("anonymous_id", "a"))
    again = await profile.ask(mutation, ref=by("anonymous_id", "a"))

    node = {"name": "call", "kind": "track", "properties": {"n": 1}, "messageId": "m-1"}
    page = {"edges": [{"node": node}], "pageInfo": {"hasNextPage": False}}
    assert first["data"]["track"] == {"duplicate": False, "customer": {"events": page}}
    assert again["data"]["track"] == {"duplicate": True, "customer": {"events": page}}


async def test_events_are_paged_latest_first_without_gaps(profile: Profile) -> None:
    same_time = [track("x") for _ in range(5)]
    await profile.collect(*same_time, *[track("y", START - timedelta(n)) for n in range(1, 5)])
    query = """query ($ref: CustomerRef!, $after: String) { customer(ref: $ref) {
      events(first: 4, after: $after) {
        edges { node { id occurredAt } } pageInfo { hasNextPage endCursor } } } }"""

    nodes, after, pages = [], None, 0
    while after or not pages:
        answer = await profile.ask(query, ref=by("anonymous_id", "a"), after=after)
        page = answer["data"]["customer"]["events"]
        nodes += [(edge["node"]["occurredAt"], edge["node"]["id"]) for edge in page["edges"]]
        after = page["pageInfo"]["hasNextPage"] and page["pageInfo"]["endCursor"]
        pages += 1

    assert (pages, len(nodes)) == (3, 9)
    assert nodes == sorted(set(nodes), reverse=True)


@pytest.mark.parametrize("key", [["x"], [7], ["2026-11-22", "x"], [None, None]])
async def test_a_cursor_of_somewhere_else_is_refused(profile: Profile, key: list[object]) -> None:
    await profile.collect(track())
    after = encode_cursor(*key)
    customers = "query ($after: String) { customers(after: $after) { edges { cursor } } }"
    events = """query ($ref: CustomerRef!, $after: String) {
      customer(ref: $ref) { events(after: $after) { edges { cursor } } } }"""

    listing = await profile.ask(customers, after=after)
    done = await profile.ask(events, ref=by("anonymous_id", "a"), after=after)

    assert codes(listing) == codes(done) == ["INVALID_PAGE"]


async def test_customers_are_found_by_segment_and_by_any_condition(profile: Profile) -> None:
    await profile.publish(SEGMENTS)
    await profile.collect(
        *[identify(userId=f"u{n}", traits={"age": n}) for n in range(20)],
        *[track(userId=f"u{n}", properties={"price": n}) for n in range(0, 20, 2)],
    )
    query = """query ($where: String, $after: String) {
      customers(segment: "active", where: $where, first: 3, after: $after) {
        edges { node { identities { value } } } pageInfo { hasNextPage endCursor } } }"""
    where = "traits.age >= 8 and events.sum('product_viewed', price) < 18"

    found, after, more = [], None, True
    while more:
        answer = await profile.ask(query, where=where, after=after)
        page = answer["data"]["customers"]
        found += [edge["node"]["identities"][0]["value"] for edge in page["edges"]]
        more, after = page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"]

    assert sorted(found) == ["u10", "u12", "u14", "u16", "u8"]


async def test_a_page_looks_at_a_bounded_number_of_customers(profile: Profile) -> None:
    await profile.collect(*[identify(userId=f"u{n}", traits={"age": n}) for n in range(30)])
    profile.scan_limit = 10
    query = """query ($after: String) { customers(where: "traits.age == 99", after: $after) {
      edges { cursor } pageInfo { hasNextPage endCursor } } }"""

    pages, after, more = 0, None, True
    while more:
        page = (await profile.ask(query, after=after))["data"]["customers"]
        assert page["edges"] == []
        pages, more, after = (
            pages + 1,
            page["pageInfo"]["hasNextPage"],
            page["pageInfo"]["endCursor"],
        )

    assert pages == 3


async def test_an_unknown_name_in_where_is_pointed_at(profile: Profile) -> None:
    answer = await profile.ask('{ customers(where: "traitz.age > 3") { edges { cursor } } }')

    assert codes(answer) == ["RULES_UNKNOWN_NAME"]
    assert "traits" in answer["errors"][0]["extensions"]["hint"]


async def test_publish_segment_gives_the_segment_or_all_that_is_wrong(profile: Profile) -> None:
    mutation = "mutation ($yaml: String!) { publishSegment(yaml: $yaml) { key version name } }"

    good = await profile.ask(mutation, MARKETER, yaml=SEGMENTS)
    bad = await profile.ask(
        mutation, MARKETER, yaml="key: Bad Key\nnme: x\ncondition: consent.email\n"
    )

    assert good["data"]["publishSegment"] == {"key": "active", "version": 1, "name": "Active"}
    assert codes(bad) == ["INVALID_DEFINITION"]
    problems = bad["errors"][0]["extensions"]["problems"]
    assert {p["path"] for p in problems} == {"key", "name", "nme"}


OTHERS = """query ($ref: CustomerRef!) { customer(ref: $ref) { id } }"""
ENTITY = """query ($keys: [_Any!]!) { _entities(representations: $keys) {
  ... on Customer { id identities { value } } } }"""


@pytest.fixture
async def two(profile: Profile) -> Profile:
    """Two customers: ann, and bob who also is visitor a."""
    await profile.collect(
        identify(userId="ann", traits={"email": "ann@example.com"}),
        identify(userId="bob", anonymousId="a"),
    )
    return profile


async def test_a_visitor_sees_himself_however_he_names_himself(two: Profile) -> None:
    bob = await two.customer("user_id", "bob")

    for principal in (visitor("anonymous_id", "a"), customer_principal(bob.id)):
        for ref in (by("user_id", "bob"), by("anonymous_id", "a"), {"id": str(bob.id)}):
            answer = await two.ask(WHOLE, principal, ref=ref)
            assert answer["data"]["customer"]["id"] == str(bob.id)


@pytest.mark.parametrize("value", ["ann@example.com", "nobody@example.com"])
async def test_a_visitor_is_refused_others_whether_they_exist_or_not(
    two: Profile, value: str
) -> None:
    answer = await two.ask(OTHERS, visitor("anonymous_id", "a"), ref=by("email", value))

    assert answer["data"] == {"customer": None}
    assert codes(answer) == ["FORBIDDEN"]


@pytest.mark.parametrize("value", ["ann@example.com", "nobody@example.com"])
async def test_who_may_not_look_customers_up_is_not_told_whether_an_address_is_known(
    two: Profile, value: str
) -> None:
    answer = await two.ask(OTHERS, MARKETER, ref=by("email", value))

    assert answer["data"] == {"customer": None}
    assert codes(answer) == ["FORBIDDEN"]


@pytest.mark.parametrize(
    "call",
    [
        'track(input: {event: "x", customer: %s}) { customer { id } }',
        'setConsent(input: {purpose: "x", status: GIVEN, customer: %s}) { id }',
        "identify(input: {customer: %s}) { id }",
    ],
)
async def test_nor_by_a_change(two: Profile, call: str) -> None:
    before = await two.customer("user_id", "ann")
    writing = frozenset({"customers:write", "consents:write"})
    document = f"mutation {{ {call} }}" % '{identity: {type: "user_id", value: "ann"}}'

    answer = await two.ask(document, replace(MARKETER, scopes=MARKETER.scopes | writing))

    assert codes(answer) == ["FORBIDDEN"]
    assert await two.customer("user_id", "ann") == before


async def test_who_may_not_look_customers_up_asks_by_id_or_browser(two: Profile) -> None:
    bob = await two.customer("user_id", "bob")

    for ref in ({"id": str(bob.id)}, by("anonymous_id", "a")):
        answer = await two.ask(OTHERS, MARKETER, ref=ref)
        assert answer["data"]["customer"]["id"] == str(bob.id)


async def test_a_visitor_is_refused_others_by_entity_key(two: Profile) -> None:
    ann, bob = [await two.customer("user_id", name) for name in ("ann", "bob")]

    own_token = app("anonymous_id", "a")
    answer = await two.ask(ENTITY, own_token, keys=keys(ann.id, bob.id))
    agent = await two.ask(ENTITY, keys=keys(ann.id, bob.id))

    assert codes(answer) == ["FORBIDDEN"]
    assert answer["data"]["_entities"][0] == {"id": str(ann.id), "identities": None}
    assert answer["data"]["_entities"][1]["id"] == str(bob.id)
    assert [len(e["identities"]) for e in agent["data"]["_entities"]] == [2, 2]


async def test_a_visitor_we_have_not_heard_of_is_an_empty_customer_to_himself(
    two: Profile,
) -> None:
    own = derive_customer_id("anonymous_id", "new")

    answer = await two.ask(ENTITY, app("anonymous_id", "new"), keys=keys(own))

    assert answer == {"data": {"_entities": [{"id": str(own), "identities": []}]}, "errors": []}


@pytest.mark.parametrize(
    "document",
    [
        """mutation { track(input: {event: "x",
          customer: {identity: {type: "user_id", value: "ann"}}}) { duplicate } }""",
        """mutation { setConsent(input: {purpose: "x", status: GIVEN,
          customer: {identity: {type: "user_id", value: "ann"}}}) { id } }""",
        """mutation { identify(input: {traits: {email: "ann@example.com"},
          customer: {identity: {type: "anonymous_id", value: "a"}}}) { id } }""",
        """mutation { identify(input: {identities: [{type: "user_id", value: "ann"}],
          customer: {identity: {type: "anonymous_id", value: "a"}}}) { id } }""",
        """mutation { identify(input: {traits: {email: "free@example.com"},
          customer: {identity: {type: "anonymous_id", value: "a"}}}) { id } }""",
        """mutation { identify(input: {identities: [{type: "user_id", value: "free"}],
          customer: {identity: {type: "anonymous_id", value: "a"}}}) { id } }""",
    ],
)
async def test_a_visitor_changes_no_other_customer(two: Profile, document: str) -> None:
    before = await two.customer("user_id", "ann")

    answer = await two.ask(document, visitor("anonymous_id", "a"))

    assert codes(answer) == ["FORBIDDEN"]
    assert await two.customer("user_id", "ann") == before


async def test_a_visitor_who_claimed_an_address_before_its_owner_registered_gets_nothing_of_him(
    two: Profile,
) -> None:
    claim = """mutation { identify(input: {traits: {email: "eve@example.com"},
      customer: {identity: {type: "anonymous_id", value: "mallory"}}}) { id } }"""

    refused = await two.ask(claim, visitor("anonymous_id", "mallory"))
    await two.collect(identify(userId="eve", traits={"email": "eve@example.com", "city": "Delft"}))
    query = """query ($ref: CustomerRef!) { customer(ref: $ref) { traits { name value } } }"""
    answer = await two.ask(query, app("anonymous_id", "mallory"), ref=by("anonymous_id", "mallory"))

    assert codes(refused) == ["FORBIDDEN"]
    assert answer["data"] == {"customer": None}


async def test_an_app_may_claim_what_its_token_proves_and_nothing_else(two: Profile) -> None:
    own_ref = by("user_id", "new")
    mutation = """mutation ($input: IdentifyInput!) { identify(input: $input) {
      identities { type } } }"""
    browser = {"type": "anonymous_id", "value": "a browser we have not heard of"}

    own = await two.ask(mutation, app("user_id", "new"), input={"customer": own_ref})
    more = await two.ask(
        mutation, app("user_id", "new"), input={"customer": own_ref, "identities": [browser]}
    )

    assert own["data"]["identify"]["identities"] == [{"type": "user_id"}]
    assert codes(more) == ["FORBIDDEN"]


@pytest.mark.parametrize(
    "document",
    [
        "{ customers { edges { cursor } } }",
        "{ segments { key condition } }",
        '{ segment(key: "active") { key } }',
        'mutation { publishSegment(yaml: "") { key } }',
        """{ customer(ref: {identity: {type: "anonymous_id", value: "a"}}) {
          identities { value } } }""",
        """{ customer(ref: {identity: {type: "anonymous_id", value: "a"}}) {
          features { name } } }""",
    ],
)
async def test_a_visitor_gets_no_list_and_nothing_of_how_he_is_known(
    two: Profile, document: str
) -> None:
    answer = await two.ask(document, visitor("anonymous_id", "a"))

    assert codes(answer) == ["UNAUTHORIZED_FIELD_OR_TYPE"]


async def test_a_customer_is_not_told_that_an_identity_is_somebody_elses(two: Profile) -> None:
    await two.collect(identify(userId="bob", traits={"email": "ann@example.com"}))
    query = "query ($ref: CustomerRef!) { customer(ref: $ref) { history { kind } } }"

    full = await two.ask(query, ref=by("user_id", "bob"))
    bob = caller(Role.APP, "app", {"type": "user_id", "value": "bob"})
    own = await two.ask(query, bob, ref=by("user_id", "bob"))

    assert full["data"]["customer"]["history"] == [{"kind": "REFUSED"}]
    assert own["data"]["customer"]["history"] == []
