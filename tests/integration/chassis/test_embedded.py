"""The embedded servers are real ones."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from infra import embedded
from tests.conftest import free_port
from tests.integration.chassis.sample_events import connect


async def test_postgresql_answers_and_wants_a_password(postgres_url: str) -> None:
    connection = await connect(f"{postgres_url}/postgres")

    version = await connection.fetchval("SELECT version()")

    await connection.close()
    assert version.startswith("PostgreSQL 18")
    try:
        await asyncpg.connect(postgres_url.replace("secret", "wrong") + "/postgres")
    except asyncpg.InvalidPasswordError:
        return
    raise AssertionError("a wrong password was let in")


async def test_nats_sends_nothing_more_to_who_is_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that never answers a PING stands for it: events are delivered to the others then."""
    assert '"5s"' in embedded.PINGS
    monkeypatch.setattr(embedded, "PINGS", embedded.PINGS.replace("5s", "1s"))
    port = free_port()
    with embedded.nats(tmp_path / "nats", port, "secret"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        writer.write(b'CONNECT {"user":"raak","pass":"secret","verbose":false}\r\n')

        async with asyncio.timeout(60):
            heard = await reader.read()

        writer.close()
    assert b"Stale Connection" in heard
