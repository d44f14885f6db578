"""How many came to each step, and how many are there."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from services.chassis.database import Connection, execute_rows

COMPACTING_LOCK = 0x74616C79  # "taly": one replica sums up at a time

_ADD = """
INSERT INTO tally (journey, version, step, passed, present)
SELECT * FROM unnest($1::text[], $2::int[], $3::text[], $4::bigint[], $5::bigint[])
"""
_SUMS = """
SELECT journey, version, step, sum(passed)::bigint AS passed, sum(present)::bigint AS present
FROM tally JOIN unnest($1::text[], $2::int[]) AS asked (journey, version) USING (journey, version)
GROUP BY journey, version, step
"""
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"
_COMPACT = """
WITH gone AS (DELETE FROM tally RETURNING journey, version, step, passed, present)
INSERT INTO tally (journey, version, step, passed, present)
SELECT journey, version, step, sum(passed), sum(present) FROM gone GROUP BY journey, version, step
"""

StepKey = tuple[str, int, str]
"""Journey, version, step."""


class StepCount(NamedTuple):
    """How busy a step is."""

    passed: int
    """Instances that came to it, as often as they did."""
    present: int
    """Instances that are there now."""


async def add(connection: Connection, counts: Mapping[StepKey, StepCount]) -> None:
    rows = [(*step, count.passed, count.present) for step, count in sorted(counts.items())]
    await execute_rows(connection, _ADD, rows)


async def load_counts(
    connection: Connection, versions: Collection[tuple[str, int]]
) -> dict[tuple[str, int], dict[str, StepCount]]:
    """By version of a journey the counts of its steps; steps nobody came to are absent."""
    counts: dict[tuple[str, int], dict[str, StepCount]] = {version: {} for version in versions}
    columns = [key for key, _ in versions], [number for _, number in versions]
    for journey, version, step, *count in await connection.fetch(_SUMS, *columns):
        counts[journey, version][step] = StepCount(*count)
    return counts


async def compact(connection: Connection) -> None:
    """Replace all rows by one sum per step, unless another replica is doing so."""
    if await connection.fetchval(_TRY_LOCK, COMPACTING_LOCK):
        await connection.execute(_COMPACT)
