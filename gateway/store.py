"""All SQL of the gateway. Functions take a connection and never commit."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg

from gateway.access.authentication.api_keys import ApiKey
from gateway.access.limits.registered_operations import OperationIdTaken, RegisteredOperation
from services.chassis.database import Connection

KEYS, OPERATIONS = "keys", "operations"
MAX_TAKEN = 20
"""Ids a refusal names."""

_CHANGED = """
INSERT INTO change (of, version) VALUES ($1, 1)
ON CONFLICT (of) DO UPDATE SET version = change.version + 1
"""
_KEY_COLUMNS = (
    "key_id, digest, name, role, scopes, created_at, expires_at, revoked_at, last_used_at"
)
_ADD_KEY = f"INSERT INTO api_key ({_KEY_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_REVOKE = "UPDATE api_key SET revoked_at = $2 WHERE key_id = $1 AND revoked_at IS NULL"
_USED = """
UPDATE api_key SET last_used_at = greatest(last_used_at, used.at)
FROM unnest($1::text[], $2::timestamptz[]) AS used (key_id, at)
WHERE api_key.key_id = used.key_id
"""
_PUBLISH = """
INSERT INTO registered_operation (hash, document, source, published_at)
SELECT hash, document, source, $4
FROM unnest($1::text[], $2::text[], $3::text[]) AS published (hash, document, source)
ORDER BY hash
ON CONFLICT (hash) DO NOTHING
"""

_ADD_IDS = """
INSERT INTO operation_id (id, hash)
SELECT id, hash FROM unnest($1::text[], $2::text[]) AS published (id, hash)
ORDER BY id
ON CONFLICT (id) DO NOTHING
"""
_TAKEN_NAMES = """
SELECT published.name, registered_operation.source
FROM unnest($1::text[], $2::text[]) AS published (name, hash)
JOIN (
    SELECT id AS name, hash FROM operation_id UNION ALL SELECT hash, hash FROM registered_operation
) AS registered USING (name)
JOIN registered_operation ON registered_operation.hash = registered.hash
WHERE registered.hash <> published.hash
ORDER BY published.name
"""
_OPERATIONS = """
SELECT document, source, published_at, array(
    SELECT id FROM operation_id WHERE operation_id.hash = registered_operation.hash ORDER BY id
)
FROM registered_operation
ORDER BY source, hash
"""


async def versions(connection: Connection) -> Mapping[str, int]:
    """How often keys and operations were changed; what never was is absent."""
    return {row["of"]: row["version"] for row in await connection.fetch("TABLE change")}


async def keys(connection: Connection) -> list[ApiKey]:
    """Every key there ever was, oldest first."""
    rows = await connection.fetch(f"SELECT {_KEY_COLUMNS} FROM api_key ORDER BY created_at, key_id")
    return [_key(row) for row in rows]


def _key(row: asyncpg.Record) -> ApiKey:
    key_id, digest, name, role, scopes, *moments = row
    narrowed = None if scopes is None else frozenset(scopes)
    return ApiKey(key_id, digest, name, role, narrowed, *moments)


async def add_key(connection: Connection, key: ApiKey) -> None:
    await connection.execute(
        _ADD_KEY,
        key.id,
        key.digest,
        key.name,
        key.role,
        None if key.scopes is None else sorted(key.scopes),
        key.created_at,
        key.expires_at,
        key.revoked_at,
        key.last_used_at,
    )
    await connection.execute(_CHANGED, KEYS)


async def revoke_key(connection: Connection, id: str, at: datetime) -> bool:
    """Let a key open nothing any more; False if there is none, or it was revoked already."""
    done = await connection.execute(_REVOKE, id, at)
    await connection.execute(_CHANGED, KEYS)
    return bool(done == "UPDATE 1")


async def note_use(connection: Connection, used: Mapping[str, datetime]) -> None:
    """Note when keys were last used, by their ids; that is no change a replica must know of."""
    await connection.execute(_USED, list(used), list(used.values()))


async def operations(connection: Connection) -> list[RegisteredOperation]:
    """The registered documents, by their sources."""
    return [
        RegisteredOperation(text, source, published_at, tuple(ids))
        for text, source, published_at, ids in await connection.fetch(_OPERATIONS)
    ]


async def publish(
    connection: Connection, documents: Sequence[RegisteredOperation], at: datetime
) -> int:
    """Register documents; those that are registered already stay as they are, and may get further
    ids. Gives the new ones' number. Raises OperationIdTaken.
    """
    done = await connection.execute(
        _PUBLISH,
        [document.hash for document in documents],
        [document.text for document in documents],
        [document.source for document in documents],
        at,
    )
    await _add_ids(connection, documents)
    await connection.execute(_CHANGED, OPERATIONS)
    return int(done.rpartition(" ")[2])


async def _add_ids(connection: Connection, documents: Sequence[RegisteredOperation]) -> None:
    """Two that publish at once wait for each other here, and the later one sees what is taken."""
    by_id = {name: document.hash for document in documents for name in document.ids}
    await connection.execute(_ADD_IDS, list(by_id), list(by_id.values()))
    by_name = by_id | {document.hash: document.hash for document in documents}
    taken = await connection.fetch(_TAKEN_NAMES, list(by_name), list(by_name.values()))
    if taken:
        names = "; ".join(f"{name!r} ({source})" for name, source in taken[:MAX_TAKEN])
        more = f" and {len(taken) - MAX_TAKEN} more" if len(taken) > MAX_TAKEN else ""
        raise OperationIdTaken(
            f"Other documents are registered by these ids: {names}{more}.",
            hint="Have the build make ids of the documents' texts, or retire what no client sends "
            "any more: `raak operations retire ID`. Nothing was published.",
        )


async def retire(connection: Connection, hash: str) -> bool:
    """Forget a document; False if it was not registered."""
    done = await connection.execute("DELETE FROM registered_operation WHERE hash = $1", hash)
    await connection.execute(_CHANGED, OPERATIONS)
    return bool(done == "DELETE 1")
