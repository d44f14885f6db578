"""What can be read of journeys: where customers stand, what definitions need."""

from collections.abc import Iterable
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.principal import Principal
from services.contracts.identity import ANONYMOUS_TYPES, derived_customer_id, normalised
from services.journey.domain.journey import Journey
from services.journey.store import customers

Uses = dict[str, list[str]]
"""What is needed, and the journeys that need it."""


async def is_own(connection: Connection, principal: Principal, customer: UUID) -> bool:
    """Whether a caller who speaks for one customer speaks for this one."""
    ref = principal.customer_ref or {}
    if "id" in ref:
        became = await customers.became(connection, [UUID(ref["id"])])
        return customer in (UUID(ref["id"]), *became.values())
    if "type" not in ref:
        return False
    kind, value = ref["type"], ref["value"]
    if kind in ANONYMOUS_TYPES and derived_customer_id(kind, value) == customer:
        return True
    held = await customers.snapshots(connection, [customer])
    own = {"type": kind, "value": normalised(kind, value)}
    return any(own in snapshot.document["identities"] for snapshot in held.values())


def needed(journeys: Iterable[Journey]) -> dict[str, Uses]:
    """By kind of data, what the journeys' conditions, keys and contents look at."""
    found: dict[str, Uses] = {
        kind: {} for kind in ("traits", "segments", "purposes", "properties", "events", "journeys")
    }
    for journey in journeys:
        series = {one.event for one in journey.series}
        needs = {
            "traits": journey.traits,
            "segments": journey.needs.segments,
            "purposes": journey.purposes,
            "properties": journey.properties,
            "events": journey.event_names | series,
            "journeys": journey.needs.journeys,
        }
        for kind, names in needs.items():
            for name in names:
                found[kind].setdefault(name, []).append(journey.key)
    return {kind: dict(sorted(uses.items())) for kind, uses in found.items()}
