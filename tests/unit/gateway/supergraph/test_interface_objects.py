"""An interface may be an object to some service, which adds fields to all its implementations."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
import pytest
from graphql import parse

from gateway.supergraph import ExecutionOptions, SubgraphResponse, Supergraph, execute, plan
from tests.unit.gateway.supergraph.compose_subgraphs import compose_all

MEDIA = """
type Query { media: [Media!]! }
interface Media @key(fields: "id") { id: ID! title: String }
type Book implements Media @key(fields: "id") { id: ID! title: String pages: Int }
type Film implements Media @key(fields: "id") { id: ID! title: String minutes: Int }
"""
REVIEWS = """
type Query { reviewed: [Media!]! best: Media }
type Media @key(fields: "id") @interfaceObject { id: ID! stars: Int like: [Media!]! by: Person }
type Person @key(fields: "name") { name: ID! }
"""
SHOP = """
type Media @key(fields: "id") @interfaceObject {
  id: ID! title: String @external price: Int label: String @requires(fields: "title")
}
"""
PEOPLE = 'type Person @key(fields: "name") { name: ID! born: Int }'
SUPERGRAPH = compose_all(media=MEDIA, reviews=REVIEWS, shop=SHOP, people=PEOPLE)


class Scripted:
    """A transport that says what it is told to, once, and notes what it was asked."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self._answers = list(answers)
        self.sent: list[tuple[str, str, Any]] = []

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> SubgraphResponse:
        request = orjson.loads(body)
        representations = request["variables"].get("representations0")
        self.sent.append((subgraph, request["query"], representations))
        return SubgraphResponse(200, orjson.dumps({"data": self._answers.pop(0)}))

    def stream(
        self, subgraph: str, body: bytes, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]:
        raise AssertionError("nothing is subscribed to")


def requests(text: str, supergraph: Supergraph = SUPERGRAPH) -> list[tuple[str, str]]:
    """Service and selection of each request of a plan."""
    stages = plan(supergraph, parse(text)).variant({}).stages
    return [(r.subgraph, r.operation.partition(" ")[2]) for stage in stages for r in stage.fetches]


def services(text: str) -> list[str]:
    return [service for service, _ in requests(text)]


def test_types_are_not_asked_for_where_they_make_no_difference() -> None:
    assert services("{ reviewed { id stars } }") == ["reviews"]
    assert services("{ reviewed { id stars price } }") == ["reviews", "shop"]


def test_the_typename_is_asked_of_a_service_that_knows_the_implementations() -> None:
    first, second = requests("{ reviewed { __typename stars } }")

    assert "__typename" not in first[1]
    assert second[0] == "media"
    assert "... on Media { __typename }" in second[1]


async def test_objects_are_entered_as_the_interface_and_get_their_types_from_there() -> None:
    transport = Scripted(
        {"reviewed": [{"stars": 5, "raak_id": "b"}, {"stars": 1, "raak_id": "f"}]},
        {"_entities": [{"__typename": "Book", "pages": 9}, {"__typename": "Film"}]},
    )
    planned = plan(SUPERGRAPH, parse("{ reviewed { stars ... on Book { pages } } }"))

    answer = await execute(planned, None, transport)

    assert answer == {"data": {"reviewed": [{"stars": 5, "pages": 9}, {"stars": 1}]}}
    assert transport.sent[1][2] == [
        {"__typename": "Media", "id": "b"},
        {"__typename": "Media", "id": "f"},
    ]


async def test_fields_of_concrete_types_are_asked_of_the_interface_object() -> None:
    transport = Scripted(
        {"media": [{"__typename": "Book", "raak_id": "b"}, {"__typename": "Film"}]},
        {"_entities": [{"stars": 4}]},
    )
    planned = plan(SUPERGRAPH, parse("{ media { ... on Book { stars } } }"))

    answer = await execute(planned, None, transport)

    assert answer == {"data": {"media": [{"stars": 4}, {}]}}
    service, query, representations = transport.sent[1]
    assert service == "reviews"
    assert "... on Media { stars }" in query
    assert representations == [{"__typename": "Media", "id": "b"}]


def test_what_only_some_types_are_asked_waits_until_the_types_are_known() -> None:
    sent = requests("{ reviewed { ... on Book { stars } } }")

    assert [service for service, _ in sent] == ["reviews", "media", "reviews"]
    assert "stars" not in sent[0][1]


def test_what_is_asked_of_all_types_is_asked_at_once() -> None:
    sent = requests("{ reviewed { stars ... on Book { pages } } }")

    assert [service for service, _ in sent] == ["reviews", "media"]
    assert sent[0][1].count("stars") == 1


def test_an_input_of_an_interface_object_is_fetched_from_the_implementations() -> None:
    sent = requests("{ reviewed { label } }")

    assert [service for service, _ in sent] == ["reviews", "media", "shop"]
    assert "raak_title: title" in sent[1][1]


def test_below_an_interface_object_other_services_are_reached_by_key() -> None:
    assert services("{ reviewed { by { born } } }") == ["reviews", "people"]
    both = "{ reviewed { by { born } ... on Film { minutes } } }"
    assert services(both) == ["reviews", "media", "people"]


async def test_interface_objects_lead_to_further_ones() -> None:
    transport = Scripted(
        {"best": {"like": [{"raak_id": "f"}, {"raak_id": "b"}]}},
        {"_entities": [{"__typename": "Film"}, {"__typename": "Book"}]},
    )

    answer = await execute(
        plan(SUPERGRAPH, parse("{ best { like { __typename } } }")), None, transport
    )

    assert answer["data"] == {"best": {"like": [{"__typename": "Film"}, {"__typename": "Book"}]}}


async def test_an_object_that_turns_out_to_be_nothing_is_null_and_the_others_stay() -> None:
    transport = Scripted(
        {"best": {"raak_id": "?"}},
        {"_entities": [None]},
    )

    answer = await execute(plan(SUPERGRAPH, parse("{ best { __typename } }")), None, transport)

    assert answer["data"] == {"best": None}
    assert answer["errors"][0]["path"] == ["best"]


def test_the_only_implementation_needs_no_telling() -> None:
    supergraph = compose_all(
        media='interface M @key(fields: "id") { id: ID! }'
        ' type B implements M @key(fields: "id") { id: ID! }',
        reviews='type Query { m: [M!] } type M @key(fields: "id") @interfaceObject { id: ID! }',
    )

    assert len(requests("{ m { __typename ... on B { id } } }", supergraph)) == 1


def test_two_fields_of_one_name_and_other_arguments_are_kept_apart() -> None:
    supergraph = compose_all(
        media='interface M @key(fields: "id") { id: ID! }'
        ' type B implements M @key(fields: "id") { id: ID! }'
        ' type C implements M @key(fields: "id") { id: ID! }',
        reviews="type Query { m: M }"
        ' type M @key(fields: "id") @interfaceObject { id: ID! f(x: Int): Int }',
    )

    sent = requests("{ m { ... on B { y: f(x: 1) } ... on C { y: f(x: 2) } } }", supergraph)

    assert "y: f(x: 1)" in sent[2][1]
    assert "y__1: f(x: 2)" in sent[2][1]


NODES = compose_all(
    media="interface Node { id: ID! }"
    ' interface Media implements Node @key(fields: "id") { id: ID! title: String }'
    ' type Book implements Media & Node @key(fields: "id") { id: ID! title: String }'
    ' type Film implements Media & Node @key(fields: "id") { id: ID! title: String }',
    people="type Query { nodes: [Node!]! } interface Node { id: ID! }"
    ' type Media implements Node @key(fields: "id") @interfaceObject { id: ID! stars: Int }'
    ' type Person implements Node @key(fields: "id") { id: ID! name: String }',
)


async def test_interface_objects_beside_other_types_are_told_from_them() -> None:
    transport = Scripted(
        {"nodes": [{"raak_id": "b"}, {"__typename": "Person", "name": "Ada"}]},
        {"_entities": [{"__typename": "Book", "title": "Emma"}]},
    )
    planned = plan(NODES, parse("{ nodes { ... on Person { name } ... on Media { title } } }"))

    answer = await execute(planned, None, transport)

    assert answer == {"data": {"nodes": [{"title": "Emma"}, {"name": "Ada"}]}}
    assert "... on Media { raak_id: id }" in transport.sent[0][1]
    assert transport.sent[1][2] == [{"__typename": "Media", "id": "b"}]


async def test_interface_objects_beside_other_types_may_stay_nameless() -> None:
    transport = Scripted({"nodes": [{"id": "b"}, {"__typename": "Person", "id": "p"}]})

    answer = await execute(plan(NODES, parse("{ nodes { id } }")), None, transport)

    assert answer == {"data": {"nodes": [{"id": "b"}, {"id": "p"}]}}


async def test_what_is_denied_of_one_type_is_not_asked_of_an_interface_object() -> None:
    transport = Scripted(
        {"reviewed": [{"raak_id": key, "raak_id__1": key} for key in ("b", "f")]},
        {"_entities": [{"__typename": "Book"}, {"__typename": "Film"}]},
        {"_entities": [{"stars": 2}]},
    )
    planned = plan(SUPERGRAPH, parse("{ reviewed { stars } }"))

    answer = await execute(
        planned, None, transport, ExecutionOptions(denied=frozenset({"Book.stars"}))
    )

    assert answer["data"] == {"reviewed": [{"stars": None}, {"stars": 2}]}
    assert [error["path"] for error in answer["errors"]] == [["reviewed", 0, "stars"]]
    assert "stars" not in transport.sent[0][1]
    assert transport.sent[2][2] == [{"__typename": "Media", "id": "f"}]


async def test_an_input_that_depends_on_types_waits_until_they_are_known() -> None:
    supergraph = compose_all(
        media='interface Media @key(fields: "id") { id: ID! }'
        ' type Book implements Media @key(fields: "id") { id: ID! }'
        ' type Film implements Media @key(fields: "id") { id: ID! }',
        reviews='type Query { review: Review } type Review @key(fields: "id") { id: ID!'
        ' of: [Media!]! } type Media @key(fields: "id") @interfaceObject { id: ID! }',
        shop='type Review @key(fields: "id") { id: ID! of: [Media!]! @external'
        ' label: String @requires(fields: "of { ... on Book { id } }") }'
        ' interface Media { id: ID! } type Film implements Media @key(fields: "id") { id: ID! }'
        ' type Book implements Media @key(fields: "id") { id: ID! }',
    )
    things = [dict.fromkeys(("raak_id", "raak_id__1"), id_) for id_ in ("b", "f")]
    transport = Scripted(
        {"review": {"raak_of": things, "raak_id": "r"}},
        {"_entities": [{"__typename": "Book"}, {"__typename": "Film"}]},
        {"_entities": [{"label": "one book"}]},
    )

    answer = await execute(plan(supergraph, parse("{ review { label } }")), None, transport)

    assert answer == {"data": {"review": {"label": "one book"}}}
    (representation,) = transport.sent[2][2]
    assert representation["of"] == [{"__typename": "Book", "id": "b"}, {"__typename": "Film"}]


# Whom an answer is about, where some objects' types stay unknown


async def collect_entity_ids(
    transport: Scripted, text: str, *of: str, supergraph: Supergraph = SUPERGRAPH
) -> dict[str, set[str]]:
    """The ids told of objects by the type they are told as, of those of some types."""
    ids: dict[str, set[str]] = {}
    planned = plan(supergraph, parse(text), entity_id_fields=dict.fromkeys(of, "id"))
    await execute(planned, None, transport, ExecutionOptions(on_entity_ids=ids.__setitem__))
    return ids


@pytest.mark.parametrize("of", ["Book", "Film"])
async def test_an_object_whose_type_makes_no_difference_is_told_as_the_interface(of: str) -> None:
    ids = [{"id": key, "raak_id": key} for key in ("b", "f")]

    found = await collect_entity_ids(Scripted({"reviewed": ids}), "{ reviewed { id } }", of)

    assert found == {"Media": {"b", "f"}}


@pytest.mark.parametrize("of", ["Book", "Film"])
async def test_an_object_whose_type_was_to_be_told_and_was_not_is_told_as_the_interface(
    of: str,
) -> None:
    ids = [{"stars": 1, "raak_id": key, "raak_id__1": key} for key in ("b", "f")]
    transport = Scripted({"reviewed": ids}, {"_entities": [None, None]})

    found = await collect_entity_ids(transport, "{ reviewed { stars ... on Book { pages } } }", of)

    assert found == {"Media": {"b", "f"}}


async def test_an_object_whose_type_is_told_is_not_told_as_the_interface() -> None:
    ids = [{"stars": 1, "raak_id": key, "raak_id__1": key} for key in ("b", "f", "?")]
    names = [{"__typename": "Book"}, {"__typename": "Film"}, None]

    found = await collect_entity_ids(
        Scripted({"reviewed": ids}, {"_entities": names}), "{ reviewed { __typename } }", "Book"
    )

    assert found == {"Book": {"b"}, "Media": {"?"}}


async def test_its_id_is_fetched_where_it_is_found_though_the_client_gets_it_elsewhere() -> None:
    transport = Scripted({"reviewed": [{"raak_id": "b"}]}, {"_entities": [None]})

    found = await collect_entity_ids(transport, "{ reviewed { ... on Book { id pages } } }", "Book")

    assert found == {"Media": {"b"}}


async def test_an_object_that_cant_be_one_of_those_looked_for_is_not_told() -> None:
    nodes = [{"id": "b"}, {"__typename": "Person", "id": "p"}]

    found = await collect_entity_ids(
        Scripted({"nodes": nodes}), "{ nodes { id } }", "Person", supergraph=NODES
    )

    assert found == {"Person": {"p"}}
