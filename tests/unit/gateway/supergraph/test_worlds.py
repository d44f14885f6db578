"""Over any federated graph, any query is answered as if the graph were one schema."""

import asyncio
from random import Random

from graphql import parse, validate
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.supergraph import compose, compose_sdl, execute, plan, read_supergraph
from tests.unit.gateway.supergraph import worlds


@settings(max_examples=40, deadline=None)
@given(graph=st.integers(0, 10**6), operation=st.integers(0, 10**6), is_read=st.booleans())
def test_any_query_over_any_graph_is_answered_like_one_schema(
    graph: int, operation: int, is_read: bool
) -> None:
    world = worlds.draw_world(Random(graph))
    supergraph = read_supergraph(compose_sdl(world.sdls)) if is_read else compose(world.sdls)
    schema = worlds.whole(world, supergraph.sdl)
    text = worlds.draw_operation(Random(operation), schema)
    assume(not validate(schema, parse(text)))
    expected = worlds.answer_whole(world, schema, text)

    answer = asyncio.run(execute(plan(supergraph, parse(text)), None, worlds.Services(world)))

    assert answer == expected
