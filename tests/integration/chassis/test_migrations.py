"""Every process's migrations make the tables its code describes, and can be taken back."""

import ast
import asyncio
import sys
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from alembic.config import Config

from services.chassis.database_address import DatabaseAddress
from services.chassis.migrations import PROCESS_FOLDERS, _run_alembic, check, migrate, migrations_of

MIGRATED = sorted(
    path.parents[1].name for room in PROCESS_FOLDERS for path in room.glob("*/migrations/env.py")
)
VERSIONS = sorted(path for name in MIGRATED for path in migrations_of(name).glob("versions/*.py"))
OF_THE_BUS = {"outbox", "relayed", "stream", "inbox", "epoch", "resync"}
OWN = {"gateway": {"api_key", "registered_operation", "change"}}
"""What is made where it is not the tables of the bus: the gateway publishes nothing."""


async def tables(url: str) -> set[str]:
    """The tables of a database, but for Alembic's own."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    return {row["tablename"] for row in rows} - {"alembic_version"}


def test_the_gateway_and_the_services_are_migrated_alike() -> None:
    assert MIGRATED == ["decision", "gateway", "journey", "measurement", "profile"]


@pytest.mark.parametrize("process", MIGRATED)
async def test_migrations_make_the_tables_and_go_down_and_up_again(
    process: str, postgres_url: str
) -> None:
    url = f"{postgres_url}/moved_{process}_{uuid4().hex[:8]}"

    await migrate(process, url)
    await check(process, url)
    created = await tables(url)
    await migrate(process, url, "base")
    left = await tables(url)
    await migrate(process, url)

    assert OWN.get(process, OF_THE_BUS) <= created
    assert left == set()
    assert await tables(url) == created
    await check(process, url)


async def test_a_migration_may_compute_for_longer_than_a_process_may_be_silent(
    postgres_url: str,
) -> None:
    url = f"{postgres_url}/slow_{uuid4().hex[:8]}"
    await migrate(MIGRATED[0], url)
    patience = list[str]()

    def look(config: Config) -> None:
        shown = "SHOW idle_in_transaction_session_timeout"
        patience.append(config.attributes["connection"].exec_driver_sql(shown).scalar())

    await _run_alembic(MIGRATED[0], DatabaseAddress.parse(url), look)

    assert patience == ["1min"]


async def test_migrating_twice_at_once_is_migrating_once(postgres_url: str) -> None:
    url = f"{postgres_url}/raced_{uuid4().hex[:8]}"
    code = (
        "import asyncio; from services.chassis.migrations import migrate;"
        f" asyncio.run(migrate({MIGRATED[0]!r}, {url!r}))"
    )

    racers = [await asyncio.create_subprocess_exec(sys.executable, "-c", code) for _ in range(3)]

    assert [await racer.wait() for racer in racers] == [0, 0, 0]
    await check(MIGRATED[0], url)


@pytest.mark.parametrize("path", VERSIONS, ids=lambda p: f"{p.parents[2].name}-{p.stem}")
def test_a_migration_never_waits_long_for_a_lock(path: Path) -> None:
    functions = {
        node.name: node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }

    for name in ("upgrade", "downgrade"):
        body = [s for s in functions[name].body if not _is_docstring(s)]
        assert "SET LOCAL lock_timeout" in ast.unparse(body[0]), f"{name} of {path}"


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
