"""Documents to be registered: each is one the gateway could answer, or all are sent back."""

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
    found = check_documents(GatewaySettings(), [demo.OPERATIONS, OWN], NOW)

    assert {document.text for document in found} >= {
        kind.mutation() for kind in definitions.DEFINITION_KINDS
    }
    assert len({document.hash for document in found}) == len(found)
