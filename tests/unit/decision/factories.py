"""A small catalogue to decide by, and ways to ask it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.chassis.definitions import read_yaml
from services.contracts.enums import Channel
from services.decision.domain.catalogue import Catalogue
from services.decision.domain.compiled_catalogue import CompiledCatalogue, compile_catalogue
from services.decision.domain.contact_policies import Contact
from services.decision.domain.decision import DecisionResult, decide
from services.decision.domain.decision_input import DecisionInput
from services.decision.domain.explanation import explain
from services.decision.domain.trace import ActionTrace
from services.rules import Facts

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ADA = UUID("018f0000-0000-7000-8000-000000000001")


def make_action(key: str, **fields: Any) -> dict[str, Any]:
    """An action with one treatment in the one placement."""
    treatment = {"key": "t", "channel": "WEB", "placements": "hero", "content": {"title": key}}
    return {
        "key": key,
        "name": key.title(),
        "kind": "OFFER",
        "issue": "sales",
        "group": "records",
        "value_cents": 100,
        "treatments": [treatment],
    } | fields


def make_catalogue(*actions: dict[str, Any], **fields: Any) -> CompiledCatalogue:
    """A catalogue of these actions."""
    document = {
        "currency": "EUR",
        "placements": [{"key": "hero", "channels": ["WEB", "APP"], "limit": 30}],
        "actions": list(actions),
    } | fields
    return compile_catalogue(1, Catalogue.model_validate(document))


def parse_catalogue(text: str) -> Catalogue:
    """A catalogue as YAML reads it."""
    return Catalogue.model_validate(read_yaml(text))


def make_input(
    *,
    now: datetime = NOW,
    limit: int = 3,
    channel: Channel = Channel.WEB,
    customer: UUID = ADA,
    contacts: Sequence[Contact] = (),
    **facts: Any,
) -> DecisionInput:
    """A customer in the one placement."""
    return DecisionInput(customer, channel, "hero", limit, Facts(now=now, **facts), contacts)


def decide_for(shop: CompiledCatalogue, at: DecisionInput) -> DecisionResult:
    """What is decided before anything was learned."""
    return decide(shop, shop.levels.compute_propensities(shop.levels.build_evidence({})), at)


def propose(shop: CompiledCatalogue, at: DecisionInput) -> list[str]:
    """The actions that are proposed, best first."""
    return [proposed.action.key for proposed in decide_for(shop, at).propositions]


def explain_all(shop: CompiledCatalogue, at: DecisionInput) -> dict[str, ActionTrace]:
    """Why, by action."""
    propensities = shop.levels.compute_propensities(shop.levels.build_evidence({}))
    found = explain(shop, propensities, at, decide(shop, propensities, at).stages)
    return {trace.action: trace for trace in found}


def make_contact(action: str, hours_ago: float, kind: str = "PRESENTED", **fields: Any) -> Contact:
    """Something that happened before."""
    at_s = NOW.timestamp() - hours_ago * 3600
    return Contact(action, fields.get("channel", "WEB"), kind, at_s, fields.get("first", True))
