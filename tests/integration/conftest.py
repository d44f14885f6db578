"""Services as whole processes: on real servers, and spoken to as the gateway does."""

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import uuid4

import httpx
import jwt
import pytest
from fastapi import FastAPI

from infra.processes import SERVICES
from services.chassis.bus import Bus
from services.chassis.principal import ALGORITHM, ISSUER, audience_of
from services.chassis.settings import ServiceSettings
from services.chassis.streams import OutgoingMessage
from services.contracts.base import Event
from services.contracts.enums import Role
from tests.callers import caller

S = TypeVar("S", bound=ServiceSettings)

Headers = Callable[[Role], dict[str, str]]


class Running(Protocol):
    """Starts a service's process and gives a client with the internal token of a role."""

    def __call__(
        self, create: Callable[[S], FastAPI], settings: type[S], role: Role
    ) -> AbstractAsyncContextManager[httpx.AsyncClient]: ...


@pytest.fixture(scope="session")
def headers(key_files: tuple[Path, Path]) -> Headers:
    """The header of a caller with this role, as the gateway writes it, but for every service."""

    def signed(role: Role) -> dict[str, str]:
        claims = caller(role).claims()
        audiences = [audience_of(service) for service in SERVICES]
        claims |= {"iss": ISSUER, "aud": audiences, "exp": 4_000_000_000}
        token = jwt.encode(claims, key_files[0].read_text(), ALGORITHM)
        return {"Authorization": f"Bearer {token}"}

    return signed


@pytest.fixture
def running(
    database_url_for: Callable[[str], AbstractAsyncContextManager[str]],
    nats_url: str,
    key_files: tuple[Path, Path],
    headers: Headers,
) -> Running:
    """`async with running(create, DecisionSettings, Role.ADMIN) as client`."""

    @asynccontextmanager
    async def run(
        create: Callable[[S], FastAPI], settings: type[S], role: Role
    ) -> AsyncIterator[httpx.AsyncClient]:
        async with database_url_for(settings.process) as url:
            app = create(
                settings(database_url=url, nats_url=nats_url, verify_key_file=key_files[1])
            )
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(
                    transport=httpx.ASGITransport(app=app),
                    base_url=f"http://{settings.process}",
                    headers=headers(role),
                ) as client,
            ):
                yield client

    return run


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 250 MB, mounted for one test."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=250m,mode=755", "raak-tests", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root only, and where mounting is allowed")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def send(bus: Bus, *events: Event) -> None:
    """Publish events; each time anew for the bus, as after a relay's retry."""
    await bus.publish(
        [OutgoingMessage(e.address(), str(uuid4()), e.to_cloudevent()) for e in events]
    )
