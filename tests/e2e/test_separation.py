"""A running Raak seen from beside it: what each process is given, and that no other gets it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest

from gateway.access.authentication.service_tokens import ServiceTokens, load_private_key
from infra.processes import PROCESSES, SERVICES
from services.contracts.enums import Role
from tests.callers import caller
from tests.stack import Stack


def processes(stack: Stack) -> Iterator[psutil.Process]:
    """Everything that runs for a Raak, with the children of children."""
    for process in stack.processes.values():
        assert process.running is not None
        parent = psutil.Process(process.running.pid)
        yield parent
        yield from parent.children(recursive=True)


def secrets(stack: Stack) -> dict[str, str]:
    """All there are, by the names of their files."""
    return {path.name: path.read_text() for path in (stack.instance.folder / "secrets").iterdir()}


def environment(stack: Stack, name: str) -> dict[str, str]:
    """What a process was started with."""
    running = stack.processes[name].running
    assert running is not None
    return psutil.Process(running.pid).environ()


def test_no_secret_is_in_an_argument_of_any_process(stack: Stack) -> None:
    known = secrets(stack)

    for process in processes(stack):
        arguments = Path(f"/proc/{process.pid}/cmdline").read_text()
        assert [name for name, secret in known.items() if secret in arguments] == [], arguments


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_is_given_its_own_secrets_only(stack: Stack, name: str) -> None:
    said = str(environment(stack, name))

    given = {secret for secret, value in secrets(stack).items() if value in said}

    further = {"gateway": {"write-key", "key-secret"}, "profile": {"claim-secret"}}
    assert given == {f"postgres-{name}", f"nats-{name}"} | further.get(name, set())
    assert ("signing.pem" in said) == (name == "gateway")


@pytest.mark.parametrize("name", ["postgres", "nats"])
def test_a_server_is_given_no_setting_of_ours(stack: Stack, name: str) -> None:
    given = environment(stack, name)

    assert {variable for variable in given if variable.startswith("RAAK_")} == {
        "RAAK_INSTANCE_FOLDER"
    }


@pytest.mark.parametrize("name", PROCESSES)
async def test_a_process_is_refused_by_every_database_but_its_own(stack: Stack, name: str) -> None:
    url = environment(stack, name)[f"RAAK_{name.upper()}_DATABASE_URL"]
    own = await asyncpg.connect(url)
    others = [f"raak_{other}" for other in PROCESSES if other != name]

    assert await own.fetchval("SELECT count(*) FROM alembic_version") == 1
    await own.close()
    for database in (*others, "postgres", "template1"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with asyncio.timeout(30):
                await asyncpg.connect(url, database=database)


@pytest.mark.parametrize("service", SERVICES)
def test_a_token_for_one_service_opens_no_other(stack: Stack, service: str) -> None:
    tokens = ServiceTokens(load_private_key(stack.instance.keys.signing.read_text()))
    admin = caller(Role.ADMIN)
    port = stack.instance.ports[service]

    def codes(token: str) -> list[str]:
        answer = httpx.post(
            f"http://127.0.0.1:{port}/graphql",
            json={"query": "{ __typename }"},
            headers={"Authorization": token},
            trust_env=False,
            timeout=30,
        ).json()
        return [error["extensions"]["code"] for error in answer.get("errors", [])]

    assert codes(tokens.authorization(admin, service)) == []
    for other in ("live", *SERVICES):
        if other != service:
            assert codes(tokens.authorization(admin, other)) == ["UNAUTHENTICATED"]
