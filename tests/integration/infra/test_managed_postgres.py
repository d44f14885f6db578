"""PostgreSQL as vendors give it: no superuser, TLS, owners apart from who works in the tables."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import asyncpg
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from fastapi import FastAPI
from typer.testing import CliRunner, Result

from infra import embedded
from infra.cli import app
from infra.databases import databases_from_environment
from infra.processes import PROCESSES
from services.chassis.database import (
    DatabaseRefused,
    DatabaseUnavailable,
    describe_failure,
    open_database,
)
from services.chassis.database_address import DatabaseAddress, InvalidDatabaseUrl
from services.chassis.migrations import check, connect, migrate
from services.decision import app as decision
from services.journey import app as journey
from services.journey.settings import JourneySettings
from services.measurement import app as measurement
from services.measurement.settings import MeasurementSettings
from services.profile import app as profile
from tests.conftest import HASTY, free_port
from tests.integration.chassis.test_server import client_of
from tests.tls_front import serve_tls
from tests.waiting import until

BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Managed:
    """A server with TLS, and the certificate of who vouches for it."""

    port: int
    certificate: Path
    administrator: DatabaseAddress

    def url(self, user: str, database: str, query: str = "", host: str = "127.0.0.1") -> str:
        return f"postgresql://{user}:of%20{user}@{host}:{self.port}/{database}{query}"

    async def execute(self, *statements: str, database: str = "postgres") -> None:
        connection = await connect(self.administrator.with_database(database))
        for statement in statements:
            await connection.execute(statement)
        await connection.close()


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Managed]:
    """A server for this file that wants TLS, and whose certificate is for 127.0.0.1 only."""
    folder = tmp_path_factory.mktemp("managed")
    port, inner = free_port(), free_port()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write_certificate(folder / "server.pem"))
    with (
        embedded.postgres(folder / "postgres", inner, "secret", HASTY) as url,
        serve_tls(port, inner, context),
    ):
        yield Managed(port, folder / "server.pem", DatabaseAddress.parse(url))


def write_certificate(file: Path) -> Path:
    """A file with a certificate that vouches for itself, and its key."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, BEGIN, END)
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return file


def roles(*names: str) -> list[str]:
    return [f"CREATE ROLE {name} LOGIN PASSWORD 'of {name}'" for name in names]


@pytest.fixture
async def owned(managed: Managed, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Managed]:
    """The server with databases made beforehand: an owner and a process's role for each."""
    for name in PROCESSES:
        await managed.execute(
            *roles(f"{name}_owner", name),
            f"CREATE DATABASE db_{name} OWNER {name}_owner",
            f"REVOKE ALL ON DATABASE db_{name} FROM PUBLIC",
        )
        query = f"?sslmode=verify-full&sslrootcert={managed.certificate}"
        variable = f"RAAK_{name.upper()}"
        monkeypatch.setenv(f"{variable}_DATABASE_URL", managed.url(name, f"db_{name}", query))
        monkeypatch.setenv(
            f"{variable}_MIGRATION_DATABASE_URL",
            managed.url(f"{name}_owner", f"db_{name}", query),
        )
    yield managed
    for name in PROCESSES:
        await managed.execute(
            f"DROP DATABASE db_{name} WITH (FORCE)", f"DROP ROLE {name}, {name}_owner"
        )


INBOX = "INSERT INTO inbox (consumer, event_id) VALUES ('one', gen_random_uuid())"


async def run(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))


async def run_migrate() -> Result:
    return await run("migrate")


async def test_owners_without_any_right_but_their_databases_migrate_over_proven_tls(
    owned: Managed,
) -> None:
    done, again = await run_migrate(), await run_migrate()

    assert (done.exit_code, again.exit_code) == (0, 0), done.exception
    for database in databases_from_environment() or ():
        await check(database.process, database.owner.url)
        await (await connect(database.runtime)).close()


FORBIDDEN = (
    "CREATE TABLE more (id int)",
    "CREATE TEMP TABLE more (id int)",
    "CREATE SCHEMA more",
    "ALTER TABLE inbox ADD COLUMN more int",
    "DROP TABLE inbox",
    "TRUNCATE inbox",
    "DELETE FROM alembic_version",
    "CREATE INDEX more ON inbox (event_id)",
)


async def test_a_process_can_change_no_table(owned: Managed) -> None:
    await run_migrate()

    connection = await connect(MeasurementSettings().database_address)

    for statement in FORBIDDEN:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_a_process_reads_and_writes_all_tables_those_to_come_too(owned: Managed) -> None:
    await run_migrate()
    migration = await connect(MeasurementSettings().migration_address)
    await migration.execute("CREATE TABLE later (id bigserial)")
    await migration.close()

    connection = await connect(MeasurementSettings().database_address)

    for row in await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    ):
        await connection.execute(f"SELECT * FROM {row[0]}")
    await connection.execute("INSERT INTO later DEFAULT VALUES")
    await connection.execute("SELECT last_value FROM later_id_seq")
    await connection.execute("UPDATE later SET id = 2; DELETE FROM later")
    await connection.close()


@pytest.mark.parametrize(
    "create",
    [profile.create, decision.create, journey.create, measurement.create],
    ids=["profile", "decision", "journey", "measurement"],
)
async def test_a_service_works_with_no_more_than_that(
    owned: Managed,
    nats_url: str,
    key_files: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    create: Callable[[], FastAPI],
) -> None:
    await run_migrate()
    monkeypatch.setenv("RAAK_NATS_URL", nats_url)
    monkeypatch.setenv("RAAK_VERIFY_KEY_FILE", str(key_files[1]))

    async with client_of(create()) as client:
        await until_ready(client)


async def until_ready(client: httpx.AsyncClient) -> None:
    async def is_ready() -> bool:
        return (await client.get("/health/ready")).status_code == 200

    await until(is_ready)


async def test_with_an_administrator_who_is_no_superuser_what_is_missing_is_made(
    managed: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the first user of a vendor: it may make roles and databases, and little else."""
    await managed.execute(
        "CREATE ROLE master LOGIN CREATEDB CREATEROLE PASSWORD 'of master'",
        *roles("made_before"),
        "CREATE DATABASE made_before OWNER made_before",
    )
    monkeypatch.setenv("RAAK_DATABASE_SERVER_URL", managed.url("master", "", "?sslmode=require"))
    monkeypatch.setenv("RAAK_JOURNEY_DATABASE_URL", managed.url("late", "raak_late"))
    monkeypatch.setenv(
        "RAAK_JOURNEY_MIGRATION_DATABASE_URL", managed.url("late_owner", "raak_late")
    )

    done, again = await run_migrate(), await run_migrate()

    assert (done.exit_code, again.exit_code) == (0, 0), done.exception
    for database in databases_from_environment() or ():
        await check(database.process, database.owner.url)
        await (await connect(database.runtime)).close()
    assert JourneySettings().database_address.user == "late"


async def test_owners_restore_a_backup_and_the_processes_keep_their_rights(
    owned: Managed, tmp_path: Path
) -> None:
    await run_migrate()
    folder = str(tmp_path / "monday")
    runtime = MeasurementSettings().database
    saved = await run("backup", folder)
    async with open_database(runtime) as database, database.transaction() as connection:
        await connection.execute(INBOX)
        in_use = await run("restore", folder)

    held = await run("restore", folder)
    restored = await run("restore", folder, "--replace")

    assert (saved.exit_code, restored.exit_code) == (0, 0), (saved.exception, restored.exception)
    assert "connections" in str(in_use.exception)
    assert "holds data already (in 'inbox')" in str(held.exception)
    async with open_database(runtime) as database, database.transaction() as connection:
        assert await connection.fetchval("SELECT count(*) FROM inbox") == 0
        await connection.execute(INBOX)


async def fail_to_open(url: str) -> DatabaseUnavailable:
    with pytest.raises(DatabaseUnavailable) as failure:
        async with open_database(url, patience_s=0, variable="RAAK_OVEN_DATABASE_URL"):
            pass
    assert "RAAK_OVEN_DATABASE_URL" in str(failure.value)
    assert "of%20" not in str(failure.value)
    return failure.value


REFUSALS = (
    (("of%20", "no%20"), "refuses user 'measurement' or the password", "ALTER ROLE"),
    (("/db_measurement", "/nowhere"), "has no database 'nowhere'", "CREATE DATABASE"),
    (("/db_measurement", "/db_profile"), "may not .*permission denied", "GRANT CONNECT ON"),
    (("127.0.0.1", "localhost"), "is not trusted .*match", "sslrootcert=FILE"),
    (("server.pem", "stranger.pem"), "is not trusted", "sslrootcert=FILE"),
    (("?", "?trace=x&"), 'refuses a parameter .*"trace"', "Leave it out"),
    (("?", "?work_mem=x&"), "refuses the value .*work_mem", "Correct it"),
)


async def test_what_a_server_refuses_is_said_with_its_remedy_and_not_waited_for(
    owned: Managed,
) -> None:
    write_certificate(owned.certificate.with_name("stranger.pem"))
    await run_migrate()

    for change, problem, remedy in REFUSALS:
        failure = await fail_to_open(MeasurementSettings().database.replace(*change))

        assert isinstance(failure, DatabaseRefused)
        assert re.search(problem, failure.problem), failure.problem
        assert remedy in failure.hint


@pytest.mark.parametrize(
    "host",
    [f"127.0.0.1:{free_port()}", "no.such.host.invalid", "/nowhere"],
    ids=["a port", "a name", "a folder"],
)
async def test_a_server_that_does_not_answer_is_named(host: str) -> None:
    url = f"postgresql:///x?user=ann&host={host}" if "/" in host else f"postgresql://ann@{host}/x"

    failure = await fail_to_open(url)

    assert host in failure.problem
    assert not isinstance(failure, DatabaseRefused)


async def test_a_server_without_tls_is_told_from_one_that_is_away(postgres_url: str) -> None:
    failure = await fail_to_open(f"{postgres_url}/postgres?sslmode=require")

    assert "does not speak TLS" in failure.problem


def test_a_server_that_is_too_old_is_told_by_its_age() -> None:
    address = DatabaseAddress.parse("postgresql://ann@db/x")
    unknown = 'unrecognized configuration parameter "transaction_timeout"'

    failure = describe_failure(address, asyncpg.UndefinedObjectError(unknown))

    assert "is older than 17" in failure.problem


async def test_who_lacks_a_right_to_migrate_is_given_the_statement(
    managed: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await managed.execute(*roles("weak"), "CREATE DATABASE not_mine")
    url = managed.url("weak", "not_mine")

    with pytest.raises(DatabaseRefused, match="RAAK_OVEN_DATABASE_URL") as failure:
        await migrate("measurement", url, variable="RAAK_OVEN_DATABASE_URL")

    assert 'GRANT USAGE, CREATE ON SCHEMA public TO "weak"' in failure.value.hint


async def test_who_may_make_no_database_is_told_who_does(managed: Managed) -> None:
    await managed.execute(*roles("poor"))

    with pytest.raises(DatabaseRefused, match='CREATE DATABASE "none" OWNER "poor"'):
        await migrate("measurement", managed.url("poor", "none"))


async def test_an_owner_of_another_database_is_refused(
    owned: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAAK_JOURNEY_MIGRATION_DATABASE_URL", owned.url("journey_owner", "other"))

    result = await run_migrate()

    assert isinstance(result.exception, InvalidDatabaseUrl)
    assert "'db_journey'" in result.exception.problem


async def test_a_process_whose_role_nobody_made_is_told(
    owned: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAAK_JOURNEY_DATABASE_URL", owned.url("nobody", "db_journey"))

    result = await run_migrate()

    assert isinstance(result.exception, DatabaseRefused)
    assert 'CREATE ROLE "nobody"' in result.exception.hint


async def test_several_hosts_and_ports_are_tried_in_turn(managed: Managed) -> None:
    url = f"postgresql://raak:secret@127.0.0.1:{free_port()},127.0.0.1:{managed.port}/postgres"

    async with open_database(url, patience_s=0) as database, database.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1
