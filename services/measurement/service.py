"""What measurement does: record facts once, follow merges, answer with results and histories."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from services.chassis.database import Connection
from services.contracts.decision import OutcomeRecorded
from services.contracts.identity import ANONYMOUS_TYPES, derived_customer_id
from services.contracts.profile import CustomerChanged, CustomersMerged
from services.measurement import store
from services.measurement.domain.identities import identity_key
from services.measurement.domain.merges import moves
from services.measurement.domain.propositions import Proposition, by_owner
from services.measurement.domain.results import Dimension, Result, TooManyResults, whole_days
from services.measurement.domain.touchpoints import Touchpoint, customer_of

MOST_RESULTS = 10_000


async def record(
    connection: Connection,
    touchpoints: Sequence[Touchpoint],
    propositions: Sequence[Proposition] = (),
    outcomes: Sequence[OutcomeRecorded] = (),
) -> None:
    """Record facts under the customers they belong to now, and count what is new in them.

    The order in which facts come, and how often, makes no difference to what is then known.
    """
    owners = await store.owners(connection, {t.recorded_for for t in touchpoints})
    await store.add_touchpoints(connection, touchpoints, owners)
    if propositions:
        known = by_owner(propositions, owners)
        await store.add_propositions(connection, known)
        await store.add_outcomes(connection, outcomes, owners)
        await store.count(connection, known.keys())


async def merge(connection: Connection, merges: Sequence[CustomersMerged]) -> None:
    """Move all that was recorded for merged customers to whom they became."""
    pairs = [(event.from_customer_id, customer_of(event)) for event in merges]
    customers = {customer for pair in pairs for customer in pair}
    moved = moves(pairs, await store.owners_for_merging(connection, customers))
    if moved:
        await store.add_merges(connection, merges, moved)
        await store.move_touchpoints(connection, moved)
        await store.count(connection, await store.move_propositions(connection, moved))


async def see_identities(connection: Connection, snapshots: Sequence[CustomerChanged]) -> None:
    """Keep whose each identity is."""
    seen = [
        (identity_key(identity.type, identity.value), customer_of(snapshot), snapshot.occurred_at)
        for snapshot in snapshots
        for identity in snapshot.identities
    ]
    await store.see_identities(connection, seen)


async def recount(connection: Connection) -> None:
    """Make the daily results anew from what was recorded, after a repair or a restored backup."""
    await store.recount(connection)


async def action_results(
    connection: Connection,
    by: Sequence[Dimension],
    period: tuple[datetime | None, datetime | None],
    action: str | None,
    channel: str | None,
) -> list[Result]:
    """Results per combination of dimensions; raises InvalidPeriod and TooManyResults."""
    by = list(dict.fromkeys(by))
    question = (*whole_days(*period), action, channel)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        counts = await store.daily_counts(connection, by, question, MOST_RESULTS + 1)
        values = await store.daily_values(connection, by, question)
    if len(counts) > MOST_RESULTS:
        raise TooManyResults(MOST_RESULTS)
    return [
        Result(dict(zip(by, key, strict=True)), count, values.get(key, {})) for key, count in counts
    ]


async def touchpoint_pages(
    connection: Connection, pages: Sequence[tuple[UUID, store.Place | None, int]]
) -> list[list[Record]]:
    """For each (customer, after, size), touchpoints newest first; a merged customer has become

    another, whose touchpoints these are.
    """
    owners = await store.current_owners(connection, {customer for customer, _, _ in pages})
    current = [(owners[customer], after, size) for customer, after, size in pages]
    return await store.touchpoint_pages(connection, current)


async def is_the_same(
    connection: Connection, ref: Mapping[str, str] | None, customer: UUID
) -> bool:
    """Whether a caller's own reference (`id`, or `type` and `value`) means this customer."""
    own = await _customer_meant(connection, ref) if ref else None
    if own is None:
        return False
    owners = await store.current_owners(connection, {own, customer})
    return owners[own] == owners[customer]


async def _customer_meant(connection: Connection, ref: Mapping[str, str]) -> UUID | None:
    if "id" in ref:
        return UUID(ref["id"])
    known = await store.customer_by_identity(connection, identity_key(ref["type"], ref["value"]))
    if known is None and ref["type"] in ANONYMOUS_TYPES:
        return derived_customer_id(ref["type"], ref["value"])
    return known
