"""A child process of ours: started, waited for, stopped, and started again when it dies."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.chassis.errors import RaakError

STOP_S = 15


class DidNotStart(RaakError, code="DID_NOT_START"):
    """A process of ours did not become ready."""


@dataclass
class ChildProcess:
    """One process, in a session of its own, so that Ctrl-C reaches the parent alone."""

    name: str
    command: list[str]
    log: Path
    ready: Callable[[], bool]
    """Whether it can do its work."""
    environment: dict[str, str] = field(default_factory=dict)
    """Its settings; ours, which may hold other secrets, are not inherited."""
    folder: Path = Path("/")
    user: str | None = None
    """The user it runs as, if not ours; without our groups."""
    stop_with: int = signal.SIGTERM
    running: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.running = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**_inherited_environment(), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **as_user(self.user),
            )

    def status(self) -> int | None:
        """None while it runs, else how it ended."""
        return self.running.poll() if self.running else None

    def stop(self) -> None:
        if self.running is None or self.running.poll() is not None:
            return
        self.running.send_signal(self.stop_with)
        try:
            self.running.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace").strip()[-800:] if self.log.exists() else ""


def _inherited_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RAAK_")}


def as_user(user: str | None) -> dict[str, Any]:
    """Arguments of Popen that make a child run as this user, with none of root's groups."""
    return {"user": user, "group": user, "extra_groups": []} if user else {}


def wait_until_ready(processes: Sequence[ChildProcess], within_s: float) -> None:
    """Return when all of them are; raise with the end of its log when one is not in time."""
    give_up = time.monotonic() + within_s
    for process in processes:
        while not process.ready():
            if process.status() is not None or time.monotonic() > give_up:
                raise DidNotStart(
                    f"{process.name} did not become ready: {process.log_tail()}",
                    hint=f"Its whole log is {process.log}.",
                )
            time.sleep(0.03)
