"""Whoever speaks for one customer reaches no other through the gateway, however it names them.

The victims are a known customer, a browser nobody knows, one that profile has not even heard of,
and one that was merged into a known customer; the attackers are the same four, with tokens for
themselves. What can be asked is read from the schemas, so a field that is added is attacked too.
"""

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest

from gateway.schema_source import read_subgraphs
from gateway.supergraph import compose
from services.contracts.identity import derive_customer_id
from tests.e2e.people import JSON, REFUSALS, Person, as_, codes, reveals_nothing
from tests.stack import Stack

OWN_ROLES = ("visitor", "app")
FOUND = "query($ref: CustomerRef!) { customer(ref: $ref) { id } }"

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
        yield {"id": str(derive_customer_id(victim.type, victim.value))}


def refusals(ref: JSON) -> set[str]:
    """What may refuse a reference to another: two names at once are none."""
    return REFUSALS if len(ref) == 1 else {"INVALID_CUSTOMER_REF"}


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
                assert reveals_nothing(answer, victim), (attacker.name, victim.name, ref)
                assert codes(answer) <= refusals(ref), answer
                assert answer.get("errors")


@pytest.mark.parametrize("role", OWN_ROLES)
@pytest.mark.parametrize("field", BY_REFERENCE)
def test_the_own_customer_is_reached_by_the_same_paths(
    stack: Stack, attackers: list[Person], field: str, role: str
) -> None:
    for attacker in attackers:
        answer = as_(stack, role, attacker).answer(
            BY_REFERENCE[field], ref={"identity": attacker.identity}
        )
        assert "errors" not in answer, answer
        is_heard_of = attacker.name != "unheard" or field != "Query.customer"
        assert not is_heard_of or attacker.id in json.dumps(answer["data"])


@pytest.mark.parametrize("role", OWN_ROLES)
def test_a_victim_named_anywhere_in_a_document_stops_all_of_it(
    stack: Stack, victims: list[Person], attackers: list[Person], role: str
) -> None:
    attacker, victim = attackers[0], victims[0]
    own = f'identity: {{type: "{attacker.type}", value: "{attacker.value}"}}'
    other = f'identity: {{type: "{victim.type}", value: "{victim.value}"}}'
    documents: list[tuple[str, JSON]] = [
        (f"{{ a: customer(ref: {{{own}}}) {{ id }} b: customer(ref: {{{other}}}) {{ id }} }}", {}),
        (f"query($r: CustomerRef! = {{{other}}}) {{ customer(ref: $r) {{ id }} }}", {}),
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
        ("query($id: ID!) { customer(ref: {id: $id}) { id } }", {"id": victim.id}),
        (f"{{ ...F }} fragment F on Query {{ ... {{ customer(ref: {{{other}}}) {{ id }} }} }}", {}),
        (
            f'mutation {{ track(input: {{customer: {{{own}}}, event: "x"}}) {{ duplicate }} '
            f'b: track(input: {{customer: {{{other}}}, event: "x"}}) {{ customer {{ id }} }} }}',
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
            for key in (victim.decision, victim.proposition, victim.id, victim.decision.upper()):
                answer = graph.answer(BY_ID[field], id=key)
                assert reveals_nothing(answer, victim)
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
                assert any(code in response.text for code in refusals(ref))
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
