"""Through the front door: an order is believed from a server, and from nobody's browser."""

from typing import Any
from uuid import uuid4

from infra.demo.queries import offers, ref
from infra.graph_client import GraphClient
from tests.stack import Stack

ORDER = {"order_id": "forged", "total": 100_000_000, "currency": "USD"}
REPORT = "mutation($input: OutcomeInput!) { recordOutcome(input: $input) { id } }"
TRACK = "mutation($input: TrackInput!) { track(input: $input) { duplicate } }"
ASK = """
query($customer: CustomerRef!, $event: EventInput) {
  nextBestActions(customer: $customer, channel: WEB, placement: "home", event: $event) { id }
}"""
EVENTS = "query($ref: CustomerRef!) { customer(ref: $ref) { events { edges { node { name } } } } }"


def code_of(graph: GraphClient, query: str, **variables: Any) -> str | None:
    """The code of an answer's error, None if there is none."""
    errors = graph.answer(query, **variables).get("errors")
    return str(errors[0]["extensions"]["code"]) if errors else None


def test_a_browser_forges_no_order_and_no_conversion(stack: Stack) -> None:
    browser = f"browser-{uuid4().hex[:8]}"
    me, order = ref("anonymous_id", browser), {"anonymousId": browser, "event": "order_completed"}
    visitor = stack.as_("visitor", f"anonymous_id={browser}")
    proposition = offers(visitor, me, "WEB", "home")["propositions"][0]["id"]
    looked = {"type": "track", "anonymousId": browser, "event": "product_viewed"}
    claimed = {"proposition": proposition, "idempotencyKey": "forged"}
    fortune = {"cents": 2_100_000_000, "currency": "USD"}

    alone = stack.send("track", {**order, "properties": ORDER})
    batch = stack.send("batch", {"batch": [{**order, "type": "track"}, looked]}).json()
    codes = [
        code_of(visitor, TRACK, input={"customer": me, "event": "order_completed"}),
        code_of(visitor, ASK, customer=me, event={"name": "order_completed"}),
        code_of(visitor, REPORT, input={**claimed, "kind": "CONVERTED"}),
        code_of(visitor, REPORT, input={**claimed, "kind": "ACCEPTED", "value": fortune}),
    ]
    events = stack.as_("agent").data(EVENTS, ref=me)["customer"]["events"]["edges"]

    assert alone.status_code == 400, alone.text
    assert "PROFILE_SERVER_EVENT" in alone.text
    assert (batch["accepted"], batch["rejected"][0]["code"]) == (1, "PROFILE_SERVER_EVENT")
    assert codes == [
        *("PROFILE_SERVER_EVENT", "DECISION_SERVER_EVENT"),
        *("DECISION_SERVER_OUTCOME", "DECISION_INVALID_OUTCOME"),
    ]
    assert [edge["node"]["name"] for edge in events] == ["product_viewed"]
