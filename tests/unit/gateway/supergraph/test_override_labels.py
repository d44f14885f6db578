"""A field may move to another service little by little, under a label."""

import pytest
from graphql import parse

from gateway.supergraph import CompositionError, Supergraph, plan
from gateway.supergraph.override_labels import active_labels
from tests.unit.gateway.supergraph.compose_subgraphs import compose_all

OLD = 'type Query { t: T } type T @key(fields: "id") { id: ID! price: Int }'


def moving(label: str) -> Supergraph:
    return compose_all(
        old=OLD,
        new='type T @key(fields: "id") { id: ID! price: Int @override(from: "old",'
        f' label: "{label}") }}',
    )


def services(supergraph: Supergraph, labels: frozenset[str]) -> list[str]:
    variant = plan(supergraph, parse("{ t { price } }")).variant({}, labels=labels)
    return [request.subgraph for stage in variant.stages for request in stage.fetches]


def test_the_field_is_fetched_where_its_label_says() -> None:
    supergraph = moving("new-prices")

    assert services(supergraph, frozenset()) == ["old"]
    assert services(supergraph, frozenset({"new-prices"})) == ["old", "new"]


def test_labels_nobody_wrote_make_no_variants() -> None:
    planned = plan(moving("x"), parse("{ t { price } }"))

    assert planned.variant({}, labels=frozenset({"y"})) is planned.variant({})
    assert planned.variant({}, labels=frozenset({"x"})) is not planned.variant({})


@pytest.mark.parametrize(("drawn", "is_active"), [(0.0, True), (0.249, True), (0.25, False)])
def test_a_percentage_is_drawn(drawn: float, is_active: bool) -> None:
    labels = active_labels(moving("percent(25)").labels, lambda _: drawn)

    assert labels == (frozenset({"percent(25)"}) if is_active else frozenset())


def test_other_labels_are_switched_on_from_outside() -> None:
    supergraph = moving("new-prices")

    assert active_labels(supergraph.labels, lambda _: 0.0) == frozenset()
    on = frozenset({"new-prices", "unknown"})
    assert active_labels(supergraph.labels, lambda _: 1.0, on) == frozenset({"new-prices"})


@pytest.mark.parametrize("label", ["percent(101)", "percent(x)", "", "1st", "a b"])
def test_what_is_no_label_is_refused(label: str) -> None:
    with pytest.raises(CompositionError, match="label"):
        moving(label)
