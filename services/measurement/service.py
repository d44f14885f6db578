"""What measurement does: record each fact once, follow merges, answer results and touchpoints."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg import Record

from services.chassis.database import Connection, Database
from services.chassis.errors import RaakError
from services.contracts.decision import OutcomeRecorded
from services.contracts.identity import ANONYMOUS_TYPES, derive_customer_id
from services.contracts.profile import CustomerChanged, CustomersMerged
from services.measurement import store
from services.measurement.domain.identities import identity_key
from services.measurement.domain.merges import find_new_owners
from services.measurement.domain.propositions import Key, Proposition, group_by_owner
from services.measurement.domain.results import Dimension, Result, TooManyResults, to_whole_days
from services.measurement.domain.touchpoints import Touchpoint, customer_of

MOST_RESULTS = 10_000
RECOUNT_CHUNK = 1_000
"""Propositions whose flags are looked at in one transaction."""

PageRequest = tuple[UUID, store.TouchpointPosition | None, int]
"""Customer, the position the page before ended at, and how many rows to fetch."""


async def record(
    connection: Connection,
    touchpoints: Sequence[Touchpoint],
    propositions: Sequence[Proposition] = (),
    outcomes: Sequence[OutcomeRecorded] = (),
) -> None:
    """Record facts under the customers they belong to now, and count what is new in them.

    The order in which facts come, and how often, makes no difference to the result.
    """
    owners = await store.load_owners(connection, {t.recorded_for for t in touchpoints})
    await store.add_touchpoints(connection, touchpoints, owners)
    if propositions:
        known = group_by_owner(propositions, owners)
        await store.add_propositions(connection, known)
        await store.add_outcomes(connection, outcomes, owners)
        await store.count(connection, known.keys())


async def merge(connection: Connection, merges: Sequence[CustomersMerged]) -> None:
    pairs = [(event.from_customer_id, customer_of(event)) for event in merges]
    customers = {customer for pair in pairs for customer in pair}
    moves = find_new_owners(pairs, await store.lock_owners(connection, customers))
    if moves:
        await store.add_merges(connection, merges, moves)
        await store.move_touchpoints(connection, moves)
        await store.count(connection, await store.move_propositions(connection, moves))


async def record_identities(connection: Connection, snapshots: Sequence[CustomerChanged]) -> None:
    rows = [
        (identity_key(identity.type, identity.value), customer_of(snapshot), snapshot.occurred_at)
        for snapshot in snapshots
        for identity in snapshot.identities
    ]
    await store.record_identities(connection, rows)


class RecountUnderWay(RaakError, code="RECOUNT_UNDER_WAY", status=409):
    """A recount is begun while one is under way."""


class RecountSummary(NamedTuple):
    """How many propositions, and days' counts and values, were wrong."""

    propositions: int
    counts: int
    values: int


async def recount(database: Database, chunk: int = RECOUNT_CHUNK) -> RecountSummary:
    """Make flags and daily results what the raw records say, in steps that stop no handler.

    One that was cut off goes on where it was. Raises RecountUnderWay.
    """
    async with database.connection() as lock:
        if not await store.lock_recount(lock):
            raise RecountUnderWay("A recount is under way.", hint="Wait for its end.")
        wrong = 0
        position: Key | None = await store.load_recount_position(lock)
        while position is not None:
            async with database.transaction() as connection:
                position, found = await store.repair_chunk(connection, position, chunk)
            wrong += found
        async with lock.transaction(isolation="repeatable_read", readonly=True):
            corrections = await store.find_corrections(lock)
        async with database.transaction() as connection:
            await store.apply_corrections(connection, corrections)
    return RecountSummary(wrong, *map(len, corrections))


async def load_action_results(
    connection: Connection,
    by: Sequence[Dimension],
    period: tuple[datetime | None, datetime | None],
    action: str | None,
    channel: str | None,
) -> list[Result]:
    """Results per combination of dimensions; raises InvalidPeriod and TooManyResults."""
    by = list(dict.fromkeys(by))
    result_filter = (*to_whole_days(*period), action, channel)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        counts = await store.load_daily_counts(connection, by, result_filter, MOST_RESULTS + 1)
        values = await store.load_daily_values(connection, by, result_filter)
    if len(counts) > MOST_RESULTS:
        raise TooManyResults(MOST_RESULTS)
    return [
        Result(dict(zip(by, key, strict=True)), count, values.get(key, {})) for key, count in counts
    ]


async def load_touchpoint_pages(
    connection: Connection, pages: Sequence[PageRequest]
) -> dict[PageRequest, list[Record]]:
    """The touchpoints of each page, newest first; of a merged customer, those of the survivor."""
    owners = await store.load_current_owners(connection, {customer for customer, _, _ in pages})
    current = [(owners[customer], after, size) for customer, after, size in pages]
    return dict(zip(pages, await store.load_touchpoint_pages(connection, current), strict=True))


async def is_same_customer(
    connection: Connection, ref: Mapping[str, str] | None, customer: UUID
) -> bool:
    """Whether a caller's own reference (`id`, or `type` and `value`) is to this customer."""
    own = await _find_customer(connection, ref) if ref else None
    if own is None:
        return False
    owners = await store.load_current_owners(connection, {own, customer})
    return owners[own] == owners[customer]


async def _find_customer(connection: Connection, ref: Mapping[str, str]) -> UUID | None:
    if "id" in ref:
        return UUID(ref["id"])
    known = await store.find_by_identity(connection, identity_key(ref["type"], ref["value"]))
    if known is None and ref["type"] in ANONYMOUS_TYPES:
        return derive_customer_id(ref["type"], ref["value"])
    return known
