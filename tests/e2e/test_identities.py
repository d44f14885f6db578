"""Who somebody is is shown to who may read identities, and to nobody else, whatever is asked.

A customer has put an address, a name, a phone number and an account wherever words of customers
go. Every role without the scope, and every other one narrowed to be without it, asks every field
it may ask.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml
from graphql import GraphQLArgument, GraphQLObjectType, GraphQLOutputType, get_named_type
from graphql.type import is_leaf_type, is_required_argument

from gateway.access.authorization.authorization import Authorization
from gateway.access.authorization.roles import Roles
from gateway.schema_source import read_subgraphs
from gateway.supergraph import compose
from infra import tokens
from infra.demo.queries import wait_until
from infra.graph_client import GraphClient
from services.chassis.principal import IDENTITIES, Principal
from services.contracts.enums import OWN_CUSTOMER_ONLY, Role
from tests.callers import caller
from tests.stack import Stack

JSON = dict[str, Any]

TAG = uuid4().hex[:8]
ADDRESS = f"canary-{TAG}@secret.example"
SECRETS = {
    "address": ADDRESS,
    "encoded": ADDRESS.replace("@", "%40"),
    "user": f"canary-user-{TAG}",
    "name": f"Canary{TAG}",
    "phone": "+31699887766",
    "account": "NL91ABNA0417164300",
}
TRAITS = {
    "email": ADDRESS,
    "first_name": SECRETS["name"],
    "name": SECRETS["name"],
    "phone": SECRETS["phone"],
    "iban": SECRETS["account"],
    "note": f"write to {ADDRESS}, pay {SECRETS['account']}",
    "town": "Delft",
}
PROPERTIES = {
    "email": ADDRESS,
    "user_id": SECRETS["user"],
    "remark": f"it is {ADDRESS} or {SECRETS['phone']}",
    "link": f"https://shop.example/?email={SECRETS['encoded']}&page=3",
    "products": [{"name": "Kind of Blue", "customer": {"fullName": SECRETS["name"]}}],
}
CONTEXT = {"campaign": {"name": ADDRESS, "source": "mail"}, "traits": {"name": SECRETS["name"]}}

ACTIONS = [
    {
        "key": "canary_offer",
        "name": "An offer",
        "kind": "OFFER",
        "issue": "canary",
        "group": "canary",
        "value_cents": 100,
        "propensity": 0.5,
        "reason": "Because you are {{ traits.first_name | somebody }}.",
        "treatments": [
            {
                "key": "desk",
                "channel": "CALL_CENTRE",
                "placements": ["canary"],
                "content": {
                    "title": "Dear {{ traits.first_name | you }}, of course",
                    "mixed": "{{ traits.email }} in {{ traits.town }}",
                    "town": "In {{ traits.town }}",
                    "note": "{{ traits.note }}",
                    "list": ["{{ traits.iban }}", "Call the shop: +31201234567"],
                },
            }
        ],
    },
    {
        "key": "canary_closed",
        "name": "Not for them",
        "kind": "OFFER",
        "issue": "canary",
        "group": "canary",
        "value_cents": 100,
        "propensity": 0.5,
        "eligibility": 'traits.email == "nobody" or traits.note == "x" or traits.town == "x"',
        "treatments": [
            {
                "key": "desk",
                "channel": "CALL_CENTRE",
                "placements": ["canary"],
                "content": {"title": "Never"},
            }
        ],
    },
]
JOURNEY = """
key: canary
name: Canary
entry: {event: canary_ordered, key: event.user_id, again: once}
steps:
  - key: tell
    send:
      channel: APP
      template: canary
      purpose: personalisation
      content:
        title: "Dear {{ traits.first_name | you }}"
        what: "About {{ key }}"
        town: "To {{ traits.town }}"
  - key: rest
    wait: {event: never_happens, timeout: 30d}
  - key: done
    exit: done
"""
SEGMENT = """
key: canary
name: Canary
description: Those who looked
condition: events.last("canary_looked", email) == "nobody" or traits.town == "Delft"
"""
CATALOGUE = Path("examples/records/catalogue.yaml").read_text()
PUBLISH = "mutation($yaml: String!) { publishCatalogue(yaml: $yaml, force: true) { version } }"


@dataclass(frozen=True)
class Known:
    """The customer, and what was made for them."""

    id: str
    decision: str
    instance: str


def with_canaries(text: str) -> str:
    catalogue = yaml.safe_load(text)
    catalogue["placements"].append({"key": "canary", "channels": ["CALL_CENTRE"], "limit": 5})
    catalogue["actions"] += ACTIONS
    return yaml.safe_dump(catalogue)


@pytest.fixture(scope="module")
def known(stack: Stack) -> Iterator[Known]:
    """Somebody of whom everything is known everywhere."""
    admin = stack.as_("admin")
    admin.data(PUBLISH, yaml=with_canaries(CATALOGUE))
    admin.data("mutation($y: String!) { publishSegment(yaml: $y) { key } }", y=SEGMENT)
    admin.data("mutation($y: String!) { publishJourney(yaml: $y) { key } }", y=JOURNEY)
    ref = by("user_id", SECRETS["user"])
    customer = admin.data(
        "mutation($i: IdentifyInput!) { identify(input: $i) { id } }",
        i={"customer": ref, "traits": TRAITS, "source": ADDRESS},
    )["identify"]["id"]
    admin.data(
        "mutation($i: ConsentInput!) { setConsent(input: $i) { id } }",
        i={"customer": ref, "purpose": "personalisation", "status": "GIVEN", "source": ADDRESS},
    )
    for event in ("canary_looked", "canary_ordered", "order_completed"):
        admin.data(
            "mutation($i: TrackInput!) { track(input: $i) { duplicate } }",
            i={
                "customer": ref,
                "event": event,
                "properties": PROPERTIES,
                "context": CONTEXT,
                "messageId": f"{event}-{ADDRESS}",
            },
        )
    of_id = {"id": customer}
    wait_until(lambda: _said(admin, of_id))
    wait_until(lambda: SECRETS["name"] in str(_offered(admin, of_id)))
    made = _offered(admin, of_id)
    admin.data(
        "mutation($i: OutcomeInput!) { recordOutcome(input: $i) { id } }",
        i={
            "proposition": made["propositions"][0]["id"],
            "kind": "CLICKED",
            "idempotencyKey": TAG,
            "reason": f"mail me at {ADDRESS}",
        },
    )
    instance = admin.data(
        "query($r: CustomerRef!) { customer(ref: $r) { journeys { id journey } } }", r=of_id
    )["customer"]["journeys"]
    [run] = [one["id"] for one in instance if one["journey"] == "canary"]
    admin.data(
        "mutation($i: ID!, $why: String!) { exitJourney(instance: $i, reason: $why) { id } }",
        i=run,
        why=f"{ADDRESS} asked",
    )
    yield Known(customer, made["id"], run)
    admin.data(PUBLISH, yaml=CATALOGUE)


def _said(graph: GraphClient, ref: JSON) -> bool:
    asked = "query($r: CustomerRef!) { customer(ref: $r) { inbox { template } } }"
    found = graph.data(asked, r=ref)["customer"]
    return any(message["template"] == "canary" for message in found["inbox"])


def _offered(graph: GraphClient, ref: JSON) -> JSON:
    answer = graph.answer(
        """query($r: CustomerRef!) { nextBestActions(customer: $r, channel: CALL_CENTRE,
        placement: "canary") { id propositions { id content } } }""",
        r=ref,
    )
    found: JSON = (answer.get("data") or {}).get("nextBestActions") or {}
    return found


# --- everything one may ask ---------------------------------------------------------------------

ROLES = Roles.read()
GRAPH = compose(read_subgraphs())
AUTHORIZATION = Authorization.over(GRAPH, ROLES)
GIVEN = {
    "channel": "CALL_CENTRE",
    "placement": '"canary"',
    "action": '"canary_closed"',
    "customer": "$ref",
    "ref": "$ref",
    "id": "$id",
    "instance": "$id",
    "reason": f'"mail {ADDRESS}"',
    "key": '"canary"',
}
"""What required arguments are given."""

ASKED = ("customer", "nextBestActions", "decision")


def arguments(given: dict[str, GraphQLArgument]) -> str:
    required = [
        f"{n}: {GIVEN[n]}" for n, argument in given.items() if is_required_argument(argument)
    ]
    return f"({', '.join(required)})" if required else ""


def selection(type_: GraphQLOutputType, denied: frozenset[str], depth: int) -> str:
    """All a caller may ask of an object, so many levels deep."""
    named = get_named_type(type_)
    if not depth or not isinstance(named, GraphQLObjectType):
        return ""
    fields = [
        f"{name}{arguments(field.args)} {below}"
        for name, field in named.fields.items()
        if f"{named.name}.{name}" not in denied and name not in ("decisions", "nextBestActions")
        if (below := selection(field.type, denied, depth - 1))
        or is_leaf_type(get_named_type(field.type))
    ]
    return f"{{ {' '.join(fields)} }}" if fields else ""


def questions(principal: Principal) -> Iterator[str]:
    """Queries that ask every field a caller may read of a customer, and of what hangs from one."""
    denied = AUTHORIZATION.denied(principal)
    schema = GRAPH.schema
    customer = schema.get_type("Customer")
    assert isinstance(customer, GraphQLObjectType)
    for name, field in customer.fields.items():
        if f"Customer.{name}" not in denied:
            below = selection(field.type, denied, 6)
            yield (
                "query($ref: CustomerRef!) { customer(ref: $ref) "
                f"{{ {name}{arguments(field.args)} {below} }} }}"
            )
    decision = selection(schema.get_type("Decision"), denied, 6)  # type: ignore[arg-type]
    if "Query.decision" not in denied:
        yield f"query($id: ID!) {{ decision(id: $id) {decision} }}"
    if "Query.nextBestActions" not in denied:
        given = 'customer: $ref, channel: CALL_CENTRE, placement: "canary"'
        yield f"query($ref: CustomerRef!) {{ nextBestActions({given}) {decision} }}"
    if "Query.customers" not in denied:
        node = selection(customer, denied, 3)
        yield (f'query {{ customers(segment: "canary", first: 5) {{ edges {{ node {node} }} }} }}')


def narrowed(role: Role) -> Principal:
    principal = caller(role)
    return replace(principal, scopes=principal.scopes - {IDENTITIES})


def ask_everything(stack: Stack, known: Known, principal: Principal) -> dict[str, str]:
    """What a caller is answered to each question."""
    token = tokens.issue(
        stack.instance.keys.tokens, principal.role, "curious", scopes=principal.scopes
    )
    graph, answers = GraphClient(stack.instance.url, token), {}
    for query in questions(principal):
        variables: JSON = {"ref": {"id": known.id}} if "$ref" in query else {}
        if "$id" in query:
            variables["id"] = known.decision
        answer = graph.answer(query, **variables)
        assert "errors" not in answer, (query, answer["errors"])
        answers[query] = str(answer["data"])
    return answers


@pytest.mark.parametrize("role", sorted(set(Role) - OWN_CUSTOMER_ONLY))
def test_who_may_not_read_identities_is_told_of_nobody_whatever_is_asked(
    stack: Stack, known: Known, role: Role
) -> None:
    answers = ask_everything(stack, known, narrowed(role))

    for query, answer in answers.items():
        for what, secret in SECRETS.items():
            assert secret.lower() not in answer.lower(), f"{role} gets the {what} by {query}"
    assert "In Delft" in str(answers) or role is Role.ANALYST or role is Role.PRIVACY
    assert "•••" in str(answers), "something was there, and is hidden"


@pytest.mark.parametrize("role", [Role.AGENT, Role.PRIVACY, Role.ADMIN])
def test_who_may_read_identities_sees_them_where_they_are(
    stack: Stack, known: Known, role: Role
) -> None:
    found = " ".join(ask_everything(stack, known, caller(role)).values())

    assert not {what for what, secret in SECRETS.items() if secret not in found}
    assert "•••" not in found


def test_what_hides_nobody_is_shown_as_it_is(stack: Stack, known: Known) -> None:
    answers = ask_everything(stack, known, caller(Role.MARKETER))

    found = str(answers)
    for shown in ("Delft", "Kind of Blue", "page=3", "Dear •••, of course", "In Delft"):
        assert shown in found, shown
    assert "Call the shop: +31201234567" in found, "the company's own number is nobody's secret"
    assert "Because you are •••." in found
    assert "To Delft" in found, "of what a journey said too"


def test_an_analyst_learns_why_not_without_learning_who(stack: Stack, known: Known) -> None:
    query = """query($r: CustomerRef!) { customer(ref: $r) { whyNot(action: "canary_closed",
      channel: CALL_CENTRE, placement: "canary") { failed { condition actual } } } }"""

    analyst = stack.as_("analyst").data(query, r={"id": known.id})
    agent = stack.as_("agent").data(query, r={"id": known.id})

    [failed] = analyst["customer"]["whyNot"]["failed"]
    assert "Delft" in str(failed["actual"])
    assert ADDRESS not in str(failed["actual"])
    assert ADDRESS in str(agent["customer"]["whyNot"]["failed"])


@pytest.mark.parametrize("role", ["visitor", "app"])
def test_a_customer_sees_of_themselves_what_they_always_did(
    stack: Stack, known: Known, role: str
) -> None:
    own = stack.as_(role, f"id={known.id}")

    made = own.data(
        """query($r: CustomerRef!) { nextBestActions(customer: $r, channel: CALL_CENTRE,
        placement: "canary") { propositions { content reason } } }""",
        r={"id": known.id},
    )
    inbox = own.data(
        "query($r: CustomerRef!) { customer(ref: $r) { inbox { content } } }", r={"id": known.id}
    )

    assert f"Dear {SECRETS['name']}, of course" in str(made)
    assert f"Dear {SECRETS['name']}" in str(inbox)


# --- asking by an address -----------------------------------------------------------------------

BY_ADDRESS = [
    "query($r: CustomerRef!) { customer(ref: $r) { id } }",
    """query($r: CustomerRef!) { nextBestActions(customer: $r, channel: CALL_CENTRE,
    placement: "canary") { customer { id } } }""",
    "subscription($r: CustomerRef!) { customerActivity(ref: $r) { customer { id } } }",
]


@pytest.mark.parametrize("role", [Role.ANALYST, Role.MARKETER])
@pytest.mark.parametrize("query", BY_ADDRESS, ids=["customer", "offers", "live"])
def test_who_is_not_shown_an_address_is_not_told_whose_it_is(
    stack: Stack, known: Known, role: Role, query: str
) -> None:
    theirs = [("email", ADDRESS), ("email", "nobody@secret.example"), ("user_id", SECRETS["user"])]

    refused = [ask_for_text(stack, role, query, by(*one)) for one in theirs]

    assert all('"FORBIDDEN"' in answer for answer in refused), refused
    assert len({answer.replace("user_id", "email") for answer in refused}) == 1, (
        "nobody is told from somebody"
    )
    assert known.id not in str(refused)
    assert '"FORBIDDEN"' not in ask_for_text(stack, role, query, {"id": known.id})


def by(type: str, value: str) -> JSON:
    return {"identity": {"type": type, "value": value}}


def ask_for_text(stack: Stack, role: Role, query: str, ref: JSON) -> str:
    """The first answer to a request, or the first event, as it is written."""
    kind = "text/event-stream" if query.startswith("subscription") else "application/json"
    token = tokens.issue(stack.instance.keys.tokens, role, "curious")
    with httpx.stream(
        "POST",
        f"{stack.instance.url}/graphql",
        json={"query": query, "variables": {"r": ref}},
        headers={"Authorization": f"Bearer {token}", "Accept": kind},
        trust_env=False,
    ) as response:
        return next(line for line in response.iter_lines() if "{" in line)


# --- asking by a condition ----------------------------------------------------------------------

GUESSES = [
    f'traits.email == "{ADDRESS}"',
    'startswith(traits.email, "canary")',
    'traits["first_name"] > "C"',
    'events.last("canary_looked", email) == "x"',
    f'traits.note == "write to {ADDRESS}"',
]


@pytest.mark.parametrize("guess", GUESSES, ids=["whole", "begin", "order", "event", "in a note"])
def test_nobody_guesses_by_a_condition_what_is_not_shown(stack: Stack, guess: str) -> None:
    asked = "query($w: String!) { customers(where: $w) { edges { node { id } } } }"
    segment = yaml.safe_dump({"key": "guess", "name": "Guess", "condition": guess})

    for answer in (
        stack.as_("marketer").answer(asked, w=guess),
        stack.as_("marketer").answer(
            "mutation($y: String!) { publishSegment(yaml: $y) { key } }", y=segment
        ),
    ):
        assert [e["extensions"]["code"] for e in answer["errors"]] == ["IDENTITIES_NOT_READABLE"]
    assert "errors" not in stack.as_("agent").answer(asked, w=guess)


def test_a_marketer_publishes_what_asks_whether_there_is_an_address_and_not_which(
    stack: Stack, known: Known
) -> None:
    marketer, admin = stack.as_("marketer"), stack.as_("admin")
    guessing = JOURNEY.replace(
        "key: event.user_id", "key: event.user_id, when: 'traits.email == \"x\"'"
    )
    journey = "mutation($y: String!) { publishJourney(yaml: $y) { key } }"
    closed = yaml.safe_load(with_canaries(CATALOGUE))
    closed["actions"][-1]["eligibility"] = 'traits.email == "another"'

    refused = [
        marketer.answer(journey, y=guessing),
        marketer.answer(PUBLISH, yaml=yaml.safe_dump(closed)),
    ]
    as_it_is = marketer.answer(PUBLISH, yaml=with_canaries(CATALOGUE) + "\n# the same\n")
    without = marketer.answer(PUBLISH, yaml=CATALOGUE + "\n# the same\n")
    admin.data(PUBLISH, yaml=with_canaries(CATALOGUE))

    codes = [error["extensions"]["code"] for answer in refused for error in answer["errors"]]
    assert codes == ["IDENTITIES_NOT_READABLE"] * 2
    assert "errors" not in as_it_is, "a condition that is in force already may stay"
    assert "errors" not in without, "missing(traits.email) tells nobody's"
