"""The embedded way to run: PostgreSQL, NATS, four services and the gateway under one parent."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil

from infra import embedded, nats_users
from infra.child_process import STOP_S, ChildProcess, wait_until_ready
from infra.databases import ProcessDatabase, databases_from_urls, migrate_database
from infra.instance import EmbeddedInstance
from infra.nats_store_probe import NatsStoreProbe
from infra.processes import PROCESSES
from infra.provisioning import provision, select_databases
from infra.restore import check_complete
from infra.supervision import Supervisor
from services.chassis.database_address import DatabaseAddress
from services.chassis.errors import RaakError

READY_S = 60
FOLDER_VARIABLE = "RAAK_INSTANCE_FOLDER"
"""Marks our processes, so that orphans are found again."""

PROJECT = Path(__file__).parents[1]


class PortTaken(RaakError, code="PORT_TAKEN"):
    """A port is in use."""


def serve(
    instance: EmbeddedInstance,
    report: Callable[[str], None],
    prepare: Callable[[], None] | None = None,
    *,
    is_lasting: bool = True,
) -> None:
    """Run a whole Raak until interrupted; if it is not lasting, only until it is prepared."""
    with _end_on_interrupt(), run_instance(instance) as processes:
        report(banner(instance))
        if prepare:
            prepare()
        if is_lasting:
            report("Serving until Ctrl-C.")
            nats = next(process for process in processes if process.name == "nats")
            probes = [NatsStoreProbe(nats, instance.nats_url)]
            Supervisor(processes, report, probes).run()


@contextmanager
def run_instance(instance: EmbeddedInstance) -> Iterator[list[ChildProcess]]:
    """Run a whole Raak for as long as the block lasts; everything is ready when it begins."""
    stop_orphans(instance)
    check_complete(instance.folder)
    _check_ports(instance)
    instance.write_note(psutil.Process())
    with ExitStack() as stack:
        servers = [
            stack.enter_context(embedded.run_server(server)) for server in _servers(instance)
        ]
        databases = databases_from_urls(instance.database_urls)
        asyncio.run(migrate_all(databases, DatabaseAddress.parse(instance.postgres_url)))
        processes = [_process(instance, name) for name in PROCESSES]
        for process in processes:
            stack.callback(process.stop)
            process.start()
        wait_until_ready(processes, READY_S)
        yield [*servers, *processes]


def stop_orphans(instance: EmbeddedInstance) -> None:
    """End what a killed parent has left running on this folder; a living one's is not touched."""
    if instance.is_running():
        return
    orphans = [process for process in psutil.process_iter() if _belongs(process, instance)]
    for orphan in orphans:
        orphan.terminate()
    _, alive = psutil.wait_procs(orphans, timeout=STOP_S)
    for orphan in alive:
        orphan.kill()
    psutil.wait_procs(alive, timeout=STOP_S)


def _belongs(process: psutil.Process, instance: EmbeddedInstance) -> bool:
    try:
        return process.environ().get(FOLDER_VARIABLE) == str(instance.folder)
    except psutil.Error:
        return False


def _servers(instance: EmbeddedInstance) -> Iterator[ChildProcess]:
    folder, ports = instance.folder, instance.ports
    passwords = {name: f'"{password}"' for name, password in instance.nats_passwords.items()}
    for server in (
        embedded.postgres_process(
            folder / "postgres", ports["postgres"], instance.secret("postgres")
        ),
        embedded.nats_process(
            folder / "nats",
            ports["nats"],
            instance.secret("nats"),
            nats_users.format_users(passwords),
        ),
    ):
        server.environment |= {FOLDER_VARIABLE: str(folder)}
        yield server


@contextmanager
def _end_on_interrupt() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM or a closed terminal end the block quietly, closing what it opened."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal was closed
        signal.signal(number, stop)
    with suppress(KeyboardInterrupt):
        yield


def banner(instance: EmbeddedInstance) -> str:
    return (
        f"[bold]Raak[/] is ready.\n"
        f"  graph      {instance.url}/graphql\n"
        f"  ingest     {instance.url}/v1/batch\n"
        f"  write key  {_relative_path(instance, 'secrets/write-key')}\n"
        f"  health     {instance.url}/health/ready\n"
        f"  logs       {_relative_path(instance, 'logs')}; who read whom: audit.jsonl\n"
        f"  a token    raak token agent\n"
    )


def _relative_path(instance: EmbeddedInstance, name: str) -> str:
    path = instance.folder / name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


async def migrate_all(
    databases: Sequence[ProcessDatabase], server: DatabaseAddress | None = None
) -> None:
    """Migrate databases; as an administrator of their server, make them and their roles first."""
    if server is not None and (ours := select_databases(server, databases)):
        await provision(server, ours)
    for database in databases:
        await migrate_database(database)


def _check_ports(instance: EmbeddedInstance) -> None:
    taken = {name: port for name, port in instance.ports.items() if not embedded.port_is_free(port)}
    if taken:
        ports = ", ".join(f"{port} ({name})" for name, port in taken.items())
        raise PortTaken(
            f"In use already: port {ports}.",
            hint="Is Raak running already? Otherwise choose others: --port 9000.",
        )


def _process(instance: EmbeddedInstance, name: str) -> ChildProcess:
    module = "gateway" if name == "gateway" else f"services.{name}"
    return ChildProcess(
        name=name,
        command=[sys.executable, "-m", module],
        log=instance.folder / "logs" / f"{name}.log",
        ready=partial(_is_ready, instance.ports[name]),
        environment={
            **instance.environment(name, os.environ),
            FOLDER_VARIABLE: str(instance.folder),
        },
        folder=PROJECT,
    )


def _is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
