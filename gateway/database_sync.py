"""Keeps what the gateway has in memory like its database: API keys and registered operations.

A change is seen within a second by every replica. While the database is away the gateway goes on
with what it has read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from gateway import store
from gateway.access.authentication.api_keys import ApiKeyCache
from gateway.access.limits.registered_operations import OperationRegistry
from services.chassis.database import DATABASE_URL, SILENCE_S, Connection, Database, open_database

POLL_S = 0.5
CONNECTIONS = 2


class DatabaseSync:
    """Reads what has changed, again and again."""

    def __init__(
        self,
        url: str,
        keys: ApiKeyCache,
        registry: OperationRegistry,
        silence_s: int = SILENCE_S,
        variable: str = DATABASE_URL,
    ) -> None:
        self._variable = variable
        self._url = url
        self._silence_s = silence_s
        self._keys = keys
        self._registry = registry
        self._readers: Mapping[str, Callable[[Connection], Awaitable[None]]] = {
            store.KEYS: self._read_keys,
            store.OPERATIONS: self._read_operations,
        }
        self._versions: dict[str, int] = {}

    def not_ready(self) -> str | None:
        """Why API keys and operations are unknown; None once all have been read."""
        if self._versions.keys() == self._readers.keys():
            return None
        return "API keys and registered operations have not been read yet."

    async def run(self) -> None:
        """Keep both until cancelled; raises what `chassis.database.OUTAGE_ERRORS` names."""
        async with open_database(
            self._url,
            connections=CONNECTIONS,
            silence_s=self._silence_s,
            variable=self._variable,
        ) as database:
            while True:
                await self.look(database)
                await asyncio.sleep(POLL_S)

    async def look(self, database: Database) -> None:
        """Read what has changed since the last look, and note which keys were used."""
        async with database.connection() as connection:
            versions = await store.versions(connection)
            for of, read in self._readers.items():
                version = versions.get(of, 0)
                if self._versions.get(of) != version:
                    await read(connection)
                    self._versions[of] = version
        if uses := self._keys.uses_to_note():
            async with database.transaction() as connection:
                await store.note_use(connection, uses)
            self._keys.confirm_uses(uses)

    async def _read_keys(self, connection: Connection) -> None:
        self._keys.adopt(await store.keys(connection))

    async def _read_operations(self, connection: Connection) -> None:
        documents = await store.operations(connection)
        ids = {name: document.text for document in documents for name in document.ids}
        documents.sort(key=lambda document: document.published_at)
        await self._registry.adopt((document.text for document in documents), ids)
