"""Documents to be registered: each is one the gateway could answer, or all are sent back."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.access.limits.operation_manifest import InvalidOperations
from gateway.settings import GatewaySettings
from infra import definitions, demo
from infra.operations import OWN, NothingToPublish, check_documents

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
GOOD = "query Segments {\n  segments {\n    key\n  }\n}\n"


def written(folder: Path, **documents: str) -> Path:
    for name, text in documents.items():
        (folder / f"{name}.graphql").write_text(text)
    return folder


def find_problems(folder: Path, settings: GatewaySettings | None = None) -> list[str]:
    """What is wrong, each with the place of it below the folder."""
    with pytest.raises(InvalidOperations) as refusal:
        check_documents(settings or GatewaySettings(), [folder], NOW)
    return [str(problem).removeprefix(f"{folder}/") for problem in refusal.value.problems]


def test_documents_are_registered_as_they_are_by_where_they_came_from(tmp_path: Path) -> None:
    written(tmp_path, segments=GOOD)
    (tmp_path / "desk").mkdir()
    written(tmp_path / "desk", two="query A { segments { key } }\r\nquery B { segments { name } }")

    found = check_documents(GatewaySettings(), [tmp_path], NOW)

    assert [(d.source, d.text) for d in found] == [
        ("desk/two.graphql", "query A { segments { key } }\r\nquery B { segments { name } }"),
        ("segments.graphql", GOOD),
    ]


def test_every_problem_of_every_document_is_told_with_its_line(tmp_path: Path) -> None:
    written(
        tmp_path,
        broken="query Broken {\n  segments {\n",
        empty="fragment Nothing on Segment { key }\n",
        good=GOOD,
        many=f"query A {{\n  {' '.join(f'a{n}: segments {{ key }}' for n in range(40))}\n}}\n",
        two="query A { segments { key } }\nquery B { segmentz { key } }\nquery C { nothing }",
        unnamed="query A { segments { key } }\n{ segments { key } }\n",
    )

    found = find_problems(tmp_path)

    assert [problem.split(": ")[0] for problem in found] == [
        "broken.graphql:3",
        "empty.graphql:1",
        "many.graphql:1",
        "two.graphql:2",
        "two.graphql:3",
        "unnamed.graphql:2",
    ]
    assert "segmentz" in found[3]
    assert "aliases" in found[2]


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "odd.graphql").write_bytes(b"query A { segments { key } }\n\xff")

    assert find_problems(tmp_path)[0].startswith("odd.graphql:2: ")


def test_the_limits_are_those_the_gateway_would_have(tmp_path: Path) -> None:
    written(tmp_path, deep="query Deep {\n  customers(first: 3) { edges { node { id } } }\n}\n")

    check_documents(GatewaySettings(), [tmp_path], NOW)

    assert "depth" in find_problems(tmp_path, GatewaySettings(max_depth=3))[0]
    assert "costs 7" in find_problems(tmp_path, GatewaySettings(max_cost=5))[0]


def test_a_folder_without_documents_is_told(tmp_path: Path) -> None:
    with pytest.raises(NothingToPublish, match=r"\*\.graphql"):
        check_documents(GatewaySettings(), [tmp_path], NOW)


def test_the_shops_operations_and_our_own_can_be_registered() -> None:
    found = check_documents(GatewaySettings(), [demo.OPERATIONS, demo.ASSISTANT, OWN], NOW)

    assert {document.text for document in found} >= {
        kind.mutation() for kind in definitions.DEFINITION_KINDS
    }
    assert len({document.hash for document in found}) == len(found)


# --- manifests --------------------------------------------------------------------------------


def test_manifests_and_folders_are_registered_as_one(tmp_path: Path) -> None:
    manifest = tmp_path / "persisted.json"
    manifest.write_text(json.dumps({"5d41402a": GOOD, "7e10": "query Two { segments { name } }"}))
    folder = written(tmp_path, segments=GOOD)

    found = check_documents(GatewaySettings(), [folder, manifest], NOW)

    assert [(d.source, d.ids) for d in found] == [
        ("segments.graphql", ("5d41402a",)),
        (str(manifest), ("7e10",)),
    ]


def test_one_file_may_be_given_alone(tmp_path: Path) -> None:
    written(tmp_path, segments=GOOD, broken="query Broken {")

    [found] = check_documents(GatewaySettings(), [tmp_path / "segments.graphql"], NOW)

    assert (found.source, found.text) == ("segments.graphql", GOOD)


def test_every_problem_of_every_manifest_is_named_with_its_operation_and_line(
    tmp_path: Path,
) -> None:
    texts = {
        "broken.json": '{"a": "query A { segments { key } }",\n}',
        "good.json": json.dumps({"a": GOOD}),
        "other.json": json.dumps({"a": "query A { segments { key } }"}),
        "flawed.json": json.dumps(
            {"format": "apollo-persisted-query-manifest", "version": 1}
            | {"operations": [{"id": "x", "body": "query X {\n  segmentz\n}"}, {"id": "y"}]}
        ),
        "list.json": "[]",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)

    with pytest.raises(InvalidOperations) as refusal:
        check_documents(GatewaySettings(), [tmp_path / name for name in texts], NOW)

    found = [str(problem).removeprefix(f"{tmp_path}/") for problem in refusal.value.problems]
    assert [problem.split(": ")[0] for problem in found] == [
        "broken.json:1",
        "flawed.json, operations[1]:1",
        "list.json:1",
        "flawed.json (X, id x):2",
        "other.json (A, id a):1",
    ]
    assert "Accepted are Apollo's" in found[2]
    assert "good.json" in found[4]


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NothingToPublish, match="nowhere"):
        check_documents(GatewaySettings(), [tmp_path / "nowhere.json"], NOW)
