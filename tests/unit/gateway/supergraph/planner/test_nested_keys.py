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
    assert [request.subgraph for request in stage.fetches] == ["home", "taxes", "census"]


def test_many_nested_keys_are_planned_at_once() -> None:
    """Were keys followed inside of keys, each would open as many ways again."""
    ring = "".join(
        f"""type T{n}
          @key(fields: "id") @key(fields: "left {{ id }}") @key(fields: "right {{ id }}") {{
          id: ID! left: T{(n - 1) % 6}! right: T{(n + 1) % 6}!
          $field{n}: Int
        }}"""
        for n in range(6)
    )
    sdls = {
        f"s{k}": f"{LINK} type Query {{ $root: T0 }} {ring}".replace("$", f"s{k}_")
        for k in range(4)
    }

    planned = plan(compose(sdls), parse("{ s0_root { s1_field0 left { s2_field5 s3_field5 } } }"))

    (stage,) = planned.variant({}).stages
    assert [request.subgraph for request in stage.fetches] == ["s0", "s1", "s2", "s3"]
