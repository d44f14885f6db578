"""Federation's directives: what a subgraph calls them, where they may stand, what they take."""

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from graphql import (
    ConstDirectiveNode,
    DirectiveDefinitionNode,
    DirectiveLocation,
    DocumentNode,
    GraphQLDirective,
    GraphQLError,
    build_schema,
    get_argument_values,
    specified_directives,
)
from graphql.pyutils import did_you_mean, suggestion_list

from gateway.supergraph.composition.spec_links import APOLLO, Arguments, Link, read_links
from gateway.supergraph.errors import CompositionProblem, to_sentence

FEDERATION = f"{APOLLO}federation"
LINK = f"{APOLLO}link"
VERSION = re.compile(r"v2\.(\d+)")
NEWEST = 11
MACHINERY_TYPES = {"_Any", "_Entity", "_Service", "_FieldSet"}
STANDARD = {directive.name for directive in specified_directives}
"""GraphQL's own directives, which need no import."""

GUARDED = "FIELD_DEFINITION | OBJECT | INTERFACE | SCALAR | ENUM"
ANYWHERE = (
    "FIELD_DEFINITION | OBJECT | INTERFACE | UNION | ARGUMENT_DEFINITION | SCALAR | ENUM | "
    "ENUM_VALUE | INPUT_OBJECT | INPUT_FIELD_DEFINITION"
)
PRICED = "ARGUMENT_DEFINITION | ENUM | FIELD_DEFINITION | INPUT_FIELD_DEFINITION | OBJECT | SCALAR"
INTRODUCED: Mapping[int, str] = {
    0: f"""
        directive @key(fields: String!, resolvable: Boolean = true) repeatable on OBJECT | INTERFACE
        directive @shareable repeatable on FIELD_DEFINITION | OBJECT
        directive @external(reason: String) on FIELD_DEFINITION | OBJECT
        directive @requires(fields: String!) on FIELD_DEFINITION
        directive @provides(fields: String!) on FIELD_DEFINITION
        directive @override(from: String!, label: String) on FIELD_DEFINITION
        directive @inaccessible on {ANYWHERE}
        directive @tag(name: String!) repeatable on {ANYWHERE} | SCHEMA
        directive @extends on OBJECT | INTERFACE
    """,
    1: "directive @composeDirective(name: String!) repeatable on SCHEMA",
    3: "directive @interfaceObject on OBJECT",
    5: f"""
        directive @authenticated on {GUARDED}
        directive @requiresScopes(scopes: [[String!]!]!) on {GUARDED}
    """,
    6: f"directive @policy(policies: [[String!]!]!) on {GUARDED}",
    8: """
        directive @context(name: String!) repeatable on INTERFACE | OBJECT | UNION
        directive @fromContext(field: String) on ARGUMENT_DEFINITION
    """,
    9: f"""
        directive @cost(weight: Int!) on {PRICED}
        directive @listSize(assumedSize: Int, slicingArguments: [String!], sizedFields: [String!],
          requireOneSlicingArgument: Boolean = true) on FIELD_DEFINITION
    """,
}
"""Federation's directives, by the version 2.x that brought them."""
SINCE: Mapping[str, int] = {
    name: version
    for version, text in INTRODUCED.items()
    for name in re.findall(r"directive @(\w+)", text)
}
SIGNATURES: Mapping[str, GraphQLDirective] = {
    directive.name: directive
    for directive in build_schema("\n".join(INTRODUCED.values())).directives
}
"""Federation's directives and GraphQL's own."""
NOT_YET = {
    "context": "Pass the value with @requires instead.",
    "fromContext": "Pass the value with @requires instead.",
}
FEDERATION_1 = {
    "key",
    "external",
    "requires",
    "provides",
    "extends",
    "tag",
    "inaccessible",
    "shareable",
    "override",
}

Applied: TypeAlias = Mapping[str, tuple[Arguments, ...]]
"""The directives of one definition, by Federation's own names."""


class DirectiveNames:
    """Translates the names a subgraph gives to directives into Federation's own.

    Every use is checked here, since a directive that isn't understood must never be ignored
    silently: it may be what guards a field.
    """

    def __init__(
        self, subgraph: str, document: DocumentNode, problems: list[CompositionProblem]
    ) -> None:
        self._subgraph = subgraph
        self._problems = problems
        self._reported: set[str] = set()
        self._local = {
            node.name.value
            for node in document.definitions
            if isinstance(node, DirectiveDefinitionNode)
        }
        self._names = {"link": "link"}
        self._namespaces: dict[str, bool] = {}
        """The namespace of each link, and whether it is Federation's."""
        self._version = NEWEST
        self.is_federation_1 = True
        self._machinery_types = set(MACHINERY_TYPES)
        for link in read_links(document):
            self._read_link(link)
        if self.is_federation_1:
            self._names |= {name: name for name in FEDERATION_1}

    def is_machinery(self, type_name: str) -> bool:
        """Whether a type belongs to a specification, not to the graph."""
        namespace, _, rest = type_name.partition("__")
        is_spec = namespace in {"federation", "link", *self._namespaces}
        return type_name in self._machinery_types or bool(rest and is_spec)

    def _read_link(self, link: Link) -> None:
        if link.spec == LINK:
            return
        is_federation = link.spec == FEDERATION
        self._namespaces[link.namespace] = is_federation
        if is_federation:
            self.is_federation_1 = False
            self._read_version(link)
        elif link.short_name == "federation":
            hint = f"Link {FEDERATION}/v2.{NEWEST}, or an earlier v2.x."
            self.report("", f"It links {link.url!r}, which is not Federation's address.", hint)
        elif link.purpose:
            reason = f"It links {link.url!r} for {link.purpose}, which this gateway doesn't know."
            self.report("", reason, "Remove the link.")
        for alias, name in link.imports.items():
            if not is_federation:
                self._local.add(alias.removeprefix("@"))
            elif name.startswith("@"):
                self._import(alias[1:], name[1:])
            elif name in SINCE:
                reason = f"It imports {name!r} as if it were a type."
                self.report("", reason, f'Write "@{name}", for it is a directive.')
            else:
                self._machinery_types.add(alias)

    def _read_version(self, link: Link) -> None:
        found = VERSION.fullmatch(link.version)
        if found and int(found[1]) <= NEWEST:
            self._version = int(found[1])
        else:
            hint = f"Link one of v2.0 to v2.{NEWEST}."
            self.report("", f"It links Federation {link.version!r}.", hint)

    def _import(self, alias: str, name: str) -> None:
        self._names[alias] = name
        if name not in SINCE:
            suggestion = did_you_mean(
                [f"@{known}" for known in suggestion_list(name, sorted(SINCE))]
            )
            reason = f"It imports @{name}, which Federation hasn't.{suggestion}"
            self.report("", reason, "Mend its name, or don't import it.")
        elif SINCE[name] > self._version:
            reason = f"It imports @{name}, but links Federation v2.{self._version}."
            self.report("", reason, f"Link v2.{SINCE[name]} or later.")

    def read(
        self,
        nodes: Iterable[ConstDirectiveNode] | None,
        coordinate: str,
        place: DirectiveLocation,
    ) -> Applied:
        """The directives in `nodes` by Federation's names; problems are reported."""
        applied: dict[str, tuple[Arguments, ...]] = {}
        for node in nodes or ():
            if name := self._canonical(node.name.value, coordinate):
                signature = SIGNATURES[name]
                self._check(signature, place, name in applied, coordinate)
                arguments = self._arguments(signature, node, coordinate)
                applied[name] = (*applied.get(name, ()), arguments)
        return applied

    def _check(
        self, signature: GraphQLDirective, place: DirectiveLocation, again: bool, coordinate: str
    ) -> None:
        name = signature.name
        if place not in signature.locations:
            places = ", ".join(sorted(location.name for location in signature.locations))
            reason = f"@{name} can't stand on {place.name}."
            self.report(coordinate, reason, f"It may stand on {places}.")
        if again and not signature.is_repeatable:
            self.report(coordinate, f"@{name} stands here twice.", "Write it once.")

    def _arguments(
        self, signature: GraphQLDirective, node: ConstDirectiveNode, coordinate: str
    ) -> Arguments:
        known = ", ".join(f"{name}: {found.type}" for name, found in signature.args.items())
        hint = f"It has {known or 'none'}."
        for argument in node.arguments or ():
            if argument.name.value not in signature.args:
                reason = f"@{signature.name} has no argument {argument.name.value!r}."
                self.report(coordinate, reason, hint)
        try:
            return get_argument_values(signature, node)
        except GraphQLError as error:
            self.report(coordinate, f"@{signature.name}: {to_sentence(error.message)}", hint)
            return {}

    def means(self, used: str) -> str | None:
        """Federation's own name for a directive; None if it is another specification's."""
        if used in self._names:
            return self._names[used]
        namespace, _, rest = used.partition("__")
        return rest if rest and self._namespaces.get(namespace) else None

    def _canonical(self, used: str, coordinate: str) -> str | None:
        name = self.means(used)
        namespace, _, rest = used.partition("__")
        if name is None and rest and namespace in self._namespaces:
            return None
        if name in NOT_YET:
            self.report(coordinate, f"@{name} is not supported yet.", NOT_YET[name])
        elif name in SINCE:
            return name
        elif used in STANDARD:
            return used
        elif name is not None:
            self.report(coordinate, f"Federation has no @{name}.", "Remove it.")
        elif used in SINCE and used not in self._local:
            self.report(coordinate, f"@{used} is not imported.", self._how_to_import(used))
        elif used not in self._local:
            self.report(coordinate, f"@{used} is not defined.", "Define it, or remove it.")
        return None

    def _how_to_import(self, name: str) -> str:
        if self.is_federation_1:
            link = f'@link(url: "{FEDERATION}/v2.{NEWEST}", import: ["@{name}", …])'
            return f"Write `extend schema {link}`."
        return f'Add "@{name}" to the import of @link.'

    def report(self, coordinate: str, reason: str, hint: str) -> None:
        """Note a problem of this subgraph, once."""
        if coordinate + reason not in self._reported:
            self._reported.add(coordinate + reason)
            self._problems.append(CompositionProblem((self._subgraph,), coordinate, reason, hint))
