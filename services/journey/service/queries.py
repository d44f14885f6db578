"""Reading for the graph: whose a customer's data is, and what data the journeys need."""

from collections.abc import Iterable
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.principal import Principal
from services.contracts.identity import ANONYMOUS_TYPES, derive_customer_id, normalise_value
from services.journey.domain.journey import Journey
from services.journey.store import customers

DataUses = dict[str, list[str]]
"""Names of data, each with the keys of the journeys that need it."""


async def is_own(connection: Connection, principal: Principal, customer: UUID) -> bool:
    """Whether a caller who speaks for one customer speaks for this one."""
    ref = principal.customer_ref or {}
    if "id" in ref:
        survivors = await customers.find_survivors(connection, [UUID(ref["id"])])
        return customer in (UUID(ref["id"]), *survivors.values())
    if "type" not in ref:
        return False
    kind, value = ref["type"], ref["value"]
    if kind in ANONYMOUS_TYPES and derive_customer_id(kind, value) == customer:
        return True
    snapshots = await customers.load_snapshots(connection, [customer])
    own = {"type": kind, "value": normalise_value(kind, value)}
    return any(own in snapshot.document["identities"] for snapshot in snapshots.values())


def collect_data_uses(journeys: Iterable[Journey]) -> dict[str, DataUses]:
    """By kind of data, what the journeys' conditions, keys and contents read."""
    found: dict[str, DataUses] = {
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
