"""The SDL that is committed: written from the code, checked against it, and never broken unseen.

`gateway/subgraphs/*.graphql` is what each service says of itself; `gateway/schema.graphql` is what
they compose to, as clients see it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

from graphql import (
    BreakingChangeType,
    DangerousChangeType,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLSchema,
    build_schema,
    find_schema_changes,
)

from gateway.settings import GatewaySettings
from gateway.supergraph import compose, compose_sdl
from gateway.supergraph.errors import to_sentence
from infra.processes import SERVICES
from services.chassis.errors import RaakError

GATEWAY = Path(__file__).parents[1] / "gateway"
MODULES = {name: f"services.{name}.schema" for name in SERVICES} | {"live": "gateway.live.schema"}
"""Where the schema of each subgraph is written."""


class StaleSchema(RaakError, code="SCHEMA_STALE"):
    """Committed SDL is not what the code says."""

    def __init__(self, files: list[str]) -> None:
        super().__init__(f"Stale SDL: {', '.join(files)}.", hint="Run `raak schema`.")


class UnreadableSchema(RaakError, code="SCHEMA_UNREADABLE"):
    """The committed public schema is no SDL, so what the code would break is unknown."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(
            f"{file} can't be read: {problem}",
            hint="Restore it from version control; it is only ever written by `raak schema`.",
        )


class BreakingSchemaChange(RaakError, code="SCHEMA_BROKEN"):
    """Clients that work today would not work with what the code says now."""

    def __init__(self, changes: list[str]) -> None:
        lines = "".join(f"\n- {change}" for change in changes)
        count = f"{len(changes)} breaking changes" if len(changes) > 1 else "1 breaking change"
        super().__init__(
            f"{count} of the public schema:{lines}\n",
            hint="Add instead of changing, and deprecate what is old; "
            "if no client is left that needs it, run `raak schema --allow-breaking`.",
        )


@dataclass(frozen=True)
class SchemaFiles:
    """What the code says now, beside what is committed in `folder`."""

    subgraphs: Mapping[str, str]
    folder: Path = GATEWAY

    @classmethod
    def build(cls) -> "SchemaFiles":
        schemas = {name: import_module(module).schema for name, module in MODULES.items()}
        return cls({name: f"{schema.as_str()}\n" for name, schema in schemas.items()})

    @cached_property
    def files(self) -> dict[Path, str]:
        """All that should be committed; raises CompositionError if the subgraphs don't compose."""
        written = {
            self.folder / "subgraphs" / f"{name}.graphql": sdl
            for name, sdl in self.subgraphs.items()
        }
        return {**written, self.folder / "schema.graphql": compose(self.subgraphs).sdl}

    def find_stale(self) -> list[str]:
        """The files that differ from the code, or belong to no subgraph."""
        changed = [path for path, text in self.files.items() if _read_committed(path) != text]
        left = set((self.folder / "subgraphs").glob("*.graphql")) - self.files.keys()
        return [str(path.relative_to(self.folder)) for path in (*changed, *sorted(left))]

    def find_breaking_changes(self) -> list[str]:
        return self._changes(BreakingChangeType)

    def find_dangerous_changes(self) -> list[str]:
        return self._changes(DangerousChangeType)

    def check(self) -> None:
        if changes := self.find_breaking_changes():
            raise BreakingSchemaChange(changes)
        if files := self.find_stale():
            raise StaleSchema(files)

    def write(self, *, allow_breaking: bool = False) -> list[str]:
        """Write or remove stale files, and give their names; raises BreakingSchemaChange."""
        if not allow_breaking and (changes := self.find_breaking_changes()):
            raise BreakingSchemaChange(changes)
        stale = self.find_stale()
        for name in stale:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path in self.files:
                path.write_text(self.files[path])
            else:
                path.unlink()
        return stale

    def supergraph(self, environment: Mapping[str, str]) -> str:
        """The supergraph SDL for any router, with subgraph addresses of the environment."""
        urls = {name: _url(name, environment) for name in self.subgraphs}
        return compose_sdl(self.subgraphs, {name: url for name, url in urls.items() if url})

    def _changes(self, kind: type[BreakingChangeType | DangerousChangeType]) -> list[str]:
        path = self.folder / "schema.graphql"
        if not (committed := _read_committed(path)):
            return []
        try:
            before = build_schema(committed)
        except (GraphQLError, TypeError) as error:
            raise UnreadableSchema(path.name, to_sentence(error.args[0])) from None
        after = build_schema(self.files[path])
        changes = [
            c.description for c in find_schema_changes(before, after) if isinstance(c.type, kind)
        ]
        if kind is BreakingChangeType:
            changes += _find_new_one_ofs(before, after)
        return sorted(changes)


def _find_new_one_ofs(before: GraphQLSchema, after: GraphQLSchema) -> Iterator[str]:
    """Inputs that take exactly one field from now on, which graphql-core overlooks."""
    for name, type_ in after.type_map.items():
        old = before.type_map.get(name)
        if _is_one_of(type_) and isinstance(old, GraphQLInputObjectType) and not old.is_one_of:
            yield f"{name} became @oneOf: exactly one of its fields must be given."


def _is_one_of(type_: GraphQLNamedType) -> bool:
    return isinstance(type_, GraphQLInputObjectType) and type_.is_one_of


def _url(subgraph: str, environment: Mapping[str, str]) -> str:
    setting = f"{subgraph}_url"
    known = GatewaySettings.model_fields.get(setting)
    base = environment.get(f"RAAK_GATEWAY_{setting.upper()}") or (known.default if known else "")
    return f"{base}/graphql" if base else ""


def _read_committed(path: Path) -> str:
    return path.read_text() if path.exists() else ""
