"""Raak's gateway beside Apollo Gateway and Hive Gateway: one query, two subgraphs, one run.

To install first, once (Node 20 or later; nothing of it belongs to the project):

    cd tests/benchmarks/peers && npm install --no-package-lock

Then, from the project's root:

    .venv/bin/python -m tests.benchmarks.peers.compare [--seconds 2] [--rounds 12] [--light]

All gateways run beside the same subgraphs, warmed up, and one at a time is asked over 16 and then
64 keep-alive connections, each for another customer at every request; the others are idle. Load
generator, gateway and subgraphs share the machine, as they do in every row. Machines are faster in
one minute than in the next, so turns are short, and ratios are of turns of one round: the table
shows medians of them, as of all figures. Every answer is compared with what it must be, and one
that differs fails the run. CPU is the gateway's own, with its children, as the operating system
counts it; beside it stands what the subgraphs and the load generator use for the same request. Two
cores have 2,000 ms a second for both together, so a gateway that cost nothing would still reach no
more than 2,000 divided by the others' share.

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
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeAlias

import psutil
import uvloop

from tests.benchmarks.peers import raak_gateway
from tests.benchmarks.peers.load import answer_of, measure
from tests.benchmarks.peers.subgraphs import schema

HERE = Path(__file__).parent
SUBGRAPHS = {"profile": 4101, "decision": 4102}
GATEWAYS = 4110
"""The port of the first gateway; the others follow."""
CONNECTIONS = (16, 64)
OURS = "Raak"
READY_S = 60
WARM_UP_S = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """A gateway: how it is started on its port, and what it wants to be told."""

    name: str
    port: int
    command: list[str]
    path: str = "/graphql"
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> tuple[int, str, dict[str, str]]:
        """Where it is asked, and how."""
        return self.port, self.path, self.headers


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of one turn of a gateway."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """Of the gateway, per request."""
    others_ms: float
    """Of the subgraphs and the load generator, per request."""


Turns: TypeAlias = dict[tuple[str, int], list[Turn]]
"""By gateway and number of connections, in the order of rounds."""


def contestants(folder: Path, file: Path) -> list[Contestant]:
    """All gateways over a supergraph's file; ours last."""
    apollo, hive, rust, ours = range(GATEWAYS, GATEWAYS + 4)
    return [
        Contestant("Apollo Gateway", apollo, _apollo(file, apollo), path="/"),
        Contestant("Hive Gateway", hive, _hive(file, hive)),
        Contestant("Hive Gateway, Rust planner", rust, _hive(file, rust, "--hive-router-runtime")),
        Contestant(
            OURS,
            ours,
            raak_gateway.command(folder, ours, SUBGRAPHS),
            headers=raak_gateway.headers(folder),
        ),
    ]


def _apollo(file: Path, port: int) -> list[str]:
    return ["node", str(HERE / "apollo.mjs"), str(file), str(port)]


def _hive(file: Path, port: int, *options: str) -> list[str]:
    program = str(HERE / "node_modules" / ".bin" / "hive-gateway")
    return [program, "supergraph", str(file), "--port", str(port), *options]


def supergraph(folder: Path) -> Path:
    """The subgraphs, composed by a tool that is nobody's among the contestants."""
    arguments = []
    for name in SUBGRAPHS:
        file = folder / f"{name}.graphql"
        file.write_text(schema(name).as_str())
        arguments.append(f"{name}=http://127.0.0.1:{SUBGRAPHS[name]}/={file}")
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
            answer = await answer_of(*contestant.address, "1")
            if "errors" not in answer:
                return
        except (OSError, EOFError, ValueError, asyncio.IncompleteReadError):
            answer = {}
        if time.monotonic() > give_up:
            raise SystemExit(f"{contestant.name} does not answer: {answer}")
        await asyncio.sleep(0.2)


async def turn(
    contestant: Contestant, process: psutil.Process, connections: int, seconds: float
) -> Turn:
    """Load one gateway for a while."""
    everybody = psutil.Process()  # this process is the load, and all others are its children
    before, all_before = cpu_s(process), cpu_s(everybody)
    load = await measure(*contestant.address, connections=connections, seconds=seconds)
    own_s, all_s = cpu_s(process) - before, cpu_s(everybody) - all_before
    own_ms, others_ms = (x * 1000 / load.answers for x in (own_s, all_s - own_s))
    return Turn(load.per_s, load.percentile_ms(50), load.percentile_ms(99), own_ms, others_ms)


async def compare(
    gateways: Mapping[Contestant, psutil.Process], rounds: int, seconds: float
) -> Turns:
    """Give each gateway its turns, over each number of connections, round by round."""
    for contestant in gateways:
        await wait_for(contestant)
        await measure(*contestant.address, connections=CONNECTIONS[0], seconds=WARM_UP_S)
    turns: Turns = defaultdict(list)
    for _ in range(rounds):
        for connections in CONNECTIONS:
            for contestant, process in gateways.items():
                came = await turn(contestant, process, connections, seconds)
                turns[contestant.name, connections].append(came)
    return turns


def table(turns: Turns) -> Iterator[str]:
    """The medians of all rounds, and of the ratios of ours to each other gateway's."""
    yield (
        "gateway                      conns   req/s    p50    p99  CPU ms  others"
        "   ours: req/s x, CPU x"
    )
    for (name, connections), row in sorted(turns.items(), key=lambda entry: entry[0][1]):
        rate, p50, p99, cpu, others = (
            median(column) for column in zip(*map(astuple, row), strict=True)
        )
        ours = turns.get((OURS, connections), row)
        faster = median(our.per_s / its.per_s for our, its in zip(ours, row, strict=True))
        dearer = median(our.cpu_ms / its.cpu_ms for our, its in zip(ours, row, strict=True))
        yield (
            f"{name:28} {connections:>5} {rate:>7.0f} {p50:>6.1f} {p99:>6.1f} {cpu:>7.2f} "
            f"{others:>7.2f}{faster:14.2f} {dearer:6.2f}"
        )


def main() -> None:
    """Run the comparison and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2, help="of each turn")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--light", action="store_true", help="subgraphs without an engine")
    parser.add_argument("--only", default="", help="contestants whose name holds this")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)

        def start(name: str, command: list[str]) -> psutil.Process:
            return stack.enter_context(running(command, folder / f"{name}.log"))

        for subgraph, port in SUBGRAPHS.items():
            module = f"tests.benchmarks.peers.{'light' if asked.light else 'subgraphs'}"
            start(subgraph, [sys.executable, "-m", module, subgraph, str(port)])
        everybody = contestants(folder, supergraph(folder))
        chosen = [c for c in everybody if asked.only.lower() in c.name.lower()]
        gateways = {each: start(each.name, each.command) for each in chosen}
        turns = uvloop.run(compare(gateways, asked.rounds, asked.seconds))
        print("\n".join(table(turns)))


if __name__ == "__main__":
    main()
