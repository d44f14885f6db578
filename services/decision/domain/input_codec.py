"""What a decision looked at, kept with it: enough to decide it again, and to say why.

Only what the catalogue's conditions can see is kept: the traits and histories they name, not the
customer's whole snapshot.
"""

import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from services.contracts.words import Channel, SenderClass
from services.decision.domain.compiled_catalogue import Compiled
from services.decision.domain.contact_policies import Contact
from services.decision.domain.decision import Floats, Verdict
from services.decision.domain.decision_input import Situation
from services.rules import Facts


def packed(
    catalogue: Compiled,
    propensity: Floats,
    situation: Situation,
    verdict: Verdict,
    unproved: Sequence[str] = (),
    sender: SenderClass = SenderClass.SERVER,
) -> bytes:
    """The inputs of a decision and the stages it came to, compressed.

    `unproved` names those that only the word of a browser or an app stands for; `sender` asked.
    """
    facts, needs = situation.facts, catalogue.rules.needs
    slate = catalogue.slates[situation.channel, situation.placement]
    kept: dict[str, Any] = {
        "now": facts.now,
        "limit": situation.limit,
        "stages": list(verdict.stages),
        "propensity": propensity[slate.treatments],
        "contacts": [tuple(contact) for contact in situation.contacts],
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
    return zlib.compress(orjson.dumps(kept, option=orjson.OPT_SERIALIZE_NUMPY), level=1)


def unpacked(
    stored: bytes, catalogue: Compiled, customer_id: UUID, channel: Channel, placement: str
) -> tuple[Floats, Situation, bytes]:
    """The arguments of `explain`, read back. `catalogue` is the version it was decided by."""
    kept = orjson.loads(zlib.decompress(stored))
    slate = catalogue.slates[channel, placement]
    propensity = np.zeros(len(catalogue.treatments))
    propensity[slate.treatments] = kept["propensity"]
    facts = Facts(
        now=datetime.fromisoformat(kept["now"]),
        traits=kept["traits"],
        segments=frozenset(kept["segments"]),
        consent=kept["consent"],
        context=kept["context"],
        event=_with_moment(kept["event"]),
        journeys=kept["journeys"],
        history=kept["history"],
        zone=catalogue.catalogue.time_zone,
    )
    situation = Situation(
        customer_id, channel, placement, kept["limit"], facts, _contacts(kept["contacts"])
    )
    return propensity, situation, bytes(kept["stages"])


def unproved(stored: bytes) -> list[str]:
    """What only an untrusted sender's word stands for, of what a decision looked at."""
    names: list[str] = _whole(stored).get("unproved", [])
    return names


def sender(stored: bytes) -> SenderClass:
    """Who asked for a decision; of those of before this was kept, a server."""
    return SenderClass(_whole(stored).get("sender", SenderClass.SERVER))


def _whole(stored: bytes) -> dict[str, Any]:
    """A record; empty where there was no catalogue, and nothing was looked at."""
    return orjson.loads(zlib.decompress(stored)) if stored else {}


def _with_moment(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "at": datetime.fromisoformat(event["at"])} if "at" in event else event


def _contacts(rows: Sequence[Any]) -> list[Contact]:
    return [Contact(*row) for row in rows]
