"""A small catalogue to decide by, and ways to ask it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.chassis.definitions import read_yaml
from services.contracts.words import Channel
from services.decision.domain.catalogue import Catalogue
from services.decision.domain.compiled_catalogue import Compiled, compiled
from services.decision.domain.contact_policies import Contact
from services.decision.domain.decision import Verdict, decide
from services.decision.domain.decision_input import Situation
from services.decision.domain.explanation import explain
from services.decision.domain.trace import ActionTrace
from services.rules import Facts

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ADA = UUID("018f0000-0000-7000-8000-000000000001")


def action(key: str, **fields: Any) -> dict[str, Any]:
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


def catalogue(*actions: dict[str, Any], **fields: Any) -> Compiled:
    """A catalogue of these actions."""
    document = {
        "currency": "EUR",
        "placements": [{"key": "hero", "channels": ["WEB", "APP"], "limit": 30}],
        "actions": list(actions),
    } | fields
    return compiled(1, Catalogue.model_validate(document))


def from_yaml(text: str) -> Catalogue:
    """A catalogue as YAML reads it."""
    return Catalogue.model_validate(read_yaml(text))


def situation(
    *,
    now: datetime = NOW,
    limit: int = 3,
    channel: Channel = Channel.WEB,
    customer: UUID = ADA,
    contacts: Sequence[Contact] = (),
    **facts: Any,
) -> Situation:
    """A customer in the one placement."""
    return Situation(customer, channel, "hero", limit, Facts(now=now, **facts), contacts)


def decided(shop: Compiled, at: Situation) -> Verdict:
    """What is decided before anything was learned."""
    return decide(shop, shop.levels.propensities(shop.levels.tallied({})), at)


def shown(shop: Compiled, at: Situation) -> list[str]:
    """The actions that are shown, best first."""
    return [proposed.action.key for proposed in decided(shop, at).proposed]


def traces(shop: Compiled, at: Situation) -> dict[str, ActionTrace]:
    """Why, by action."""
    propensities = shop.levels.propensities(shop.levels.tallied({}))
    found = explain(shop, propensities, at, decide(shop, propensities, at).stages)
    return {trace.action: trace for trace in found}


def contact(action: str, hours_ago: float, kind: str = "PRESENTED", **fields: Any) -> Contact:
    """Something that happened before."""
    at_s = NOW.timestamp() - hours_ago * 3600
    return Contact(action, fields.get("channel", "WEB"), kind, at_s, fields.get("first", True))
