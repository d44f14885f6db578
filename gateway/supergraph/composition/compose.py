"""Compose subgraphs into one supergraph, or say everything that is in the way."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from graphql import DefinitionNode

from gateway.supergraph.composition.api_schema import build_schemas, public_sdl
from gateway.supergraph.composition.composition_context import Together
from gateway.supergraph.composition.join_facts import Joiner
from gateway.supergraph.composition.merge_metadata import guard_implementations
from gateway.supergraph.composition.merge_types import Merger
from gateway.supergraph.composition.satisfiability import unreachable_fields
from gateway.supergraph.composition.subgraph_schema import SubgraphDefinition, owners, read_subgraph
from gateway.supergraph.composition.validate_subgraph import Seen, broken_rules
from gateway.supergraph.composition.validate_supergraph import disagreements, unfit_requirements
from gateway.supergraph.composition.write_supergraph_sdl import write_supergraph
from gateway.supergraph.errors import CompositionError, Problem
from gateway.supergraph.supergraph import Supergraph
from gateway.supergraph.syntax import name_of


def compose(sdls: Mapping[str, str], urls: Mapping[str, str] | None = None) -> Supergraph:
    """One graph out of the SDL of each subgraph, by its name.

    Args:
        urls: Where the subgraphs are; only noted.

    Raises:
        CompositionError: They do not compose; every problem that could be found is listed.
    """
    return _compose(sdls, urls).supergraph


def compose_sdl(sdls: Mapping[str, str], urls: Mapping[str, str] | None = None) -> str:
    """The standard supergraph SDL of these subgraphs, which any federation router can serve.

    Raises:
        CompositionError: They do not compose; every problem that could be found is listed.
    """
    composed = _compose(sdls, urls)
    return write_supergraph(
        composed.supergraph, composed.subgraphs, composed.definitions, composed.hidden
    )


@dataclass(frozen=True, slots=True)
class _Composition:
    """A supergraph and what it was made of."""

    supergraph: Supergraph
    subgraphs: Sequence[SubgraphDefinition]
    definitions: Sequence[DefinitionNode]
    hidden: set[str]


def _compose(sdls: Mapping[str, str], urls: Mapping[str, str] | None) -> _Composition:
    problems = [*_reserved_names(sdls)]
    read = [read_subgraph(name, sdl, problems) for name, sdl in sorted(sdls.items())]
    subgraphs = {subgraph.name: subgraph for subgraph in read if subgraph}
    joined = Joiner(subgraphs, problems).join()
    merger = Merger(list(subgraphs.values()), joined, problems)
    definitions = merger.merge()
    for name, definition in subgraphs.items():
        problems += broken_rules(Seen(definition, joined[name]))
    merged = {name_of(definition): definition for definition in definitions}
    problems += disagreements(
        Together(subgraphs, joined, merged, merger.inaccessible, merger.marker)
    )
    whole, schema = build_schemas(
        definitions, merger.inaccessible, partial(owners, subgraphs), problems
    )
    guard_implementations(merger.marker, whole, derived=False)
    supergraph = Supergraph(
        schema=schema,
        whole=whole,
        sdl=public_sdl(schema),
        subgraphs=joined,
        markings=merger.marker.markings(),
        urls=dict(urls or {}),
    )
    if found := [*unfit_requirements(joined, whole), *unreachable_fields(supergraph)]:
        raise CompositionError(found)
    return _Composition(supergraph, list(subgraphs.values()), definitions, merger.inaccessible)


def _reserved_names(names: Iterable[str]) -> Iterator[Problem]:
    for name in names:
        if name in ("", "_") or name.startswith("__"):
            reason = f"A subgraph can't be named {name!r}: GraphQL keeps such names for itself."
            yield Problem((name,), "", reason, "Give it another name.")
