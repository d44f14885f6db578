"""With one service dead, a request costs that service's fields and nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.stack import BUYERS, Stack

EVERYTHING = """
query($ref: CustomerRef!) {
  customer(ref: $ref) {
    id
    segments { key }
    nextBestActions(channel: CALL_CENTRE, placement: "agent_desktop") { propositions { id } }
    journeys { journey }
    touchpoints(first: 5) { edges { node { id } } }
  }
}"""
FIELD = {
    "decision": "nextBestActions",
    "journey": "journeys",
    "measurement": "touchpoints",
}
"""What each service adds to a customer."""

OFFERS = """
query($customer: CustomerRef!) {
  nextBestActions(customer: $customer, channel: CALL_CENTRE, placement: "agent_desktop") {
    degraded propositions { id }
  }
}"""

ANN = {"identity": {"type": "email", "value": BUYERS[3].email}}


@pytest.fixture(params=[*FIELD, "profile"])
def dead(request: pytest.FixtureRequest, stack: Stack) -> Iterator[str]:
    """A service that has just been killed; started again afterwards."""
    stack.kill(request.param)
    yield request.param
    stack.start(request.param)


def test_the_others_still_answer(stack: Stack, dead: str) -> None:
    answer = stack.as_("agent").answer(EVERYTHING, ref=ANN)

    assert [error["extensions"]["service"] for error in answer["errors"]] == [dead]
    assert answer["errors"][0]["extensions"]["code"] == "SUBGRAPH_UNAVAILABLE"
    customer: dict[str, Any] | None = answer["data"]["customer"]
    if dead == "profile":  # only profile can say which customer an address means
        assert customer is None
        return
    assert customer is not None
    assert customer[FIELD[dead]] is None
    assert all(customer[field] is not None for field in FIELD.values() if field != FIELD[dead])


def test_offers_need_nobody_but_decision(stack: Stack, dead: str) -> None:
    answer = stack.as_("agent").answer(OFFERS, customer=ANN)

    if dead == "decision":
        assert answer["data"] == {"nextBestActions": None}
        assert answer["errors"][0]["extensions"]["code"] == "SUBGRAPH_UNAVAILABLE"
    else:
        assert answer["data"]["nextBestActions"]["propositions"]
        assert answer["data"]["nextBestActions"]["degraded"] is None
