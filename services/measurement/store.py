"""All SQL of measurement. Functions take an asyncpg connection and never commit.

Two rules keep concurrent handlers from undoing or blocking one another. A handler that records
calls `load_owners` first, which keeps merges out until it has committed. And every statement that
writes many rows writes them in the order of their key.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from typing import Any
from uuid import UUID

from asyncpg import Record

from services.chassis.database import Connection, execute_rows
from services.contracts.decision import OutcomeRecorded
from services.contracts.profile import CustomersMerged
from services.measurement.domain.propositions import (
    FLAGS_OF_OUTCOME,
    Key,
    OutcomeFlags,
    Proposition,
)
from services.measurement.domain.results import Counts, Dimension
from services.measurement.domain.touchpoints import Touchpoint

# Customers

_OWNERS = (
    "SELECT from_customer_id, customer_id FROM customer_merge WHERE from_customer_id = ANY($1)"
)


async def load_owners(connection: Connection, customers: Collection[UUID]) -> dict[UUID, UUID]:
    """The owner of each customer's records: who they are now, and until this transaction ends.

    Without the lock, rows recorded while their customer is merged away would be left behind.
    """
    await connection.execute("LOCK TABLE customer_merge IN ROW SHARE MODE")
    return await load_current_owners(connection, customers)


async def lock_owners(connection: Connection, customers: Collection[UUID]) -> dict[UUID, UUID]:
    """The same before a merge: waits for all handlers that record, and keeps them waiting."""
    await connection.execute("LOCK TABLE customer_merge IN EXCLUSIVE MODE")
    await connection.execute(_BY_INDEX)
    return await load_current_owners(connection, customers)


async def load_current_owners(
    connection: Connection, customers: Collection[UUID]
) -> dict[UUID, UUID]:
    """The owner of each customer's records at this moment: themselves, if never merged."""
    merged = await connection.fetch(_OWNERS, list(customers))
    return {customer: customer for customer in customers} | {row[0]: row[1] for row in merged}


_BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off"
"""A merge moves few rows, but before PostgreSQL has statistics of the tables it reads them whole,
with all handlers waiting: 200 merges among 180,000 propositions took 140 ms, by index 20 ms."""

_MOVES = "unnest($1::uuid[], $2::uuid[]) AS move (source, target)"

_FOLLOW_MERGES = f"""
UPDATE customer_merge SET customer_id = target FROM {_MOVES} WHERE customer_id = source
"""
_ADD_MERGES = """
INSERT INTO customer_merge (from_customer_id, customer_id, merged_into, change_id, merged_at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[])
ON CONFLICT DO NOTHING
"""


async def add_merges(
    connection: Connection, merges: Sequence[CustomersMerged], moves: Mapping[UUID, UUID]
) -> None:
    """Record merges; customers merged before into one who moves now move along."""
    await connection.execute(_FOLLOW_MERGES, list(moves), list(moves.values()))
    rows = [
        (
            one.from_customer_id,
            moves[one.from_customer_id],
            one.customer_id,
            one.change_id,
            one.occurred_at,
        )
        for one in merges
        if one.from_customer_id in moves
    ]
    await execute_rows(connection, _ADD_MERGES, rows)


_RECORD_IDENTITIES = """
INSERT INTO known_identity (identity_key, customer_id, seen_at)
SELECT DISTINCT ON (identity_key) identity_key, customer_id, seen_at
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS named (identity_key, customer_id, seen_at)
ORDER BY identity_key, seen_at DESC
ON CONFLICT (identity_key) DO UPDATE
SET customer_id = excluded.customer_id, seen_at = excluded.seen_at
WHERE excluded.seen_at > known_identity.seen_at
  AND excluded.customer_id <> known_identity.customer_id
"""


async def record_identities(
    connection: Connection, rows: Sequence[tuple[UUID, UUID, datetime]]
) -> None:
    """Record identities, (key, customer, time) each; the latest snapshot with one has it."""
    await execute_rows(connection, _RECORD_IDENTITIES, rows)


async def find_by_identity(connection: Connection, identity_key: UUID) -> UUID | None:
    """The customer of an identity; None for an unknown one."""
    customer: UUID | None = await connection.fetchval(
        "SELECT customer_id FROM known_identity WHERE identity_key = $1", identity_key
    )
    return customer


# Touchpoints

_TOUCHPOINT = """
    touched_at, touchpoint_id, kind, recorded_for, identity_key, channel, value_cents, currency,
    detail
"""
_ADD_TOUCHPOINTS = f"""
INSERT INTO touchpoint (customer_id, {_TOUCHPOINT})
SELECT * FROM unnest(
    $1::uuid[], $2::timestamptz[], $3::uuid[], $4::text[], $5::uuid[], $6::uuid[], $7::text[],
    $8::bigint[], $9::text[], $10::jsonb[]
) ORDER BY 1, 2, 3, 4
ON CONFLICT DO NOTHING
"""


async def add_touchpoints(
    connection: Connection, touchpoints: Sequence[Touchpoint], owners: Mapping[UUID, UUID]
) -> None:
    rows = [
        (
            owners[t.recorded_for],
            t.touched_at,
            t.touchpoint_id,
            t.kind.value,
            t.recorded_for,
            t.identity_key,
            t.channel,
            t.value.cents if t.value else None,
            t.value.currency if t.value else None,
            t.detail,
        )
        for t in touchpoints
    ]
    await execute_rows(connection, _ADD_TOUCHPOINTS, rows)


_MOVE_TOUCHPOINTS = f"""
WITH moved AS (
    DELETE FROM touchpoint USING {_MOVES} WHERE customer_id = source RETURNING target, touchpoint.*
)
INSERT INTO touchpoint (customer_id, {_TOUCHPOINT}) SELECT target, {_TOUCHPOINT} FROM moved
ON CONFLICT DO NOTHING
"""


async def move_touchpoints(connection: Connection, moves: Mapping[UUID, UUID]) -> None:
    await connection.execute(_MOVE_TOUCHPOINTS, list(moves), list(moves.values()))


_PAGES = f"""
SELECT page.number, touchpoint.*
FROM unnest($1::int[], $2::uuid[], $3::timestamptz[], $4::uuid[], $5::text[], $6::int[])
    AS page (number, customer_id, touched_at, touchpoint_id, kind, size),
LATERAL (
    SELECT {_TOUCHPOINT} FROM touchpoint
    WHERE touchpoint.customer_id = page.customer_id
      AND (touchpoint.touched_at, touchpoint.touchpoint_id, touchpoint.kind)
        < (coalesce(page.touched_at, 'infinity'), page.touchpoint_id, page.kind)
    ORDER BY touched_at DESC, touchpoint_id DESC, kind DESC
    LIMIT page.size
) AS touchpoint
ORDER BY number, touched_at DESC, touchpoint_id DESC, kind DESC
"""

TouchpointPosition = tuple[datetime, UUID, str]
"""Where a page ends: the last touchpoint's time, id and kind."""

_START = (None, UUID(int=0), "")


async def load_touchpoint_pages(
    connection: Connection, pages: Sequence[tuple[UUID, TouchpointPosition | None, int]]
) -> list[list[Record]]:
    """For each (customer, after, size), their touchpoints newest first. One statement for all."""
    rows = [
        (number, customer, *(after or _START), size)
        for number, (customer, after, size) in enumerate(pages)
    ]
    found: list[list[Record]] = [[] for _ in pages]
    for row in await connection.fetch(_PAGES, *map(list, zip(*rows, strict=True))):
        found[row["number"]].append(row)
    return found


# Propositions and outcomes

_DECISION_COLUMNS = "recorded_for, decision_id, action, treatment, channel, placement, decided_at"
"""What the decision says of a proposition. Until it arrives, these come from an outcome."""

_PREFER_THE_DECISION = ", ".join(
    f"{name} = CASE WHEN proposition.decided_at IS NULL"
    f" THEN excluded.{name} ELSE proposition.{name} END"
    for name in _DECISION_COLUMNS.split(", ")
)
_JOIN_PROPOSITIONS = f"""
ON CONFLICT (customer_id, proposition_id) DO UPDATE SET
    {_PREFER_THE_DECISION},
    happened = proposition.happened | excluded.happened,
    counted = proposition.counted | excluded.counted
"""
_ADD_PROPOSITIONS = f"""
INSERT INTO proposition (customer_id, proposition_id, {_DECISION_COLUMNS}, happened, counted)
SELECT *, 0 FROM unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::timestamptz[], $10::smallint[]
) ORDER BY 1, 2
{_JOIN_PROPOSITIONS}
"""


async def add_propositions(connection: Connection, propositions: Mapping[Key, Proposition]) -> None:
    """Record propositions, or what is new of them. `count` must follow in the same transaction."""
    rows = [
        (
            customer_id,
            proposition_id,
            p.recorded_for,
            p.decision_id,
            p.action,
            p.treatment,
            p.channel,
            p.placement,
            p.decided_at,
            p.flags.value,
        )
        for (customer_id, proposition_id), p in propositions.items()
    ]
    await execute_rows(connection, _ADD_PROPOSITIONS, rows)


_OUTCOME = "proposition_id, outcome_id, recorded_for, kind, happened_at, value_cents, currency"
_ADD_OUTCOMES = f"""
INSERT INTO outcome (customer_id, {_OUTCOME}, counted)
SELECT *, value_cents IS NULL FROM unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::timestamptz[], $7::bigint[],
    $8::text[]
) AS reported (customer_id, {_OUTCOME}) ORDER BY 1, 2, 3
ON CONFLICT DO NOTHING
"""


async def add_outcomes(
    connection: Connection, outcomes: Sequence[OutcomeRecorded], owners: Mapping[UUID, UUID]
) -> None:
    """Record outcomes, each once. `count` must follow in the same transaction."""
    rows = [
        (
            owners[event.customer_id],
            event.proposition_id,
            event.outcome_id,
            event.customer_id,
            event.kind,
            event.occurred_at,
            event.value.cents if event.value else None,
            event.value.currency if event.value else None,
        )
        for event in outcomes
        if event.customer_id
    ]
    await execute_rows(connection, _ADD_OUTCOMES, rows)


_MOVE_PROPOSITIONS = f"""
WITH moved AS (
    DELETE FROM proposition USING {_MOVES} WHERE customer_id = source
    RETURNING target, proposition.*
), joined AS (
    SELECT DISTINCT ON (target, proposition_id) target, proposition_id, {_DECISION_COLUMNS},
        bit_or(happened) OVER same AS happened, bit_or(counted) OVER same AS counted
    FROM moved WINDOW same AS (PARTITION BY target, proposition_id)
    ORDER BY target, proposition_id, decided_at
)
INSERT INTO proposition (customer_id, proposition_id, {_DECISION_COLUMNS}, happened, counted)
SELECT * FROM joined
{_JOIN_PROPOSITIONS}
RETURNING customer_id, proposition_id
"""
_MOVE_OUTCOMES = f"""
WITH moved AS (
    DELETE FROM outcome USING {_MOVES} WHERE customer_id = source RETURNING target, outcome.*
)
INSERT INTO outcome (customer_id, {_OUTCOME}, counted) SELECT target, {_OUTCOME}, counted FROM moved
ON CONFLICT DO NOTHING
"""


async def move_propositions(connection: Connection, moves: Mapping[UUID, UUID]) -> list[Key]:
    """Move propositions and outcomes of merged customers to the customers they became.

    A proposition that both have (its decision before the merge, an outcome after) becomes one, so
    `count` must follow, with the keys this returns.
    """
    sources, targets = list(moves), list(moves.values())
    moved = await connection.fetch(_MOVE_PROPOSITIONS, sources, targets)
    await connection.execute(_MOVE_OUTCOMES, sources, targets)
    return [(row["customer_id"], row["proposition_id"]) for row in moved]


# Daily results

_DIMENSIONS = "day, action, treatment, channel, placement"
_DAY = "(decided_at AT TIME ZONE 'UTC')::date AS day, action, treatment, channel, placement"
_JOIN_KEYS = """
    JOIN unnest($1::uuid[], $2::uuid[]) AS key (customer_id, proposition_id)
    USING (customer_id, proposition_id)
"""
COUNTS = [field.name for field in fields(Counts)]
_NAMES = ", ".join(COUNTS)
_NEW_COUNTS = ", ".join(
    f"count(*) FILTER (WHERE news & {OutcomeFlags[name.upper()].value} <> 0)" for name in COUNTS
)
_ADDED_COUNTS = ", ".join(f"{name} = daily_count.{name} + excluded.{name}" for name in COUNTS)

_ADD_COUNTS = f"""
INSERT INTO daily_count ({_DIMENSIONS}, {_NAMES})
SELECT {_DIMENSIONS}, {_NEW_COUNTS} FROM due GROUP BY {_DIMENSIONS} ORDER BY {_DIMENSIONS}
ON CONFLICT ({_DIMENSIONS}) DO UPDATE SET {_ADDED_COUNTS}
"""
_COUNT = f"""
WITH due AS (
    SELECT customer_id, proposition_id, {_DAY}, happened & ~counted AS news
    FROM proposition {_JOIN_KEYS}
    WHERE decided_at IS NOT NULL AND happened <> counted
), marked AS (
    UPDATE proposition SET counted = happened FROM due
    WHERE (proposition.customer_id, proposition.proposition_id)
        = (due.customer_id, due.proposition_id)
)
{_ADD_COUNTS}
"""
_ADD_VALUES = f"""
INSERT INTO daily_value ({_DIMENSIONS}, kind, currency, cents)
SELECT {_DIMENSIONS}, kind, currency, sum(value_cents)
FROM due GROUP BY {_DIMENSIONS}, kind, currency ORDER BY {_DIMENSIONS}, kind, currency
ON CONFLICT ({_DIMENSIONS}, kind, currency) DO UPDATE SET cents = daily_value.cents + excluded.cents
"""
_SUM_VALUES = f"""
WITH due AS (
    SELECT customer_id, proposition_id, outcome_id, {_DAY}, kind, currency, value_cents
    FROM outcome JOIN proposition USING (customer_id, proposition_id) {_JOIN_KEYS}
    WHERE NOT outcome.counted AND decided_at IS NOT NULL
), marked AS (
    UPDATE outcome SET counted = true FROM due
    WHERE (outcome.customer_id, outcome.proposition_id, outcome.outcome_id)
        = (due.customer_id, due.proposition_id, due.outcome_id)
)
{_ADD_VALUES}
"""


async def count(connection: Connection, keys: Collection[Key]) -> None:
    """Add to the daily results whatever about these propositions is not in them yet."""
    ordered = sorted(keys)
    await execute_rows(connection, _COUNT, ordered)
    await execute_rows(connection, _SUM_VALUES, ordered)


# Recounts

_CHUNK = """
SELECT customer_id, proposition_id FROM proposition
WHERE (customer_id, proposition_id) > ($1, $2) ORDER BY customer_id, proposition_id LIMIT $3
"""
_TRUTH = f"""
SELECT customer_id, proposition_id, happened, happened * is_decided AS counted
FROM (
    SELECT proposition.customer_id, proposition.proposition_id,
        (decided_at IS NOT NULL)::int AS is_decided,
        coalesce(bit_or(meaning.happened), 0) | $5 * (decided_at IS NOT NULL)::int AS happened
    FROM proposition {_JOIN_KEYS}
    LEFT JOIN outcome USING (customer_id, proposition_id)
    LEFT JOIN unnest($3::text[], $4::int[]) AS meaning (kind, happened) USING (kind)
    GROUP BY proposition.customer_id, proposition.proposition_id
) AS flags
"""
_IS_WRONG = "(proposition.happened, proposition.counted) <> (truth.happened, truth.counted)"
_IS_OUTCOME_WRONG = "outcome.counted <> (value_cents IS NULL OR decided_at IS NOT NULL)"
_FIND_WRONG = f"""
SELECT customer_id, proposition_id FROM proposition
JOIN ({_TRUTH}) AS truth USING (customer_id, proposition_id) WHERE {_IS_WRONG}
UNION
SELECT customer_id, proposition_id FROM outcome
JOIN proposition USING (customer_id, proposition_id) {_JOIN_KEYS} WHERE {_IS_OUTCOME_WRONG}
ORDER BY customer_id, proposition_id
"""
_LOCK_PROPOSITIONS = f"""
SELECT FROM proposition {_JOIN_KEYS} ORDER BY customer_id, proposition_id FOR UPDATE OF proposition
"""
_REPAIR_PROPOSITIONS = f"""
UPDATE proposition SET happened = truth.happened, counted = truth.counted
FROM ({_TRUTH}) AS truth
WHERE (proposition.customer_id, proposition.proposition_id)
    = (truth.customer_id, truth.proposition_id) AND {_IS_WRONG}
"""
_REPAIR_OUTCOMES = f"""
UPDATE outcome SET counted = NOT outcome.counted FROM proposition {_JOIN_KEYS}
WHERE (proposition.customer_id, proposition.proposition_id)
    = (outcome.customer_id, outcome.proposition_id) AND {_IS_OUTCOME_WRONG}
"""
_NOTE_RECOUNT = """
INSERT INTO recount (one, customer_id, proposition_id) VALUES (true, $1, $2)
ON CONFLICT (one) DO UPDATE SET customer_id = $1, proposition_id = $2
"""
RECOUNT_LOCK = 0x7265636F  # "reco": an advisory lock, so that two recounts do not interfere
_FIRST: Key = (UUID(int=0), UUID(int=0))


async def lock_recount(connection: Connection) -> bool:
    """Whether no other recount is under way, until this connection ends."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", RECOUNT_LOCK))


async def load_recount_position(connection: Connection) -> Key:
    """Where the recount under way has come to, or the beginning."""
    row = await connection.fetchrow("SELECT customer_id, proposition_id FROM recount")
    return (row[0], row[1]) if row else _FIRST


async def repair_chunk(connection: Connection, after: Key, size: int) -> tuple[Key | None, int]:
    """Repair the flags of the next propositions, from their outcomes; only wrong ones are locked.

    Gives where the next chunk begins, None at the end, and how many propositions were wrong.
    """
    keys = [(row[0], row[1]) for row in await connection.fetch(_CHUNK, *after, size)]
    if not keys:
        await connection.execute("DELETE FROM recount")
        return None, 0
    flags = (
        [kind.value for kind in FLAGS_OF_OUTCOME],
        [one.value for one in FLAGS_OF_OUTCOME.values()],
        OutcomeFlags.DECIDED.value,
    )
    columns = [list(column) for column in zip(*keys, strict=True)]
    if wrong := await connection.fetch(_FIND_WRONG, *columns, *flags):
        columns = [[row[0] for row in wrong], [row[1] for row in wrong]]
        await connection.execute(_LOCK_PROPOSITIONS, *columns)
        await connection.execute(_REPAIR_PROPOSITIONS, *columns, *flags)
        await connection.execute(_REPAIR_OUTCOMES, *columns)
    await connection.execute(_NOTE_RECOUNT, *keys[-1])
    return keys[-1], len(wrong)


_MISSING_COUNTS = ", ".join(
    f"coalesce(truth.{name}, 0) - coalesce(daily.{name}, 0) AS {name}" for name in COUNTS
)
_TRUE_COUNTS = ", ".join(
    f"count(*) FILTER (WHERE counted & {OutcomeFlags[name.upper()].value} <> 0) AS {name}"
    for name in COUNTS
)
_FIND_COUNT_ERRORS = f"""
SELECT * FROM (
    SELECT {_DIMENSIONS}, {_MISSING_COUNTS}
    FROM (
        SELECT {_DAY}, {_TRUE_COUNTS} FROM proposition WHERE decided_at IS NOT NULL
        GROUP BY {_DIMENSIONS}
    ) AS truth
    FULL JOIN daily_count AS daily USING ({_DIMENSIONS})
) AS error
WHERE {" OR ".join(f"{name} <> 0" for name in COUNTS)} ORDER BY {_DIMENSIONS}
"""
_FIND_VALUE_ERRORS = f"""
SELECT * FROM (
    SELECT {_DIMENSIONS}, kind, currency,
        coalesce(truth.cents, 0) - coalesce(daily.cents, 0) AS cents
    FROM (
        SELECT {_DAY}, kind, currency, sum(value_cents)::bigint AS cents
        FROM outcome JOIN proposition USING (customer_id, proposition_id)
        WHERE value_cents IS NOT NULL AND outcome.counted AND decided_at IS NOT NULL
        GROUP BY {_DIMENSIONS}, kind, currency
    ) AS truth
    FULL JOIN daily_value AS daily USING ({_DIMENSIONS}, kind, currency)
) AS error
WHERE cents <> 0 ORDER BY {_DIMENSIONS}, kind, currency
"""
_CORRECT_COUNTS = f"""
INSERT INTO daily_count ({_DIMENSIONS}, {_NAMES})
SELECT * FROM unnest(
    $1::date[], $2::text[], $3::text[], $4::text[], $5::text[],
    {", ".join(f"${number}::bigint[]" for number in range(6, 6 + len(COUNTS)))}
)
ON CONFLICT ({_DIMENSIONS}) DO UPDATE SET {_ADDED_COUNTS}
"""
_CORRECT_VALUES = f"""
INSERT INTO daily_value ({_DIMENSIONS}, kind, currency, cents)
SELECT * FROM unnest(
    $1::date[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[]
)
ON CONFLICT ({_DIMENSIONS}, kind, currency) DO UPDATE SET cents = daily_value.cents + excluded.cents
"""
_REMOVE_EMPTY_COUNTS = f"DELETE FROM daily_count WHERE {' AND '.join(f'{n} = 0' for n in COUNTS)}"
LONGEST_READ_S = 3600.0

Corrections = tuple[list[Record], list[Record]]
"""What the daily counts and values lack of what the raw records say; negative: have too much."""


async def find_corrections(connection: Connection) -> Corrections:
    """Read both in one snapshot, and lock nothing.

    Handlers change raw records and daily results together, so that what is wrong now is wrong by
    the same amount whenever it is corrected.
    """
    await connection.execute("SET LOCAL transaction_timeout = 0")
    return (
        await connection.fetch(_FIND_COUNT_ERRORS, timeout=LONGEST_READ_S),
        await connection.fetch(_FIND_VALUE_ERRORS, timeout=LONGEST_READ_S),
    )


async def apply_corrections(connection: Connection, corrections: Corrections) -> None:
    counts, values = corrections
    await execute_rows(connection, _CORRECT_COUNTS, map(tuple, counts))
    await execute_rows(connection, _CORRECT_VALUES, map(tuple, values))
    if counts or values:
        await connection.execute(_REMOVE_EMPTY_COUNTS)
        await connection.execute("DELETE FROM daily_value WHERE cents = 0")


# Reading results

_FILTER = """
    ($1::date IS NULL OR day >= $1) AND ($2::date IS NULL OR day < $2)
    AND ($3::text IS NULL OR action = $3) AND ($4::text IS NULL OR channel = $4)
"""

ResultFilter = tuple[date | None, date | None, str | None, str | None]
"""First day, day after the last, action, channel: None does not restrict."""


async def load_daily_counts(
    connection: Connection, by: Sequence[Dimension], result_filter: ResultFilter, most: int
) -> list[tuple[tuple[Any, ...], Counts]]:
    """Counts per combination of the dimensions, in their order, at most `most`."""
    sums = ", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in COUNTS)
    rows = await connection.fetch(
        f"SELECT {_select_columns(by)}{sums} FROM daily_count WHERE {_FILTER}"
        f" {_group_by(by)} LIMIT {most:d}",
        *result_filter,
    )
    return [(_key(row, by), Counts(**{name: row[name] for name in COUNTS})) for row in rows]


async def load_daily_values(
    connection: Connection, by: Sequence[Dimension], result_filter: ResultFilter
) -> dict[tuple[Any, ...], dict[tuple[str, str], int]]:
    rows = await connection.fetch(
        f"SELECT {_select_columns(by)}kind, currency, sum(cents)::bigint AS cents FROM daily_value "
        f"WHERE {_FILTER} GROUP BY {_select_columns(by)}kind, currency ORDER BY currency",
        *result_filter,
    )
    found: dict[tuple[Any, ...], dict[tuple[str, str], int]] = {}
    for row in rows:
        found.setdefault(_key(row, by), {})[row["kind"], row["currency"]] = row["cents"]
    return found


def _select_columns(by: Sequence[Dimension]) -> str:
    return "".join(f"{dimension.value}, " for dimension in by)


def _group_by(by: Sequence[Dimension]) -> str:
    columns = ", ".join(dimension.value for dimension in by)
    return f"GROUP BY {columns} ORDER BY {columns}" if by else ""


def _key(row: Record, by: Sequence[Dimension]) -> tuple[Any, ...]:
    return tuple(row[dimension.value] for dimension in by)
