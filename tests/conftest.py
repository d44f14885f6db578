"""Real servers for tests: one PostgreSQL and one NATS a session, a fresh database a test."""

import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from infra import embedded
from services.chassis.bus import Bus, open_bus
from services.chassis.database import Database, open_database
from services.chassis.migrations import migrate

HASTY = {**embedded.MODEST_SETTINGS, "fsync": "off", "full_page_writes": "off"}

DatabaseFor = Callable[[str], AbstractAsyncContextManager[Database]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a quick run try fewer examples of each property."""
    parser.addoption("--most-examples", type=int, help="most examples of a property test")


def pytest_configure(config: pytest.Config) -> None:
    """Write to a folder of our own, not to the one that all pytest sessions of a user share: each
    new session closes that one to other users, and PostgreSQL, which does not run as root, would
    lose its data in the middle of a test. And let no example have a deadline: machines are busy.
    """
    settings.register_profile("patient", deadline=None)
    settings.load_profile("patient")
    if config.option.basetemp is None:
        folder = Path(tempfile.mkdtemp(prefix="raak-tests-"))
        config.option.basetemp = folder / "tmp"
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


WHOLE = ("faults", "e2e")
"""Folders whose tests run a whole Raak, one at a time: two would want more than two cores."""


def room_of(nodeid: str) -> str:
    """What of the tests one worker runs: a file, or all that run a whole Raak."""
    file = nodeid.partition("::")[0]
    return "whole" if file.split("/")[-2] in WHOLE else file


class ByRoom(LoadScopeScheduling):  # type: ignore[misc]
    """Gives workers rooms, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return room_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByRoom:
    """Let workers share tests by room, so that none starts what another has."""
    return ByRoom(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that workers end together."""
    items.sort(key=lambda item: room_of(item.nodeid) != "whole")
    if most := config.option.most_examples:
        for item in items:
            bound_examples(getattr(item, "obj", None), most)


def bound_examples(test: Any, most: int) -> None:
    """Give a property test no more examples than these, whatever its own settings say."""
    function = getattr(test, "__func__", test)
    own = getattr(function, "_hypothesis_internal_use_settings", None)
    if own is not None and own.max_examples > most:
        function._hypothesis_internal_use_settings = settings(own, max_examples=most)


def copy_database(template: str, name: str) -> str:
    """SQL that makes a database as another one is. File by file: writing each page to the log as
    well, as PostgreSQL does unless told otherwise, takes it twice the time.
    """
    return f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server's address, without a database."""
    folder = tmp_path_factory.mktemp("pg") / "postgres"
    with embedded.postgres(folder, free_port(), "secret", HASTY) as url:
        yield url


@pytest.fixture
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A NATS server of this test's own, with no streams (it starts in 40 ms)."""
    folder = tmp_path_factory.mktemp("nats") / "nats"
    with embedded.nats(folder, free_port(), "secret") as url:
        yield url


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    """A connection to a NATS server of this test's own."""
    async with open_bus(nats_url) as bus:
        yield bus


@pytest.fixture(scope="session")
def database_url_for(postgres_url: str) -> Callable[[str], AbstractAsyncContextManager[str]]:
    """Makes a fresh, migrated database of a service and gives its address.

    The service's migrations run once a session, into a template that PostgreSQL copies.
    """
    migrated: set[str] = set()

    @asynccontextmanager
    async def fresh(service: str) -> AsyncIterator[str]:
        if service not in migrated:
            await migrate(service, f"{postgres_url}/template_{service}")
            migrated.add(service)
        name = f"{service}_{uuid4().hex[:12]}"
        server = await asyncpg.connect(f"{postgres_url}/postgres")
        await server.execute(copy_database(f"template_{service}", name))
        try:
            yield f"{postgres_url}/{name}"
        finally:
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await server.close()

    return fresh


@pytest.fixture(scope="session")
def database_for(
    database_url_for: Callable[[str], AbstractAsyncContextManager[str]],
) -> DatabaseFor:
    """Opens a fresh, migrated database: `async with database_for("decision") as database`."""

    @asynccontextmanager
    async def opened(service: str) -> AsyncIterator[Database]:
        async with database_url_for(service) as url, open_database(url) as database:
            yield database

    return opened


@pytest.fixture(scope="session")
def key_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An Ed25519 key pair in PEM files: (private, public)."""
    folder = tmp_path_factory.mktemp("keys")
    key = Ed25519PrivateKey.generate()
    private, public = folder / "signing.pem", folder / "verify.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public
