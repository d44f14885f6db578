"""An operation is read, validated and planned once, however it is written."""

import pytest

from gateway.supergraph import OperationRefused, PlanCache, compose
from tests.unit.gateway.supergraph import shop

SUPERGRAPH = compose(shop.SDLS)
TEXT = "query Q($n: Int!) { customers { ...F offers(limit: $n) { title } } version } " + (
    "fragment F on Customer { id name }"
)


@pytest.mark.parametrize(
    "alike",
    [
        TEXT.replace(" ", "\n\t"),
        TEXT.replace(" ", " , "),
        "# a comment\n" + TEXT.replace("{ id", "{ # another\n id"),
        "\ufeff" + TEXT,
        "fragment F on Customer { id name } " + TEXT.partition(" fragment")[0],
    ],
    ids=["whitespace", "commas", "comments", "a byte order mark", "other order"],
)
def test_texts_that_differ_in_layout_share_one_plan(alike: str) -> None:
    cache = PlanCache(SUPERGRAPH)

    assert cache.plan(alike) is cache.plan(TEXT)
    assert len(cache) == 1


def test_other_operations_of_a_document_and_what_they_use_make_no_difference() -> None:
    cache = PlanCache(SUPERGRAPH)
    more = TEXT + " query Other { customers { ...G } } fragment G on Customer { email }"

    assert cache.plan(more, "Q") is cache.plan(TEXT)


def test_a_document_is_valid_as_a_whole_or_not_at_all() -> None:
    cache = PlanCache(SUPERGRAPH)
    cache.plan(TEXT)

    with pytest.raises(OperationRefused, match="nothing"):
        cache.plan(TEXT + " query Other { nothing }", "Q")
    with pytest.raises(OperationRefused, match="never used"):
        cache.plan(TEXT + " fragment G on Customer { email }")


@pytest.mark.parametrize(
    "other",
    [
        TEXT.replace("Q(", "R("),
        TEXT.replace("id name", "name id"),
        TEXT.replace("$n)", "1)").replace("($n: Int!)", ""),
        TEXT.replace("version", "v: version"),
    ],
    ids=["name", "order of fields", "literal", "alias"],
)
def test_operations_that_differ_have_plans_of_their_own(other: str) -> None:
    cache = PlanCache(SUPERGRAPH)

    assert cache.plan(other) is not cache.plan(TEXT)


def test_a_string_is_not_taken_for_what_it_says() -> None:
    cache = PlanCache(SUPERGRAPH)
    text = "{{ offers(filter: {{ titles: [{}] }}) {{ id }} }}"

    plans = [cache.plan(text.format(titles)) for titles in ('"a b"', '"a", "b"', '"a\\" \\"b"')]

    assert len({id(planned) for planned in plans}) == 3


def test_many_texts_of_one_operation_push_out_no_plan() -> None:
    cache = PlanCache(SUPERGRAPH, size=2)
    first, second = cache.plan(TEXT), cache.plan("{ version }")

    for n in range(100):
        assert cache.plan("{ version }" + " " * n) is second

    assert cache.plan(TEXT) is first


def test_any_number_of_refusals_pushes_out_no_plan() -> None:
    cache = PlanCache(SUPERGRAPH, size=2)
    first, second = cache.plan(TEXT), cache.plan("{ version }")

    for n in range(100):
        with pytest.raises(OperationRefused):
            cache.plan(f"{{ nothing{n} }}")

    assert cache.plan(TEXT) is first
    assert cache.plan("{ version }") is second


def test_a_forgotten_plan_is_made_again() -> None:
    cache = PlanCache(SUPERGRAPH, size=1)
    first = cache.plan(TEXT)
    cache.plan("{ version }")

    again = cache.plan(TEXT)

    assert again is not first
    assert len(cache) == 1
