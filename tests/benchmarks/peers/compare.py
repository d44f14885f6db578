"""Raak's gateway beside Apollo Gateway and Hive Gateway: one query, two subgraphs, one run.

To install first, once (Node 20 or later; nothing of it belongs to the project):

    cd tests/benchmarks/peers && npm install --no-package-lock

Then, from the project's root:

    .venv/bin/python -m tests.benchmarks.peers.compare [--seconds 8] [--rounds 3] [--light]

Each gateway is started alone beside the subgraphs, warmed up, and asked over 16 and then 64
keep-alive connections, each for another customer at every request. Load generator, gateway and
subgraphs share the machine, as they do in every row. Rounds go through all gateways in turn, so
that a noisy moment does not hit one of them only; the table shows medians. Every answer is
compared with what it must be, and one that differs fails the run. CPU is the gateway's own, with
its children, as the operating system counts it; beside it stands what the subgraphs and the load
generator use for the same request. Two cores have 2,000 ms a second for both together, so a gateway
that cost nothing would still reach no more than 2,000 divided by the others' share.

The subgraphs are Strawberry's, served as our services are; with --light they are a few lines that
answer the same, since on two cores the subgraphs' share, which is much the same for all, would else
hide most of what gateways cost.

Ours runs as in production: tokens are checked, fields are authorized, limits and rates apply. The
others check nothing.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import uvloop

from tests.benchmarks.peers import raak_gateway
from tests.benchmarks.peers.load import Load, answer_of, measure
from tests.benchmarks.peers.subgraphs import schema

HERE = Path(__file__).parent
PORTS = {"profile": 4101, "decision": 4102, "gateway": 4100}
CONNECTIONS = (16, 64)
READY_S = 60


@dataclass(frozen=True, slots=True)
class Contestant:
    """A gateway: how it is started, given the supergraph's file, and what it wants to be told."""

    name: str
    command: Callable[[Path], list[str]]
    path: str = "/graphql"
    headers: Callable[[], dict[str, str]] = dict


@dataclass(frozen=True, slots=True)
class Measured:
    """One gateway, at one number of connections, in one round."""

    name: str
    connections: int
    load: Load
    cpu_ms: float
    """Of the gateway, per request."""
    others_ms: float
    """Of the subgraphs and the load generator, per request."""


def _hive(*options: str) -> Callable[[Path], list[str]]:
    program = str(HERE / "node_modules" / ".bin" / "hive-gateway")
    port = str(PORTS["gateway"])
    return lambda file: [program, "supergraph", str(file), "--port", port, *options]


def contestants(folder: Path) -> list[Contestant]:
    """All gateways; ours last."""
    port = PORTS["gateway"]
    return [
        Contestant(
            "Apollo Gateway",
            lambda file: ["node", str(HERE / "apollo.mjs"), str(file), str(port)],
            path="/",
        ),
        Contestant("Hive Gateway", _hive()),
        Contestant("Hive Gateway, Rust planner", _hive("--hive-router-runtime")),
        Contestant(
            "Raak",
            lambda file: raak_gateway.command(folder, PORTS),
            headers=lambda: raak_gateway.headers(folder),
        ),
    ]


def supergraph(folder: Path) -> Path:
    """The subgraphs, composed by a tool that is nobody's among the contestants."""
    arguments = []
    for name in ("profile", "decision"):
        file = folder / f"{name}.graphql"
        file.write_text(schema(name).as_str())
        arguments.append(f"{name}=http://127.0.0.1:{PORTS[name]}/={file}")
    composed = folder / "supergraph.graphql"
    command = ["node", str(HERE / "compose.mjs"), *arguments]
    composed.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return composed


@contextmanager
def running(command: list[str], log: Path) -> Iterator[psutil.Process]:
    """A process for as long as the block lasts, ended with its children."""
    environment = {**os.environ, "NODE_ENV": "production"}
    with log.open("ab") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    process = psutil.Process(child.pid)
    try:
        yield process
    finally:
        family = [process, *process.children(recursive=True)]
        for member in family:
            member.kill()
        child.wait()


def cpu_s(process: psutil.Process) -> float:
    """What a process and its children have used so far, in seconds."""
    family = [process, *process.children(recursive=True)]
    return sum(t.user + t.system for t in (member.cpu_times() for member in family))


async def wait_for(contestant: Contestant) -> None:
    """Return once the gateway answers as it must."""
    give_up = time.monotonic() + READY_S
    while True:
        try:
            answer = await answer_of(PORTS["gateway"], contestant.path, contestant.headers(), "1")
            if "errors" not in answer:
                return
        except (OSError, EOFError, ValueError, asyncio.IncompleteReadError):
            answer = {}
        if time.monotonic() > give_up:
            raise SystemExit(f"{contestant.name} does not answer: {answer}")
        await asyncio.sleep(0.2)


async def one_round(contestant: Contestant, file: Path, folder: Path, s: float) -> list[Measured]:
    """Start a gateway and load it."""
    everybody = psutil.Process()  # this process is the load, and all others are its children
    log = folder / f"{contestant.name}.log"
    with running(contestant.command(file), log) as process:
        await wait_for(contestant)
        address = (PORTS["gateway"], contestant.path, contestant.headers())
        await measure(*address, connections=16, seconds=min(4.0, s))
        measured = []
        for connections in CONNECTIONS:
            before, all_before = cpu_s(process), cpu_s(everybody)
            load = await measure(*address, connections=connections, seconds=s)
            own_s, all_s = cpu_s(process) - before, cpu_s(everybody) - all_before
            own_ms, others_ms = (x * 1000 / load.answers for x in (own_s, all_s - own_s))
            measured.append(Measured(contestant.name, connections, load, own_ms, others_ms))
    return measured


def table(measured: list[Measured], names: list[str]) -> Iterator[str]:
    """The medians of all rounds, and ours as ratios to each other gateway."""
    yield (
        "gateway                      conns   req/s    p50    p99  CPU ms  others"
        "   ours: req/s x, CPU x"
    )
    for connections in CONNECTIONS:
        rows = {
            name: _medians([m for m in measured if (m.name, m.connections) == (name, connections)])
            for name in names
        }
        ours = rows.get("Raak")
        for name, (rate, p50, p99, cpu, others) in rows.items():
            ratios = f"{ours[0] / rate:14.2f} {ours[3] / cpu:6.2f}" if ours else ""
            yield (
                f"{name:28} {connections:>5} {rate:>7.0f} {p50:>6.1f} {p99:>6.1f} {cpu:>7.2f} "
                f"{others:>7.2f}{ratios}"
            )


def _medians(row: list[Measured]) -> tuple[float, ...]:
    return (
        median(m.load.per_s for m in row),
        median(m.load.percentile_ms(50) for m in row),
        median(m.load.percentile_ms(99) for m in row),
        median(m.cpu_ms for m in row),
        median(m.others_ms for m in row),
    )


def main() -> None:
    """Run the comparison and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--light", action="store_true", help="subgraphs without an engine")
    parser.add_argument("--only", default="", help="contestants whose name holds this")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        file = supergraph(folder)
        for subgraph in ("profile", "decision"):
            module = f"tests.benchmarks.peers.{'light' if asked.light else 'subgraphs'}"
            command = [sys.executable, "-m", module, subgraph, str(PORTS[subgraph])]
            stack.enter_context(running(command, folder / f"{subgraph}.log"))
        chosen = [c for c in contestants(folder) if asked.only.lower() in c.name.lower()]
        measured: list[Measured] = []
        for _ in range(asked.rounds):
            for contestant in chosen:
                measured += uvloop.run(one_round(contestant, file, folder, asked.seconds))
        print("\n".join(table(measured, [c.name for c in chosen])))


if __name__ == "__main__":
    main()
