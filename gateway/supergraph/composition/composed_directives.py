"""Directives of the subgraphs' own that the supergraph shall keep: @composeDirective."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from graphql import (
    DirectiveDefinitionNode,
    DocumentNode,
    SchemaDefinitionNode,
    SchemaExtensionNode,
    TypeDefinitionNode,
    print_ast,
)

from gateway.supergraph.composition.federation_directives import (
    FEDERATION,
    STANDARD,
    DirectiveNames,
)
from gateway.supergraph.composition.join_spec import WHERE_USED, Spec
from gateway.supergraph.composition.spec_links import Link, arguments_of, read_links
from gateway.supergraph.syntax import named_type

TAKEN = {"link", "listSize", *WHERE_USED, *STANDARD}
"""What a supergraph means by these names is settled."""


@dataclass(frozen=True, slots=True)
class Composed:
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


def composed_in(document: DocumentNode, names: DirectiveNames) -> dict[str, Composed]:
    """The directives that one subgraph wants kept, by name; problems are reported."""
    definitions = {
        node.name.value: node
        for node in document.definitions
        if isinstance(node, DirectiveDefinitionNode)
    }
    links = {name: link for link in read_links(document) for name in link.imports}
    composed: dict[str, Composed] = {}
    for wanted in _wanted(document, names):
        name = wanted.removeprefix("@")
        if wanted not in links or name not in definitions:
            reason = f"@composeDirective names {wanted!r}, which isn't both imported and defined."
            names.report("", reason, "Write its name with @, @link its specification, define it.")
        elif links[wanted].spec == FEDERATION or name in TAKEN:
            reason = f"@composeDirective names {wanted!r}, which is the supergraph's own."
            names.report("", reason, "Leave it out, or import yours under another name.")
        else:
            types = tuple(_types_of(definitions[name], document, names))
            composed[name] = Composed(name, links[wanted], definitions[name], types)
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


def composed_specs(composed: Iterable[Composed]) -> list[Spec]:
    """The links and definitions of all; of several versions the latest."""
    latest: dict[str, Composed] = {}
    for one in composed:
        if one.name not in latest or one.version > latest[one.name].version:
            latest[one.name] = one
    by_spec: dict[str, list[Composed]] = {}
    for _, one in sorted(latest.items()):
        by_spec.setdefault(one.link.spec, []).append(one)
    return [_spec(together) for _, together in sorted(by_spec.items())]


def _spec(together: list[Composed]) -> Spec:
    link = max(together, key=lambda one: one.version).link
    imports = ", ".join(_import(one) for one in together)
    types = {node.name.value: node for one in together for node in one.types}
    nodes = (*(one.definition for one in together), *types.values())
    return Spec(
        f'  @link(url: "{link.url}", import: [{imports}])',
        "\n\n".join(print_ast(node) for node in nodes),
    )


def _import(one: Composed) -> str:
    here, there = f"@{one.name}", one.link.imports[f"@{one.name}"]
    return f'"{here}"' if here == there else f'{{name: "{there}", as: "{here}"}}'


def _wanted(document: DocumentNode, names: DirectiveNames) -> Iterator[str]:
    for node in document.definitions:
        if isinstance(node, SchemaDefinitionNode | SchemaExtensionNode):
            for directive in node.directives or ():
                if names.means(directive.name.value) == "composeDirective":
                    name = arguments_of(directive).get("name")
                    if isinstance(name, str):
                        yield name
