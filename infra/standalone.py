"""The embedded way to run: PostgreSQL, NATS, four services and the gateway under one parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from infra import embedded
from infra.instance import SERVICES, Instance
from services.chassis.errors import RaakError
from services.chassis.migrations import migrate

READY_S = 60
PROJECT = Path(__file__).parents[1]


class PortTaken(RaakError):
    """Somebody listens where we want to."""

    code = "PORT_TAKEN"


class DidNotStart(RaakError):
    """A process of ours did not become ready."""

    code = "DID_NOT_START"


@dataclass
class Process:
    """One of our processes: started, watched, and started again when it dies."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    running: "subprocess.Popen[bytes] | None" = None
    deaths: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches the parent alone."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.running = subprocess.Popen(
                self.command,
                cwd=PROJECT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def status(self) -> int | None:
        """None while it runs, else how it ended."""
        return self.running.poll() if self.running else None

    def stop(self) -> None:
        """Ask it to finish, and end it if it does not within 15 seconds."""
        if self.running is None or self.running.poll() is not None:
            return
        self.running.send_signal(signal.SIGTERM)
        try:
            self.running.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()


@contextmanager
def running(instance: Instance) -> Iterator[list[Process]]:
    """Run a whole Raak for as long as the block lasts; everything is ready when it begins."""
    _want_free_ports(instance)
    instance.remember()
    with ExitStack() as stack:
        stack.enter_context(
            embedded.postgres(
                instance.folder / "postgres",
                instance.ports["postgres"],
                instance.secret("postgres"),
            )
        )
        stack.enter_context(
            embedded.nats(instance.folder / "nats", instance.ports["nats"], instance.secret("nats"))
        )
        asyncio.run(migrate_all(instance.postgres_url))
        processes = [_process(instance, name) for name in (*SERVICES, "gateway")]
        for process in processes:
            stack.callback(process.stop)
            process.start()
        wait_until_ready(instance, processes)
        yield processes


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the block quietly: what it opened is closed in reverse."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    with suppress(KeyboardInterrupt):
        yield


def banner(instance: Instance) -> str:
    """What a developer wants to know first."""
    return (
        f"[bold]Raak[/] is ready.\n"
        f"  graph      {instance.url}/graphql\n"
        f"  ingest     {instance.url}/v1/batch\n"
        f"  write key  {_shown(instance, 'secrets/write-key')}\n"
        f"  health     {instance.url}/health/ready\n"
        f"  logs       {_shown(instance, 'logs')}\n"
        f"  a token    raak token agent\n"
    )


def _shown(instance: Instance, name: str) -> str:
    path = instance.folder / name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


async def migrate_all(server_url: str) -> None:
    """Bring the databases of all services to their newest revision."""
    for service in SERVICES:
        await migrate(service, f"{server_url}/raak_{service}")


def _want_free_ports(instance: Instance) -> None:
    taken = {name: port for name, port in instance.ports.items() if not embedded.port_is_free(port)}
    if taken:
        listed = ", ".join(f"{port} ({name})" for name, port in taken.items())
        raise PortTaken(
            f"Somebody already listens on {listed}.",
            hint="Is Raak running already? Otherwise choose others: --port 9000.",
        )


def _process(instance: Instance, name: str) -> Process:
    module = "gateway" if name == "gateway" else f"services.{name}"
    return Process(
        name=name,
        command=[sys.executable, "-m", module],
        environment=instance.environment(),
        log=instance.folder / "logs" / f"{name}.log",
    )


def wait_until_ready(instance: Instance, processes: list[Process]) -> None:
    """Return when all of them say so; raise with the end of its log when one does not."""
    give_up = time.monotonic() + READY_S
    with httpx.Client(timeout=2) as client:
        for process in processes:
            url = f"http://127.0.0.1:{instance.ports[process.name]}/health/ready"
            while not _answers(client, url):
                if process.status() is not None or time.monotonic() > give_up:
                    raise DidNotStart(
                        f"{process.name} did not become ready: {_last_lines(process.log)}",
                        hint=f"Its whole log is {process.log}.",
                    )
                time.sleep(0.05)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.TransportError:
        return False


def _last_lines(log: Path) -> str:
    return log.read_text(errors="replace").strip()[-600:] if log.exists() else "(no log)"


def keep_serving(processes: list[Process], tell: Callable[[str], None]) -> None:
    """Serve until interrupted; a process that dies is started again, and told of."""
    while True:
        time.sleep(1)
        for process in processes:
            status = process.status()
            if status is not None and _may_start_again(process, time.monotonic()):
                process.start()
                tell(f"{process.name} ended with status {status}; started again.")


def _may_start_again(process: Process, now: float) -> bool:
    """Whether it died less than three times within the last minute; counts this death."""
    process.deaths = [death for death in process.deaths if now - death < 60]
    if len(process.deaths) >= 3:
        return False
    process.deaths.append(now)
    return True
