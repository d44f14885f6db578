"""The embedded servers are real ones."""

import asyncpg

from tests.integration.chassis.talking import connect


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
