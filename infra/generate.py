"""`make generate`: every file that is written from the code, and whether one is stale."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from graphql import GraphQLSchema

from gateway.access.authorization import role_table, scope_paths
from gateway.access.authorization.authorization import Authorization
from gateway.access.authorization.roles import Roles
from gateway.schema_source import read_subgraphs
from gateway.supergraph import compose
from infra import (
    client_caches,
    dashboards,
    error_reference,
    explorer_examples,
    nats_users,
    settings_doc,
)
from infra.schema import SchemaFiles
from services.chassis.errors import RaakError

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

PAGES: Mapping[Path, Callable[[], str]] = {
    DOCS / "roles.md": lambda: role_table.page(*_read_authorization()[:2]),
    DOCS / "scopes.md": lambda: scope_paths.page(*_read_authorization()),
    DOCS / "operations.md": settings_doc.page,
    client_caches.PAGE: client_caches.page,
    DOCS / "errors.md": error_reference.page,
    dashboards.DASHBOARD: dashboards.render,
    explorer_examples.FILE: explorer_examples.render,
    nats_users.CONFIGURATION: nats_users.configuration,
}
"""The files besides the SDL, with the function that renders each from fresh SDL."""


def _read_authorization() -> tuple[Roles, Authorization, GraphQLSchema]:
    roles, supergraph = Roles.read(), compose(read_subgraphs())
    return roles, Authorization.over(supergraph, roles), supergraph.schema


def find_stale() -> Iterator[str]:
    yield from SchemaFiles.build().find_stale()
    for path, render in PAGES.items():
        if not path.exists() or path.read_text() != render():
            yield str(path.relative_to(ROOT))


def generate() -> list[str]:
    """Write what is stale; gives its names. Raises BreakingSchemaChange."""
    changed = SchemaFiles.build().write()
    for path, render in PAGES.items():
        text = render()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            changed.append(str(path.relative_to(ROOT)))
    return changed


def main() -> None:
    try:
        changed = generate()
    except RaakError as error:
        raise SystemExit(f"{error.code} {error.problem}\n{error.hint}") from None
    print(f"Changed: {', '.join(changed) or 'none'}.")


if __name__ == "__main__":
    main()
