"""Keys that hold objects, which have keys of their own."""

from graphql import parse

from gateway.supergraph import compose, plan

LINK = 'extend schema @link(url: "https://specs.apollo.dev/federation/v2.7", import: ["@key"])'
HOME = f"""{LINK}
type Query {{ houses: [House!]! }}
type House @key(fields: "id") @key(fields: "owner {{ id }}") {{ id: ID! owner: Person! }}
type Person @key(fields: "id") @key(fields: "house {{ id }}") {{ id: ID! house: House! }}
"""
TAXES = f"""{LINK}
type House @key(fields: "owner {{ id }}") {{ owner: Person! tax: Int }}
type Person @key(fields: "id") {{ id: ID! }}
"""
CENSUS = f"""{LINK}
type Person @key(fields: "house {{ id }}") {{ house: House! age: Int }}
type House @key(fields: "id") {{ id: ID! }}
"""


def test_keys_of_two_types_may_hold_objects_of_each_other() -> None:
    supergraph = compose({"home": HOME, "taxes": TAXES, "census": CENSUS})

    planned = plan(supergraph, parse("{ houses { tax owner { age } } }"))

    (stage,) = planned.variant({}).stages
    assert [request.subgraph for request in stage.requests] == ["home", "taxes", "census"]
