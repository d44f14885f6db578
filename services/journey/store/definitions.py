"""Published journeys: few, read when one is added."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from services.chassis import epochs
from services.chassis.database import Connection
from services.contracts.base import Json

PUBLISHING_LOCK = 0x4A6F7572  # "Jour": one publication at a time, so that revisions appear in order

_REVISION = f"""
SELECT coalesce(max(revision), 0), {epochs.BASE} >> {epochs.BITS} FROM definition
"""
_COLUMNS = """key, version, revision, source, event_names, watches_customer, published_at,
    published_by, declaration"""
_ALL = f"SELECT {_COLUMNS} FROM definition ORDER BY key, version"
_INSERT = f"""
INSERT INTO definition (key, version, source, event_names, watches_customer, published_at,
    published_by)
SELECT $1, 1 + coalesce(max(version), 0), $2, $3, $4, $5, $6 FROM definition WHERE key = $1
RETURNING {_COLUMNS}
"""
_SAVE_DECLARATION = "UPDATE definition SET declaration = $2 WHERE revision = $1"
_ACTIVE_VERSIONS = "SELECT DISTINCT journey, version FROM run WHERE ended_at IS NULL"


class PublishedJourney(NamedTuple):
    key: str
    version: int
    revision: int
    source: str
    event_names: list[str]
    watches_customer: bool
    published_at: datetime
    published_by: str
    declaration: Mapping[str, Json]
    """The series all journeys need since this publication."""


async def load_revision(connection: Connection) -> tuple[int, int]:
    """The last publication's number, 0 before the first, and the epoch of the database."""
    row = await connection.fetchrow(_REVISION)
    assert row is not None
    return row[0], row[1]


async def load_all(connection: Connection) -> list[PublishedJourney]:
    """All versions of all journeys, the highest version of each key last."""
    return [PublishedJourney(*row) for row in await connection.fetch(_ALL)]


async def lock_publishing(connection: Connection) -> None:
    """Wait until no other publication is under way, and keep others waiting until the commit."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", PUBLISHING_LOCK)


async def insert(
    connection: Connection,
    key: str,
    source: str,
    event_names: Collection[str],
    watches_customer: bool,
    at: datetime,
    by: str,
) -> PublishedJourney:
    row = await connection.fetchrow(
        _INSERT, key, source, sorted(event_names), watches_customer, at, by
    )
    assert row is not None
    return PublishedJourney(*row)


async def save_declaration(
    connection: Connection, revision: int, declaration: Mapping[str, Json]
) -> None:
    await connection.execute(_SAVE_DECLARATION, revision, declaration)


async def load_active_versions(connection: Connection) -> set[tuple[str, int]]:
    """The versions with active instances, as (journey, version)."""
    return {(row["journey"], row["version"]) for row in await connection.fetch(_ACTIVE_VERSIONS)}
