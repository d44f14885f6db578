"""`__typename` in a field set: every object has it, whoever returns it."""

import pytest
from graphql import parse

from gateway.supergraph import compose, plan
from tests.unit.gateway.supergraph.compose_subgraphs import LINK


@pytest.mark.parametrize(
    "key", ["__typename id", "id __typename", "owner { __typename id }", "__typename"]
)
def test_a_key_may_hold_it(key: str) -> None:
    types = f"""{LINK}
    type Owner @shareable {{ id: ID! }}
    extend type Book {{ id: ID! @shareable owner: Owner @shareable }}"""
    shop = f'{types} type Query {{ book: Book }} type Book @key(fields: "id")'
    stock = f'{types} type Book @key(fields: "{key}") {{ left: Int }}'

    planned = plan(compose({"shop": shop, "stock": stock}), parse("{ book { left } }"))

    (stage,) = planned.variant({}).stages
    assert [request.subgraph for request in stage.fetches] == ["shop", "stock"]


def test_a_field_may_require_it() -> None:
    shop = f'{LINK} type Query {{ book: Book }} type Book @key(fields: "id") {{ id: ID! }}'
    stock = f"""{LINK}
    type Book @key(fields: "id") {{ id: ID! left: Int @requires(fields: "__typename") }}"""

    planned = plan(compose({"shop": shop, "stock": stock}), parse("{ book { left } }"))

    (stage,) = planned.variant({}).stages
    assert [request.subgraph for request in stage.fetches] == ["shop", "stock"]
