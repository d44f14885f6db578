"""What a caller may not have is null, says so, and is not even fetched."""

from typing import Any

import pytest
from graphql import parse

from gateway.supergraph import ExecutionOptions, compose, execute, plan
from tests.unit.gateway.supergraph import shop

SUPERGRAPH = compose(shop.SDLS)


async def execute_denied(
    text: str, *denied: str, variables: dict[str, Any] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """The answer without `denied`, and the texts of what the services were asked."""
    transport = shop.InProcess()
    answer = await execute(
        plan(SUPERGRAPH, parse(text)),
        variables,
        transport,
        ExecutionOptions(denied=frozenset(denied)),
    )
    return answer, [request["query"] for _, request in transport.sent]


def places(answer: dict[str, Any]) -> list[list[str | int]]:
    """Where the answer says that something is denied."""
    errors = answer.get("errors", [])
    assert {e["extensions"]["code"] for e in errors} <= {"UNAUTHORIZED_FIELD_OR_TYPE"}
    return [error["path"] for error in errors]


async def test_a_denied_field_is_null_with_an_error_at_each_place() -> None:
    answer, _ = await execute_denied("{ customers { id tags } }", "Customer.tags")

    assert answer["data"]["customers"][0] == {"id": "1", "tags": None}
    assert places(answer) == [["customers", n, "tags"] for n in range(3)]
    assert answer["errors"][0]["message"] == "Access to 'Customer.tags' is denied."
    assert answer["errors"][0]["extensions"]["hint"]


async def test_a_denied_field_is_not_fetched_under_any_name() -> None:
    text = "{ customers { tags x: tags raak_tags: tags ...F } } fragment F on Customer { y: tags }"

    answer, sent = await execute_denied(text, "Customer.tags")

    assert not any("tags" in query for query in sent)
    assert len(places(answer)) == 12


async def test_what_only_a_denied_field_needed_is_not_fetched_either() -> None:
    answer, sent = await execute_denied("{ offers { title shipping } }", "Offer.shipping")

    assert len(sent) == 1
    assert "price" not in sent[0]
    assert places(answer)[0] == ["offers", 0, "shipping"]


async def test_an_input_stays_fetchable_when_the_field_itself_is_denied() -> None:
    answer, sent = await execute_denied("{ offers { price shipping } }", "Offer.price")

    assert "raak_price: price" in sent[0]
    assert answer["data"] is None
    assert places(answer)[0] == ["offers", 0, "price"]


async def test_a_denied_object_opens_no_service_below_it() -> None:
    answer, sent = await execute_denied("{ customers { offers { rating } } }", "Customer.offers")

    assert len(sent) == 1
    assert answer["data"]["customers"][1] == {"offers": None}


async def test_null_travels_from_a_denied_field_to_the_nearest_nullable_place() -> None:
    text = '{ customer(id: "1") { email } version }'

    answer, _ = await execute_denied(text, "Customer.email")

    assert answer["data"] == {"customer": None, "version": "1"}
    assert places(answer) == [["customer", "email"]]


async def test_a_skipped_field_is_not_denied() -> None:
    text = "query ($x: Boolean!) { customers { id tags @include(if: $x) } }"

    answer, _ = await execute_denied(text, "Customer.tags", variables={"x": False})

    assert places(answer) == []


async def test_where_nothing_is_found_nothing_is_denied() -> None:
    answer, _ = await execute_denied('{ customer(id: "9") { email } }', "Customer.email")

    assert answer == {"data": {"customer": None}}


async def test_only_the_types_that_deny_a_field_lose_it() -> None:
    answer, sent = await execute_denied("{ parties { name } }", "Company.name")

    assert answer["data"]["parties"][0] == {"name": "Ada"}
    assert answer["data"]["parties"][1] == {"name": None}
    assert places(answer) == [["parties", 1, "name"]]
    assert sent == [
        "query Operation__customers__0 { parties { __typename ... on Customer { name } } }"
    ]


async def test_a_denied_root_field_leaves_the_others() -> None:
    answer, sent = await execute_denied("{ customers { id } version }", "Query.version")

    assert places(answer) == [["version"]]
    assert not any("version" in query for query in sent)


async def test_a_denied_mutation_is_not_done() -> None:
    text = 'mutation { rename(id: "1", name: "X") { name } }'

    answer, sent = await execute_denied(text, "Mutation.rename")

    assert sent == []
    assert answer["data"] is None
    assert places(answer) == [["rename"]]


async def test_errors_about_denied_fields_are_bounded() -> None:
    text = "{ customers { " + " ".join(f"t{n}: tags" for n in range(50)) + " } }"

    answer, _ = await execute_denied(text, "Customer.tags")

    assert len(answer["errors"]) == 101
    assert answer["errors"][-1]["extensions"]["code"] == "TOO_MANY_ERRORS"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ version }", {"Query.version"}),
        (
            "{ parties { name ... on Company { vat } } }",
            {"Query.parties", "Customer.name", "Company.name", "Company.vat"},
        ),
        (
            "query ($x: Boolean!) { customers { id @skip(if: $x) ... @include(if: $x) { tags } } }",
            {"Query.customers", "Customer.id", "Customer.tags"},
        ),
        ("{ __typename offers { shipping } }", {"Query.offers", "Offer.shipping"}),
    ],
)
def test_a_plan_says_what_the_client_asks(text: str, expected: set[str]) -> None:
    assert plan(SUPERGRAPH, parse(text)).coordinates == expected


def test_variants_differ_only_by_what_is_asked_of_the_denied() -> None:
    planned = plan(SUPERGRAPH, parse("{ version }"))

    usual = planned.variant({})

    assert planned.variant({}, denied=frozenset({"Customer.tags"})) is usual
    assert planned.variant({}, denied=frozenset({"Query.version"})) is not usual
