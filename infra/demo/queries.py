"""The requests of the demo, through the public surfaces."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import uuid4

import httpx

from infra.demo.session import OPERATIONS, DemoSession
from infra.graph_client import GraphClient
from services.chassis.errors import RaakError

SETTLE_TIMEOUT_S = 60
REACHED_STAGES = {"CONTACT_POLICY", "CONTROL_GROUP", "ARBITRATION"}


@cache
def document(name: str) -> str:
    return (OPERATIONS / f"{name}.graphql").read_bytes().decode()


class EventsNotProcessed(RaakError, code="NOT_SETTLED"):
    """Events of the demo were not processed in time."""


def ref(type: str, value: str) -> dict[str, Any]:
    return {"identity": {"type": type, "value": value}}


def offers(
    graph: GraphClient,
    customer: dict[str, Any],
    channel: str,
    placement: str,
    *,
    explained: bool = False,
) -> dict[str, Any]:
    variables = document("explained_offers" if explained else "offers")
    data = graph.data(variables, customer=customer, channel=channel, placement=placement)
    decision: dict[str, Any] = data["nextBestActions"]
    return decision


def customer(graph: GraphClient, ref: dict[str, Any]) -> dict[str, Any]:
    customer: dict[str, Any] = graph.data(document("customer"), ref=ref)["customer"]
    return customer


def track(
    session: DemoSession, who: str, event: str, properties: dict[str, Any], *, known: bool = False
) -> None:
    call = {"userId" if known else "anonymousId": who, "event": event, "properties": properties}
    send_call(session, "track", call, key=session.api_key if known else session.write_key)


def send_call(session: DemoSession, name: str, call: dict[str, Any], key: str = "") -> None:
    """Send a Segment call, by default with a page's key; raises httpx.HTTPStatusError."""
    moment = datetime.now(UTC).isoformat()
    response = httpx.post(
        f"{session.url}/v1/{name}",
        auth=(key or session.write_key, ""),
        json={"messageId": str(uuid4()), "timestamp": moment, **call},
        trust_env=False,
    )
    response.raise_for_status()


def await_api_key(session: DemoSession) -> None:
    def is_known() -> bool:
        response = httpx.post(
            f"{session.url}/v1/batch",
            auth=(session.api_key, ""),
            json={"batch": []},
            trust_env=False,
        )
        return response.status_code == 200

    wait_until(is_known, pause_s=0.2)


def record(
    graph: GraphClient, proposition: dict[str, Any], kind: str, reason: str | None = None
) -> None:
    key = f"{proposition['id']}-{kind}"
    variables = {"proposition": proposition["id"], "kind": kind, "idempotencyKey": key}
    graph.data(document("record_outcome"), input=variables | ({"reason": reason} if reason else {}))


def allow_personal_offers(graph: GraphClient, customer: dict[str, Any]) -> None:
    variables = {"customer": customer, "purpose": "personalisation", "status": "GIVEN"}
    graph.data(document("set_consent"), input=variables)


def results(graph: GraphClient, begin: datetime, end: datetime) -> list[dict[str, Any]]:
    span = {"from": begin.isoformat(), "to": end.isoformat()}
    rows: list[dict[str, Any]] = graph.data(document("action_results"), **span)["actionResults"]
    return rows


def wait_until_considered(
    session: DemoSession, ref: dict[str, Any], action: str, channel: str, placement: str
) -> None:
    """Return when an action passes its rules for a customer; `whyNot` leaves no trace."""
    graph = session.client_for("agent")
    variables = {"ref": ref, "action": action, "channel": channel, "placement": placement}

    def is_considered() -> bool:
        customer = graph.data(document("why_not"), **variables)["customer"]
        return customer is not None and customer["whyNot"]["stage"] in REACHED_STAGES

    wait_until(is_considered)


def wait_until(holds: Callable[[], object], pause_s: float = 0.02) -> None:
    """Return as soon as a condition holds: an event takes some milliseconds to reach decision."""
    give_up = time.monotonic() + SETTLE_TIMEOUT_S
    while not holds():
        if time.monotonic() > give_up:
            raise EventsNotProcessed(
                f"The services did not process the demo's events within {SETTLE_TIMEOUT_S} s.",
                hint="Look at the logs, and at `raak dead-letters list`.",
            )
        time.sleep(pause_s)
