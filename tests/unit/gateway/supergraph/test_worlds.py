"""Over any federated graph, any query is answered as if the graph were one schema."""

import asyncio
from random import Random
from typing import Any

from graphql import GraphQLSchema, parse, validate
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.supergraph import Supergraph, compose, compose_sdl, execute, plan, read_supergraph
from tests.unit.gateway.supergraph import worlds

SEEDS = st.integers(0, 10**6)


def drawn(graph: int, operation: int) -> tuple[worlds.World, Supergraph, GraphQLSchema, str]:
    """A world, its supergraph, composed by us or read again, and a query."""
    world = worlds.draw_world(Random(graph))
    is_read = graph % 2
    supergraph = read_supergraph(compose_sdl(world.sdls)) if is_read else compose(world.sdls)
    schema = worlds.whole(world, supergraph.sdl)
    text = worlds.draw_operation(Random(operation), schema)
    assume(not validate(schema, parse(text)))
    return world, supergraph, schema, text


@settings(max_examples=40, deadline=None)
@given(graph=SEEDS, operation=SEEDS)
def test_any_query_over_any_graph_is_answered_like_one_schema(graph: int, operation: int) -> None:
    world, supergraph, schema, text = drawn(graph, operation)
    data, _ = worlds.answer_whole(world, schema, text)

    answer = asyncio.run(execute(plan(supergraph, parse(text)), None, worlds.Services(world)))

    assert answer == {"data": data}


@settings(max_examples=40, deadline=None)
@given(graph=SEEDS, operation=SEEDS, choice=SEEDS)
def test_whatever_is_denied_is_null_and_nothing_else_changes(
    graph: int, operation: int, choice: int
) -> None:
    world, supergraph, schema, text = drawn(graph, operation)
    denied = worlds.draw_denied(Random(choice), schema)
    data, paths = worlds.answer_whole(world, schema, text, denied)
    planned = plan(supergraph, parse(text))

    answer = asyncio.run(execute(planned, None, worlds.Services(world), denied=denied))

    told = [error.get("path") for error in answer.get("errors", [])]
    assert answer["data"] == data
    assert lasting(told, data) == lasting(paths, data) or len(told) > 100


def lasting(paths: list[list[str | int]], data: Any) -> list[list[str | int]]:
    """The paths that still lead somewhere: past a null, it depends on who is asked first."""
    return sorted((path for path in paths if leads_somewhere(data, path)), key=str)


def leads_somewhere(data: Any, path: list[str | int]) -> bool:
    for segment in path:
        if data is None:
            return False
        data = data[segment]
    return True
