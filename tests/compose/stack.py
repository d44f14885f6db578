"""The Compose stack: built, tested, scaled, its containers killed in turn, and taken down.

It runs as a project of its own with secrets of its own, so a Raak that runs on this machine is not
touched. `make compose-test` runs it.
"""

import os
import re
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from infra import cdnow, compose_env, dashboards, demo
from infra.demo import DemoSession
from infra.graph_client import GraphClient
from infra.processes import PROCESSES
from services.chassis.errors import RaakError

PROJECT = Path(__file__).parents[2]
CUSTOMERS = 2_000
READY_S = 180
CLIENTS = 8
"""How many ask at once while gateways are started anew."""
DISCOVERY_S = 30
"""The gateway looks replicas up anew every 10 s."""

KILLED = ("profile", "decision", "journey", "measurement", "nats", "postgres")

QUESTIONS = ("offers", "customer", "action_results")
"""Documents that together ask something of every service."""

FURTHER_SECRETS = {"gateway": {"key_secret", "write_keys"}, "profile": {"claim_secrets"}}
"""What processes know besides their own passwords."""

SETTINGS = {
    "RAAK_ENV_FILE": {
        "RAAK_GATEWAY_HTTPS_ONLY_S": "86400",
        "RAAK_GATEWAY_TRUSTED_PROXIES": "192.0.2.0/24",
        "RAAK_PROFILE_SCAN_LIMIT": "1234",
    },
    "RAAK_GATEWAY_ENV_FILE": {"RAAK_GATEWAY_TOKEN_AUDIENCE": "raak"},
}
"""What the settings files of the stack say."""

TRESPASS_PROGRAM = """
import asyncio, os, asyncpg, nats

def address(server):
    return open(os.environ[f"RAAK_DECISION_{server}_URL_FILE"]).read()

async def main():
    try:
        await asyncpg.connect(address("DATABASE"), database="raak_profile")
    except asyncpg.InsufficientPrivilegeError:
        print("PostgreSQL refuses")
    errors = asyncio.Queue()
    bus = await nats.connect(address("NATS"), error_cb=errors.put)
    await bus.publish("raak.profile.customer_changed.v1.x", b"{}")
    if "permissions violation" in str(await asyncio.wait_for(errors.get(), 30)).lower():
        print("NATS refuses")
    await bus.close()

asyncio.run(main())
"""
"""What decision must not be able to do with its own credentials."""

CONTAINER_USER = 10001
"""As whom our containers run."""

UNREGISTERED = "query Offers { nextBestActions { id } }"


class ComposeFailed(RaakError):
    """Docker Compose did not do what it was asked, or not everything works in it."""

    code = "COMPOSE_FAILED"


@dataclass(frozen=True, slots=True)
class Stack:
    """One Compose project and its secrets."""

    secrets: Path
    env: Mapping[str, str]

    @property
    def url(self) -> str:
        """Where its gateway is published."""
        return f"http://127.0.0.1:{self.env['RAAK_GATEWAY_PORT']}"

    def compose(self, *arguments: str, within_s: int = 900) -> str:
        """Run `docker compose`; raises ComposeFailed with what it said."""
        command = ["docker", "compose", "--project-name", "raak-test", "--env-file", os.devnull]
        done = subprocess.run(
            [*command, *arguments],
            cwd=PROJECT,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        if done.returncode:
            raise ComposeFailed(
                f"`docker compose {' '.join(arguments)}` failed: {done.stderr.strip()[-1500:]}",
                hint="Run it yourself, and look at `docker compose logs`.",
            )
        return done.stdout

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text()

    def up(self, *options: str) -> None:
        """Bring everything up, and return when all of it is healthy."""
        self.compose("up", "--detach", "--wait", "--wait-timeout", str(READY_S), *options)

    def inside(self, service: str, *command: str, index: int = 1) -> str:
        """What a command in a container prints."""
        return self.compose("exec", "--no-TTY", "--index", str(index), service, *command)

    def token(self, role: str, subject: str, customer: str) -> str:
        """A token signed with the stack's own key, which never leaves its volume."""
        options = ["--subject", subject, "--customer", customer]
        return self.inside("gateway", "raak", "token", role, *options).strip()

    def api_key(self, name: str, *options: str) -> str:
        """A new API key for a server."""
        create = ("raak", "keys", "create", name, "--role", "agent", *options)
        return self.inside("gateway", *create).strip()

    def claim(self, browser: str, user: str) -> str:
        """A signed claim that a user uses a browser."""
        return self.inside(
            "profile", "raak", "claim", "--anonymous-id", browser, "--user-id", user
        ).strip()


@contextmanager
def start_stack(console: Console) -> Iterator[Stack]:
    """A fresh stack, taken down with all its data when the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        secrets = Path(folder) / "secrets"
        compose_env.make_secrets(secrets, Path(folder) / ".env")
        found = {"RAAK_SECRETS_FOLDER": str(secrets)}
        for variable, settings in SETTINGS.items():
            path = Path(folder) / variable
            path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
            found[variable] = str(path)
        for port in ("RAAK_GATEWAY_PORT", "PROMETHEUS_PORT"):
            found[port] = str(_free_port())
        for address in ("RAAK_HTTPS_ADDRESS", "RAAK_HTTP_ADDRESS"):
            found[address] = f"127.0.0.1:{_free_port()}"
        stack = Stack(secrets, found)
        try:
            started = time.monotonic()
            stack.up("--build")
            console.print(f"Built and healthy after {time.monotonic() - started:.0f} s.")
            yield stack
        except BaseException:
            console.print(_log_tail(stack), markup=False, highlight=False)
            raise
        finally:
            stack.compose(
                "--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "20"
            )
            console.print("Taken down, with its volumes.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _log_tail(stack: Stack) -> str:
    try:
        return stack.compose("ps", "--all") + stack.compose("logs", "--no-color", "--tail", "15")
    except (ComposeFailed, subprocess.TimeoutExpired) as error:
        return str(error)


def show_processes(stack: Stack, console: Console) -> None:
    """What `docker compose ps` says."""
    table = "table {{.Name}}\t{{.Image}}\t{{.Status}}\t{{.Ports}}"
    console.print(stack.compose("ps", "--all", "--format", table), soft_wrap=True, highlight=False)


def run_demo(stack: Stack, console: Console) -> str:
    """The demo through the published gateway; gives the e-mail of one of its customers."""
    today = datetime.now(UTC).date()
    buyers = cdnow.read(cdnow.fetch(PROJECT / ".raak" / "cdnow"), today, CUSTOMERS)
    session = DemoSession(
        stack.url,
        stack.secret("write_keys"),
        stack.api_key("the demo's shop", "--scope", "customers:write"),
        stack.token,
        stack.claim,
        console,
    )
    demo.await_api_key(session)
    demo.run_scenarios(session, buyers)
    return str(demo.DemoCustomers.from_buyers(buyers, datetime.now(UTC)).loyal.email)


def publish(stack: Stack, console: Console) -> None:
    """Register the record shop's operations, as whoever deploys would: from beside the gateway."""
    folder = f"{demo.OPERATIONS}:/operations:ro"
    command = ("raak", "operations", "publish", "/operations")
    output = stack.compose(
        "run", "--rm", "--no-deps", "--no-TTY", "--volume", folder, "gateway", *command
    )
    console.print(output.splitlines()[-1])


def query(graph: GraphClient, question: str, email: str) -> dict[str, Any]:
    """Send one of the QUESTIONS about a customer."""
    somebody = {"identity": {"type": "email", "value": email}}
    variables: dict[str, dict[str, Any]] = {
        "offers": {"customer": somebody, "channel": "CALL_CENTRE", "placement": "agent_desktop"},
        "customer": {"ref": somebody},
    }
    return graph.answer(demo.document(question), **variables.get(question, {}))


def check_access(stack: Stack, console: Console, graph: GraphClient, email: str) -> None:
    """Nothing unregistered is answered, and an API key opens until it is revoked."""
    _expect(_codes(graph.answer(UNREGISTERED)), {"OPERATION_NOT_REGISTERED"})
    key = stack.api_key("compose test")
    server = GraphClient(stack.url, key)
    _await_codes(server, email, set())
    stack.inside("gateway", "raak", "keys", "revoke", key.split("_")[1])
    revoked = time.monotonic()
    _await_codes(server, email, {"UNAUTHENTICATED"})
    took = time.monotonic() - revoked
    console.print(f"An API key was made and used, and refused {took:.1f} s after it was revoked.")


def check_separation(stack: Stack, console: Console) -> None:
    """Each process has its own secrets and settings only, and none is where it can be listed."""
    secrets = {name: stack.secret(name) for name in compose_env.OWN_SECRETS}
    for process in PROCESSES:
        own = {f"postgres_password_{process}", f"nats_password_{process}"}
        files = stack.inside(process, "sh", "-c", "cat /run/secrets/*")
        known = {name for name, value in secrets.items() if value in files}
        _expect(known, own | FURTHER_SECRETS.get(process, set()))
        environment = stack.inside(process, "env")
        _expect("RAAK_PROFILE_SCAN_LIMIT=1234" in environment, True)
        _expect("RAAK_GATEWAY_TOKEN_AUDIENCE" in environment, process == "gateway")
    containers = stack.compose("ps", "--all", "--quiet").split()
    inspected = subprocess.run(
        ["docker", "inspect", *containers], capture_output=True, text=True, check=True
    )
    said = stack.compose("top") + inspected.stdout
    _expect([name for name, value in secrets.items() if value in said], [])
    _expect(
        stack.inside("decision", "python", "-c", TRESPASS_PROGRAM).splitlines(),
        ["PostgreSQL refuses", "NATS refuses"],
    )
    answer = httpx.get(f"{stack.url}/health/live", timeout=10, trust_env=False)
    _expect(answer.headers["Strict-Transport-Security"], "max-age=86400; includeSubDomains")
    letters = stack.compose(
        "run", "--rm", "--no-deps", "--no-TTY", "operator", "raak", "dead-letters", "list"
    )
    _expect("deliveries" in letters, True)
    console.print("Each process knows its own secrets only, and may do its own work only.")


def check_audit_log(stack: Stack, console: Console) -> None:
    """It is on a volume of the gateway's, and nobody can be recognised in it."""
    said = stack.inside("gateway", "cat", "/audit/audit.jsonl").splitlines()
    records = [line for line in said if '"customers_count"' in line]
    _expect(any("@" in line or "cdnow" in line for line in records) or not records, False)
    log = ("raak", "audit", "verify", "/audit/audit.jsonl")
    _expect("none changed" in stack.inside("gateway", *log), True)
    console.print(f"The audit log has {len(records)} records, and names nobody in them.")


def _await_codes(server: GraphClient, email: str, codes: set[str]) -> None:
    _wait_until(
        lambda: _codes(query(server, "offers", email)) == codes,
        5,
        lambda: "The gateway missed a change for 5 s.",
    )


def _codes(answer: dict[str, Any]) -> set[str]:
    return {error["extensions"]["code"] for error in answer.get("errors", [])}


def _expect(actual: object, expected: object) -> None:
    if actual != expected:
        raise ComposeFailed(f"Expected {expected}, got {actual}.", hint="Look at the logs.")


def _wait_until(holds: Callable[[], bool], within_s: float, problem: Callable[[], str]) -> None:
    """Return as soon as a condition holds; raises ComposeFailed when it does not in time."""
    give_up = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > give_up:
            raise ComposeFailed(problem(), hint="Look at `docker compose logs`.")
        time.sleep(0.1)


def rehearse_backup(
    stack: Stack, console: Console, graph: GraphClient, email: str, folder: Path
) -> None:
    """Take a backup, lose PostgreSQL's and NATS's data, and be what it was."""
    os.chown(folder, CONTAINER_USER, CONTAINER_USER)
    folders = ("--volume", f"{folder}:/backups")
    tool = ("run", "--rm", "--no-deps", "--no-TTY", *folders, "backup", "raak")
    before = query(graph, "customer", email)["data"]
    stack.compose(*tool, "backup", "/backups/rehearsal")
    _expect(stat.S_IMODE((folder / "rehearsal").stat().st_mode), 0o700)
    stack.compose("down", "--timeout", "20")
    for volume in ("postgres", "nats"):
        subprocess.run(["docker", "volume", "rm", f"raak-test_{volume}"], check=True)
    stack.up("postgres")
    stack.compose("run", "--rm", "--no-TTY", "migrate")
    stack.compose(*tool, "restore", "/backups/rehearsal")
    stack.up()
    _wait_until(
        lambda: query(graph, "customer", email).get("data") == before,
        READY_S,
        lambda: f"The customer is not what it was: {str(query(graph, 'customer', email))[:800]}",
    )
    console.print("PostgreSQL and NATS lost their data, and everything is what it was.")


def restart_gateways(stack: Stack, console: Console, email: str) -> None:
    """Start two gateways anew, one after the other, while clients ask: not one is refused."""
    stack.compose("--profile", "tls", "up", "--detach", "--wait", "--no-recreate")
    address = f"https://localhost:{stack.env['RAAK_HTTPS_ADDRESS'].rpartition(':')[2]}/graphql"
    headers = {"Authorization": f"Bearer {stack.token('admin', 'rolling restart', '')}"}
    somebody = {"identity": {"type": "email", "value": email}}
    body = {"query": demo.document("customer"), "variables": {"ref": somebody}}
    is_over, failures, answered = Event(), [], [0] * CLIENTS

    def ask(number: int) -> None:
        with httpx.Client(verify=False, timeout=30, trust_env=False, headers=headers) as client:
            while not is_over.is_set():
                try:
                    answer = client.post(address, json=body)
                    if answer.status_code == 200 and "errors" not in answer.json():
                        answered[number] += 1
                    else:
                        failures.append(f"{answer.status_code} {answer.text[:200]}")
                except httpx.HTTPError as error:
                    failures.append(repr(error))

    with ThreadPoolExecutor(CLIENTS) as pool:
        for number in range(CLIENTS):
            pool.submit(ask, number)
        try:
            for gateway in ("gateway-2", "gateway"):
                recreate = ("up", "--detach", "--wait", "--no-deps", "--force-recreate", gateway)
                stack.compose("--profile", "tls", *recreate)
        finally:
            is_over.set()
    console.print(f"Two gateways were started anew: {sum(answered)} answered, {failures} failed.")
    _expect(failures[:3], [])


def observe(stack: Stack, console: Console) -> None:
    """Prometheus takes the rules, reads every process, and answers what the dashboard asks."""
    stack.compose("--profile", "observe", "up", "--detach", "--no-recreate", "prometheus")
    stack.inside("prometheus", "promtool", "check", "rules", "/etc/prometheus/alerts.yml")
    api = f"http://127.0.0.1:{stack.env['PROMETHEUS_PORT']}/api/v1"

    def ask(path: str, **parameters: str) -> Any:
        return httpx.get(f"{api}/{path}", params=parameters, timeout=10, trust_env=False).json()

    def list_up() -> set[str]:
        with suppress(httpx.HTTPError, ValueError):
            targets = ask("targets")["data"]["activeTargets"]
            return {one["labels"]["job"] for one in targets if one["health"] == "up"}
        return set()

    _wait_until(
        lambda: list_up() == set(PROCESSES), READY_S, lambda: f"Prometheus reads {list_up()} only."
    )
    for panel in chain.from_iterable(dashboards.ROWS.values()):
        for query in panel.queries.values():
            answer = ask("query", query=query.replace("$__rate_interval", "1m"))
            _expect((panel.title, answer["status"]), (panel.title, "success"))
    console.print("Prometheus takes the rules, reads every process, and answers every panel.")


def scale_decision(stack: Stack, console: Console, graph: GraphClient, email: str) -> None:
    """Run a second decision service, and see both answer."""
    stack.up("--no-recreate", "--scale", "decision=2")

    def count_requests() -> list[int]:
        return [_count_requests(stack, index) for index in (1, 2)]

    def have_both_answered() -> bool:
        _send_concurrently(graph, email, 200)
        return all(count_requests())

    _wait_until(
        have_both_answered,
        DISCOVERY_S,
        lambda: f"Two decision services have answered so many requests: {count_requests()}.",
    )
    before = count_requests()
    _send_concurrently(graph, email, 400)
    after = count_requests()
    shares = [now - then for now, then in zip(after, before, strict=True)]
    console.print(f"decision scaled to 2; of 400 more requests they answered {shares}.")


def _send_concurrently(graph: GraphClient, email: str, times: int) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: query(graph, "offers", email), range(times)))
    if failed := [answer["errors"] for answer in answers if "errors" in answer]:
        raise ComposeFailed(
            f"{len(failed)} of {times} requests failed: {failed[0]}", hint="Look at the logs."
        )


def _count_requests(stack: Stack, index: int) -> int:
    """How many GraphQL requests a replica has answered."""
    code = (
        "import urllib.request as u; "
        "print(u.urlopen('http://127.0.0.1:9464/metrics').read().decode())"
    )
    metrics = stack.inside("decision", "python", "-c", code, index=index)
    counts = re.findall(
        r'^raak_http_request_seconds_count\{path="/graphql".*\} ([\d.e+]+)$', metrics, flags=re.M
    )
    return int(sum(map(float, counts)))


def kill_one_at_a_time(stack: Stack, console: Console, graph: GraphClient, email: str) -> None:
    """Kill every container in turn, show what a request still gets, and mend it."""
    table = Table("killed", "offers", "customer", "journeys", "results", "errors", "slowest")
    table.add_row("–", *_query_row(graph, email))
    for victim in KILLED:
        stack.compose("kill", victim)
        table.add_row(victim, *_query_row(graph, email))
        stack.up("--no-recreate", "--scale", "decision=1")
        _wait_until_recovered(graph, email)
    console.print(table)


def _query_row(graph: GraphClient, email: str) -> Sequence[str]:
    """What each question still gets, as a row, with the errors and the slowest answer's time."""
    answers, times = [], []
    for question in QUESTIONS:
        started = time.perf_counter()
        answers.append(query(graph, question, email))
        times.append(time.perf_counter() - started)
    offers, who, results = (answer.get("data") or {} for answer in answers)
    decision, customer = offers.get("nextBestActions"), who.get("customer") or {}
    errors = [error for answer in answers for error in answer.get("errors", [])]
    return (
        _describe_offers(decision),
        "–" if customer.get("segments") is None else "yes",
        "–" if customer.get("journeys") is None else "yes",
        "–" if results.get("actionResults") is None else "yes",
        ", ".join(sorted({error["extensions"]["code"] for error in errors})),
        f"{max(times) * 1000:,.0f} ms",
    )


def _describe_offers(decision: dict[str, Any] | None) -> str:
    if decision is None:
        return "–"
    degraded = f" ({decision['degraded']})" if decision["degraded"] else ""
    return f"{len(decision['propositions'])}{degraded}"


def _wait_until_recovered(graph: GraphClient, email: str) -> None:
    """Return when every question is answered without errors again."""

    def list_errors() -> list[Any]:
        return [e for q in QUESTIONS for e in query(graph, q, email).get("errors", [])]

    _wait_until(
        lambda: not list_errors(),
        READY_S,
        lambda: f"The stack did not recover: {str(list_errors())[:800]}",
    )


def main() -> None:
    """Everything; ends with status 1 and the last lines of the logs when something is wrong."""
    console = Console(width=120)
    try:
        with start_stack(console) as running:
            show_processes(running, console)
            publish(running, console)
            email = run_demo(running, console)
            graph = GraphClient(running.url, running.token("admin", "compose test", ""))
            check_access(running, console, graph, email)
            check_separation(running, console)
            check_audit_log(running, console)
            with tempfile.TemporaryDirectory() as folder:
                rehearse_backup(running, console, graph, email, Path(folder))
            observe(running, console)
            restart_gateways(running, console, email)
            scale_decision(running, console, graph, email)
            show_processes(running, console)
            kill_one_at_a_time(running, console, graph, email)
    except RaakError as error:
        console.print(f"[bold red]{error.code}[/] {error.problem}\n{error.hint}")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
