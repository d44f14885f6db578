"""What the people of the story ask and report, through the public surfaces."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import uuid4

import httpx

from infra.demo.session import OPERATIONS, Stage
from infra.graph_client import Graph
from services.chassis.errors import RaakError

SETTLED_S = 60
PASSED_THE_RULES = {"CONTACT_POLICY", "CONTROL_GROUP", "ARBITRATION"}


@cache
def document(name: str) -> str:
    """A document of the record shop, as it is registered."""
    return (OPERATIONS / f"{name}.graphql").read_bytes().decode()


class NotSettled(RaakError):
    """What was sent has not arrived everywhere in time."""

    code = "NOT_SETTLED"


def ref(type: str, value: str) -> dict[str, Any]:
    """A customer, meant by an identity."""
    return {"identity": {"type": type, "value": value}}


def offers(
    graph: Graph,
    customer: dict[str, Any],
    channel: str,
    placement: str,
    *,
    explained: bool = False,
) -> dict[str, Any]:
    """A decision for a customer; to staff it is explained, with what it was decided by."""
    asked = document("explained_offers" if explained else "offers")
    data = graph.data(asked, customer=customer, channel=channel, placement=placement)
    decision: dict[str, Any] = data["nextBestActions"]
    return decision


def customer(graph: Graph, ref: dict[str, Any]) -> dict[str, Any]:
    """A customer's segments, journeys and inbox, as staff sees them."""
    customer: dict[str, Any] = graph.data(document("customer"), ref=ref)["customer"]
    return customer


def track(
    stage: Stage, who: str, event: str, properties: dict[str, Any], *, known: bool = False
) -> None:
    """A Segment track call: of a browser as its page sends it, of somebody known as the server."""
    call = {"userId" if known else "anonymousId": who, "event": event, "properties": properties}
    send_call(stage, "track", call, key=stage.api_key if known else stage.write_key)


def send_call(stage: Stage, name: str, call: dict[str, Any], key: str = "") -> None:
    """A Segment call that happens now, as a page sends it unless another key is given.

    Raises httpx.HTTPStatusError when it is refused.
    """
    moment = datetime.now(UTC).isoformat()
    response = httpx.post(
        f"{stage.url}/v1/{name}",
        auth=(key or stage.write_key, ""),
        json={"messageId": str(uuid4()), "timestamp": moment, **call},
        trust_env=False,
    )
    response.raise_for_status()


def await_api_key(stage: Stage) -> None:
    """Return when the gateway has heard of the shop's API key: within a second."""

    def is_known() -> bool:
        response = httpx.post(
            f"{stage.url}/v1/batch", auth=(stage.api_key, ""), json={"batch": []}, trust_env=False
        )
        return response.status_code == 200

    until(is_known, pause_s=0.2)


def record(graph: Graph, proposition: dict[str, Any], kind: str, reason: str | None = None) -> None:
    """Report what became of a proposition."""
    key = f"{proposition['id']}-{kind}"
    given = {"proposition": proposition["id"], "kind": kind, "idempotencyKey": key}
    graph.data(document("record_outcome"), input=given | ({"reason": reason} if reason else {}))


def allow_personal_offers(graph: Graph, customer: dict[str, Any]) -> None:
    """Give a customer's consent."""
    given = {"customer": customer, "purpose": "personalisation", "status": "GIVEN"}
    graph.data(document("set_consent"), input=given)


def results(graph: Graph, begin: datetime, end: datetime) -> list[dict[str, Any]]:
    """What was shown and accepted, per action and channel."""
    span = {"from": begin.isoformat(), "to": end.isoformat()}
    rows: list[dict[str, Any]] = graph.data(document("action_results"), **span)["actionResults"]
    return rows


def until_considered(
    stage: Stage, ref: dict[str, Any], action: str, channel: str, placement: str
) -> None:
    """Return when decision has heard enough of a customer for an action to pass its rules.

    Asked by `whyNot`, which decides nothing and leaves no trace in the results.
    """
    graph = stage.as_("agent")
    asked = {"ref": ref, "action": action, "channel": channel, "placement": placement}

    def considered() -> bool:
        customer = graph.data(document("why_not"), **asked)["customer"]
        return customer is not None and customer["whyNot"]["stage"] in PASSED_THE_RULES

    until(considered)


def until(holds: Callable[[], object], pause_s: float = 0.02) -> None:
    """Return as soon as something holds: an event takes some milliseconds to reach decision."""
    give_up = time.monotonic() + SETTLED_S
    while not holds():
        if time.monotonic() > give_up:
            raise NotSettled(
                f"What was sent did not arrive everywhere within {SETTLED_S} s.",
                hint="Look at the logs, and at `raak dead-letters list`.",
            )
        time.sleep(pause_s)
