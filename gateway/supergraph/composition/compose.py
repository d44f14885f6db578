"""Compose subgraphs into one supergraph, or say everything that is in the way."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from graphql import DefinitionNode

from gateway.supergraph.composition.api_schema import build_schemas, public_sdl
from gateway.supergraph.composition.composition_context import CompositionContext
from gateway.supergraph.composition.join_facts import JoinFactsBuilder
from gateway.supergraph.composition.merge_metadata import guard_implementations
from gateway.supergraph.composition.merge_types import TypeMerger
from gateway.supergraph.composition.satisfiability import find_unreachable_fields
from gateway.supergraph.composition.subgraph_schema import SubgraphDefinition, owners, read_subgraph
from gateway.supergraph.composition.validate_subgraph import SubgraphContext, find_subgraph_problems
from gateway.supergraph.composition.validate_supergraph import (
    find_requires_problems,
    find_supergraph_problems,
)
from gateway.supergraph.composition.write_supergraph_sdl import write_supergraph
from gateway.supergraph.errors import CompositionError, CompositionProblem, Problems
from gateway.supergraph.supergraph import Supergraph
from gateway.supergraph.syntax import definition_name


def compose(sdls: Mapping[str, str], urls: Mapping[str, str] | None = None) -> Supergraph:
    """One graph out of the SDL of each subgraph, by its name.

    Args:
        urls: Where the subgraphs are; only noted.

    Raises:
        CompositionError: They do not compose; with every problem that could be found.
    """
    return _compose(sdls, urls).supergraph


def compose_sdl(sdls: Mapping[str, str], urls: Mapping[str, str] | None = None) -> str:
    """The standard supergraph SDL of these subgraphs, which any federation router can serve.

    Raises:
        CompositionError: They do not compose; with every problem that could be found.
    """
    composed = _compose(sdls, urls)
    return write_supergraph(
        composed.supergraph, composed.subgraphs, composed.definitions, composed.inaccessible
    )


@dataclass(frozen=True, slots=True)
class _Composition:
    """A supergraph and what it was composed of."""

    supergraph: Supergraph
    subgraphs: Sequence[SubgraphDefinition]
    definitions: Sequence[DefinitionNode]
    inaccessible: set[str]


def _compose(sdls: Mapping[str, str], urls: Mapping[str, str] | None) -> _Composition:
    problems = [*_reserved_names(sdls)]
    read = [read_subgraph(name, sdl, problems) for name, sdl in sorted(sdls.items())]
    subgraphs = {subgraph.name: subgraph for subgraph in read if subgraph}
    join_facts = JoinFactsBuilder(subgraphs, problems).join()
    merger = TypeMerger(list(subgraphs.values()), join_facts, problems)
    definitions = merger.merge()
    for name, definition in subgraphs.items():
        problems += find_subgraph_problems(SubgraphContext(definition, join_facts[name]))
    merged = {definition_name(definition): definition for definition in definitions}
    problems += find_supergraph_problems(
        CompositionContext(subgraphs, join_facts, merged, merger.inaccessible, merger.metadata)
    )
    full_schema, schema = build_schemas(
        definitions, merger.inaccessible, partial(owners, subgraphs), problems
    )
    guard_implementations(merger.metadata, full_schema, derived=False)
    supergraph = Supergraph(
        schema=schema,
        full_schema=full_schema,
        sdl=public_sdl(schema),
        subgraphs=join_facts,
        metadata=merger.metadata.build(),
        urls=dict(urls or {}),
    )
    if found := [
        *find_requires_problems(join_facts, full_schema),
        *find_unreachable_fields(supergraph),
    ]:
        raise CompositionError(found)
    return _Composition(supergraph, list(subgraphs.values()), definitions, merger.inaccessible)


def _reserved_names(names: Iterable[str]) -> Problems:
    for name in names:
        if name in ("", "_") or name.startswith("__"):
            reason = f"A subgraph can't be named {name!r}: GraphQL keeps such names for itself."
            yield CompositionProblem((name,), "", reason, "Give it another name.")
