"""`python -m examples.shop`: the shop before a Raak on this machine, until Ctrl-C.

It does what a team does once before its page goes out: it makes an API key and registers the
page's operations. The key is revoked when the shop ends.
"""

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import uvicorn

from examples.shop.server import Raak, create
from infra import gateway_database, keys, operations
from infra.embedded import port_is_free
from infra.instance import EmbeddedInstance
from infra.standalone import PortTaken
from services.chassis.errors import RaakError

MANIFEST = Path(__file__).parents[2] / "clients/typescript/src/generated/persisted-documents.json"
DAYS = 30


@asynccontextmanager
async def prepare(instance: EmbeddedInstance) -> AsyncIterator[Raak]:
    """What the shop needs of a running Raak, for as long as the block lasts."""
    settings, now = gateway_database.embedded_gateway_settings(instance), datetime.now(UTC)
    await operations.publish(settings, [MANIFEST], now)
    api_key, key = await keys.create(
        settings, "the record shop's server", "agent", ["tokens:issue"], DAYS, now
    )
    try:
        yield Raak(
            instance.url, instance.secret("write-key"), api_key, instance.secret("claim-secret")
        )
    finally:
        await keys.revoke(settings, key.id, datetime.now(UTC))


async def serve(instance: EmbeddedInstance, port: int) -> None:
    if not port_is_free(port):
        raise PortTaken(f"Port {port} is in use.", hint="Name another one with --port.")
    async with prepare(instance) as raak, httpx.AsyncClient(trust_env=False) as client:
        server = uvicorn.Server(
            uvicorn.Config(create(raak, client), port=port, log_level="warning")
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.handle_exit, number, None)
        print(f"The record shop is at http://127.0.0.1:{port}. Ctrl-C ends it.", flush=True)
        await server._serve()  # `serve` would end the process before the key is revoked


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.shop", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(".raak"), help="folder of the instance")
    parser.add_argument("--port", type=int, default=8100, help="where the shop listens")
    arguments = parser.parse_args()
    try:
        asyncio.run(serve(EmbeddedInstance.load(arguments.data.resolve()), arguments.port))
    except RaakError as error:
        raise SystemExit(f"{error.code} {error.problem}\n{error.hint}") from None


if __name__ == "__main__":
    main()
