"""Whoever speaks for one customer reaches no other, by any path: at the gateway and past it.

The victims are a known customer, a browser nobody knows, one that profile has not even heard of,
and one that was merged into a known customer; the attackers are the same four, with tokens for
themselves. What can be asked is read from the schemas, so a field that is added is attacked too.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    build_schema,
    get_named_type,
    is_leaf_type,
    is_required_argument,
)

from gateway.access.tokens import ServiceTokens, private_key
from gateway.reload import read_subgraphs
from gateway.supergraph import compose
from infra.demo.asking import until
from infra.instance import SERVICES
from services.contracts.identity import derived_customer_id
from services.contracts.words import Role
from tests.callers import caller
from tests.stack import BUYERS, Stack

JSON = dict[str, Any]
REFUSALS = {"FORBIDDEN", "UNAUTHORIZED_FIELD_OR_TYPE"}
OWN_ROLES = ("visitor", "app")

OFFERS = """query($ref: CustomerRef!) {
  nextBestActions(customer: $ref, channel: WEB, placement: "home") {
    id customer { id } propositions { id action { key } } } }"""
FOUND = "query($ref: CustomerRef!) { customer(ref: $ref) { id } }"


@dataclass(frozen=True)
class Person:
    """Somebody with a past: who he is, and what was decided for him."""

    name: str
    type: str
    value: str
    id: str
    decision: str
    proposition: str

    @property
    def token(self) -> str:
        """Whom his own token speaks for."""
        return f"{self.type}={self.value}"

    @property
    def identity(self) -> JSON:
        """How he is named in the graph."""
        return {"type": self.type, "value": self.value}


def person(stack: Stack, name: str, type: str, value: str) -> Person:
    """Offer somebody something, which makes him known to all services."""
    ref = {"identity": {"type": type, "value": value}}
    made = stack.as_("agent").data(OFFERS, ref=ref)["nextBestActions"]
    [first, *_] = made["propositions"]
    return Person(name, type, value, made["customer"]["id"], made["id"], first["id"])


def people(stack: Stack, who: str, first: int) -> list[Person]:
    """A known one, an anonymous one, one who never did anything, one who was anonymous first."""
    tag = uuid4().hex[:8]
    merged, anonymous = f"{who}-merged-{tag}", f"{who}-anonymous-{tag}"
    agent = stack.as_("agent")
    agent.data(
        "mutation($i: TrackInput!) { track(input: $i) { duplicate } }",
        i={"customer": {"identity": {"type": "anonymous_id", "value": anonymous}}, "event": "came"},
    )
    agent.data(
        "mutation($i: IdentifyInput!) { identify(input: $i) { id } }",
        i={
            "customer": {"identity": {"type": "user_id", "value": f"{merged}-user"}},
            "identities": [{"type": "anonymous_id", "value": merged}],
            "traits": {"secret": f"{who} secret"},
        },
    )
    wait_until_known(stack, "user_id", f"{merged}-user")
    return [
        person(stack, "known", "email", BUYERS[first].email),
        person(stack, "anonymous", "anonymous_id", anonymous),
        person(stack, "unheard", "anonymous_id", f"{who}-unheard-{tag}"),
        person(stack, "merged", "anonymous_id", merged),
    ]


def wait_until_known(stack: Stack, type: str, value: str) -> None:
    """Return when decision has heard of a customer."""
    ref = {"identity": {"type": type, "value": value}}
    until(lambda: "errors" not in stack.as_("agent").answer(OFFERS, ref=ref))


@pytest.fixture(scope="module")
def victims(stack: Stack) -> list[Person]:
    return people(stack, "victim", 3)


@pytest.fixture(scope="module")
def attackers(stack: Stack) -> list[Person]:
    return people(stack, "attacker", 8)


CLIENT = httpx.Client(trust_env=False, timeout=30)
"""One for all: making a client takes longer than asking."""


@dataclass(frozen=True)
class Caller:
    """Somebody with a token, who asks many times."""

    stack: Stack
    token: str

    def post(
        self, query: str, accept: str = "application/json", **variables: Any
    ) -> httpx.Response:
        """What is answered."""
        return CLIENT.post(
            f"{self.stack.instance.url}/graphql",
            json={"query": query, "variables": variables},
            headers={"Authorization": f"Bearer {self.token}", "Accept": accept},
        )

    def answer(self, query: str, **variables: Any) -> JSON:
        """`data` and `errors`."""
        answer: JSON = self.post(query, **variables).json()
        return answer


def as_(stack: Stack, role: str, own: Person) -> Caller:
    """Somebody who speaks for one customer."""
    return Caller(stack, stack.token(role, customer=own.token))


def told_nothing(answer: JSON, victim: Person) -> bool:
    """Whether an answer tells nothing of a victim: no data, and a refusal for it."""
    data = answer.get("data")
    texts = (victim.id, victim.value, victim.decision, victim.proposition)
    return not any(text in json.dumps(data) for text in texts)


def codes(answer: JSON) -> set[str]:
    return {error["extensions"]["code"] for error in answer.get("errors", ())}


# --- at the gateway: every way to name a customer -----------------------------------------------

BY_REFERENCE = {
    "Query.customer": """query($ref: CustomerRef!) {
      f: customer(ref: $ref) { id consents { purpose } } }""",
    "Query.nextBestActions": """query($ref: CustomerRef!) {
      f: nextBestActions(customer: $ref, channel: WEB, placement: "home") { customer { id } } }""",
    "Mutation.identify": """mutation($ref: CustomerRef!) {
      f: identify(input: {customer: $ref, traits: {town: "taken"}}) { id } }""",
    "Mutation.track": """mutation($ref: CustomerRef!) {
      f: track(input: {customer: $ref, event: "attacked"}) { customer { id } } }""",
    "Mutation.setConsent": """mutation($ref: CustomerRef!) {
      f: setConsent(input: {customer: $ref, purpose: "attacked", status: GIVEN}) { id } }""",
}
BY_SUBSCRIPTION = {
    "Subscription.customerActivity": """subscription($ref: CustomerRef!) {
      f: customerActivity(ref: $ref) { id customer { id } } }"""
}
BY_ID = {
    "Query.decision": "query($id: ID!) { f: decision(id: $id) { id customer { id } } }",
    "Mutation.recordOutcome": """mutation($id: ID!) { f: recordOutcome(
      input: {proposition: $id, kind: CLICKED, idempotencyKey: "attack"}) { id proposition } }""",
    "Mutation.exitJourney": """mutation($id: ID!) {
      f: exitJourney(instance: $id, reason: "attacked") { id } }""",
}
OF_MANY = {
    "Query.customers": "{ f: customers(first: 50) { edges { node { id } } } }",
}
HARMLESS = {
    "Query.segments",
    "Query.segment",
    "Query.actions",
    "Query.action",
    "Query.journeyDefinitions",
    "Query.journeyDefinition",
    "Query.dataMapping",
    "Query.actionResults",
    "Mutation.publishSegment",
    "Mutation.publishCatalogue",
    "Mutation.publishJourney",
}
"""What tells of no single customer."""


def test_every_root_field_is_attacked_or_tells_of_no_customer() -> None:
    schema = compose(read_subgraphs()).schema
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    fields = {f"{root.name}.{field}" for root in roots if root for field in root.fields}

    assert fields == {*BY_REFERENCE, *BY_SUBSCRIPTION, *BY_ID, *OF_MANY, *HARMLESS}


def references(victim: Person, attacker: Person) -> Iterator[JSON]:
    """The ways to mean a victim, the attacker's own name beside it or not."""
    yield {"id": victim.id}
    yield {"id": victim.id.upper()}
    yield {"identity": victim.identity}
    yield {"identity": {"type": victim.type, "value": f" {victim.value} "}}
    yield {"id": victim.id, "identity": attacker.identity}
    yield {"id": attacker.id, "identity": victim.identity}
    if victim.type == "anonymous_id":
        yield {"id": str(derived_customer_id(victim.type, victim.value))}


@pytest.mark.parametrize("role", OWN_ROLES)
@pytest.mark.parametrize("field", BY_REFERENCE)
def test_no_reference_leads_to_another(
    stack: Stack, victims: list[Person], attackers: list[Person], field: str, role: str
) -> None:
    for attacker in attackers:
        graph = as_(stack, role, attacker)
        for victim in victims:
            for ref in references(victim, attacker):
                answer = graph.answer(BY_REFERENCE[field], ref=ref)
                assert told_nothing(answer, victim), (attacker.name, victim.name, ref)
                assert codes(answer) <= REFUSALS, answer
                assert answer.get("errors")


@pytest.mark.parametrize("role", OWN_ROLES)
@pytest.mark.parametrize("field", BY_REFERENCE)
def test_the_own_customer_is_reached_by_the_same_paths(
    stack: Stack, attackers: list[Person], field: str, role: str
) -> None:
    for himself in attackers:
        answer = as_(stack, role, himself).answer(
            BY_REFERENCE[field], ref={"identity": himself.identity}
        )
        assert "errors" not in answer, answer
        is_heard_of = himself.name != "unheard" or field != "Query.customer"
        assert not is_heard_of or himself.id in json.dumps(answer["data"])


@pytest.mark.parametrize("role", OWN_ROLES)
def test_a_victim_named_anywhere_in_a_document_stops_all_of_it(
    stack: Stack, victims: list[Person], attackers: list[Person], role: str
) -> None:
    attacker, victim = attackers[0], victims[0]
    own = f'identity: {{type: "{attacker.type}", value: "{attacker.value}"}}'
    his = f'identity: {{type: "{victim.type}", value: "{victim.value}"}}'
    documents: list[tuple[str, JSON]] = [
        (f"{{ a: customer(ref: {{{own}}}) {{ id }} b: customer(ref: {{{his}}}) {{ id }} }}", {}),
        (f"query($r: CustomerRef! = {{{his}}}) {{ customer(ref: $r) {{ id }} }}", {}),
        (
            f"query($r: CustomerRef! = {{{own}}}) {{ customer(ref: $r) {{ id }} }}",
            {"r": {"identity": victim.identity}},
        ),
        (
            "query($i: IdentityInput!) { customer(ref: {identity: $i}) { id } }",
            {"i": victim.identity},
        ),
        (
            f"query($v: String!) {{ customer(ref: {{identity: "
            f'{{type: "{victim.type}", value: $v}}}}) {{ id }} }}',
            {"v": victim.value},
        ),
        ("query($id: ID) { customer(ref: {id: $id}) { id } }", {"id": victim.id}),
        (f"{{ ...F }} fragment F on Query {{ ... {{ customer(ref: {{{his}}}) {{ id }} }} }}", {}),
        (
            f'mutation {{ track(input: {{customer: {{{own}}}, event: "x"}}) {{ duplicate }} '
            f'b: track(input: {{customer: {{{his}}}, event: "x"}}) {{ customer {{ id }} }} }}',
            {},
        ),
    ]

    graph = as_(stack, role, attacker)
    for document, variables in documents:
        answer = graph.answer(document, **variables)
        assert answer.get("data") is None, document
        assert codes(answer) == {"FORBIDDEN"}, document


@pytest.mark.parametrize("role", OWN_ROLES)
@pytest.mark.parametrize("field", BY_ID)
def test_no_id_of_what_is_anothers_leads_to_him(
    stack: Stack, victims: list[Person], attackers: list[Person], field: str, role: str
) -> None:
    for attacker in attackers:
        graph = as_(stack, role, attacker)
        for victim in victims:
            for his in (victim.decision, victim.proposition, victim.id, victim.decision.upper()):
                answer = graph.answer(BY_ID[field], id=his)
                assert told_nothing(answer, victim)
                assert answer.get("errors"), answer
                assert codes(answer) <= REFUSALS | {"DECISION_UNKNOWN_PROPOSITION"}, answer


@pytest.mark.parametrize("role", OWN_ROLES)
@pytest.mark.parametrize("field", OF_MANY)
def test_no_list_tells_of_others(
    stack: Stack, attackers: list[Person], field: str, role: str
) -> None:
    answer = as_(stack, role, attackers[0]).answer(OF_MANY[field])

    assert answer["data"] == {"f": None}
    assert codes(answer) == {"UNAUTHORIZED_FIELD_OR_TYPE"}


@pytest.mark.parametrize("role", OWN_ROLES)
def test_nobody_listens_to_another(
    stack: Stack, victims: list[Person], attackers: list[Person], role: str
) -> None:
    [document] = BY_SUBSCRIPTION.values()
    for attacker in attackers:
        listener = as_(stack, role, attacker)
        for victim in victims:
            for ref in references(victim, attacker):
                response = listener.post(document, "text/event-stream", ref=ref)
                assert "FORBIDDEN" in response.text
                assert victim.id not in response.text


@pytest.mark.parametrize("role", OWN_ROLES)
def test_nobody_becomes_another_by_claiming_what_he_is_known_by(
    stack: Stack, victims: list[Person], attackers: list[Person], role: str
) -> None:
    claim = """mutation($ref: CustomerRef!, $identities: [IdentityInput!]!, $traits: JSON) {
      identify(input: {customer: $ref, identities: $identities, traits: $traits}) { id } }"""
    unborn = {"type": "email", "value": f"{uuid4().hex}@example.com"}
    for attacker in attackers:
        graph = as_(stack, role, attacker)
        for identity in [*(victim.identity for victim in victims), unborn]:
            ref = {"identity": attacker.identity}
            said: list[JSON] = [{"identities": [identity], "traits": {}}]
            if identity["type"] == "email":
                said.append({"identities": [], "traits": {"email": identity["value"]}})
            for variables in said:
                assert codes(graph.answer(claim, ref=ref, **variables)) == {"FORBIDDEN"}
    for victim in victims:
        found = stack.as_("agent").data(FOUND, ref={"identity": victim.identity})["customer"]
        assert (found is None and victim.name == "unheard") or found["id"] == victim.id


def test_the_attacks_left_no_trace(stack: Stack, victims: list[Person]) -> None:
    """Comes last: whatever was tried above, the victims are as they were."""
    query = """query($ref: CustomerRef!) { customer(ref: $ref) {
      traits(names: ["town"]) { value } consents { purpose } events(name: "attacked") {
        edges { node { id } } } decisions { edges { node { outcomes { kind } } } } } }"""
    for victim in victims:
        seen = stack.as_("admin").data(query, ref={"id": victim.id})["customer"]
        if seen is None:
            continue
        assert seen["traits"] == []
        assert "attacked" not in [consent["purpose"] for consent in seen["consents"]]
        assert seen["events"]["edges"] == []
        outcomes = [edge["node"]["outcomes"] for edge in seen["decisions"]["edges"]]
        assert not any(one["kind"] == "CLICKED" for found in outcomes for one in found)


# --- past the gateway: every field of what another is told by ------------------------------------

ARGUMENTS = {"channel": "WEB", "placement": '"home"', "action": '"jazz_weeks"'}
"""What required arguments are given."""


def selection(type_: GraphQLOutputType, depth: int = 3) -> str:
    """All that can be asked of an object without naming anybody."""
    named = get_named_type(type_)
    if not depth or not isinstance(named, GraphQLObjectType):
        return ""
    fields = [
        f"{name}{_given(field.args)} {below}"
        for name, field in named.fields.items()
        if (below := selection(field.type, depth - 1)) or is_leaf_type(get_named_type(field.type))
    ]
    return f"{{ {' '.join(fields)} }}" if fields else ""


def _given(arguments: dict[str, GraphQLArgument]) -> str:
    required = [
        f"{name}: {ARGUMENTS[name]}"
        for name, argument in arguments.items()
        if is_required_argument(argument)
    ]
    return f"({', '.join(required)})" if required else ""


def entity_fields(service: str) -> Iterator[tuple[str, str, GraphQLField]]:
    """The entity types of a service that belong to a customer, with their fields but the key."""
    sdl = read_subgraphs()[service]
    schema = build_schema(sdl, assume_valid_sdl=True)
    for type_name in ("Customer", "Decision"):
        type_ = schema.get_type(type_name)
        if isinstance(type_, GraphQLObjectType) and f"type {type_name} @key" in sdl:
            for name, field in type_.fields.items():
                yield type_name, name, field


ENTITY_FIELDS = [
    pytest.param(service, type_name, f"{name}{_given(field.args)} {selection(field.type)}", id=name)
    for service in SERVICES
    for type_name, name, field in entity_fields(service)
    if (type_name, name) != ("Customer", "id")
]


def entities(
    stack: Stack, service: str, role: Role, own: Person, field: str, keys: list[JSON]
) -> JSON:
    """What a service answers a router that speaks for a caller, by an internal token."""
    signing = private_key(stack.instance.keys[0].read_text())
    header = ServiceTokens(signing).authorization(caller(role, "attacker", own.identity))
    type_name = keys[0]["__typename"]
    document = (
        "query($keys: [_Any!]!) { _entities(representations: $keys) "
        f"{{ ... on {type_name} {{ field: {field} }} }} }}"
    )
    response = CLIENT.post(
        f"http://127.0.0.1:{stack.instance.port + 1 + SERVICES.index(service)}/graphql",
        json={"query": document, "variables": {"keys": keys}},
        headers={"Authorization": header},
    )
    answer: JSON = response.json()
    return answer


@pytest.mark.parametrize("role", [Role.VISITOR, Role.APP])
@pytest.mark.parametrize(("service", "type_name", "field"), ENTITY_FIELDS)
def test_a_service_shows_nobody_anothers_entity(
    stack: Stack,
    victims: list[Person],
    attackers: list[Person],
    service: str,
    type_name: str,
    field: str,
    role: Role,
) -> None:
    keys = [
        {"__typename": type_name, "id": victim.decision if type_name == "Decision" else victim.id}
        for victim in victims
    ]
    for attacker in attackers:
        answer = entities(stack, service, role, attacker, field, keys)
        assert codes(answer), answer
        assert codes(answer) <= REFUSALS, answer
        for entity in answer["data"]["_entities"]:
            assert entity is None or entity["field"] is None, answer


def test_an_own_entity_is_shown(stack: Stack, attackers: list[Person]) -> None:
    for himself in attackers:
        keys = [{"__typename": "Customer", "id": himself.id}]
        answer = entities(stack, "journey", Role.VISITOR, himself, "inbox { id }", keys)
        assert answer == {"data": {"_entities": [{"field": []}]}}, himself.name
