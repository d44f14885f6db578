"""Packs what a decision was made from, to be stored with it: enough to make and explain it again.

Only what the catalogue's conditions name is stored, such as traits and series, not the customer's
whole snapshot.
"""

import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from services.contracts.enums import Channel, SenderClass
from services.decision.domain.arrays import Floats
from services.decision.domain.compiled_catalogue import CompiledCatalogue
from services.decision.domain.contact_policies import Contact
from services.decision.domain.decision import DecisionResult
from services.decision.domain.decision_input import DecisionInput
from services.rules import Facts


def pack_input(
    catalogue: CompiledCatalogue,
    propensity: Floats,
    decision_input: DecisionInput,
    result: DecisionResult,
    unproved: Sequence[str] = (),
    sender: SenderClass = SenderClass.SERVER,
) -> bytes:
    """The input of a decision and the stage each action reached, compressed.

    `unproved` names what only a browser or an app reported; `sender` is who sent the request.
    """
    facts, needs = decision_input.facts, catalogue.rules.needs
    candidates = catalogue.candidates[decision_input.channel, decision_input.placement]
    content: dict[str, Any] = {
        "now": facts.now,
        "limit": decision_input.limit,
        "stages": list(result.stages),
        "propensity": propensity[candidates.treatments],
        "contacts": [tuple(contact) for contact in decision_input.contacts],
        "traits": {name: facts.traits[name] for name in needs.traits & facts.traits.keys()},
        "segments": list(facts.segments),
        "consent": dict(facts.consent),
        "context": dict(facts.context),
        "event": dict(facts.event),
        "journeys": dict(facts.journeys),
        "history": {
            key: facts.history[key] for key in catalogue.series.series if key in facts.history
        },
        "unproved": unproved,
        "sender": sender.value,
    }
    return zlib.compress(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), level=1)


def unpack_input(
    packed: bytes, catalogue: CompiledCatalogue, customer_id: UUID, channel: Channel, placement: str
) -> tuple[Floats, DecisionInput, bytes]:
    """The arguments of `explain`; `catalogue` is the version the decision was made by."""
    content = _unpack(packed)
    candidates = catalogue.candidates[channel, placement]
    propensity = np.zeros(len(catalogue.treatments))
    propensity[candidates.treatments] = content["propensity"]
    facts = Facts(
        now=datetime.fromisoformat(content["now"]),
        traits=content["traits"],
        segments=frozenset(content["segments"]),
        consent=content["consent"],
        context=content["context"],
        event=_parse_event(content["event"]),
        journeys=content["journeys"],
        history=content["history"],
        zone=catalogue.catalogue.time_zone,
    )
    decision_input = DecisionInput(
        customer_id,
        channel,
        placement,
        content["limit"],
        facts,
        [Contact(*row) for row in content["contacts"]],
    )
    return propensity, decision_input, bytes(content["stages"])


def read_unproved(packed: bytes) -> list[str]:
    """What a decision may have used that only an untrusted sender reported."""
    names: list[str] = _unpack(packed).get("unproved", [])
    return names


def read_sender(packed: bytes) -> SenderClass:
    """Who requested a decision; a server where an older release did not store it."""
    return SenderClass(_unpack(packed).get("sender", SenderClass.SERVER))


def _unpack(packed: bytes) -> dict[str, Any]:
    """Empty where there was no catalogue to decide by."""
    return orjson.loads(zlib.decompress(packed)) if packed else {}


def _parse_event(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "at": datetime.fromisoformat(event["at"])} if "at" in event else event
