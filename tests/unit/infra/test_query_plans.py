"""`raak plan` prints how operations are fetched, and says what is wrong with what it can't plan."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.supergraph import SupergraphUnreadable, compose_sdl
from infra.cli import app
from infra.query_plans import (
    FileUnreadable,
    OperationInvalid,
    VariablesInvalid,
    load_supergraph,
    plan_file,
    read_variables,
)

OFFERS = """
query Offers($id: ID!, $withName: Boolean = true) {
  customer(ref: {id: $id}) {
    id
    segments { key } traits { name @include(if: $withName) value }
    nextBestActions(channel: WEB, placement: "home") { propositions { rank } }
  }
}
"""
OURS = load_supergraph(None)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "operations.graphql"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_plan_is_printed_over_the_committed_subgraphs(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["plan", str(written(tmp_path, OFFERS))])

    assert printed.exit_code == 0
    assert printed.stdout.startswith("# Offers $withName: true\nQueryPlan {\n  Sequence {\n")
    assert '    Flatten(path: "customer") {\n      Fetch(service: "decision") {\n' in printed.stdout


def test_json_is_one_document_for_each_operation(tmp_path: Path) -> None:
    path = written(tmp_path, "query A { segments { key } } query B { __typename }")

    printed = CliRunner().invoke(app, ["plan", str(path), "--json"]).stdout

    first, end = json.JSONDecoder().raw_decode(printed)
    second = json.loads(printed[end:])
    assert (first["operationName"], first["node"]["serviceName"]) == ("A", "profile")
    assert second == {"operationName": "B", "conditions": {}, "kind": "QueryPlan"}


def test_variables_choose_what_is_skipped(tmp_path: Path) -> None:
    path = written(tmp_path, OFFERS)

    (included,) = plan_file(path, OURS, {})
    (skipped,) = plan_file(path, OURS, {"withName": False})

    assert " name\n" in included.as_text()
    assert " name\n" not in skipped.as_text()
    assert skipped.as_text().startswith("# Offers $withName: false\n")


def test_another_supergraph_may_be_planned_over(tmp_path: Path) -> None:
    sdls = {"a": "type Query { a: Int }", "b": "type Query { b: Int }"}
    supergraph = tmp_path / "supergraph.graphql"
    supergraph.write_text(compose_sdl(sdls))
    path = written(tmp_path, "{ a b }")

    printed = CliRunner().invoke(app, ["plan", str(path), "--supergraph", str(supergraph)])

    assert printed.stdout.startswith("# Operation\nQueryPlan {\n  Parallel {\n")
    with pytest.raises(SupergraphUnreadable):
        load_supergraph(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("query A {\n  nonsense\n}", ":2:3: Cannot query field 'nonsense' on type 'Query'."),
        ("query A {", ":1:10: Syntax Error: Expected Name, found <EOF>."),
        ("", ":1:1: Syntax Error: Unexpected <EOF>."),
        ("fragment F on Query { __typename }", ":1:1: Fragment 'F' is never used."),
        (
            "{ __typename } query B { __typename }",
            ":1:1: This anonymous operation must be the only",
        ),
        ("type T { x: Int }", "The 'T' definition is not executable."),
    ],
)
def test_an_operation_that_is_not_valid_is_refused_with_its_place(
    text: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(OperationInvalid) as refused:
        plan_file(written(tmp_path, text), OURS, {})

    assert problem in refused.value.problem


def test_every_operation_that_is_wrong_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(OperationInvalid) as refused:
        plan_file(written(tmp_path, "query A { x }\nquery B { y }"), OURS, {})

    assert [
        line.partition("operations.graphql:")[2] for line in refused.value.problem.split("\n")
    ] == [
        "1:11: Cannot query field 'x' on type 'Query'.",
        "2:11: Cannot query field 'y' on type 'Query'.",
    ]


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path, written(tmp_path, b"\xff{")):
        with pytest.raises(FileUnreadable):
            plan_file(path, OURS, {})


@pytest.mark.parametrize("text", ["[1]", "{", "1"])
def test_variables_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(VariablesInvalid):
        read_variables(text)
