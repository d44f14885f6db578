"""What the people of the story ask and report, through the public surfaces."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

from infra.client import Graph
from infra.demo.stage import Stage
from services.chassis.errors import RaakError

SETTLED_S = 60
PASSED_THE_RULES = {"CONTACT_POLICY", "CONTROL_GROUP", "ARBITRATION"}

OFFERS = """
query($customer: CustomerRef!, $channel: Channel!, $placement: String!, $context: JSON) {
  nextBestActions(
    customer: $customer, channel: $channel, placement: $placement, limit: 5, context: $context
  ) {
    id controlGroup degraded customer { id }
    propositions {
      id rank propensity score reason trackingCode
      action { key name kind }
      value { cents currency }
    }
    trace {
      stage passed rank
      action { key }
      failed { condition seen }
    }
  }
}"""
OUTCOME = """
mutation($input: OutcomeInput!) { recordOutcome(input: $input) { kind } }"""
CONSENT = """
mutation($input: ConsentInput!) { setConsent(input: $input) { id } }"""
JOURNEYS = """
query($ref: CustomerRef!) {
  customer(ref: $ref) {
    segments { key }
    journeys { journey step phase active since }
    inbox { channel content }
  }
}"""
WHY_NOT = """
query($ref: CustomerRef!, $action: ID!, $channel: Channel!, $placement: String!) {
  customer(ref: $ref) {
    whyNot(action: $action, channel: $channel, placement: $placement) { stage }
  }
}"""
RESULTS = """
query($from: DateTime!, $to: DateTime!) {
  actionResults(from: $from, to: $to) {
    action channel
    decided presented clicked accepted rejected
    acceptanceRate { estimate low high }
  }
}"""


class NotSettled(RaakError):
    """What was sent has not arrived everywhere in time."""

    code = "NOT_SETTLED"


def ref(type: str, value: str) -> dict[str, Any]:
    """A customer, meant by an identity."""
    return {"identity": {"type": type, "value": value}}


def offers(graph: Graph, customer: dict[str, Any], channel: str, placement: str) -> dict[str, Any]:
    """A decision for a customer, with its trace."""
    data = graph.data(OFFERS, customer=customer, channel=channel, placement=placement)
    decision: dict[str, Any] = data["nextBestActions"]
    return decision


def customer(graph: Graph, ref: dict[str, Any]) -> dict[str, Any]:
    """A customer's segments, journeys and inbox."""
    customer: dict[str, Any] = graph.data(JOURNEYS, ref=ref)["customer"]
    return customer


def track(
    stage: Stage, who: str, event: str, properties: dict[str, Any], *, known: bool = False
) -> None:
    """A Segment track call, as a page or an app sends it."""
    call = {"userId" if known else "anonymousId": who, "event": event, "properties": properties}
    send_call(stage, "track", call)


def send_call(stage: Stage, name: str, call: dict[str, Any]) -> None:
    """A Segment call that happens now; raises httpx.HTTPStatusError when it is refused."""
    moment = datetime.now(UTC).isoformat()
    response = httpx.post(
        f"{stage.url}/v1/{name}",
        auth=(stage.write_key, ""),
        json={"messageId": str(uuid4()), "timestamp": moment, **call},
        trust_env=False,
    )
    response.raise_for_status()


def record(graph: Graph, proposition: dict[str, Any], kind: str, reason: str | None = None) -> None:
    """Report what became of a proposition."""
    key = f"{proposition['id']}-{kind}"
    given = {"proposition": proposition["id"], "kind": kind, "idempotencyKey": key}
    graph.data(OUTCOME, input=given | ({"reason": reason} if reason else {}))


def until_considered(
    stage: Stage, ref: dict[str, Any], action: str, channel: str, placement: str
) -> None:
    """Return when decision has heard enough of a customer for an action to pass its rules.

    Asked by `whyNot`, which decides nothing and leaves no trace in the results.
    """
    graph = stage.as_("agent")
    asked = {"ref": ref, "action": action, "channel": channel, "placement": placement}

    def considered() -> bool:
        customer = graph.data(WHY_NOT, **asked)["customer"]
        return customer is not None and customer["whyNot"]["stage"] in PASSED_THE_RULES

    until(considered)


def until(holds: Callable[[], object]) -> None:
    """Return as soon as something holds: an event takes some milliseconds to reach decision."""
    give_up = time.monotonic() + SETTLED_S
    while not holds():
        if time.monotonic() > give_up:
            raise NotSettled(
                f"What was sent did not arrive everywhere within {SETTLED_S} s.",
                hint="Look at the logs, and at `raak dead-letters list`.",
            )
        time.sleep(0.02)
