"""The command line: `raak up`, `raak demo`, `raak apply`, and what operators need."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.chassis.errors import RaakError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Raak: real-time customer decisioning.",
)
keys = typer.Typer(
    no_args_is_help=True, help="API keys for servers, and the key pair that signs tokens."
)
operations = typer.Typer(
    no_args_is_help=True, help="Registered operations: in production nothing else is answered."
)
audit = typer.Typer(no_args_is_help=True, help="The audit log: who read or changed whom.")
dead_letters = typer.Typer(no_args_is_help=True, help="Events that could not be handled.")
app.add_typer(keys, name="keys")
app.add_typer(operations, name="operations")
app.add_typer(audit, name="audit")
app.add_typer(dead_letters, name="dead-letters")

console = Console()

Folder = Annotated[Path, typer.Option("--data", help="folder of the instance")]
Port = Annotated[int, typer.Option(help="the gateway's port; the others follow it")]

HERE = Path(".raak")


def main() -> None:
    """Run a command; a RaakError is printed in two lines, without a traceback."""
    try:
        app()
    except RaakError as error:
        message = escape(f"{error.problem}\n{error.hint}")
        Console(stderr=True).print(f"[bold red]{error.code}[/] {message}")
        raise SystemExit(1) from None


@app.command()
def version() -> None:
    """Say which version this is."""
    console.print(installed_version("raak"))


@app.command()
def up(data: Folder = HERE, port: Port = 8000) -> None:
    """Start PostgreSQL, NATS, the services and the gateway; serve until Ctrl-C."""
    from infra import standalone
    from infra.instance import EmbeddedInstance

    standalone.serve(EmbeddedInstance(data.resolve(), port), console.print)


@app.command()
def demo(
    data: Folder = HERE,
    port: Port = 8000,
    exit: Annotated[bool, typer.Option("--exit", help="end after the last scenario")] = False,
    customers: Annotated[
        int, typer.Option(min=100, max=23570, help="how many customers to import")
    ] = 23570,
) -> None:
    """Start everything, import real customers, run the scenarios, and go on serving."""
    from infra import demo as scenarios
    from infra import standalone
    from infra.instance import EmbeddedInstance

    instance = EmbeddedInstance(data.resolve(), port)
    standalone.serve(
        instance,
        console.print,
        lambda: scenarios.run_demo(instance, console, customers, is_lasting=not exit),
        is_lasting=not exit,
    )


@app.command()
def settings(
    all: Annotated[bool, typer.Option(help="also those that have their default")] = False,
) -> None:
    """Print what each process is set to by this environment, and where from; no secrets."""
    from infra.settings_report import list_settings

    table = Table("process", "setting", "value", "from", box=None)
    for row in list_settings(with_defaults=all):
        table.add_row(*map(escape, row))
    console.print(table)


@app.command()
def migrate() -> None:
    """Migrate all databases, at the addresses in RAAK_<PROCESS>_DATABASE_URL.

    With an administrator's in RAAK_DATABASE_SERVER_URL, they and their roles are created first;
    with the owners' in RAAK_<PROCESS>_MIGRATION_DATABASE_URL, the processes may change no table.
    """
    from infra import standalone
    from infra.databases import administrator_from_environment, databases_from_environment

    databases = databases_from_environment()
    if databases is None:
        raise typer.BadParameter(
            "Set RAAK_DATABASE_SERVER_URL to the PostgreSQL server, or RAAK_<PROCESS>_DATABASE_URL"
            " for each process."
        )
    asyncio.run(standalone.migrate_all(databases, administrator_from_environment()))


@app.command()
def resync(
    service: Annotated[list[str] | None, typer.Argument(help="which; none: all")] = None,
    since: Annotated[
        float,
        typer.Option(min=0, max=168, help="hours of events to repeat, besides all state"),
    ] = 24,
    restored: Annotated[
        bool, typer.Option("--restored", help="its database is a backup: begin a new epoch")
    ] = False,
    data: Folder = HERE,
) -> None:
    """Have services publish again what their databases hold; running it twice is harmless."""
    from infra import resync as resyncs
    from infra.databases import find_databases
    from infra.processes import SERVICES

    window = timedelta(hours=since)
    databases = find_databases(data, SERVICES)
    asyncio.run(resyncs.run(databases, service or (), window, console.print, is_restored=restored))


@app.command()
def recount(data: Folder = HERE) -> None:
    """Make measurement's daily results what its raw records say; all goes on meanwhile."""
    from infra.databases import find_databases, open_process_database
    from services.measurement import service

    async def run() -> service.RecountSummary:
        async with open_process_database(find_databases(data, ["measurement"])[0]) as database:
            return await service.recount(database)

    found = asyncio.run(run())
    console.print(
        f"Corrected: {found.propositions} propositions, {found.counts} daily counts,"
        f" {found.values} daily values."
    )


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="to be written")], data: Folder = HERE
) -> None:
    """Write all databases as of one moment, keys and secrets to a folder, while Raak works."""
    from infra import backup as backups

    backups.backup(data, folder, datetime.now(UTC))
    console.print(f"{folder} holds everything, secrets too: store it safely.")


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="that `raak backup` has written")],
    data: Folder = HERE,
    port: Port = 8000,
    replace: Annotated[
        bool, typer.Option("--replace", help="also where the environment's databases hold data")
    ] = False,
) -> None:
    """Make the databases the environment names, else an instance, what they were at a backup.

    What an instance has now is put aside.
    """
    from infra import restore as restores
    from infra.databases import databases_from_environment
    from infra.instance import EmbeddedInstance

    databases, now = databases_from_environment(), datetime.now(UTC)
    if databases is None:
        aside = restores.restore_instance(EmbeddedInstance(data.resolve(), port), folder, now)
        console.print(f"Restored; start it with `raak up`. What was there is in {aside or '–'}.")
        return
    manifest = restores.read_backup(folder)
    restoring = restores.restore_databases(databases, folder, manifest, now, can_replace=replace)
    asyncio.run(restoring)
    for line in restores.list_differences(folder):
        console.print(f"[yellow]{escape(line)}[/]", soft_wrap=True)
    console.print("Restored. Empty NATS, start Raak, and services publish again what they hold.")


@app.command()
def schema(
    check: Annotated[bool, typer.Option(help="only compare, write nothing")] = False,
    allow_breaking: Annotated[
        bool, typer.Option("--allow-breaking", help="write what clients can't follow, too")
    ] = False,
    supergraph: Annotated[
        Path | None, typer.Option(help="also write a supergraph SDL there, for any router")
    ] = None,
) -> None:
    """Write the services' SDL and the public schema, or fail if one is stale or breaks clients."""
    from infra.schema import SchemaFiles

    code = SchemaFiles.build()
    for change in code.find_dangerous_changes():
        console.print(f"[yellow]dangerous:[/] {escape(change)}")
    if supergraph:
        supergraph.write_text(code.supergraph(os.environ))
    if check:
        code.check()
        console.print("The SDL is fresh and composes, and breaks no client.")
    else:
        changed = code.write(allow_breaking=allow_breaking)
        console.print(f"The SDL composes; changed: {', '.join(changed) or 'none'}.")


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(help="of GraphQL: one operation or several")],
    as_json: Annotated[
        bool, typer.Option("--json", help="print the plans as Apollo's JSON, one after the other")
    ] = False,
    supergraph: Annotated[
        Path | None, typer.Option(help="plan over this supergraph SDL, not over our own graph")
    ] = None,
    variables: Annotated[
        str, typer.Option(help="JSON: what @skip and @include read; by default false")
    ] = "{}",
) -> None:
    """Print the query plans of operations."""
    from infra import query_plans

    graph = query_plans.load_supergraph(supergraph)
    for found in query_plans.plan_file(file, graph, query_plans.read_variables(variables)):
        print(found.as_json() if as_json else found.as_text())


@app.command()
def apply(
    folder: Annotated[Path, typer.Argument(help="segments, catalogue and journeys")],
    data: Folder = HERE,
    url: Annotated[str, typer.Option(help="another gateway's address")] = "",
    token: Annotated[str, typer.Option(envvar="RAAK_TOKEN", help="for another gateway")] = "",
) -> None:
    """Publish a folder of definitions through the graph."""
    from infra import definitions
    from infra.graph_client import GraphClient
    from infra.instance import EmbeddedInstance
    from infra.tokens import issue

    if not url:
        instance = EmbeddedInstance.load(data)
        url, token = instance.url, token or issue(instance.keys.tokens, "marketer", "raak apply")
    for path in definitions.apply(GraphClient(url, token), folder):
        console.print(f"[green]published[/] {path}")


@app.command()
def token(
    role: Annotated[str, typer.Argument(help="visitor, app, agent, marketer, analyst, …")],
    subject: Annotated[str, typer.Option(help="whose token it is")] = "developer",
    customer: Annotated[
        str, typer.Option(help="for visitor and app: type=value, say email=ann@example.com")
    ] = "",
    hours: Annotated[float, typer.Option(min=0.01, max=8760, help="how long it is valid")] = 12,
    data: Folder = HERE,
    scope: Annotated[
        list[str] | None, typer.Option(help="narrow it to this scope of its role; repeatable")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="another signing key (PEM)")] = None,
) -> None:
    """Print a signed token for the Authorization header."""
    from gateway.settings import GatewaySettings
    from infra.instance import EmbeddedInstance
    from infra.tokens import issue

    settings = GatewaySettings()
    signing = key or settings.token_signing_key_file or EmbeddedInstance.load(data).keys.tokens
    longest_s = settings.token_longest_life_s
    typer.echo(issue(signing, role, subject, customer, hours, scope or (), longest_s))


@app.command()
def mcp(
    url: Annotated[str, typer.Option(help="a gateway's address; else the one in --data")] = "",
    role: Annotated[
        str, typer.Option(help="with the instance in --data: whose rights the assistant has")
    ] = "agent",
    data: Folder = HERE,
) -> None:
    """Let an assistant on this machine use the tools of a gateway, by standard input and output.

    Its token or API key stands in RAAK_TOKEN; for the instance in --data one is made of --role.
    """
    from infra.assistant import relay
    from infra.instance import EmbeddedInstance
    from infra.tokens import issue

    token = os.environ.get("RAAK_TOKEN", "")
    if url and not token:
        raise typer.BadParameter("Set RAAK_TOKEN to a token or API key of that gateway.")
    if not (url and token):
        instance = EmbeddedInstance.load(data)
        url = url or instance.url
        token = token or issue(instance.keys.tokens, role, "assistant")
    relay(url, token)


@app.command()
def claim(
    anonymous_id: Annotated[str, typer.Option(help="the browser it is for")],
    user_id: Annotated[str, typer.Option(help="who uses it")] = "",
    email: Annotated[str, typer.Option(help="who uses it, by e-mail address")] = "",
    minutes: Annotated[float, typer.Option(min=0.1, max=1440, help="how long it is valid")] = 15,
    data: Folder = HERE,
) -> None:
    """Print a signed claim, as your server makes one for a visitor who has logged in."""
    from infra.instance import EmbeddedInstance
    from infra.tokens import issue_claim
    from services.profile.settings import ProfileSettings

    secrets = ProfileSettings().claim_secrets or (
        EmbeddedInstance.load(data).secret("claim-secret"),
    )
    identities = {"user_id": user_id, "email": email}
    typer.echo(issue_claim(secrets[0], anonymous_id, identities, datetime.now(UTC), minutes))


@keys.command("init")
def keys_init(
    directory: Annotated[
        Path, typer.Option(help="where signing.pem, verify.pem and tokens.pem go")
    ],
    verify_directory: Annotated[
        Path | None, typer.Option(help="where verify.pem goes instead, for the services to read")
    ] = None,
) -> None:
    """Make the keys that tokens are signed and checked with, unless they are there."""
    from infra.instance import make_keys

    for path in make_keys(directory, verify_directory):
        console.print(str(path))


@keys.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="what it is for, to know it by later")],
    role: Annotated[str, typer.Option(help="agent, marketer, analyst, privacy or admin")],
    scope: Annotated[
        list[str] | None, typer.Option(help="narrow it to this scope of its role; repeatable")
    ] = None,
    days: Annotated[float | None, typer.Option(min=0.01, help="how long it is valid")] = None,
    data: Folder = HERE,
) -> None:
    """Create an API key for a server, and print it once."""
    from infra import keys as api_keys
    from infra.gateway_database import load_gateway_settings

    settings, now = load_gateway_settings(data), datetime.now(UTC)
    text, key = asyncio.run(api_keys.create(settings, name, role, scope or [], days, now))
    Console(stderr=True).print(f"Key {key.id}; store it safely: it is not shown again.")
    typer.echo(text)


@keys.command("list")
def keys_list(data: Folder = HERE) -> None:
    """List all API keys, revoked ones too, oldest first."""
    from infra import keys as api_keys
    from infra.gateway_database import load_gateway_settings

    table = Table("id", "name", "role", "scopes", "created", "expires", "last used", "state")
    table.columns[0].no_wrap = True  # it is what `raak keys revoke` wants
    now = datetime.now(UTC)
    for key in asyncio.run(api_keys.list_keys(load_gateway_settings(data))):
        scopes = "all of its role" if key.scopes is None else ", ".join(sorted(key.scopes))
        moments = (_moment(at) for at in (key.created_at, key.expires_at, key.last_used_at))
        state = api_keys.state(key, now)
        table.add_row(key.id, escape(key.name), key.role, scopes, *moments, state)
    console.print(table)


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "–"


@keys.command("revoke")
def keys_revoke(key: Annotated[str, typer.Argument(help="its id")], data: Folder = HERE) -> None:
    """Revoke an API key: within a second, everywhere."""
    from infra import keys as api_keys
    from infra.gateway_database import load_gateway_settings

    asyncio.run(api_keys.revoke(load_gateway_settings(data), key, datetime.now(UTC)))
    console.print(f"{key} is revoked.")


@operations.command("publish")
def operations_publish(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="folders of *.graphql, or manifests (Apollo, Relay, codegen)"),
    ] = None,
    data: Folder = HERE,
    url: Annotated[
        str, typer.Option(help="a gateway's address, where its database is out of reach")
    ] = "",
    key: Annotated[
        str,
        typer.Option(envvar="RAAK_API_KEY", help="for --url, with the scope operations:publish"),
    ] = "",
) -> None:
    """Register documents, and those `raak apply` sends: all of them or none."""
    from infra import operations as registered
    from infra.gateway_database import load_gateway_settings

    now = datetime.now(UTC)
    if url and not key:
        raise typer.BadParameter("Set RAAK_API_KEY to a key with the scope operations:publish.")
    if url:
        answer = registered.publish_to(url, key, paths or [], now)
    else:
        answer = asyncio.run(registered.publish(load_gateway_settings(data), paths or [], now))
    for each in answer["operations"]:
        line = f"{each['id']}  {each['source']}: {each['name'] or '(without a name)'}"
        if each.get("tool"):
            line += f", the tool {each['tool']}"
        elif "noTool" in each:
            line += f", no tool: {each['noTool']}"
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    console.print(f"{answer['registered']} documents are registered; {answer['new']} are new.")


@operations.command("list")
def operations_list(data: Folder = HERE) -> None:
    """List the registered documents, with their hashes and operations."""
    from infra import operations as registered
    from infra.gateway_database import load_gateway_settings

    for document in asyncio.run(registered.list_documents(load_gateway_settings(data))):
        called = "  ".join(document.names)
        line = f"{called}  {_moment(document.published_at)}  {registered.describe(document)}"
        console.print(line, soft_wrap=True, highlight=False, markup=False)


@operations.command("retire")
def operations_retire(
    hash: Annotated[str, typer.Argument(help="or id of the document, or the beginning of it")],
    data: Folder = HERE,
) -> None:
    """Retire a document: within a second it is refused everywhere."""
    from infra import operations as registered
    from infra.gateway_database import load_gateway_settings

    document = asyncio.run(registered.retire(load_gateway_settings(data), hash))
    console.print(f"{registered.describe(document)} is retired.", markup=False)


@audit.command("verify")
def audit_verify(
    files: Annotated[list[Path], typer.Argument(help="of the log, the oldest first")],
    head: Annotated[
        str, typer.Option(help="a head the gateway's own log has printed: it must be in them")
    ] = "",
    data: Folder = HERE,
) -> None:
    """Say whether a log is as it was written, or which line was changed, removed or inserted."""
    from infra import audit as log

    for line in log.describe(log.verify(files, log.load_audit_secret(data), head)):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


@audit.command("digest")
def audit_digest(
    kind: Annotated[str, typer.Argument(help="email, phone, …; subject for a caller")],
    value: Annotated[str, typer.Argument(help="whom to look for")],
    data: Folder = HERE,
) -> None:
    """Print what the log calls an identity or a caller."""
    from infra import audit as log

    typer.echo(log.digest(kind, value, log.load_audit_secret(data)))


@dead_letters.command("list")
def dead_letters_list(data: Folder = HERE, nats: str = "") -> None:
    """List the events that could not be handled, oldest first."""
    from infra import dead_letters as letters

    table = Table("no", "service", "fact", "deliveries", "why")
    for letter in asyncio.run(letters.list_dead_letters(_nats(data, nats))):
        table.add_row(
            str(letter.sequence),
            letter.service,
            letter.fact,
            str(letter.deliveries),
            letter.reason,
        )
    console.print(table)


@dead_letters.command("replay")
def dead_letters_replay(
    numbers: Annotated[list[int] | None, typer.Argument(help="which; none: all")] = None,
    data: Folder = HERE,
    nats: str = "",
) -> None:
    """Deliver dead letters again to the consumer that failed on them."""
    from infra import dead_letters as letters

    replayed = asyncio.run(letters.replay(_nats(data, nats), set(numbers or ())))
    console.print(f"{replayed} delivered again.")


def _nats(data: Path, url: str) -> str:
    from gateway.settings import GatewaySettings
    from infra.instance import EmbeddedInstance

    settings = GatewaySettings()
    if not url and "nats_url" in settings.model_fields_set:
        return settings.nats_url
    return url or EmbeddedInstance.load(data).nats_url


if __name__ == "__main__":
    main()
