"""Published catalogues, the tallies of their treatments, and when actions were offered last."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime

import asyncpg

from services.chassis.database import Connection
from services.contracts.base import Json
from services.decision.domain.propensity import Arm, Tally

PUBLISHING = 0x7075626C  # "publ": one publication at a time, so that versions follow one another
PUBLISHED = "raak_catalogue"
COUNTED = "raak_tally"

_LATEST = "SELECT version, source, declaration FROM catalogue_version ORDER BY version DESC LIMIT 1"
_VERSION = "SELECT version, source, declaration FROM catalogue_version WHERE version = $1"
_INSERT = """
INSERT INTO catalogue_version (version, source, declaration, published_at, published_by)
VALUES ($1, $2, $3, $4, $5)
"""


async def lock_publishing(connection: Connection) -> None:
    """Hold off other publications until the caller's transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", PUBLISHING)


async def load_latest(connection: Connection) -> asyncpg.Record | None:
    """The version, source and declaration in force; None before the first publication."""
    return await connection.fetchrow(_LATEST)


async def load_latest_version(connection: Connection) -> int:
    """The version in force; 0 before the first publication."""
    return int(await connection.fetchval("SELECT coalesce(max(version), 0) FROM catalogue_version"))


async def load_version(connection: Connection, version: int) -> asyncpg.Record | None:
    return await connection.fetchrow(_VERSION, version)


async def insert(
    connection: Connection,
    version: int,
    text: str,
    declaration: Mapping[str, Json],
    at: datetime,
    by: str,
) -> None:
    """Store a new version, and announce it to all replicas when the transaction commits."""
    await connection.execute(_INSERT, version, text, declaration, at, by)
    await connection.execute("SELECT pg_notify($1, $2)", PUBLISHED, str(version))


_OFFERED_SINCE = """
SELECT action, last_offered FROM action_offered
WHERE action = ANY($1::text[]) AND last_offered >= $2
"""
_OFFERED = """
INSERT INTO action_offered (action, last_offered) SELECT unnest($1::text[]), $2
ON CONFLICT (action) DO UPDATE SET last_offered = excluded.last_offered
WHERE action_offered.last_offered < excluded.last_offered
"""


async def load_offered_since(
    connection: Connection, actions: Collection[str], since: date
) -> dict[str, date]:
    rows = await connection.fetch(_OFFERED_SINCE, list(actions), since)
    return {row["action"]: row["last_offered"] for row in rows}


async def note_offered(connection: Connection, actions: Collection[str], day: date) -> None:
    await connection.execute(_OFFERED, sorted(actions), day)


_TALLIES = "SELECT action, channel, treatment, presented, positives FROM arm_tally"
_SOME_TALLIES = f"""
{_TALLIES} WHERE (action, channel, treatment) IN (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
)
"""
_COUNT = """
INSERT INTO arm_tally AS tally (action, channel, treatment, presented, positives)
VALUES ($1, $2, $3, greatest($4::bigint, $5), $5::bigint)
ON CONFLICT (action, channel, treatment) DO UPDATE SET
    presented = greatest(
        tally.presented + $4, tally.positives + excluded.positives
    ),
    positives = tally.positives + excluded.positives
RETURNING presented, positives
"""


async def load_tallies(
    connection: Connection, arms: Sequence[Arm] | None = None
) -> dict[Arm, Tally]:
    """The tallies of these arms, or of all."""
    if arms is None:
        rows = await connection.fetch(_TALLIES)
    else:
        rows = await connection.fetch(_SOME_TALLIES, *zip(*arms, strict=True))
    return {Arm(*row[:3]): Tally(*row[3:]) for row in rows}


async def count(connection: Connection, arm: Arm, more: Tally) -> Tally:
    """Count more outcomes of an arm, and notify all replicas when the transaction commits.

    Returns the tally by then. An outcome that was not counted as presented, since the customer had
    been presented the action elsewhere that day, is so if it is positive: an arm never has more
    positives than presentations.
    """
    row = await connection.fetchrow(_COUNT, *arm, *more)
    assert row is not None
    await connection.execute("SELECT pg_notify($1, $2)", COUNTED, "|".join(arm))
    return Tally(row["presented"], row["positives"])
