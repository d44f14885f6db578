"""The command line: `raak up`, `raak demo`, `raak apply`, and what operators need."""

import asyncio
import os
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.chassis.errors import RaakError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Raak: real-time customer decisioning.",
)
keys = typer.Typer(no_args_is_help=True, help="The key pair that tokens are signed with.")
dead_letters = typer.Typer(no_args_is_help=True, help="Events that could not be handled.")
app.add_typer(keys, name="keys")
app.add_typer(dead_letters, name="dead-letters")

console = Console()

Folder = Annotated[Path, typer.Option("--data", help="folder of the instance")]
Port = Annotated[int, typer.Option(help="the gateway's port; the others follow it")]

HERE = Path(".raak")


def main() -> None:
    """Run a command; what a caller can mend is told in two lines, without a traceback."""
    try:
        app()
    except RaakError as error:
        Console(stderr=True).print(f"[bold red]{error.code}[/] {error.problem}\n{error.hint}")
        raise SystemExit(1) from None


@app.command()
def version() -> None:
    """Say which version this is."""
    console.print(installed_version("raak"))


@app.command()
def up(data: Folder = HERE, port: Port = 8000) -> None:
    """Start PostgreSQL, NATS, the services and the gateway; serve until Ctrl-C."""
    from infra import standalone
    from infra.instance import Instance

    instance = Instance(data.resolve(), port)
    with standalone.interruptible(), standalone.running(instance) as processes:
        console.print(standalone.banner(instance))
        standalone.keep_serving(processes, console.print)


@app.command()
def demo(
    data: Folder = HERE,
    port: Port = 8000,
    exit: Annotated[bool, typer.Option("--exit", help="end when the story is told")] = False,
    customers: Annotated[
        int, typer.Option(min=100, max=23570, help="how many customers to import")
    ] = 23570,
) -> None:
    """Start everything, import real customers, tell the story, and go on serving."""
    from infra import demo as story
    from infra import standalone
    from infra.instance import Instance

    instance = Instance(data.resolve(), port)
    with standalone.interruptible(), standalone.running(instance) as processes:
        console.print(standalone.banner(instance))
        story.tell(instance, console, customers)
        if not exit:
            standalone.keep_serving(processes, console.print)


@app.command()
def migrate() -> None:
    """Bring all databases to their newest revision (RAAK_DATABASE_SERVER_URL says where)."""
    from infra import standalone

    server = os.environ.get("RAAK_DATABASE_SERVER_URL")
    if not server:
        raise typer.BadParameter("Set RAAK_DATABASE_SERVER_URL to the PostgreSQL server.")
    asyncio.run(standalone.migrate_all(server))


@app.command()
def schema(
    check: Annotated[bool, typer.Option(help="only compare, write nothing")] = False,
) -> None:
    """Write the services' SDL to gateway/subgraphs/, or fail if it is stale."""
    from gateway.supergraph import compose
    from infra import schema as sdl

    changed = sdl.stale() if check else sdl.write_all()
    if check and changed:
        console.print(f"[red]Stale SDL:[/] {', '.join(changed)}. Run `raak schema`.")
        raise typer.Exit(code=1)
    compose({path.stem: path.read_text() for path in sorted(sdl.SUBGRAPHS.glob("*.graphql"))})
    console.print(f"The SDL is fresh and composes; changed: {', '.join(changed) or 'none'}.")


@app.command()
def apply(
    folder: Annotated[Path, typer.Argument(help="segments, catalogue and journeys")],
    data: Folder = HERE,
    url: Annotated[str, typer.Option(help="another gateway's address")] = "",
    token: Annotated[str, typer.Option(envvar="RAAK_TOKEN", help="for another gateway")] = "",
) -> None:
    """Publish a folder of definitions through the graph."""
    from infra import definitions
    from infra.client import Graph
    from infra.instance import Instance

    if not url:
        instance = Instance.found(data)
        url, token = instance.url, token or _token(instance.keys[0], "marketer", "raak apply")
    for path in definitions.apply(Graph(url, token), folder):
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
    key: Annotated[Path | None, typer.Option(help="another signing key (PEM)")] = None,
) -> None:
    """Print a signed token for the Authorization header."""
    from infra.instance import Instance

    signing = key or Instance.found(data).keys[0]
    typer.echo(_token(signing, role, subject, customer, hours))


def _token(signing: Path, role: str, subject: str, customer: str = "", hours: float = 12) -> str:
    from infra.tokens import issue

    return issue(signing, role, subject, customer, hours)


@keys.command("init")
def keys_init(
    directory: Annotated[Path, typer.Option(help="where signing.pem and verify.pem go")],
) -> None:
    """Make a key pair, unless there is one."""
    from infra.instance import make_keys

    for path in make_keys(directory):
        console.print(str(path))


@dead_letters.command("list")
def dead_letters_list(data: Folder = HERE, nats: str = "") -> None:
    """List the events that could not be handled, oldest first."""
    from infra import letters

    table = Table("no", "service", "fact", "deliveries", "why")
    for letter in asyncio.run(letters.listed(_nats(data, nats))):
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
    """Deliver dead letters once more, to the consumer that could not take them in."""
    from infra import letters

    replayed = asyncio.run(letters.replay(_nats(data, nats), set(numbers or ())))
    console.print(f"{replayed} delivered again.")


def _nats(data: Path, url: str) -> str:
    from infra.instance import Instance

    return url or os.environ.get("RAAK_NATS_URL") or Instance.found(data).nats_url


if __name__ == "__main__":
    main()
