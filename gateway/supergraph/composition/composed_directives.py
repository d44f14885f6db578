"""Directives of the subgraphs' own that the supergraph keeps: @composeDirective."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from graphql import (
    DirectiveDefinitionNode,
    DocumentNode,
    TypeDefinitionNode,
    print_ast,
)

from gateway.supergraph.composition.federation_directives import (
    FEDERATION,
    STANDARD,
    DirectiveNames,
)
from gateway.supergraph.composition.join_spec import WHERE_USED, Spec
from gateway.supergraph.composition.spec_links import (
    Link,
    arguments_of,
    read_links,
    schema_directives,
)
from gateway.supergraph.syntax import named_type

RESERVED = {"link", "listSize", *WHERE_USED, *STANDARD}
"""Names of directives that the supergraph defines itself."""


@dataclass(frozen=True, slots=True)
class ComposedDirective:
    """One such directive, and the specification it was imported from."""

    name: str
    link: Link
    definition: DirectiveDefinitionNode
    types: tuple[TypeDefinitionNode, ...] = ()
    """Of its arguments, as far as they are the specification's and so not in the graph."""

    @property
    def version(self) -> tuple[int, ...]:
        """For comparison: `v1.10` is later than `v1.9`."""
        return tuple(int(n) for n in self.link.version.lstrip("v").split(".") if n.isdecimal())

    @property
    def origin(self) -> str:
        """The specification and its major version, within which versions fit each other."""
        return "/v".join((self.link.spec, *map(str, self.version[:1])))


def read_composed_directives(
    document: DocumentNode, names: DirectiveNames
) -> dict[str, ComposedDirective]:
    """The directives that one subgraph composes, by name; problems are reported."""
    definitions = {
        node.name.value: node
        for node in document.definitions
        if isinstance(node, DirectiveDefinitionNode)
    }
    links = {name: link for link in read_links(document) for name in link.imports}
    composed: dict[str, ComposedDirective] = {}
    for wanted in _wanted(document, names):
        name = wanted.removeprefix("@")
        if wanted not in links or name not in definitions:
            reason = f"@composeDirective names {wanted!r}, which isn't both imported and defined."
            names.report("", reason, "Write its name with @, @link its specification, define it.")
        elif links[wanted].spec == FEDERATION or name in RESERVED:
            reason = f"@composeDirective names {wanted!r}, which is the supergraph's own."
            names.report("", reason, "Leave it out, or import yours under another name.")
        else:
            types = tuple(_types_of(definitions[name], document, names))
            composed[name] = ComposedDirective(name, links[wanted], definitions[name], types)
    return composed


def _types_of(
    definition: DirectiveDefinitionNode, document: DocumentNode, names: DirectiveNames
) -> Iterator[TypeDefinitionNode]:
    machinery = {
        node.name.value: node
        for node in document.definitions
        if isinstance(node, TypeDefinitionNode) and names.is_machinery(node.name.value)
    }
    waiting = [named_type(argument.type) for argument in definition.arguments or ()]
    while waiting:
        if found := machinery.pop(waiting.pop(), None):
            yield found
            waiting += [named_type(field.type) for field in getattr(found, "fields", None) or ()]


def composed_specs(composed: Iterable[ComposedDirective]) -> list[Spec]:
    """The links and definitions of all; of several versions the latest."""
    latest: dict[str, ComposedDirective] = {}
    for one in composed:
        if one.name not in latest or one.version > latest[one.name].version:
            latest[one.name] = one
    by_spec: dict[str, list[ComposedDirective]] = {}
    for _, one in sorted(latest.items()):
        by_spec.setdefault(one.link.spec, []).append(one)
    return [_spec(directives) for _, directives in sorted(by_spec.items())]


def _spec(directives: list[ComposedDirective]) -> Spec:
    link = max(directives, key=lambda one: one.version).link
    imports = ", ".join(_import(one) for one in directives)
    types = {node.name.value: node for one in directives for node in one.types}
    nodes = (*(one.definition for one in directives), *types.values())
    return Spec(
        f'  @link(url: "{link.url}", import: [{imports}])',
        "\n\n".join(print_ast(node) for node in nodes),
    )


def _import(one: ComposedDirective) -> str:
    here, there = f"@{one.name}", one.link.imports[f"@{one.name}"]
    return f'"{here}"' if here == there else f'{{name: "{there}", as: "{here}"}}'


def _wanted(document: DocumentNode, names: DirectiveNames) -> Iterator[str]:
    for directive in schema_directives(document):
        name = arguments_of(directive).get("name")
        if names.means(directive.name.value) == "composeDirective" and isinstance(name, str):
            yield name
