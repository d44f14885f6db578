"""What one scope alone opens through the public door: what docs/scopes.md lists, and no more.

Questions are made from the graph: every root field, and every field of whatever a scope leads to,
by each root field that it opens. So a field that is new is asked here too.
"""

import json
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from graphql import GraphQLField, GraphQLObjectType, get_named_type, is_leaf_type
from graphql.type import is_required_argument

from gateway.schema_source import read_subgraphs
from gateway.supergraph import compose
from gateway.supergraph.syntax import ROOTS
from infra import tokens
from infra.demo.queries import wait_until
from tests.stack import Stack

JSON = dict[str, Any]
Way = tuple[tuple[GraphQLObjectType, str], ...]
"""Fields from a root down, each with the type it stands on."""
DENIED = "UNAUTHORIZED_FIELD_OR_TYPE"
SCHEMA = compose(read_subgraphs()).schema
ROOT = {kind.value: root for kind in ROOTS if (root := SCHEMA.get_root_type(kind))}
OF_A_CUSTOMER = {"Customer", "Decision", "JourneyInstance"}
"""Of these there is one to ask, wherever a scope leads to one."""
NOT_LIVE = {"nextBestActions"}
"""Refused to everybody below a subscription."""
JOURNEY = """
key: scopes
name: Scopes
entry: {event: scopes_began, again: always}
steps:
  - key: rest
    wait: {event: never_happens, timeout: 30d}
  - key: done
    exit: done
"""


def read_page() -> dict[str, set[str]]:
    """What was reviewed: the fields that each scope opens."""
    _, *sections = Path("docs/scopes.md").read_text().split("\n## ")
    return {
        section.partition("\n")[0]: set(re.findall(r"^\| `(\w+\.\w+)`", section, re.MULTILINE))
        for section in sections
    }


OPENED = read_page()


@pytest.fixture(scope="module")
def values(stack: Stack) -> dict[str, str]:
    """What required arguments are given: a customer, a decision for them, a journey they are on."""
    admin, browser = stack.as_("admin"), f"scopes-{uuid4().hex[:8]}"
    ref = {"identity": {"type": "anonymous_id", "value": browser}}
    admin.data("mutation($y: String!) { publishJourney(yaml: $y) { key } }", y=JOURNEY)
    track = "mutation($i: TrackInput!) { track(input: $i) { customer { id } } }"
    began = admin.data(track, i={"customer": ref, "event": "scopes_began"})
    customer = f'{{ id: "{began["track"]["customer"]["id"]}" }}'
    journeys = f"query {{ customer(ref: {customer}) {{ journeys {{ id journey }} }} }}"
    wait_until(lambda: admin.data(journeys)["customer"]["journeys"])
    [run] = [
        one["id"]
        for one in admin.data(journeys)["customer"]["journeys"]
        if one["journey"] == "scopes"
    ]
    offers = f'nextBestActions(customer: {customer}, channel: WEB, placement: "home")'
    decision = admin.data(f"query {{ {offers} {{ id }} }}")["nextBestActions"]["id"]
    about, shown = f"customer: {customer}", uuid4()
    return {
        "channel": "WEB",
        "placement": '"home"',
        "action": '"jazz_weeks"',
        "customer": customer,
        "ref": customer,
        "decision id": f'"{decision}"',
        "instance": f'"{run}"',
        "reason": '"asked"',
        "key": '"scopes"',
        "yaml": '"key: no definition"',
        "identify input": f"{{ {about} }}",
        "track input": f'{{ {about}, event: "looked" }}',
        "setConsent input": f'{{ {about}, purpose: "surveys", status: DENIED }}',
        "recordOutcome input": f'{{ proposition: "{shown}", kind: CLICKED, idempotencyKey: "k" }}',
    }


def ask(name: str, field: GraphQLField, values: dict[str, str], selection: str = "") -> str:
    """A field with its required arguments and its selection."""
    required = [
        f"{argument}: {values.get(f'{name} {argument}') or values[argument]}"
        for argument, declared in field.args.items()
        if is_required_argument(declared)
    ]
    arguments = f"({', '.join(required)})" if required else ""
    if not selection and not is_leaf_type(get_named_type(field.type)):
        selection = "{ __typename }"
    return f"{name}{arguments} {selection}"


def ways(scope: str) -> Iterator[Way]:
    """The fields on the shortest way to each type, by each root field that a scope opens."""
    for root in ROOT.values():
        for entry in root.fields:
            if f"{root.name}.{entry}" not in OPENED[scope]:
                continue
            waiting: deque[Way] = deque([((root, entry),)])
            reached = set[GraphQLObjectType]()
            while waiting:
                way = waiting.popleft()
                type_ = below(way)
                if type_ is None or type_ in reached:
                    continue
                reached.add(type_)
                yield way
                waiting += (
                    (*way, (type_, name))
                    for name in type_.fields
                    if f"{type_.name}.{name}" in OPENED[scope]
                )


def below(way: Way) -> GraphQLObjectType | None:
    """The type of object that a way leads to."""
    type_, name = way[-1]
    named = get_named_type(type_.fields[name].type)
    return named if isinstance(named, GraphQLObjectType) else None


def refused(stack: Stack, scope: str, query: str) -> set[str]:
    """The fields that an admin with one scope was refused, in the first answer."""
    token = tokens.issue(stack.instance.keys.tokens, "admin", "kiosk", scopes=[scope])
    is_event = query.startswith("subscription")
    with httpx.stream(
        "POST",
        f"{stack.instance.url}/graphql",
        json={"query": query},
        headers={
            "Authorization": f"Bearer {token}",
            "Accept": "text/event-stream" if is_event else "application/json",
        },
        trust_env=False,
    ) as response:
        line = next(line for line in response.iter_lines() if "{" in line)
    answer: JSON = json.loads(line.removeprefix("data:"))
    errors = answer.get("errors", ())
    assert "data" in answer, f"{query} was not asked: {errors}"
    return {error["path"][-1] for error in errors if error["extensions"]["code"] == DENIED}


@pytest.mark.parametrize("scope", sorted(OPENED))
def test_of_the_root_fields_a_scope_opens_those_on_its_list(
    stack: Stack, values: dict[str, str], scope: str
) -> None:
    for kind, root in ROOT.items():
        for name, field in root.fields.items():
            is_open = f"{root.name}.{name}" in OPENED[scope]
            query = f"{kind} {{ {ask(name, field, values)} }}"

            assert refused(stack, scope, query) == (set() if is_open else {name}), query


@pytest.mark.parametrize("scope", sorted(scope for scope in OPENED if OPENED[scope]))
def test_of_what_hangs_below_a_scope_opens_the_fields_on_its_list(
    stack: Stack, values: dict[str, str], scope: str
) -> None:
    for way in ways(scope):
        type_ = below(way)
        assert type_ is not None
        [kind] = [kind for kind, root in ROOT.items() if root is way[0][0]]
        names = type_.fields.keys() - (NOT_LIVE if kind == "subscription" else set())
        closed = {name for name in names if f"{type_.name}.{name}" not in OPENED[scope]}
        query = f"{{ {' '.join(ask(name, type_.fields[name], values) for name in sorted(names))} }}"
        for above, name in reversed(way):
            query = f"{{ {ask(name, above.fields[name], values, query)} }}"

        found = refused(stack, scope, f"{kind} {query}")

        assert found <= closed, query
        if type_.name in OF_A_CUSTOMER:
            assert found == closed, query
