"""The faults, as data: how each begins and ends, and which calls it must not touch."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import NamedTuple

import asyncpg

from tests.stack import Stack

CALLS = frozenset({"ingest", "offers", "outcome"})
NONE: frozenset[str] = frozenset()


class Fault(NamedTuple):
    """Something that goes wrong for a while."""

    name: str
    begin: Callable[[Stack], None]
    end: Callable[[Stack], None]
    spares: frozenset[str]
    """The calls that are all answered meanwhile, at the first attempt."""


def killed(name: str, *, spares: frozenset[str]) -> Fault:
    """A process is gone from one instant to the next, and comes back as a new one."""
    return Fault(
        f"{name} killed", lambda raak: raak.kill(name), lambda raak: raak.start(name), spares
    )


def frozen(name: str, *, spares: frozenset[str]) -> Fault:
    """A process stands still, keeping its connections, and then goes on as if nothing were."""
    return Fault(
        f"{name} frozen",
        lambda raak: signal_to(raak, name, "SIGSTOP"),
        lambda raak: signal_to(raak, name, "SIGCONT"),
        spares,
    )


def signal_to(raak: Stack, name: str, options: str) -> None:
    """Send a signal to a process of the stack."""
    running = raak.processes[name].running
    assert running is not None
    os.kill(running.pid, signal.Signals[options])


def kill_everything(raak: Stack) -> None:
    """The machine loses its power."""
    for name in raak.processes:
        raak.kill(name)


def start_everything(raak: Stack) -> None:
    """It is switched on again: every process starts on what its disk holds."""
    for name in raak.processes:
        raak.start(name)


def _let_write(raak: Stack, allowed: str) -> None:
    """Let PostgreSQL change its data or not, from the next transaction on."""

    async def tell() -> None:
        postgres = await asyncpg.connect(f"{raak.instance.postgres_url}/postgres")
        read_only = "off" if allowed == "yes" else "on"
        await postgres.execute(f"ALTER SYSTEM SET default_transaction_read_only = {read_only}")
        await postgres.execute("SELECT pg_reload_conf()")
        await postgres.close()

    asyncio.run(tell())


FAULTS = [
    killed("decision", spares=frozenset({"ingest"})),
    frozen("decision", spares=frozenset({"ingest"})),
    killed("profile", spares=frozenset({"offers", "outcome"})),
    killed("journey", spares=CALLS),
    killed("measurement", spares=CALLS),
    killed("gateway", spares=NONE),
    killed("nats", spares=CALLS),
    killed("postgres", spares=NONE),
    Fault(  # as after a failover; a disk that is full is told alike
        "postgres read-only",
        lambda raak: _let_write(raak, "no"),
        lambda raak: _let_write(raak, "yes"),
        NONE,
    ),
    Fault("everything killed", kill_everything, start_everything, NONE),
]
