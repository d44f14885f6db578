"""Each thing that subgraphs can't mean is refused with its place and its reason."""

import re

import pytest

from gateway.supergraph import CompositionError, compose
from tests.unit.gateway.supergraph.compose_subgraphs import LINK

T = "type Query { t: T } "
KEYED = 'type T @key(fields: "id") { id: ID! '
WITH_X = KEYED + "x: Int }"
MEDIA = (
    'type Query { all: [Media] } interface Media @key(fields: "id") { id: ID! } '
    'type Book implements Media @key(fields: "id") { id: ID! } '
)


def composing(name: str) -> str:
    """The links of a subgraph that wants a directive of its own kept."""
    return (
        '=@link(url: URL/v2.1, import: ["@composeDirective"]) '
        f'@link(url: "https://x.example/more/v1.2", import: ["@{name}"]) '
        f'@composeDirective(name: "@{name}") directive @{name}(n: Int) on FIELD_DEFINITION '
    )


REFUSED = {
    # Directives
    "a directive in the wrong place": (
        {"a": "type Query { a(x: Int @shareable): Int }"},
        "[a] Query.a(x:): @shareable can't stand on ARGUMENT_DEFINITION. It may stand on "
        "FIELD_DEFINITION, OBJECT.",
    ),
    "a directive on the wrong kind of type": (
        {"a": 'type Query { a(i: I): Int } input I @key(fields: "x") { x: Int }'},
        "[a] I: @key can't stand on INPUT_OBJECT",
    ),
    "a guard on the whole schema": (
        {
            "a": '=@link(url: URL/v2.5, import: ["@authenticated"]) @authenticated '
            "type Query { a: Int }"
        },
        "[a] schema: @authenticated can't stand on SCHEMA. It may stand on ENUM, ",
    ),
    "a directive that names nothing to compose": (
        {
            "a": '=@link(url: URL/v2.1, import: ["@composeDirective"]) @composeDirective '
            "type Query { a: Int }"
        },
        "[a] schema: @composeDirective: Argument 'name' of required type 'String!' was not",
    ),
    "a directive twice": (
        {"a": "type Query { a: Int @authenticated @authenticated }"},
        "[a] Query.a: @authenticated stands here twice",
    ),
    "an unknown argument": (
        {"a": "type Query { a: Int @shareable(with: 1) }"},
        "[a] Query.a: @shareable has no argument 'with'. It has none.",
    ),
    "an argument left out": (
        {"a": T + "type T @key { id: ID! }"},
        "[a] T: @key: Argument 'fields' of required type 'String!' was not provided.",
    ),
    "an argument of the wrong type": (
        {"a": 'type Query { a: Int @cost(weight: "much") }'},
        "[a] Query.a: @cost: Argument 'weight' has invalid value",
    ),
    "a directive of GraphQL's own with an argument left out": (
        {"a": 'type Query { a: S } scalar S @specifiedBy(link: "https://s.example")'},
        "[a] S: @specifiedBy: Argument 'url' of required type 'String!' was not provided. "
        "It has url: String!.",
    ),
    "an interface object that is no object": (
        {"a": "type Query { a: E } enum E @interfaceObject { A }"},
        "[a] E: @interfaceObject can't stand on ENUM. It may stand on OBJECT.",
    ),
    # Names
    "a field twice": (
        {"a": "type Query { a: Int } extend type Query { a: Int }"},
        "[a] Query.a: It is defined twice",
    ),
    "a type twice": (
        {"a": "type Query { a: T } type T { x: Int } type T { y: Int }"},
        "[a] T: It is defined twice",
    ),
    "an argument twice": (
        {"a": "type Query { a(x: Int, x: Int): Int }"},
        "[a] Query.a(x:): It is defined twice",
    ),
    "an enum value twice": (
        {"a": "type Query { a: E } enum E { A A }"},
        "[a] E.A: It is defined twice",
    ),
    "a second query type": (
        {"a": "schema { query: Root } type Root { a: Int } type Query { b: Int }"},
        "[a] Query: It is no root type, for `schema` names 'Root' instead",
    ),
    "a root type that is not there": (
        {"a": "schema { query: Query mutation: Change } type Query { a: Int }"},
        "[a] Change: `schema` names 'Change' for Mutation, which is no object type here. "
        "Define it, or leave it out of `schema`.",
    ),
    "a root type that is no object": (
        {"a": "schema { query: Q } scalar Q", "b": "type Query { b: Int }"},
        "[a] Q: `schema` names 'Q' for Query, which is no object type here",
    ),
    "a subgraph named like introspection": (
        {"__a": "type Query { a: Int }"},
        "A subgraph can't be named '__a'",
    ),
    # GraphQL
    "an input type that comes out": (
        {"a": "type Query { a: I } input I { x: Int }", "b": "type Query { b: Int }"},
        "[a] Query.a: The type of Query.a must be Output Type but got: I. "
        "Return an object, interface, union, scalar or enum.",
    ),
    "a field of an interface that an implementation hides": (
        {
            "a": "type Query { i: I } interface I { x: Int } "
            "type T implements I { x: Int @inaccessible y: Int }"
        },
        "[a] I.x: With what is @inaccessible left out: Interface field I.x expected but T does "
        "not provide it.",
    ),
    "a misspelt field in a key": (
        {"a": T + 'type T @key(fields: "nme") { name: ID! }'},
        "[a] T: @key(fields: 'nme'): T has no field 'nme'. Did you mean 'name'? "
        "Name fields this subgraph defines.",
    ),
    "an input and an output of one name": (
        {"a": T + "type T { x: Int }", "b": "type Query { b(t: T): Int } input T { x: Int }"},
        "[a, b] T: Its kinds differ: object in a, input object in b. Make them the same kind.",
    ),
    "a default of another type": (
        {"a": 'type Query { a(x: Int = "1"): Int }', "b": "type Query { b: Int }"},
        "[a] Query.a(x:): Query.a(x:) has invalid default value: Int cannot represent non-integer "
        'value: "1". Write a default that is of the type.',
    ),
    "a default for what can't go in": (
        {"a": "type Query { a(x: T = 1): T } type T { x: Int }"},
        "[a]: Expected T to be a GraphQL leaf type. Make it valid GraphQL.",
    ),
    "an implementation that lacks a field": (
        {"a": "type Query { t: T } type T implements I { x: Int } interface I { y: Int }"},
        "[a] I.y: Interface field I.y expected but T does not provide it. "
        "Add it there, or remove it from the interface.",
    ),
    "an input that is never complete": (
        {"a": "type Query { a(i: I): Int } input I { i: I! }", "b": "type Query { b: Int }"},
        "[a] I.i: Input Object I cannot be provided a finite value",
    ),
    "a misspelt type": (
        {"a": "type Query { a: Usr } type User { x: Int }", "b": "type Query { b: Int }"},
        "[a] Query.a: It uses the type 'Usr', which isn't defined here. Did you mean 'User'?",
    ),
    "nothing to ask for": (
        {"a": 'type T @key(fields: "id") { id: ID! }'},
        "[a]: Query root type must be provided. Define a field of Query that clients may see.",
    ),
    # Links
    "a version that is too new": (
        {"a": "=@link(url: URL/v2.99) type Query { a: Int }"},
        "[a]: It links Federation 'v2.99'. Link one of v2.0 to v2.11.",
    ),
    "an import that came later": (
        {"a": '=@link(url: URL/v2.2, import: ["@interfaceObject"]) type Query { a: Int }'},
        "[a]: It imports @interfaceObject, but links Federation v2.2. Link v2.3 or later.",
    ),
    "an import nobody knows": (
        {"a": '=@link(url: URL/v2.2, import: ["@magic"]) type Query { a: Int }'},
        "[a]: It imports @magic, which Federation hasn't",
    ),
    "a misspelt import": (
        {"a": '=@link(url: URL/v2.2, import: ["@shareble"]) type Query { a: Int }'},
        "[a]: It imports @shareble, which Federation hasn't. Did you mean '@shareable'?",
    ),
    "an import without its @": (
        {"a": '=@link(url: URL/v2.2, import: ["key"]) type Query { a: Int }'},
        "[a]: It imports 'key' as if it were a type. Write \"@key\", for it is a directive.",
    ),
    "a link to somewhere else": (
        {
            "a": '=@link(url: "https://spec.apollo.dev/federation/v2.2", import: ["@key"]) '
            "type Query { a: Int }"
        },
        "[a]: It links 'https://spec.apollo.dev/federation/v2.2', which is not Federation's "
        "address. Link https://specs.apollo.dev/federation/v2.11, or an earlier v2.x.",
    ),
    "a directive of Federation 2 without a link": (
        {"a": "=type Query { a: Int @authenticated }"},
        "[a] Query.a: @authenticated is not imported. Write `extend schema "
        '@link(url: "https://specs.apollo.dev/federation/v2.11", import: ["@authenticated", …])`.',
    ),
    "an import that can't be read": (
        {"a": "=@link(url: URL/v2.2, import: [3]) type Query { a: Int @shareable }"},
        "[a] Query.a: @shareable is not imported",
    ),
    "a directive to compose that is not there": (
        {
            "a": '=@link(url: URL/v2.2, import: ["@composeDirective"]) '
            '@composeDirective(name: "@mine") type Query { a: Int }'
        },
        "[a]: @composeDirective names '@mine', which isn't both imported and defined",
    ),
    "a directive of Federation's to compose": (
        {"a": composing("cost") + "type Query { a: Int @cost(n: 3) }"},
        "[a]: @composeDirective names '@cost', which is the supergraph's own. "
        "Leave it out, or import yours under another name.",
    ),
    "a directive to compose that means something else elsewhere": (
        {
            "a": composing("shelf") + "type Query { a: Int @shelf(n: 3) }",
            "b": composing("shelf").replace("x.example", "y.example") + "type Query { b: Int }",
        },
        "[a, b]: @composeDirective keeps several @shelf: of https://x.example/more/v1 in a, "
        "https://y.example/more/v1 in b. Import one of them under another name.",
    ),
    "a directive that is not supported": (
        {"a": 'type Query { a(x: Int @federation__fromContext(field: "$c { x }")): Int }'},
        "[a] Query.a(x:): @fromContext is not supported yet",
    ),
    # Field sets
    "an empty key": (
        {"a": T + 'type T @key(fields: "") { id: ID! }'},
        "[a] T: @key(fields: ''): it selects nothing",
    ),
    "an alias in a key": (
        {"a": T + 'type T @key(fields: "x: id") { id: ID! }'},
        "[a] T: @key(fields: 'x: id'): the alias 'x' stands in it",
    ),
    "more than one selection in a key": (
        {"a": T + 'type T @key(fields: "id } { x") { id: ID! x: Int }'},
        "[a] T: The fields of @key, 'id } { x', can't be read: "
        "Syntax Error: Expected <EOF>, found '{'. Write them as a GraphQL selection.",
    ),
    "a named fragment in a key": (
        {"a": T + 'type T @key(fields: "id ...F") { id: ID! }'},
        "[a] T: @key(fields: 'id ...F'): the fragment 'F' stands in it",
    ),
    "a condition in a key that never holds": (
        {"a": T + 'type T @key(fields: "... on U { id }") { id: ID! } type U { id: ID! }'},
        "[a] T: @key(fields: '... on U { id }'): no T is ever a U",
    ),
    "a directive in a key": (
        {"a": T + 'type T @key(fields: "id @skip(if: true)") { id: ID! }'},
        "a directive stands in it",
    ),
    "an argument in a key": (
        {"a": T + 'type T @key(fields: "id") { id(of: Int): ID! }'},
        "[a] T: @key(fields: 'id'): 'id' has arguments",
    ),
    "a key through an interface": (
        {
            "a": T + 'type T @key(fields: "i { x }") { i: I } interface I { x: Int } '
            "type J implements I { x: Int }"
        },
        "[a] T: @key(fields: 'i { x }'): 'i' is of the interface 'I'",
    ),
    "a key through a union": (
        {
            "a": T + 'type T @key(fields: "u { ... on J { x } }") { u: U } union U = J '
            "type J { x: Int }"
        },
        "'u' is of the union 'U'",
    ),
    "@requires of what is resolved here": (
        {"a": T + KEYED + 'x: Int y: Int @requires(fields: "x") }'},
        "[a] T.y: @requires(fields: 'x'): T.x is resolved by this subgraph itself",
    ),
    "@provides of what is resolved here": (
        {
            "a": 'type Query { t: T @provides(fields: "x") } ' + KEYED + "x: Int @shareable }",
            "b": KEYED + "x: Int @shareable }",
        },
        "[a] Query.t: @provides(fields: 'x'): T.x is resolved by this subgraph itself",
    ),
    "@requires with an argument the field has not": (
        {
            "a": T + KEYED + 'x(n: Int): Int @external y: Int @requires(fields: "x(m: 1)") }',
            "b": KEYED + "x(n: Int): Int }",
        },
        "[a] T.y: @requires(fields: 'x(m: 1)'): Unknown argument 'm'",
    ),
    "@requires with an argument of the wrong type": (
        {
            "a": T + KEYED + 'x(n: Int): Int @external y: Int @requires(fields: "x(n: true)") }',
            "b": KEYED + "x(n: Int): Int }",
        },
        "Int cannot represent non-integer value: true",
    ),
    "@requires without a required argument": (
        {
            "a": T + KEYED + 'x(n: Int!): Int @external y: Int @requires(fields: "x") }',
            "b": KEYED + "x(n: Int!): Int }",
        },
        "Argument 'T.x(n:)' of type 'Int!' is required",
    ),
    # @external and @override
    "an unused external field": (
        {"a": T + KEYED + "x: Int @external }", "b": WITH_X},
        "[a] T.x: It is @external, but no @key, @requires, @provides or interface needs it",
    ),
    "an external field of another type": (
        {
            "a": T + KEYED + 'x: String @external y: Int @requires(fields: "x") }',
            "b": WITH_X,
        },
        "[a] T.x: It is String here, but really Int",
    ),
    "an external field of another nullability": (
        {"a": T + KEYED + 'x: Int! @external y: Int @requires(fields: "x") }', "b": WITH_X},
        "[a] T.x: It is Int! here, but really Int",
    ),
    "an external field without its argument": (
        {
            "a": T + KEYED + 'x: Int @external y: Int @requires(fields: "x") }',
            "b": KEYED + "x(n: Int): Int }",
        },
        "[a] T.x: Its argument 'n' is missing here",
    ),
    "an external field with another argument": (
        {
            "a": T + KEYED + 'x(n: ID): Int @external y: Int @requires(fields: "x") }',
            "b": KEYED + "x(n: Int): Int }",
        },
        "[a] T.x: Its argument 'n' is really Int",
    ),
    "an override that is external": (
        {
            "a": T + KEYED + 'x: Int @external @override(from: "b") '
            'y: Int @requires(fields: "x") }',
            "b": WITH_X,
        },
        "[a] T.x: It has @override and is @external",
    ),
    "two that override each other": (
        {
            "a": T + KEYED + 'x: Int @override(from: "b") }',
            "b": KEYED + 'x: Int @override(from: "a") }',
        },
        "[a, b] T.x: It overrides the field of b, which has @override, too",
    ),
    "a label that is none": (
        {"a": T + KEYED + 'x: Int @override(from: "b", label: "percent(101)") }', "b": WITH_X},
        "[a] T.x: The label 'percent(101)'",
    ),
    "an extension of nothing in Federation 1": (
        {"a": '=type Query { a: Int } extend type T @key(fields: "id") { id: ID! @external }'},
        "[a] T: It is extended only, and defined nowhere",
    ),
    # Sharing
    "a field of two": (
        {"a": "type Query { a: Int @shareable }", "b": "type Query { a: Int }"},
        "[a, b] Query.a: It is resolved by 2 subgraphs, but not @shareable in all. "
        "Mark it @shareable in b, or let one of them own it.",
    ),
    "a field of two that is a key one forgot": (
        {"a": T + "type T { id: ID! }", "b": KEYED + "x: Int }"},
        "Mark it @shareable in a, or let one of them own it. "
        'If T is found by it, write @key(fields: "id") on the type in a.',
    ),
    "a field taken over from a subgraph that is not there": (
        {"prices": T + WITH_X, "b": KEYED + 'x: Int @override(from: "Prices") }'},
        "[b, prices] T.x: It is resolved by 2 subgraphs, but not @shareable in all. "
        "@override in b names 'Prices', which isn't there. Did you mean 'prices'? Mark it",
    ),
    "a field taken over by two": (
        {
            "a": T + KEYED + 'x: Int @override(from: "c") }',
            "b": KEYED + 'x: Int @override(from: "c") }',
            "c": WITH_X,
        },
        "[a, b] T.x: It is resolved by 2 subgraphs",
    ),
    "a shared subscription": (
        {"a": "type Query { a: Int } type Subscription { s: Int @shareable }"},
        "[a] Subscription.s: A field of Subscription is @shareable",
    ),
    # Interfaces
    "a shareable field of an interface": (
        {"a": T + "type T implements I { x: Int } interface I { x: Int @shareable }"},
        "[a] I.x: @shareable stands on the field of an interface",
    ),
    "a field that an implementation elsewhere lacks": (
        {
            "a": "type Query { i: I } interface I { x: Int y: Int } "
            "type J implements I { x: Int y: Int }",
            "b": "type Query { k: K } interface I { x: Int } type K implements I { x: Int }",
        },
        "I.y expected but K does not provide it",
    ),
    "an interface with a key its implementation lacks": (
        {"a": MEDIA.replace('Book implements Media @key(fields: "id")', "Book implements Media")},
        "[a] Book: The interface Media has a @key(fields: 'id'), it hasn't",
    ),
    "an interface with a key and an implementation elsewhere": (
        {
            "a": MEDIA,
            "b": "type Query { film: Film } interface Media { id: ID! } "
            'type Film implements Media @key(fields: "id") { id: ID! }',
        },
        "[a] Media: It has a @key, but Film implements it elsewhere only",
    ),
    "an interface object without an interface": (
        {"a": 'type Query { m: Media } type Media @interfaceObject @key(fields: "id") { id: ID! }'},
        "[a] Media: It is an @interfaceObject wherever it is defined",
    ),
    "an interface object without a key": (
        {"a": MEDIA, "b": "type Media @interfaceObject { id: ID! stars: Int }"},
        "[b] Media: It is an @interfaceObject without a @key",
    ),
    "an interface object's external field of another type": (
        {
            "a": MEDIA.replace("id: ID!", "id: ID! title: String"),
            "b": 'type Media @interfaceObject @key(fields: "id") { id: ID! '
            'title: [String] @external stars: Int @requires(fields: "title") }',
        },
        "[b] Media.title: It is [String] here, but really String. "
        "Repeat the field as the subgraph that owns it defines it.",
    ),
    "an interface object beside an implementation": (
        {
            "a": MEDIA,
            "b": 'type Media @interfaceObject @key(fields: "id") { id: ID! stars: Int } '
            'type Book @key(fields: "id") { id: ID! pages: Int }',
        },
        "[b] Media: It is an @interfaceObject, but Book is defined here, too",
    ),
    "an interface object's field that the implementation has": (
        {
            "a": MEDIA.replace("id: ID!", "id: ID! stars: Int"),
            "b": 'type Media @interfaceObject @key(fields: "id") { id: ID! stars: Int }',
        },
        "[a, b] Book.stars: It is resolved by 2 subgraphs, but not @shareable in all",
    ),
    # What is hidden
    "a required argument that is hidden": (
        {"a": "type Query { a(x: Int! @inaccessible): Int }"},
        "[a] Query.a(x:): It is required and @inaccessible",
    ),
    "a required input field that is hidden": (
        {
            "a": "type Query { a(i: I): Int } input I { x: Int! @inaccessible y: Int }",
            "b": "type Query { b: Int }",
        },
        "[a] I.x: It is required and @inaccessible",
    ),
    # Access
    "a field that requires what is guarded": (
        {
            "a": T + KEYED + 'x: Int @external y: Int @requires(fields: "x") @authenticated }',
            "b": KEYED + 'x: Int @requiresScopes(scopes: [["s"]]) }',
        },
        "[a] T.y: It @requires T.x, but not what T.x requires of callers. Repeat what guards T.x.",
    ),
    "a field that requires something of a guarded type": (
        {
            "a": T + KEYED + 'n: N @external y: Int @requires(fields: "n { x }") } '
            "type N { x: Int @external }",
            "b": KEYED + "n: N } type N @authenticated { x: Int }",
        },
        "[a] T.y: It @requires T.n, but not what T.n requires of callers",
    ),
    # @listSize
    "a list size of no list": (
        {"a": "type Query { a: Int @listSize(assumedSize: 2) }"},
        "[a] Query.a: @listSize: it returns no list",
    ),
    "a list size less than nothing": (
        {"a": "type Query { a: [Int] @listSize(assumedSize: -2) }"},
        "assumedSize is -2",
    ),
    "a list size by an argument that is not there": (
        {"a": 'type Query { a: [Int] @listSize(slicingArguments: ["n"]) }'},
        "it has no argument 'n'",
    ),
    "a list size by an argument that is no number": (
        {"a": 'type Query { a(n: ID): [Int] @listSize(slicingArguments: ["n"]) }'},
        "the argument 'n' is no Int",
    ),
    "a list size for a field that is no list": (
        {"a": T + 'extend type Query { u: T @listSize(sizedFields: ["x"]) } type T { x: Int }'},
        "'x' is no list in what it returns",
    ),
    # Reaching
    "a requirement that can't be had": (
        {
            "a": T + KEYED + 'x: Int @external y: Int @requires(fields: "x") }',
            "b": 'type T @key(fields: "uuid") { uuid: ID! x: Int }',
        },
        "[a] T.y: It @requires 'x', which can't be had",
    ),
    "fields that require each other": (
        {
            "a": T + KEYED + 'x: Int @external y: Int @requires(fields: "x") }',
            "b": KEYED + 'y: Int @external x: Int @requires(fields: "y") }',
        },
        "T.y: It @requires 'x', which can't be had",
    ),
}

COMPOSES = {
    "a key through a list": {"a": T + 'type T @key(fields: "ids") { ids: [ID!] }'},
    "an external key of an extended type": {
        "a": T + WITH_X,
        "b": 'extend type T @key(fields: "id") { id: ID! @external y: Int }',
    },
    "an external field an interface needs": {
        "a": 'type Query { i: I } interface I { x: Int } type T implements I @key(fields: "id") '
        "{ id: ID! x: Int @external }",
        "b": WITH_X,
    },
    "an external type": {
        "a": T + KEYED + 'n: N @external y: Int @requires(fields: "n { x }") } '
        "type N @external { x: Int }",
        "b": KEYED + "n: N } type N { x: Int }",
    },
    "what is provided inside something external": {
        "a": 'type Query { t: T @provides(fields: "n { x }") } ' + KEYED + "n: N @external } "
        "type N @shareable { x: Int }",
        "b": KEYED + "n: N @shareable } type N @shareable { x: Int }",
    },
    "a field that requires what is guarded alike": {
        "a": T + KEYED + 'x: Int @external y: Int @requires(fields: "x") '
        '@requiresScopes(scopes: [["s", "t"]]) }',
        "b": KEYED + 'x: Int @requiresScopes(scopes: [["s"], ["u"]]) }',
    },
    "an interface object's field shared with the implementation": {
        "a": MEDIA.replace(
            'Book implements Media @key(fields: "id") { id: ID! }',
            'Book implements Media @key(fields: "id") { id: ID! stars: Int @shareable }',
        ),
        "b": 'type Media @interfaceObject @key(fields: "id") { id: ID! stars: Int @shareable }',
    },
    "an interface object named before the interface": {
        "z": MEDIA,
        "b": 'type Media @interfaceObject @key(fields: "id") { id: ID! stars: Int }',
    },
    "an interface object that requires a field of the interface": {
        "a": MEDIA.replace("id: ID!", "id: ID! title: String"),
        "b": 'type Media @interfaceObject @key(fields: "id") { id: ID! title: String @external '
        'stars: Int @requires(fields: "title") }',
    },
    "a default that only some know": {
        "a": "type Query { a(x: Int = 1): Int @shareable }",
        "b": "type Query { a(x: Int): Int @shareable }",
    },
    "value types of Federation 1": {
        "a": "=type Query { t: T } type T { x: Int }",
        "b": "=type Query { u: T } type T { x: Int }",
    },
    "unused and needless marks of Federation 1": {
        "a": '=type Query { t: T @provides(fields: "x") } '
        'type T @key(fields: "id") { id: ID! x: Int }',
        "b": '=extend type T @key(fields: "id") { id: ID! @external x: Int @external y: Int }',
    },
    "a single import": {
        "a": '=@link(url: URL/v2.2, import: "@tag") type Query { a: Int @tag(name: "x") }'
    },
    "scopes written as a single value": {"a": 'type Query { a: Int @requiresScopes(scopes: "s") }'},
}


def linked(sdls: dict[str, str]) -> dict[str, str]:
    """Import everything; SDL that begins with `=` links for itself."""
    url = '"https://specs.apollo.dev/federation'
    return {
        name: re.sub(r"URL(/v[\d.]+)", rf'{url}\1"', sdl[1:]).replace(
            "@link", "extend schema @link"
        )
        if sdl.startswith("=")
        else LINK + sdl
        for name, sdl in sdls.items()
    }


@pytest.mark.parametrize(("sdls", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused(sdls: dict[str, str], said: str) -> None:
    with pytest.raises(CompositionError) as refused:
        compose(linked(sdls))

    assert said in "\n".join(str(problem) for problem in refused.value.problems)


@pytest.mark.parametrize("sdls", COMPOSES.values(), ids=COMPOSES.keys())
def test_it_composes(sdls: dict[str, str]) -> None:
    assert compose(linked(sdls)).schema.query_type


def test_reasons_of_all_kinds_are_listed_at_once() -> None:
    subgraph = (
        "type Query { t: T a: Int @listSize(assumedSize: 2) b: Int @cost c(i: T): Nope } "
        'type T @key(fields: "") { x: Int @external y(n: Int! @inaccessible): Int }'
    )

    with pytest.raises(CompositionError) as refused:
        compose(linked({"a": subgraph, "b": "type Query { a: Int }"}))

    assert {p.coordinate for p in refused.value.problems} == {
        "Query.a",
        "Query.b",
        "Query.c",
        "Query.c(i:)",
        "T",
        "T.x",
        "T.y(n:)",
    }
    assert all(p.subgraphs and p.reason and p.hint for p in refused.value.problems)
