"""A whole Raak for tests: PostgreSQL, NATS, four services and the gateway as processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console

from infra import cdnow, demo, embedded, standalone, tokens
from infra.child_process import ChildProcess, wait_until_ready
from infra.graph_client import GraphClient
from infra.instance import LISTENERS, EmbeddedInstance


def days_ago(days: int) -> datetime:
    """A moment in the past."""
    return datetime.now(UTC) - timedelta(days=days)


BUYERS = [
    cdnow.Buyer(
        f"buyer-{number:03}",
        tuple(
            cdnow.Order(n, days_ago(age), cds=2, total=24.5 + number)
            for n, age in enumerate(ages, 1)
        ),
    )
    for number, ages in enumerate(
        [(400,), (200,), (300, 250, 200, 150, 120), (90, 70, 50, 30, 10), (500, 480, 460)] * 12
    )
]
"""Made-up buyers of every segment: the tests fetch nothing from anywhere."""


class Stack:
    """A running Raak, and ways to talk to it."""

    def __init__(self, instance: EmbeddedInstance, processes: list[ChildProcess]) -> None:
        self.instance = instance
        self.processes = {process.name: process for process in processes}
        self.session = demo.open_session(instance, Console())

    def token(self, role: str, subject: str = "tester", customer: str = "") -> str:
        """A signed token."""
        return tokens.issue(self.instance.keys.tokens, role, subject, customer)

    def as_(self, role: str, customer: str = "") -> GraphClient:
        """The graph as a role sees it."""
        return self.session.client_for(role, customer)

    def ask_raw(self, role: str, request: dict[str, Any]) -> dict[str, Any]:
        """What the graph answers to a request in whatever form."""
        response = httpx.post(
            f"{self.instance.url}/graphql",
            json=request,
            headers={"Authorization": f"Bearer {self.token(role)}"},
            trust_env=False,
        )
        answer: dict[str, Any] = response.json()
        return answer

    def send(self, call: str, body: object, key: str = "") -> httpx.Response:
        """A Segment call as a page sends it, with the write key, unless another key is given."""
        return httpx.post(
            f"{self.instance.url}/v1/{call}",
            auth=(key or self.session.write_key, ""),
            json=body,
            trust_env=False,
        )

    def kill(self, name: str) -> None:
        """End a process at once, as a power cut would; PostgreSQL's children follow it."""
        process = self.processes[name].running
        assert process is not None
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        psutil.wait_procs(children, timeout=10)

    def start(self, name: str) -> None:
        """Start a killed process, and wait until it is ready."""
        self.processes[name].start()
        wait_until_ready([self.processes[name]], standalone.READY_S)


def free_ports(number: int) -> int:
    """The first of so many free ports in a row, of a region that no other test process looks in."""
    base = 18_000 + os.getpid() % 1_000 * 14
    while not all(embedded.port_is_free(base + n) for n in range(number)):
        base += number
    return base


@contextmanager
def running(folder: Path) -> Iterator[Stack]:
    """A Raak with the record shop's definitions and sixty buyers, as long as the block lasts."""
    instance = EmbeddedInstance(folder, free_ports(len(LISTENERS)))
    with standalone.run_instance(instance) as processes:
        stack = Stack(instance, processes)
        demo.import_customers(stack.session, BUYERS)
        demo.apply_examples(stack.session)
        yield stack
