"""Keys and operations in their database, and a key set at its issuer, while they change."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import database_sync, store
from gateway.access.authentication import verification_keys
from gateway.access.authentication.api_keys import ApiKey, ApiKeyCache, create_key
from gateway.access.authentication.caller_tokens import CallerTokens
from gateway.access.authentication.verification_keys import (
    KeySetUnavailable,
    UnknownKey,
    VerificationKeys,
    key_set_reader,
)
from gateway.access.authorization.roles import Roles
from gateway.access.limits.registered_operations import (
    OperationRegistry,
    RegisteredOperation,
    hash_document,
)
from gateway.database_sync import DatabaseSync
from services.chassis.database import Database
from services.chassis.principal import NotAuthenticated
from services.chassis.server import supervise
from services.contracts.enums import Role
from tests.conftest import DatabaseFor
from tests.integration.gateway.serving import serving
from tests.waiting import until

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
SECRET = "a secret of the server's, long enough"
GRANTED = Roles.read().resolve_grant
OFFERS, RESULTS = "query Offers { a }", "query Results { b }"


# --- the database ---


@dataclass
class Replica:
    """What one gateway knows."""

    keys: ApiKeyCache
    registry: OperationRegistry
    sync: DatabaseSync

    def opens(self, text: str) -> bool:
        try:
            self.keys.principal(text)
        except NotAuthenticated:
            return False
        return True


def replica(url: str) -> Replica:
    keys, registry = ApiKeyCache(SECRET, GRANTED, lambda: NOW), OperationRegistry()
    return Replica(keys, registry, DatabaseSync(url, keys, registry))


@asynccontextmanager
async def syncing(*replicas: Replica) -> AsyncIterator[None]:
    async with supervise({str(n): each.sync.run for n, each in enumerate(replicas)}):
        yield


def address(database: Database) -> str:
    """Where a database of the tests is."""
    return str(database.pool._connect_args[0])  # type: ignore[attr-defined]


def new_key(name: str = "shop") -> tuple[str, ApiKey]:
    return create_key(SECRET, GRANTED, name=name, role=Role.AGENT, scopes=None, now=NOW)


def documents(*texts: str) -> Sequence[RegisteredOperation]:
    return [RegisteredOperation(text, "shop.graphql", NOW) for text in texts]


async def test_a_key_is_known_and_revoked_soon_on_every_replica(
    database_for: DatabaseFor,
) -> None:
    text, key = new_key()
    async with database_for("gateway") as database:
        replicas = [replica(address(database)) for _ in range(2)]
        async with syncing(*replicas):
            await until(lambda: not any(r.sync.not_ready() for r in replicas))
            assert not any(each.opens(text) for each in replicas)

            async with database.transaction() as connection:
                await store.add_key(connection, key)
            await until(lambda: all(each.opens(text) for each in replicas))

            async with database.transaction() as connection:
                assert await store.revoke_key(connection, key.id, NOW)
            await until(lambda: not any(each.opens(text) for each in replicas))


async def test_an_operation_is_known_and_retired_soon_on_every_replica(
    database_for: DatabaseFor,
) -> None:
    async with database_for("gateway") as database:
        replicas = [replica(address(database)) for _ in range(2)]
        async with syncing(*replicas):
            async with database.transaction() as connection:
                assert await store.publish(connection, documents(OFFERS, RESULTS), NOW) == 2
            await until(lambda: all(r.registry.is_registered(OFFERS) for r in replicas))

            async with database.transaction() as connection:
                assert await store.publish(connection, documents(OFFERS), NOW) == 0
                assert await store.retire(connection, hash_document(OFFERS))
                assert not await store.retire(connection, hash_document(OFFERS))
            await until(lambda: not any(r.registry.is_registered(OFFERS) for r in replicas))
            assert all(each.registry.is_registered(RESULTS) for each in replicas)


async def test_described_operations_come_in_the_order_they_were_published(
    database_for: DatabaseFor,
) -> None:
    texts = [f'"Number {n}." query Offers {{ a{n} }}' for n in range(5)]
    async with database_for("gateway") as database:
        for minute, text in enumerate(texts):
            async with database.transaction() as connection:
                await store.publish(connection, documents(text), NOW.replace(minute=minute))
        known = replica(address(database))
        await known.sync.look(database)

    assert known.registry.described() == [(text, "Offers") for text in texts]


async def test_what_is_stored_of_a_key_comes_back(database_for: DatabaseFor) -> None:
    _, plain = new_key()
    _, narrowed = create_key(
        SECRET,
        GRANTED,
        name="reads",
        role=Role.ANALYST,
        scopes=frozenset({"results:read"}),
        now=NOW.replace(hour=10),
        expires_at=NOW.replace(year=2030),
    )
    async with database_for("gateway") as database, database.transaction() as connection:
        await store.add_key(connection, plain)
        await store.add_key(connection, narrowed)

        assert await store.keys(connection) == [plain, narrowed]
        assert not await store.revoke_key(connection, "not there", NOW)


async def test_nothing_is_read_again_that_did_not_change(
    database_for: DatabaseFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def counting(name: str) -> None:
        real = getattr(store, name)

        async def counted(connection: object) -> object:
            reads.append(name)
            return await real(connection)

        monkeypatch.setattr(store, name, counted)

    counting("keys")
    counting("operations")
    async with database_for("gateway") as database:
        known = replica(address(database))
        for _ in range(3):
            await known.sync.look(database)
        async with database.transaction() as connection:
            await store.publish(connection, documents(OFFERS), NOW)
        await known.sync.look(database)

    assert reads == ["keys", "operations", "operations"]


async def test_the_last_use_of_a_key_is_written_down(database_for: DatabaseFor) -> None:
    text, key = new_key()
    async with database_for("gateway") as database:
        async with database.transaction() as connection:
            await store.add_key(connection, key)
        known = replica(address(database))
        await known.sync.look(database)
        known.keys.principal(text)

        await known.sync.look(database)

        async with database.connection() as connection:
            [kept] = await store.keys(connection)
        assert kept.last_used_at == NOW


async def test_while_the_database_is_away_what_was_read_goes_on_to_hold(
    database_for: DatabaseFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_sync, "POLL_S", 0.01)
    text, key = new_key()
    async with database_for("gateway") as database:
        async with database.transaction() as connection:
            await store.add_key(connection, key)
        known = replica(address(database))
        async with syncing(known):
            await until(lambda: known.sync.not_ready() is None)
            async with database.connection() as connection:
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            assert known.opens(text)
            async with database.transaction() as connection:
                await store.revoke_key(connection, key.id, NOW)
            await until(lambda: not known.opens(text))


# --- the issuer ---

ONE, TWO = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


@dataclass
class Issuer:
    """Answers with a key set, or as it is told."""

    keys: dict[str, Ed25519PrivateKey]
    answer: Callable[[], Awaitable[Response]] | None = None
    asked: int = 0

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/keys", self.tell)])

    async def tell(self, request: Request) -> Response:
        self.asked += 1
        if self.answer is not None:
            return await self.answer()
        told = [
            orjson.loads(OKPAlgorithm.to_jwk(key.public_key())) | {"kid": kid}
            for kid, key in self.keys.items()
        ]
        return Response(orjson.dumps({"keys": told}), media_type="application/json")

    def token(self, kid: str, subject: str = "ann") -> str:
        claims = {"iss": "raak", "aud": "raak", "sub": subject, "role": "agent"}
        return jwt.encode(
            claims | {"exp": time() + 600}, self.keys[kid], "EdDSA", headers={"kid": kid}
        )


@pytest.fixture
async def issuer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Issuer, VerificationKeys]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(verification_keys, "PAUSE_S", 0.0)
    issuer = Issuer({"one": ONE})
    async with serving(issuer.app()) as server:
        yield issuer, VerificationKeys(None, key_set_reader(f"{server.url}/keys"), within_s=2.0)


async def test_a_rotated_key_is_fetched_when_its_first_token_comes(
    issuer: tuple[Issuer, VerificationKeys],
) -> None:
    theirs, keys = issuer
    tokens = CallerTokens(keys, GRANTED)
    old = theirs.token("one")
    assert (await tokens.principal(old)).subject == "ann"

    theirs.keys = {"one": ONE, "two": TWO}
    assert (await tokens.principal(theirs.token("two"))).subject == "ann"
    assert theirs.asked == 2

    theirs.keys = {"two": TWO}
    with pytest.raises(UnknownKey):
        await keys.key_for("three")  # has the set fetched, which the first key has left
    with pytest.raises(NotAuthenticated, match="not known here"):
        await tokens.principal(old)


async def slowly() -> Response:
    await asyncio.Event().wait()
    return Response()


async def redirected() -> Response:
    return Response(status_code=302, headers={"Location": "/elsewhere"})


async def failing() -> Response:
    return Response(status_code=500)


async def nonsense() -> Response:
    return Response(b"<html>")


async def huge() -> Response:
    return Response(b" " * 1_000_000)


@pytest.mark.parametrize("answer", [slowly, redirected, failing, nonsense, huge])
async def test_an_issuer_in_trouble_costs_no_key(
    issuer: tuple[Issuer, VerificationKeys],
    answer: Callable[[], Awaitable[Response]],
) -> None:
    theirs, keys = issuer
    await keys.key_for("one")
    theirs.answer = answer

    with pytest.raises(KeySetUnavailable):
        await keys.key_for("two")

    assert theirs.asked == 2
    await keys.key_for("one")
