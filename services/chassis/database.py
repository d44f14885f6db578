"""PostgreSQL over asyncpg. Only `transaction()` commits, when its block ends well."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import orjson
from prometheus_client import Counter, Gauge
from sqlalchemy.exc import DBAPIError

from services.chassis import telemetry
from services.chassis.database_address import DatabaseAddress, explain
from services.chassis.errors import RaakError, Unavailable

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Connection = asyncpg.Connection


class DatabaseUnavailable(Unavailable, code="DATABASE_UNAVAILABLE"):
    """PostgreSQL does not answer, or cannot work now."""


class DatabaseRefused(DatabaseUnavailable, code="DATABASE_REFUSED"):
    """PostgreSQL does not let a process in, or do its work: waiting does not help."""


class TextNotStorable(RaakError, code="TEXT_NOT_STORABLE"):
    """A text holds a character that PostgreSQL cannot store."""


CONNECT_S = 1.5
"""So that a missing server is reported before the gateway's deadline of two seconds."""

COMMAND_S = 30

COMPUTING_S = 60
"""How long a transaction that computes may be idle."""

REFUSAL_MEMORY_S = 10.0
"""How long a refusal makes a process not ready: waiting work tries again every second."""

SILENCE_S = 10
"""How long PostgreSQL keeps transactions and locks of a silent process."""

LONGEST_TRANSACTION = 12
"""In silences. A process that is frozen while it prepares a statement is not idle to PostgreSQL."""

OUTAGE_STATES = ("08", "40", "53", "57", "58", "25006", "25P03", "25P04", "55P03")
"""How SQLSTATEs of outages begin: connection; transaction rolled back (deadlock, serialisation);
resources (disk, memory, connections); an operator's intervention (shutdown, cancelled); system
(files); read-only, as a replica is after a failover; idle or open for too long; lock not to be had.
"""

OUTAGE_ERRORS = (
    DatabaseUnavailable,
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.LockNotAvailableError,
)
"""Errors of outages, which no data caused. `is_outage` knows more: what SQLAlchemy wraps, states of
newer servers, closed connections."""

READ_ONLY = "25006"

REFUSALS = (READ_ONLY, "53", "58")
"""SQLSTATEs of a server that answers, but refuses to work for a while."""

CONTENTION = ("40", "55P03")
"""SQLSTATEs of conflicts with other transactions: a retry may succeed at once."""

BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What asyncpg raises on a connection that has ended already; some of it for wrong calls, too."""

CONNECT_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)
"""What asyncpg raises when it does not get a connection."""

DATABASE_URL = "RAAK_DATABASE_URL"

OUTAGES = Counter(
    "raak_database_unavailable", "Times PostgreSQL was away or refused for a while", ["because"]
)


WAITING = Gauge("raak_database_waiting", "Requests and work that wait for a connection")

_ALLOW_COMPUTING = "SELECT set_config('idle_in_transaction_session_timeout', $1, true)"


def is_outage(error: BaseException | None, connection: Connection | None = None) -> bool:
    """Whether PostgreSQL is away or refuses for a while, so that no data are to blame.

    An `except Exception` around database work checks this first and lets such errors pass.
    `connection` is where it was raised: asyncpg raises the same for a closed one and a wrong call.
    """
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or is_outage(error.orig)
    if isinstance(error, OUTAGE_ERRORS):
        return True
    if state := sqlstate(error):
        return state.startswith(OUTAGE_STATES)
    if not isinstance(error, BROKEN):
        return False
    # asyncpg cannot undo a transaction whose statement it still waits for: the outage is behind
    is_gone = connection is not None and _is_closed(connection)
    return is_gone or is_outage(error.__context__)


def is_contention(error: BaseException | None) -> bool:
    """Whether another transaction conflicted; the connection is still usable."""
    return sqlstate(error).startswith(CONTENTION)


def sqlstate(error: BaseException | None) -> str:
    """PostgreSQL's five characters for an error's kind; empty if it is not PostgreSQL's."""
    return getattr(error, "sqlstate", None) or ""


def reason(error: BaseException) -> str:
    """What kind of error is behind an outage, for the log."""
    if isinstance(error, DatabaseUnavailable):
        error = error.__cause__ or error
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig.__cause__ or error.orig
    return type(error).__name__


@contextmanager
def translate_outages(connection: Connection | None = None) -> Iterator[None]:
    """Raise DatabaseUnavailable for whatever `is_outage` in the block."""
    try:
        yield
    except DatabaseUnavailable:
        raise
    except Exception as error:
        if is_outage(error, connection):
            raise _outage(error) from error
        raise


def server_settings(silence_s: int = SILENCE_S) -> dict[str, str]:
    """The PostgreSQL settings of every connection.

    Transactions and locks of a process that is frozen, or whose machine is gone, end after
    `silence_s`; so do connections whose other end does not acknowledge.
    """
    return {
        "application_name": "raak",
        "jit": "off",
        "idle_in_transaction_session_timeout": f"{silence_s}s",
        "transaction_timeout": f"{LONGEST_TRANSACTION * silence_s}s",
        "tcp_keepalives_idle": str(max(1, silence_s // 2)),
        "tcp_keepalives_interval": str(max(1, silence_s // 6)),
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": f"{silence_s}s",
    }


async def execute_rows(
    connection: Connection, statement: str, rows: Iterable[Sequence[Any]], *more: Any
) -> int:
    """Execute a statement with rows as the columns `unnest` takes; without rows do nothing.

    `more` are the parameters after the columns. Returns how many rows the statement wrote.
    """
    columns = [list(column) for column in zip(*rows, strict=True)]
    if not columns:
        return 0
    status = await connection.execute(statement, *columns, *more)  # such as "INSERT 0 3"
    return int(status.rpartition(" ")[2])


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
    """One service's database: a connection pool, and what to call after a commit."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", silence_s: int = SILENCE_S) -> None:
        self.pool = pool
        self.silence_s = silence_s
        self._on_commit: list[Callable[[], None]] = []
        self._refusal = (-REFUSAL_MEMORY_S, "")

    @property
    def refusal(self) -> str | None:
        """What kind of error PostgreSQL refused to work with a moment ago; None if it did not."""
        at, kind = self._refusal
        return kind if monotonic() - at < REFUSAL_MEMORY_S else None

    def note_refusal(self, error: BaseException | None) -> None:
        """Remember for a moment that PostgreSQL refused to work, if that is what an error says."""
        if error is not None and sqlstate(error).startswith(REFUSALS):
            self._refusal = monotonic(), reason(error)

    def on_commit(self, wake: Callable[[], None]) -> None:
        self._on_commit.append(wake)

    def notify_commit(self) -> None:
        for wake in self._on_commit:
            wake()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for reading; each statement is its own transaction."""
        try:
            with WAITING.track_inprogress():
                connection = await self.pool.acquire(timeout=5)
        except (TimeoutError, asyncpg.PostgresError, *BROKEN) as error:
            raise _outage(error) from error
        try:
            with translate_outages(connection):
                yield connection
        except DatabaseUnavailable as error:
            self.note_refusal(error.__cause__)
            if sqlstate(error.__cause__) == READ_ONLY:
                connection.terminate()  # the next one may lead to where can be written now
            raise
        except (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError):
            raise TextNotStorable(
                "A text holds a NUL character, which no text in the database can.",
                hint="Leave it out.",
            ) from None
        finally:
            # a failure here is the pool's business, which drops it; the block has ended
            with suppress(asyncpg.PostgresError, *BROKEN):
                await self.pool.release(connection)

    @asynccontextmanager
    async def transaction(self, *, computes: bool = False) -> AsyncIterator[Connection]:
        """A transaction that commits when the block ends well; `computes`: it may idle longer."""
        async with self.connection() as connection, connection.transaction():
            if computes:
                await connection.execute(_ALLOW_COMPUTING, f"{max(COMPUTING_S, self.silence_s)}s")
            yield connection
        self.notify_commit()


def _is_closed(connection: Connection) -> bool:
    """Whether a connection is closed, or so broken that the pool has dropped it already."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


@asynccontextmanager
async def open_database(
    url: str,
    *,
    connections: int = 8,
    patience_s: float = 30,
    silence_s: int = SILENCE_S,
    variable: str = DATABASE_URL,
) -> AsyncIterator[Database]:
    """Open a service's database for as long as the block runs, waiting for it to come up.

    After `silence_s` PostgreSQL takes back what a silent process holds.
    """
    address = DatabaseAddress.parse(url, variable)
    pool = await _open_pool(address, connections, patience_s, server_settings(silence_s))
    try:
        yield Database(pool, silence_s)
    finally:
        await _close(pool)


async def _open_pool(
    address: DatabaseAddress, connections: int, patience_s: float, settings: dict[str, str]
) -> "asyncpg.Pool[asyncpg.Record]":
    async def create() -> "asyncpg.Pool[asyncpg.Record]":
        return await asyncpg.create_pool(
            **address.arguments,
            min_size=1,
            max_size=connections,
            init=prepare,
            timeout=CONNECT_S,
            command_timeout=COMMAND_S,
            server_settings=settings,
        )

    return await wait_for_server(address, create, patience_s)


Opened = TypeVar("Opened")


async def wait_for_server(
    address: DatabaseAddress, attempt: Callable[[], Awaitable[Opened]], patience_s: float
) -> Opened:
    """Attempt to connect until it succeeds; raises DatabaseRefused or DatabaseUnavailable.

    What waiting does not help is not waited for.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + patience_s
    while True:
        try:
            return await attempt()
        except CONNECT_ERRORS as error:
            failure = describe_failure(address, error)
            if isinstance(failure, DatabaseRefused) or loop.time() > give_up:
                raise failure from error
            await asyncio.sleep(0.3)


def describe_failure(address: DatabaseAddress, error: BaseException) -> DatabaseUnavailable:
    remedy = explain(address, error)
    kind = DatabaseRefused if remedy.is_lasting else DatabaseUnavailable
    return kind(remedy.problem, hint=remedy.hint)


def _outage(error: Exception) -> DatabaseUnavailable:
    kind = reason(error)
    OUTAGES.labels(kind).inc()
    return DatabaseUnavailable(
        f"PostgreSQL is away, or cannot do this now ({kind}).",
        hint="Try again shortly; if it lasts, look at the database server.",
    )


async def _close(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Close the pool, waiting at most five seconds for its connections."""
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except TimeoutError:
        pool.terminate()
