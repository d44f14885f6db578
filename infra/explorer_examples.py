"""The operations in the explorer's menu: those of the record shop, with variables to begin with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[1] / "examples" / "records" / "operations"
FILE = Path(__file__).parents[1] / "gateway" / "explorer" / "page" / "examples.json"

VISITOR = {"identity": {"type": "anonymous_id", "value": "visitor-1"}}
BUYER = {"identity": {"type": "email", "value": "cdnow-00001@example.com"}}


class Example(NamedTuple):
    """An operation of the examples, who would send it, and variables for it."""

    role: str
    variables: Mapping[str, Any]


EXAMPLES: Mapping[str, Example] = {
    "customer": Example("agent", {"ref": BUYER}),
    "explained_offers": Example(
        "agent", {"customer": BUYER, "channel": "CALL_CENTRE", "placement": "agent_desktop"}
    ),
    "why_not": Example(
        "agent", {"ref": BUYER, "action": "welcome_discount", "channel": "WEB", "placement": "home"}
    ),
    "customer_activity": Example("agent", {"ref": BUYER}),
    "record_outcome": Example(
        "agent",
        {
            "input": {
                "proposition": "the id of a proposition of ExplainedOffers",
                "kind": "ACCEPTED",
                "idempotencyKey": "explorer-1",
            }
        },
    ),
    "offers": Example("visitor", {"customer": VISITOR, "channel": "WEB", "placement": "home"}),
    "offer_changes": Example("visitor", {"ref": VISITOR}),
    "set_consent": Example(
        "visitor",
        {"input": {"customer": VISITOR, "purpose": "personalisation", "status": "GIVEN"}},
    ),
    "action_results": Example("analyst", {}),
}
"""By the name of their file; the menu has them in this order."""


def render() -> str:
    entries = [
        {
            "role": role,
            "operation": (FOLDER / f"{name}.graphql").read_text(),
            "variables": json.dumps(variables, indent=2) + "\n" if variables else "",
        }
        for name, (role, variables) in EXAMPLES.items()
    ]
    return json.dumps(entries, indent=1) + "\n"
