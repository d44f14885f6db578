"""Whatever is misspelt in SDL, it composes or is refused as SDL; it never crashes.

Faults are drawn: a name in place of another, and directives that should not be there.
"""

from collections.abc import Iterator, Sequence
from random import Random

from graphql import (
    EnumValueDefinitionNode,
    FieldDefinitionNode,
    InputValueDefinitionNode,
    NameNode,
    Node,
    TypeDefinitionNode,
    TypeExtensionNode,
    parse,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.supergraph import (
    CompositionError,
    CompositionProblem,
    SupergraphUnreadable,
    compose,
    compose_sdl,
    read_supergraph,
)
from tests.unit.gateway.supergraph.compose_subgraphs import EVERYTHING
from tests.unit.gateway.supergraph.composition.test_composition_errors import COMPOSES, linked

steady = settings(max_examples=100, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**32)

GRAPHS = [EVERYTHING, *map(linked, COMPOSES.values())]
SUPERGRAPH = compose_sdl(EVERYTHING, {"b": "http://b"})
TYPES = (TypeDefinitionNode, TypeExtensionNode)
MEMBERS = (FieldDefinitionNode, InputValueDefinitionNode, EnumValueDefinitionNode)
DIRECTIVES = (
    '@cost(weight: "x")',
    "@deprecated(reason: 1)",
    "@external",
    "@inaccessible",
    "@interfaceObject",
    '@key(fields: "id")',
    '@listSize(assumedSize: "x")',
    '@override(from: "b")',
    '@provides(fields: "x")',
    '@requires(fields: "id")',
    "@requiresScopes",
    "@shareable",
    "@specifiedBy",
)


def spoilt(sdl: str, rng: Random) -> str:
    """The SDL with one or two faults in its types; what it links stays as it is."""
    for _ in range(rng.randint(1, 2)):
        types = [d for d in parse(sdl).definitions if isinstance(d, TYPES)]
        nodes = [node for type_ in types for node in nodes_in(type_)]
        names = [node.loc for node in nodes if isinstance(node, NameNode) and node.loc]
        if rng.random() < 0.5:
            start, end = rng.choice([(loc.start, loc.end) for loc in names])
            other = rng.choice(names)
            fault = sdl[other.start : other.end]
        else:
            start = end = rng.choice([place for node in nodes if (place := end_of(node))])
            fault = f" {rng.choice(DIRECTIVES)} "
        sdl = sdl[:start] + fault + sdl[end:]
    return sdl


def nodes_in(node: Node) -> Iterator[Node]:
    yield node
    for key in node.keys:
        part = getattr(node, key)
        for below in part if isinstance(part, tuple) else (part,):
            if isinstance(below, Node):
                yield from nodes_in(below)


def end_of(node: Node) -> int | None:
    """Where one more directive may stand, if the node takes any."""
    if isinstance(node, TYPES):
        node = (node.name, *(getattr(node, "interfaces", None) or ()))[-1]
    elif not isinstance(node, MEMBERS):
        return None
    return node.loc.end if node.loc else None


@given(seeds)
@steady
def test_a_fault_in_a_subgraph_composes_or_is_refused_with_a_reason(seed: int) -> None:
    rng = Random(seed)
    sdls = dict(rng.choice(GRAPHS))
    name = rng.choice(sorted(sdls))
    sdls[name] = spoilt(sdls[name], rng)

    problems: Sequence[CompositionProblem] = ()
    sdl = None
    try:
        sdl = compose(sdls).sdl
    except CompositionError as refused:
        problems = refused.problems

    assert all(p.subgraphs and p.reason and p.hint for p in problems)
    assert sdl is None or read_supergraph(compose_sdl(sdls)).sdl == sdl


@given(seeds)
@steady
def test_a_fault_in_a_supergraph_is_read_or_refused_with_a_reason(seed: int) -> None:
    sdl = spoilt(SUPERGRAPH, Random(seed))

    problems: Sequence[CompositionProblem] = ()
    try:
        read_supergraph(sdl)
    except SupergraphUnreadable as refused:
        problems = refused.problems

    assert all(p.subgraphs and p.reason and p.hint for p in problems)
