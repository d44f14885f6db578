"""A service of the chassis alone: `python -m tests.integration.chassis.sample_service` runs it."""

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import strawberry
from fastapi import APIRouter, FastAPI

from services.chassis import outbox
from services.chassis.database import Connection
from services.chassis.errors import RaakError
from services.chassis.graphql import Schema
from services.chassis.server import Foundation, Service, serve, service_app
from services.chassis.settings import ServiceSettings
from tests.integration.chassis.sample_events import Spoken, spoken, write_down

log = logging.getLogger(__name__)


class OvenSettings(ServiceSettings):
    """Read from `RAAK_OVEN_*`, else from `RAAK_*`."""

    process: ClassVar[str] = "oven"


class OvenCold(RaakError):
    """Nothing can be baked."""

    code: ClassVar[str] = "OVEN_COLD"
    status: ClassVar[int] = 503


@strawberry.type
class Query:
    """A subgraph needs one."""

    @strawberry.field
    def bread(self) -> str:
        """What there is."""
        return "rye"


def routes(base: Foundation) -> APIRouter:
    """Ways to fail, to be slow, and to publish."""
    router = APIRouter()

    @router.get("/cold")
    async def cold() -> None:
        raise OvenCold("The oven is cold.", hint="Heat it.")

    @router.get("/bug/{name}")
    async def bug(name: str) -> None:
        raise ValueError(f"secret recipe of {name}")

    @router.get("/slow")
    async def slow() -> dict[str, str]:
        async with base.database.connection() as connection:
            await connection.fetch("SELECT FROM told")
        return {"bread": "done"}

    @router.post("/say/{name}")
    async def say(name: str) -> None:
        async with base.database.transaction() as connection:
            await connection.fetchval("SELECT $1::text", name)
            await outbox.publish(connection, [spoken(name)])
        log.info("said")

    @router.post("/refused")
    async def refused() -> None:
        async with base.database.transaction() as connection:
            await connection.execute("SET LOCAL transaction_read_only = on")
            await write_down(connection, [spoken("refused")])

    return router


async def hear(connection: Connection, events: Sequence[Spoken]) -> None:
    """Write down what was said, and log that."""
    await write_down(connection, events)
    log.info("heard")


async def compose(base: Foundation) -> Service:
    """The oven, put together."""
    return Service(
        context=lambda principal: principal,
        publishes=[Spoken],
        subscriptions={Spoken: hear},
        router=routes(base),
    )


def create(**settings: Any) -> FastAPI:
    """The application."""
    return service_app(OvenSettings(**settings), Schema(query=Query), compose)


if __name__ == "__main__":
    serve(create, OvenSettings())
