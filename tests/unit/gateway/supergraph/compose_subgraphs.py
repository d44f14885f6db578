"""Compose subgraphs that say of Federation only what a test is about."""

from gateway.supergraph import Supergraph, compose

LINK = """
extend schema @link(
  url: "https://specs.apollo.dev/federation/v2.11"
  import: ["@key", "@shareable", "@external", "@requires", "@provides", "@override",
    "@inaccessible", "@tag", "@extends", "@interfaceObject", "@authenticated", "@requiresScopes",
    "@policy", "@cost", "@listSize", "FieldSet"]
)
"""
EVERYTHING = {
    "a-1": LINK
    + """
    type Query {
      t: T @authenticated @cost(weight: 4)
      ts(first: Int @cost(weight: 3), in: In, e: E): [T]
        @listSize(slicingArguments: ["first"], assumedSize: 7, requireOneSlicingArgument: false)
      all: [M] u: U
    }
    type T @key(fields: "id") @key(fields: "n { x }", resolvable: false) @tag(name: "b")
      @tag(name: "a") {
      id: ID! @deprecated(reason: "old")
      "Moves."
      x: Int @override(from: "b")
      k: Int @override(from: "b")
      y: Int @inaccessible
      z: Int @requiresScopes(scopes: [["b", "a"], ["c"]]) @policy(policies: [["p"]])
      n: N @shareable
    }
    type N @shareable { x: Int! }
    interface M @key(fields: "id") { id: ID! }
    type Film implements M & O @key(fields: "id") { id: ID! o: Int @authenticated }
    type Book implements M & O @key(fields: "id") { id: ID! o: Int @authenticated }
    interface O { o: Int }
    union U = T | Film
    input In { a: Int b: Int = 3 @tag(name: "i") }
    enum E { A @tag(name: "e") }
    scalar S @specifiedBy(url: "https://s.example")
    """,
    "b": LINK
    + """
    type Query { back: T @provides(fields: "w") e(e: E): S }
    type T @key(fields: "id") @key(fields: "k") {
      id: ID! x: Int k: Int w: Int @external v(of: In): Int @requires(fields: "w n { x }")
      n: N @external
    }
    type N @shareable { x: Int }
    extend type M @interfaceObject @key(fields: "id") {
      id: ID! stars(of: Int): Int @policy(policies: [["p"]]) @tag(name: "m")
    }
    union U = T
    input In { a: Int! b: Int = 3 }
    enum E { A }
    scalar S
    """,
    "c": LINK + 'type T @key(fields: "id") { id: ID! w: Int }',
}
"""Subgraphs that use, all together, whatever can be written in a supergraph SDL."""


def compose_all(**sdls: str) -> Supergraph:
    """The supergraph of subgraphs in Federation 2.11, by name."""
    return compose({name: LINK + sdl for name, sdl in sdls.items()})
