"""What is asked of objects that a service never returns costs nothing, and is in nobody's way."""

from graphql import parse

from gateway.supergraph import compose, plan

LINK = """extend schema @link(
  url: "https://specs.apollo.dev/federation/v2.7"
  import: ["@key", "@shareable", "@interfaceObject"]
)"""
HOME = f"""{LINK}
interface Pet @key(fields: "id") {{ id: ID! name: String }}
type Cat implements Pet @key(fields: "id") @key(fields: "tag") {{ id: ID! tag: ID! name: String }}
type Dog implements Pet @key(fields: "id") {{ id: ID! name: String }}
"""
CATS = f"""{LINK}
type Query {{ tame: Pet }}
interface Pet {{ id: ID! }}
type Cat implements Pet @key(fields: "id") {{ id: ID! }}
"""
FRIENDS = f"""{LINK}
type Pet @key(fields: "id") @interfaceObject {{ id: ID! friend: Pet }}
"""


def test_objects_that_never_occur_lead_nowhere() -> None:
    supergraph = compose({"home": HOME, "cats": CATS, "friends": FRIENDS})

    planned = plan(supergraph, parse("{ tame { friend { name __typename } } }"))

    (stage,) = planned.variant({}).stages
    assert [request.subgraph for request in stage.fetches] == ["cats", "friends", "home"]


ALL = f"""{LINK}
type Query {{ pets: [Pet!]! @shareable }}
interface Pet {{ name: String }}
type Cat implements Pet @key(fields: "id") {{ id: ID! name: String @shareable }}
type Dog implements Pet {{ name: String @shareable barks: Int }}
"""
DOGS = f"""{LINK}
type Query {{ pets: [Pet!]! @shareable }}
interface Pet {{ name: String }}
type Dog implements Pet {{ name: String @shareable wags: Int }}
"""


def test_the_keys_of_objects_that_never_occur_are_found_late_and_are_in_nobodys_way() -> None:
    """Who looks at what all pets are asked finds only then that a cat would have a key."""
    supergraph = compose({"all": ALL, "dogs": DOGS})

    planned = plan(supergraph, parse("{ pets { name ... on Dog { barks wags } } }"))

    (stage,) = planned.variant({}).stages
    assert [request.subgraph for request in stage.fetches] == ["all", "dogs"]
