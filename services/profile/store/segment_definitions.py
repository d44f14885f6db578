"""Segment definitions, the series others declared, and the versions of both together."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from services.chassis import epochs
from services.chassis.database import Connection
from services.contracts.base import Json
from services.profile.domain.segment_definitions import Segment

DEFINITIONS_LOCK = 0x72756C65
"""An advisory lock ("rule"), so that two transactions do not make the same version."""

_VERSION = "SELECT coalesce(max(version), 0) FROM rulebook"
_VERSION_AND_BASE = f"SELECT coalesce(max(version), 0), {epochs.BASE} FROM rulebook"
_COMPUTED = "SELECT version, series, answers FROM rulebook WHERE version = ANY($1)"
_ANSWERS = "SELECT answers FROM rulebook WHERE version = $1"
_INSERT_VERSION = "INSERT INTO rulebook (version, series, answers, made_at) VALUES ($1, $2, $3, $4)"
_SEGMENTS = """
SELECT DISTINCT ON (key) key, version, name, description, condition, published_at
FROM segment ORDER BY key, version DESC
"""
_INSERT_SEGMENT = """
INSERT INTO segment (key, version, name, description, condition, published_at)
VALUES ($1, $2, $3, $4, $5, $6)
"""
_COUNTS = "SELECT segment_key, count(*) FROM segment_member WHERE segment_key = ANY($1) GROUP BY 1"
_DECLARATIONS = "SELECT service, series, grew_in FROM series_declaration"
_DECLARE = """
INSERT INTO series_declaration AS held (service, version, series, grew_in)
VALUES ($1, $2, $3, $4)
ON CONFLICT (service) DO UPDATE SET
    version = excluded.version, series = excluded.series, grew_in = excluded.grew_in
WHERE held.version < excluded.version
"""


async def read_version(connection: Connection) -> int:
    """The version in force; 0 before there is any."""
    return int(await connection.fetchval(_VERSION))


async def read_version_and_base(connection: Connection) -> tuple[int, int]:
    """The version in force, and what is below every version of a customer in this epoch."""
    row = await connection.fetchrow(_VERSION_AND_BASE)
    assert row is not None
    return row[0], row[1]


async def read_computed_versions(
    connection: Connection, versions: Iterable[int]
) -> dict[int, tuple[list[Json], dict[str, int]]]:
    """The series of each version, as JSON, and the declarations it answers."""
    rows = await connection.fetch(_COMPUTED, list(versions))
    return {row[0]: (row[1], row[2]) for row in rows}


async def read_answers(connection: Connection, version: int) -> dict[str, int]:
    """The declarations a version answers."""
    answers: dict[str, int] | None = await connection.fetchval(_ANSWERS, version)
    return answers or {}


async def lock_definitions(connection: Connection) -> None:
    """Let nobody else change definitions until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", DEFINITIONS_LOCK)


async def insert_version(
    connection: Connection,
    number: int,
    series: list[Json],
    answers: Mapping[str, int],
    now: datetime,
) -> None:
    await connection.execute(_INSERT_VERSION, number, series, answers, now)


async def read_segments(connection: Connection) -> list[Segment]:
    return [Segment(*row) for row in await connection.fetch(_SEGMENTS)]


async def insert_segments(connection: Connection, rows: Sequence[Segment]) -> None:
    await connection.executemany(_INSERT_SEGMENT, rows)


async def count_members(connection: Connection, keys: Iterable[str]) -> dict[str, int]:
    """How many customers are in each segment; empty ones are absent."""
    return {row[0]: row[1] for row in await connection.fetch(_COUNTS, list(keys))}


async def read_declarations(connection: Connection) -> dict[str, tuple[list[Json], int]]:
    """The series each service needs, and the version that last needed more."""
    return {row[0]: (row[1], row[2]) for row in await connection.fetch(_DECLARATIONS)}


async def declare(
    connection: Connection, service: str, version: int, series: list[Json], grew_in: int
) -> bool:
    """Replace a service's declaration by a later one; False if it is not later."""
    status: str = await connection.execute(_DECLARE, service, version, series, grew_in)
    return status.endswith(" 1")
