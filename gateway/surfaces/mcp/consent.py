"""Consent: an assistant reaches the customers who have agreed to that, and nobody else."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from gateway.pipeline.pipeline import RequestPipeline
from gateway.pipeline.request import GraphQLRequest
from services.chassis.errors import RaakError
from services.chassis.principal import Principal

PURPOSE = "ai_assistant"
GIVEN = "GIVEN"
"""What counts as consent: what a customer chose, not what is assumed until they choose."""
MOST_CUSTOMERS = 20
"""In one call, for each is asked about."""
SURFACE = "mcp"

CONSENTS = """query AssistantConsent($ref: CustomerRef!) {
  customer(ref: $ref) { id consents { purpose status } } }"""


class AssistantConsentMissing(RaakError, code="ASSISTANT_CONSENT_MISSING", status=403):
    """A tool names a customer, or finds one, who has not agreed to be reached by an assistant."""

    def __init__(self) -> None:
        super().__init__(
            f"The customer is unknown, or has not consented to {PURPOSE!r}.",
            hint="Ask the customer, and record what they choose without the assistant: "
            f'setConsent(input: {{customer: …, purpose: "{PURPOSE}", status: GIVEN}}).',
        )


class AssistantConsentUnknown(RaakError, code="ASSISTANT_CONSENT_UNKNOWN", status=403):
    """Whether customers agreed cannot be read, so none of them is reached."""


async def check_consents(
    graph: RequestPipeline, caller: Principal, references: Collection[Mapping[str, Any]]
) -> frozenset[str]:
    """The ids of the customers of some `CustomerRef`s, who all have consented.

    Raises AssistantConsentMissing, AssistantConsentUnknown, or what the caller's own request for
    one of them would.
    """
    if len(references) > MOST_CUSTOMERS:
        raise AssistantConsentUnknown(
            f"There are {len(references)} customers, and the consents of {MOST_CUSTOMERS} are "
            "looked at in one call.",
            hint="Ask for fewer customers at once.",
        )
    checks = (_check_consent(graph, caller, reference) for reference in references)
    return frozenset(await asyncio.gather(*checks))


async def _check_consent(
    graph: RequestPipeline, caller: Principal, reference: Mapping[str, Any]
) -> str:
    prepared = graph.operations.get(CONSENTS, None)
    request = GraphQLRequest(CONSENTS, variables={"ref": reference}, surface=SURFACE)
    answer = await graph.answer(prepared, request, caller)
    if errors := answer.get("errors"):
        raise AssistantConsentUnknown(
            f"The customer's consents cannot be read: {errors[0]['message']}",
            hint=errors[0].get("extensions", {}).get("hint") or "Try again shortly.",
        )
    customer = answer["data"]["customer"]
    consents = customer["consents"] if customer else ()
    if not any(each["purpose"] == PURPOSE and each["status"] == GIVEN for each in consents):
        raise AssistantConsentMissing
    return str(customer["id"])
