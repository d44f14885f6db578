"""Compose subgraphs into one supergraph, or say everything that is in the way."""

from collections.abc import Mapping

from gateway.supergraph.errors import CompositionError, Problem
from gateway.supergraph.joining import Joiner
from gateway.supergraph.joins import Supergraph
from gateway.supergraph.markings import guard_implementations
from gateway.supergraph.merging import Merger
from gateway.supergraph.reaching import unreachable_fields
from gateway.supergraph.reading import read_subgraph
from gateway.supergraph.schemas import build_schemas, public_sdl


def compose(sdls: Mapping[str, str]) -> Supergraph:
    """One graph out of the SDL of each subgraph, by its name.

    Raises:
        CompositionError: They do not compose; every problem that could be found is listed.
    """
    problems: list[Problem] = []
    read = [read_subgraph(name, sdl, problems) for name, sdl in sorted(sdls.items())]
    subgraphs = [subgraph for subgraph in read if subgraph]
    merger = Merger(subgraphs, problems)
    definitions = merger.merge()
    joined = Joiner({subgraph.name: subgraph for subgraph in subgraphs}, problems).join()
    whole, schema = build_schemas(definitions, merger.inaccessible, tuple(sdls), problems)
    guard_implementations(merger.marker, whole, derived=False)
    supergraph = Supergraph(
        schema=schema,
        whole=whole,
        sdl=public_sdl(schema),
        subgraphs=joined,
        markings=merger.marker.markings(),
    )
    if unreachable := list(unreachable_fields(supergraph)):
        raise CompositionError(unreachable)
    return supergraph
