"""PostgreSQL two ways over one schema: asyncpg where speed counts, SQLModel in the back office.

Nobody outside this module commits: `transaction()` and `session()` do, when their block ends well.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from time import time_ns
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from services.chassis import telemetry
from services.chassis.errors import RaakError, Unavailable

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Connection = asyncpg.Connection


class DatabaseUnavailable(Unavailable):
    """PostgreSQL does not answer."""

    code = "DATABASE_UNAVAILABLE"


class TextNotStorable(RaakError):
    """A text holds what PostgreSQL keeps in none."""

    code = "TEXT_NOT_STORABLE"


CONNECT_S = 1.5
"""So that a server that is gone is told of before the gateway's deadline of two seconds."""

CUT_OFF = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
"""What asyncpg raises when PostgreSQL ends a connection that is in use."""

AWAY = (OSError, TimeoutError, DatabaseUnavailable, *CUT_OFF, asyncpg.TooManyConnectionsError)
"""What is raised when PostgreSQL is away for a while, and nobody's data is to blame."""

BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What asyncpg raises on a connection that has ended already; some of it for wrong calls, too."""


def encode_json(value: Any) -> str:
    """A JSON value as PostgreSQL reads it; UUIDs and datetimes are written out."""
    return orjson.dumps(value).decode()


async def prepare(connection: Connection) -> None:
    """Make `json` and `jsonb` columns Python values, and let queries be traced."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name, encoder=encode_json, decoder=orjson.loads, schema="pg_catalog"
        )
    if telemetry.tracing():
        connection.add_query_logger(telemetry.trace_query)


class Database:
    """One service's database: a pool, a session maker, and who to wake after a commit."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", engine: AsyncEngine) -> None:
        self.pool = pool
        self.engine = engine
        self.sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
        self._on_commit: list[Callable[[], None]] = []

    def on_commit(self, wake: Callable[[], None]) -> None:
        """Have `wake` called after every commit (the outbox relay, say)."""
        self._on_commit.append(wake)

    def committed(self) -> None:
        """Tell those who wait for commits."""
        for wake in self._on_commit:
            wake()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for reading; each statement is its own transaction."""
        try:
            connection = await self.pool.acquire(timeout=5)
        except (TimeoutError, asyncpg.PostgresError, *BROKEN) as error:
            raise _lost(error) from error
        try:
            yield connection
        except CUT_OFF as error:
            raise _lost(error) from error
        except (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError):
            raise TextNotStorable(
                "A text holds a NUL character, which no text in the database can.",
                hint="Leave it out.",
            ) from None
        except BROKEN as error:
            if _is_gone(connection):  # otherwise it is a wrong call or argument: a bug
                raise _lost(error) from error
            raise
        finally:
            with suppress(*CUT_OFF, *BROKEN):  # the pool has dropped it; what the block did stands
                await self.pool.release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a transaction that commits when the block ends, or leaves no trace."""
        async with self.connection() as connection, connection.transaction():
            yield connection
        self.committed()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A SQLModel session in a transaction, for the back office."""
        async with self.sessions.begin() as session:
            yield session
        self.committed()


def _is_gone(connection: Connection) -> bool:
    """Whether a connection is closed, or so broken that the pool has dropped it already."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


@asynccontextmanager
async def open_database(
    url: str, *, connections: int = 8, patience_s: float = 30
) -> AsyncIterator[Database]:
    """Open a service's database for as long as the block runs, waiting for it to come up."""
    pool = await _open_pool(url, connections, patience_s)
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://", 1),
        pool_size=2,
        max_overflow=connections,
        json_serializer=encode_json,
        json_deserializer=orjson.loads,
    )
    if telemetry.tracing():
        _trace_statements(engine)
    try:
        yield Database(pool, engine)
    finally:
        await engine.dispose()
        await _close(pool)


async def _open_pool(
    url: str, connections: int, patience_s: float
) -> "asyncpg.Pool[asyncpg.Record]":
    loop = asyncio.get_running_loop()
    give_up = loop.time() + patience_s
    while True:
        try:
            return await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=connections,
                init=prepare,
                timeout=CONNECT_S,
                command_timeout=30,
                server_settings={"jit": "off", "application_name": "raak"},
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            coming = isinstance(error, OSError | asyncpg.CannotConnectNowError)
            if not coming or loop.time() > give_up:
                raise DatabaseUnavailable(
                    f"PostgreSQL does not let us in ({type(error).__name__}).",
                    hint="Start it, set RAAK_DATABASE_SERVER_URL, and run `raak migrate`.",
                ) from error
            await asyncio.sleep(0.3)


def _lost(error: Exception) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"PostgreSQL does not give a connection, or has closed it ({type(error).__name__}).",
        hint="Try again shortly; if it lasts, look at the database server.",
    )


def _trace_statements(engine: AsyncEngine) -> None:
    """Have the back office's queries traced as those of the hot path are."""

    def before(*call: Any) -> None:
        call[4].started_ns = time_ns()

    def after(*call: Any) -> None:
        telemetry.sql_span(call[2], call[4].started_ns)

    event.listen(engine.sync_engine, "before_cursor_execute", before)
    event.listen(engine.sync_engine, "after_cursor_execute", after)


async def _close(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Close the pool, but wait for nobody longer than five seconds."""
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except TimeoutError:
        pool.terminate()
