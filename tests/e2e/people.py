"""People with a past, and callers who speak for one of them: who may reach whom?"""

import json
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from infra.demo.queries import wait_until
from tests.stack import BUYERS, Stack

JSON = dict[str, Any]
REFUSALS = {"FORBIDDEN", "UNAUTHORIZED_FIELD_OR_TYPE"}
OFFERS = """query($ref: CustomerRef!) {
  nextBestActions(customer: $ref, channel: WEB, placement: "home") {
    id customer { id } propositions { id action { key } } } }"""


@dataclass(frozen=True)
class Person:
    """Somebody with a past: who they are, and what was decided for them."""

    name: str
    type: str
    value: str
    id: str
    decision: str
    proposition: str

    @property
    def token(self) -> str:
        """Whom their own token speaks for."""
        return f"{self.type}={self.value}"

    @property
    def identity(self) -> JSON:
        """How they are named in the graph."""
        return {"type": self.type, "value": self.value}


def person(stack: Stack, name: str, type: str, value: str) -> Person:
    """Offer somebody something, which makes them known to all services."""
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
    wait_until(lambda: "errors" not in stack.as_("agent").answer(OFFERS, ref=ref))


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


def reveals_nothing(answer: JSON, victim: Person) -> bool:
    """Whether there is nothing of a victim in the data of an answer."""
    data = answer.get("data")
    texts = (victim.id, victim.value, victim.decision, victim.proposition)
    return not any(text in json.dumps(data) for text in texts)


def codes(answer: JSON) -> set[str]:
    return {error["extensions"]["code"] for error in answer.get("errors", ())}
