"""Each process has a role that owns its database, and may enter no other."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from infra import embedded, standalone
from infra.cli import app
from infra.databases import NoDatabases, databases_from_urls
from infra.instance import EmbeddedInstance
from infra.processes import PROCESSES
from infra.provisioning import NotProvisioned, provision
from services.chassis.database_address import DatabaseAddress
from services.chassis.migrations import check, connect, migrate
from tests.conftest import HASTY, free_port


class Server:
    """A PostgreSQL of one test, as an instance knows it."""

    def __init__(self, instance: EmbeddedInstance, url: str) -> None:
        self.instance = instance
        self.url = url

    @property
    def address(self) -> DatabaseAddress:
        """As who may do everything enters it."""
        return DatabaseAddress.parse(self.url, "RAAK_DATABASE_SERVER_URL")

    @property
    def urls(self) -> dict[str, str]:
        """The processes' addresses."""
        port = self.url.rpartition(":")[2]
        known = str(self.instance.ports["postgres"])
        return {name: url.replace(known, port) for name, url in self.instance.database_urls.items()}

    async def migrate(self) -> None:
        """What `raak up` does once the server is there."""
        await standalone.migrate_all(databases_from_urls(self.urls), self.address)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """An empty server."""
    with embedded.postgres(tmp_path / "postgres", free_port(), "secret", HASTY) as url:
        # it listens before it lets anybody in
        await (await connect(DatabaseAddress.parse(f"{url}/postgres"))).close()
        yield Server(EmbeddedInstance(tmp_path, 8_000), url)


async def column(url: str, query: str) -> list[object]:
    """The values of a query's only column."""
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


OWNERS = """
SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'
UNION SELECT DISTINCT sequenceowner FROM pg_sequences WHERE schemaname = 'public'
"""


async def test_a_role_does_its_own_work_and_is_refused_by_every_other_database(
    server: Server,
) -> None:
    await server.migrate()

    for name, url in server.urls.items():
        owner, _, _ = url.removeprefix("postgresql://").partition(":")
        await check(name, url)
        assert await column(url, OWNERS) == [owner]
        assert await column(url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [
            False
        ]
        for other in (*(f"raak_{one}" for one in PROCESSES if one != name), "postgres"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                await asyncpg.connect(url, database=other)


async def test_databases_of_a_superuser_are_handed_over_with_what_is_in_them(
    server: Server,
) -> None:
    for name in PROCESSES:
        await migrate(name, f"{server.url}/raak_{name}")  # all by the superuser

    await server.migrate()
    await server.migrate()

    for name, url in server.urls.items():
        assert await column(url, OWNERS) == [f"raak_{name}"]
        await migrate(name, url, "base")  # as the owner, who alone may
        await migrate(name, url)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(server.urls["decision"], database="raak_profile")


async def test_rows_of_a_superuser_stay(server: Server) -> None:
    await migrate("profile", f"{server.url}/raak_profile")
    connection = await asyncpg.connect(f"{server.url}/raak_profile")
    await connection.execute("INSERT INTO inbox VALUES ('old', gen_random_uuid())")
    await connection.close()

    await server.migrate()

    assert await column(server.urls["profile"], "SELECT consumer FROM inbox") == ["old"]


async def test_a_new_password_holds_from_the_next_start(server: Server) -> None:
    await server.migrate()
    before = server.urls["journey"]
    (server.instance.folder / "secrets" / "postgres-journey").unlink()

    await server.migrate()

    assert server.urls["journey"] != before
    assert await column(server.urls["journey"], "SELECT 1") == [1]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(before)


async def test_who_is_no_superuser_migrates_its_own_database(server: Server) -> None:
    await server.migrate()
    own = server.urls["decision"]

    await standalone.migrate_all(databases_from_urls({"decision": own}))

    await check("decision", own)


async def test_on_a_server_with_others_their_way_in_is_left_open(server: Server) -> None:
    connection = await asyncpg.connect(f"{server.url}/postgres")
    await connection.execute("CREATE DATABASE accounting")
    await connection.execute("CREATE ROLE accountant LOGIN PASSWORD 'x'")
    await connection.close()

    await server.migrate()

    as_accountant = server.url.replace("raak:secret", "accountant:x")
    for database in ("postgres", "accounting"):
        assert await column(f"{as_accountant}/{database}", "SELECT 1") == [1]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(f"{as_accountant}/raak_profile")


async def test_who_may_not_make_roles_is_told_what_to_do(server: Server) -> None:
    await server.migrate()
    weak = server.urls["profile"].rpartition("/")[0]
    new = f"{weak.replace('raak_profile', 'raak_new')}/raak_new"
    connection = await asyncpg.connect(f"{server.url}/postgres")
    await connection.execute("GRANT CONNECT ON DATABASE postgres TO raak_profile")
    await connection.close()

    with pytest.raises(NotProvisioned, match="'raak_profile' may not") as refusal:
        await provision(DatabaseAddress.parse(weak), databases_from_urls({"profile": new}))

    assert "superuser" in refusal.value.hint


async def test_raak_migrate_does_it_from_the_environment_and_says_what_it_wants(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, url in server.urls.items():
        monkeypatch.setenv(f"RAAK_{name.upper()}_DATABASE_URL", url)
    monkeypatch.setenv("RAAK_DATABASE_SERVER_URL", server.url)

    done = await asyncio.to_thread(CliRunner().invoke, app, ["migrate"])
    monkeypatch.delenv("RAAK_DATABASE_SERVER_URL")
    again = await asyncio.to_thread(CliRunner().invoke, app, ["migrate"])  # without a superuser
    monkeypatch.delenv("RAAK_JOURNEY_DATABASE_URL")
    refused = await asyncio.to_thread(CliRunner().invoke, app, ["migrate"])

    assert (done.exit_code, again.exit_code) == (0, 0), done.output
    assert isinstance(refused.exception, NoDatabases)
    assert "RAAK_JOURNEY_DATABASE_URL and" in refused.exception.problem
    assert await column(server.urls["journey"], OWNERS) == ["raak_journey"]
