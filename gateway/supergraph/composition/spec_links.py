"""Read @link (and @core of Federation 1): which specifications a document uses, by what names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from graphql import (
    ConstDirectiveNode,
    DocumentNode,
    SchemaDefinitionNode,
    SchemaExtensionNode,
    value_from_ast_untyped,
)

Arguments: TypeAlias = Mapping[str, Any]
APOLLO = "https://specs.apollo.dev/"
LINKING = ("link", "core")
"""The directives that are links."""


@dataclass(frozen=True, slots=True)
class Link:
    """One specification in use."""

    url: str
    namespace: str
    """Stands before the names that aren't imported: `federation` in `@federation__key`."""
    imports: Mapping[str, str]
    """Name here → name in the specification; directives begin with `@` on both sides."""
    purpose: str | None

    @property
    def spec(self) -> str:
        """The specification without its version: `https://specs.apollo.dev/federation`."""
        return self.url.rstrip("/").rpartition("/")[0] or self.url

    @property
    def version(self) -> str:
        return self.url.rstrip("/").rpartition("/")[2]

    @property
    def short_name(self) -> str:
        """The last word of `spec`; a directive of that name needs no namespace before it."""
        return self.spec.rpartition("/")[2]

    def local_name(self, directive: str) -> str:
        """What a directive of the specification is called in this document, without `@`."""
        for here, there in self.imports.items():
            if there == f"@{directive}":
                return here[1:]
        is_own = directive == self.short_name
        return self.namespace if is_own else f"{self.namespace}__{directive}"


def schema_directives(document: DocumentNode) -> Iterator[ConstDirectiveNode]:
    for node in document.definitions:
        if isinstance(node, SchemaDefinitionNode | SchemaExtensionNode):
            yield from node.directives or ()


def read_links(document: DocumentNode) -> Iterator[Link]:
    for directive in schema_directives(document):
        arguments = arguments_of(directive)
        url = arguments.get("url") or arguments.get("feature")
        if directive.name.value in LINKING and url:
            yield _link(str(url), arguments)


def arguments_of(directive: ConstDirectiveNode) -> Arguments:
    return {a.name.value: value_from_ast_untyped(a.value) for a in directive.arguments or ()}


def as_list(value: Any) -> list[Any]:
    """A list as GraphQL reads it: a single value is a list of one."""
    return [] if value is None else value if isinstance(value, list) else [value]


def _link(url: str, arguments: Arguments) -> Link:
    words = url.rstrip("/").split("/")
    spec = words[-2] if len(words) > 1 else url
    imports = dict(filter(None, map(_import, as_list(arguments.get("import")))))
    return Link(url, str(arguments.get("as") or spec), imports, arguments.get("for"))


def _import(wanted: object) -> tuple[str, str] | None:
    """Name here and there. What can't be read imports nothing; its uses are then refused."""
    match wanted:
        case str():
            return wanted, wanted
        case {"name": str(name), "as": str(alias)}:
            return alias, name
        case {"name": str(name)}:
            return name, name
    return None
