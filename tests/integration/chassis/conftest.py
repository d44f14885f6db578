"""A service with no business: just outbox, inbox and a table of what it was told."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from services.chassis import outbox
from services.chassis.database import Database, open_database


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """A fresh database with outbox, inbox and `told(customer_id, text)`."""
    name = f"chassis_{uuid4().hex[:12]}"
    server = await asyncpg.connect(f"{postgres_url}/postgres")
    await server.execute(f"CREATE DATABASE {name}")
    async with open_database(f"{postgres_url}/{name}") as database:
        async with database.connection() as connection:
            for table in outbox.tables(sa.MetaData()):
                ddl = CreateTable(table).compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
                await connection.execute(str(ddl))
            await connection.execute("CREATE TABLE told (customer_id uuid, text text)")
        yield database
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()
