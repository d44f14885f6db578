"""A nullable variable has no place in a @oneOf input, required or not."""

import pytest

from gateway.supergraph import OperationRefused, compose, plan_document

GRAPH = compose(
    {
        "users": """
        extend schema @link(url: "https://specs.apollo.dev/federation/v2.11", import: ["@key"])
        type Query {
          user(by: By!): ID users(by: [By!]!): ID maybe(by: By): ID plain(by: Plain!): ID
        }
        input By @oneOf { id: ID name: String }
        input Plain { id: ID }
        """
    }
)


@pytest.mark.parametrize(
    "document",
    [
        "query($i: ID) { user(by: {id: $i}) }",
        'query($i: ID = "1") { user(by: {id: $i}) }',
        "query($i: ID) { users(by: [{id: $i}]) }",
        "query($i: ID) { maybe(by: {id: $i}) }",
        "query($i: ID) { ...F } fragment F on Query { user(by: {id: $i}) }",
    ],
)
def test_a_variable_that_may_be_null_is_refused_once_by_its_name(document: str) -> None:
    with pytest.raises(OperationRefused) as refused:
        plan_document(GRAPH, document)

    [error] = refused.value.errors
    assert "'$i'" in str(error["message"])
    assert "'By'" in str(error["message"])


@pytest.mark.parametrize(
    "document",
    [
        "query($i: ID!) { user(by: {id: $i}) }",
        "query($b: By!) { user(by: $b) }",
        "query($b: By) { maybe(by: $b) }",
        "query($i: ID) { plain(by: {id: $i}) }",
    ],
)
def test_all_other_variables_are_fine(document: str) -> None:
    plan_document(GRAPH, document)
