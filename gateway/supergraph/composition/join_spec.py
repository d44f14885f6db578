"""The specifications a standard supergraph SDL links and defines, as composers write them."""

from dataclasses import dataclass

from gateway.supergraph.composition.federation_directives import ANYWHERE, GUARDED, PRICED

JOIN_VERSIONS = ("v0.2", "v0.3", "v0.4", "v0.5")
UNDERSTOOD = {
    "link": ("link",),
    "join": ("graph", "type", "field", "implements", "unionMember", "enumValue", "directive"),
    "tag": ("tag",),
    "inaccessible": ("inaccessible",),
    "authenticated": ("authenticated",),
    "requiresScopes": ("requiresScopes",),
    "policy": ("policy",),
    "cost": ("cost", "listSize"),
}
"""The directives of each specification of Apollo's that a supergraph may use."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a supergraph links and defines to use a specification."""

    link: str
    definitions: str


BASE = Spec(
    """\
  @link(url: "https://specs.apollo.dev/link/v1.0")
  @link(url: "https://specs.apollo.dev/join/v0.5", for: EXECUTION)""",
    """\
directive @link(url: String, as: String, for: link__Purpose, import: [link__Import]) \
repeatable on SCHEMA

scalar link__Import

enum link__Purpose {
  SECURITY
  EXECUTION
}

directive @join__directive(graphs: [join__Graph!], name: String!, args: join__DirectiveArguments) \
repeatable on SCHEMA | OBJECT | INTERFACE | FIELD_DEFINITION

directive @join__enumValue(graph: join__Graph!) repeatable on ENUM_VALUE

directive @join__field(graph: join__Graph, requires: join__FieldSet, provides: join__FieldSet, \
type: String, external: Boolean, override: String, usedOverridden: Boolean, \
overrideLabel: String, contextArguments: [join__ContextArgument!]) \
repeatable on FIELD_DEFINITION | INPUT_FIELD_DEFINITION

directive @join__graph(name: String!, url: String!) on ENUM_VALUE

directive @join__implements(graph: join__Graph!, interface: String!) \
repeatable on OBJECT | INTERFACE

directive @join__type(graph: join__Graph!, key: join__FieldSet, extension: Boolean! = false, \
resolvable: Boolean! = true, isInterfaceObject: Boolean! = false) \
repeatable on OBJECT | INTERFACE | UNION | ENUM | INPUT_OBJECT | SCALAR

directive @join__unionMember(graph: join__Graph!, member: String!) repeatable on UNION

input join__ContextArgument {
  name: String!
  type: String!
  context: String!
  selection: join__FieldValue!
}

scalar join__DirectiveArguments

scalar join__FieldSet

scalar join__FieldValue""",
)

WHERE_USED = {
    "tag": Spec(
        '  @link(url: "https://specs.apollo.dev/tag/v0.3")',
        f"directive @tag(name: String!) repeatable on {ANYWHERE} | SCHEMA",
    ),
    "inaccessible": Spec(
        '  @link(url: "https://specs.apollo.dev/inaccessible/v0.2", for: SECURITY)',
        f"directive @inaccessible on {ANYWHERE}",
    ),
    "authenticated": Spec(
        '  @link(url: "https://specs.apollo.dev/authenticated/v0.1", for: SECURITY)',
        f"directive @authenticated on {GUARDED}",
    ),
    "requiresScopes": Spec(
        '  @link(url: "https://specs.apollo.dev/requiresScopes/v0.1", for: SECURITY)',
        f"directive @requiresScopes(scopes: [[requiresScopes__Scope!]!]!) on {GUARDED}\n\n"
        "scalar requiresScopes__Scope",
    ),
    "policy": Spec(
        '  @link(url: "https://specs.apollo.dev/policy/v0.1", for: SECURITY)',
        f"directive @policy(policies: [[policy__Policy!]!]!) on {GUARDED}\n\nscalar policy__Policy",
    ),
    "cost": Spec(
        '  @link(url: "https://specs.apollo.dev/cost/v0.1", import: ["@cost", "@listSize"])',
        f"directive @cost(weight: Int!) on {PRICED}\n\n"
        "directive @listSize(assumedSize: Int, slicingArguments: [String!], "
        "sizedFields: [String!], requireOneSlicingArgument: Boolean = true) on FIELD_DEFINITION",
    ),
}
"""Linked only where a supergraph uses them."""
