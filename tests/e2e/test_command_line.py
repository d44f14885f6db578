"""The command line against a running Raak, and what it says when something is wrong."""

import asyncio
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infra.cli import app, main
from infra.demo.queries import wait_until
from infra.graph_client import GraphClient
from services.chassis.bus import open_bus
from services.chassis.streams import OutgoingMessage
from tests.stack import Stack
from tests.waiting import until

COMMANDS = ("up", "demo", "migrate", "schema", "apply", "token")


def run(*arguments: str) -> Result:
    """A command, as typed."""
    return CliRunner().invoke(app, list(arguments))


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run a command that fails, as the installed `raak` does."""
    monkeypatch.setattr("sys.argv", ["raak", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1


def test_a_printed_token_opens_the_graph(stack: Stack) -> None:
    token = run("token", "agent", "--data", str(stack.instance.folder)).stdout.strip()

    assert GraphClient(stack.instance.url, token).data("{ actions { key } }")["actions"]


def test_a_token_for_a_visitor_names_its_customer(stack: Stack) -> None:
    folder = str(stack.instance.folder)
    token = run("token", "visitor", "--customer", "anonymous_id=v-7", "--data", folder).stdout

    answer = GraphClient(stack.instance.url, token.strip()).data(
        'query { customer(ref: {identity: {type: "anonymous_id", value: "v-7"}}) { id } }'
    )

    assert answer == {"customer": None}  # the caller's own customer, not heard of yet


def test_a_token_can_be_narrowed_to_some_scopes_of_its_role(stack: Stack) -> None:
    folder = str(stack.instance.folder)
    scopes = ("--scope", "catalogue:read", "--scope", "results:read")
    token = run("token", "agent", *scopes, "--data", folder).stdout.strip()
    graph = GraphClient(stack.instance.url, token)

    assert graph.data("{ actions { key } }")["actions"]
    assert codes(graph.answer("{ segments { key } }")) == {"UNAUTHORIZED_FIELD_OR_TYPE"}


def codes(answer: dict[str, Any]) -> set[str]:
    """The codes of an answer's errors."""
    return {error["extensions"]["code"] for error in answer.get("errors", [])}


def test_a_servers_key_opens_the_graph_until_it_is_revoked(stack: Stack) -> None:
    folder = str(stack.instance.folder)
    created = run("keys", "create", "the shop's server", "--role", "agent", "--data", folder)
    key = created.stdout.strip().splitlines()[-1]
    graph = GraphClient(stack.instance.url, key)

    wait_until(lambda: not codes(graph.answer("{ actions { key } }")))
    output = run("keys", "list", "--data", folder).stdout
    revoked = run("keys", "revoke", key.split("_")[1], "--data", folder)
    wait_until(lambda: codes(graph.answer("{ actions { key } }")) == {"UNAUTHENTICATED"})

    assert key.split("_")[1] in output
    assert key.split("_")[2] not in output
    assert revoked.exit_code == 0


def test_a_key_that_cannot_be_is_told_why(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(stack.instance.folder)

    run_main(monkeypatch, "keys", "create", "x", "--role", "visitor", "--data", folder)
    run_main(monkeypatch, "keys", "revoke", "0123456789abcdef", "--data", folder)

    told = capsys.readouterr().err
    assert "INVALID_KEY_REQUEST" in told
    assert "NO_SUCH_KEY" in told


def test_operations_are_published_listed_and_retired(
    stack: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = str(stack.instance.folder)
    document = "query ForTheTest { segments { key } }\n"
    (tmp_path / "for_the_test.graphql").write_text(document)
    by_hash = {"documentId": sha256(document.encode()).hexdigest()}

    published = run("operations", "publish", str(tmp_path), "--data", folder)
    wait_until(lambda: "data" in stack.ask_raw("analyst", by_hash))
    output = run("operations", "list", "--data", folder).stdout
    retired = run("operations", "retire", by_hash["documentId"][:12], "--data", folder)
    wait_until(lambda: "data" not in stack.ask_raw("analyst", by_hash))
    (tmp_path / "wrong.graphql").write_text("query Wrong { segmentz { key } }\n")
    run_main(monkeypatch, "operations", "publish", str(tmp_path), "--data", folder)

    assert by_hash["documentId"] in published.stdout
    assert "for_the_test.graphql: ForTheTest" in output
    assert retired.exit_code == 0
    assert "wrong.graphql:1" in capsys.readouterr().err.replace("\n", "")
    assert by_hash["documentId"] not in run("operations", "list", "--data", folder).stdout


def test_applying_the_same_definitions_twice_changes_nothing(stack: Stack) -> None:
    versions = "{ actions { catalogueVersion } journeyDefinitions { key version } }"
    before = stack.as_("marketer").data(versions)

    done = run("apply", "examples/records", "--data", str(stack.instance.folder))

    assert done.exit_code == 0, done.output
    assert done.stdout.count("published") == 9
    assert stack.as_("marketer").data(versions) == before


def test_a_refused_definition_is_told_with_its_file_and_line(
    stack: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "catalogue.yaml").write_text("currency: USD\nplacements: []\nacts: []\n")

    run_main(monkeypatch, "apply", str(tmp_path), "--data", str(stack.instance.folder))

    output = "".join(capsys.readouterr().err.split())  # a long path is broken anywhere
    assert "catalogue.yaml" in output
    assert "line3" in output
    assert "actions" in output


async def test_what_nobody_can_handle_is_listed_and_delivered_again(stack: Stack) -> None:
    folder = str(stack.instance.folder)
    async with open_bus(stack.instance.nats_url) as bus:
        nonsense = OutgoingMessage("raak.profile.event_recorded.v1.x", "nonsense-1", b"{}")
        await bus.publish([nonsense])

        async def both_gave_up() -> bool:
            return len(await bus.list_dead_letters()) == 2  # of journey and of measurement

        await until(both_gave_up)

    output = (await asyncio.to_thread(run, "dead-letters", "list", "--data", folder)).stdout
    replayed = await asyncio.to_thread(run, "dead-letters", "replay", "--data", folder)

    assert "journey" in output
    assert "measurement" in output
    assert "2 delivered again" in replayed.stdout


def test_a_folder_without_raak_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_main(monkeypatch, "token", "agent", "--data", str(tmp_path))

    output = capsys.readouterr().err
    assert "NO_INSTANCE" in output
    assert "raak up" in output


def test_every_command_says_what_it_does() -> None:
    page = run("--help").stdout

    for command in (*COMMANDS, "keys", "operations", "dead-letters"):
        assert command in page
        assert run(command, "--help").exit_code == 0
