"""What can be lost: the data of NATS, one of its streams, the latest of a database."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import asyncpg
import nats

from infra.embedded import postgres_programs
from tests.faults.faults import CALLS, Fault, signal_to
from tests.stack import Stack

DEAF = ("journey", "measurement")
"""Frozen before the loss, so that NATS holds what they have not heard."""


def stop_listening(raak: Stack) -> None:
    """Freeze those who hear most."""
    for name in DEAF:
        signal_to(raak, name, "SIGSTOP")


def _listen_again(raak: Stack) -> None:
    for name in DEAF:
        signal_to(raak, name, "SIGCONT")


def lose_nats(raak: Stack) -> None:
    """NATS comes back on an empty disk; then the others listen again."""
    raak.kill("nats")
    shutil.rmtree(raak.instance.folder / "nats" / "jetstream")
    raak.start("nats")
    _listen_again(raak)


def lose_stream(raak: Stack) -> None:
    """Somebody deletes the stream of events; then the others listen again."""
    asyncio.run(_delete(raak.instance.nats_url, "RAAK_PROFILE_EVENT_RECORDED_V1"))
    _listen_again(raak)


async def _delete(url: str, stream: str) -> None:
    bus = await nats.connect(url)
    assert await bus.jsm().delete_stream(stream)
    await bus.close()


LOSSES = [
    Fault("nats without its data", stop_listening, lose_nats, CALLS),
    Fault("a stream deleted", stop_listening, lose_stream, CALLS),
]


def dump(raak: Stack, service: str, file: Path) -> None:
    """Back up one database, as an operator does who has only PostgreSQL's own programs."""
    _postgres(raak, "pg_dump", "--format=custom", f"--file={file}", f"--dbname=raak_{service}")


def restore(raak: Stack, service: str, file: Path) -> None:
    """Put a backup in the place of a service's database while the service is stopped."""
    raak.kill(service)
    asyncio.run(_make_anew(raak.instance.postgres_url, f"raak_{service}"))
    _postgres(raak, "pg_restore", f"--dbname=raak_{service}", str(file))
    raak.start(service)


async def _make_anew(server: str, name: str) -> None:
    connection = await asyncpg.connect(f"{server}/postgres")
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()


def _postgres(raak: Stack, program: str, *arguments: str) -> None:
    where = ["--host=127.0.0.1", f"--port={raak.instance.ports['postgres']}", "--username=raak"]
    subprocess.run(
        [str(postgres_programs() / program), *where, *arguments],
        env={**os.environ, "PGPASSWORD": raak.instance.secret("postgres")},
        check=True,
    )
