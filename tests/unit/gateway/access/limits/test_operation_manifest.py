"""Manifests of three builds and our own: what they hold, and everything that is wrong with one."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.access.limits.operation_manifest import (
    InvalidOperations,
    OperationDraft,
    merge_drafts,
    read_manifest,
)
from gateway.access.limits.registered_operations import hash_document

NOW = datetime(2026, 11, 30, 9, 30, tzinfo=UTC)
OFFERS = "query Offers { segments }"
MD5 = "5d41402abc4b2a76b9719d911017c592"


def apollo(*operations: Any) -> dict[str, Any]:
    head = {"format": "apollo-persisted-query-manifest", "version": 1}
    return {**head, "operations": list(operations)}


def problems_of(value: Any) -> list[str]:
    return [str(problem) for problem in read_manifest(value, "m.json")[1]]


@pytest.mark.parametrize(
    ("manifest", "id", "source"),
    [
        (apollo({"id": MD5, "name": "Offers", "type": "query", "body": OFFERS}), MD5, "m.json"),
        ({MD5: OFFERS}, MD5, "m.json"),
        ({"documents": OFFERS}, "documents", "m.json"),
        ({f"sha256:{'0a' * 32}": OFFERS}, "0a" * 32, "m.json"),
        ({"sha256:short": OFFERS}, "sha256:short", "m.json"),
        ({"documents": [OFFERS]}, None, "m.json, documents[0]"),
        ({"documents": [{"document": OFFERS}]}, None, "m.json, documents[0]"),
        ({"documents": [{"document": OFFERS, "id": MD5, "source": "a.graphql"}]}, MD5, "a.graphql"),
    ],
)
def test_a_manifest_of_each_form_gives_its_documents_with_their_ids(
    manifest: Any, id: str | None, source: str
) -> None:
    assert read_manifest(manifest, "m.json") == ([OperationDraft(OFFERS, source, id)], [])


@pytest.mark.parametrize(
    ("manifest", "problems"),
    [
        (7, ["m.json:1: It is no JSON object. Accepted are Apollo's"]),
        ([OFFERS], ["m.json:1: It is no JSON object."]),
        ({}, ["m.json:1: It holds no document. Accepted are Apollo's"]),
        (apollo(), ["m.json:1: It holds no document."]),
        ({"documents": []}, ["m.json:1: It holds no document."]),
        ({"format": "other"}, ["m.json:1: It has 'other' and None, not `format` 'apollo-"]),
        (apollo() | {"version": 2}, ["m.json:1: It has 'apollo-persisted-query-manifest' and 2,"]),
        (apollo() | {"operations": {}}, ["m.json:1: `operations` is no list."]),
        (
            apollo(OFFERS, {"body": OFFERS}, {"id": "a"}, {"id": "b", "body": 7}),
            [
                "m.json, operations[0]:1: It is no object with `id` and `body`.",
                "m.json, operations[1]:1: `id` is missing.",
                "m.json, operations[2]:1: The text of the document is missing.",
                "m.json, operations[3]:1: The document is 7, not a text.",
            ],
        ),
        (
            apollo({"id": 7, "body": OFFERS}),
            ["m.json, operations[0]:1: The id 7 must be up to 256"],
        ),
        (
            {"two words": OFFERS, "x" * 257: OFFERS, "": OFFERS, "scripts": {"a": "b"}},
            [
                "m.json (id two words):1: The id 'two words' must be up to 256 characters",
                "m.json (id xxxxxxxxxxxx):1: The id 'xxx",
                "m.json (id ):1: The id '' must",
                "m.json (id scripts):1: The document is {'a': 'b'}, not a text.",
            ],
        ),
        ({"documents": [None]}, ["m.json, documents[0]:1: The text of the document is missing."]),
        (
            {"documents": [{"document": OFFERS, "source": "a\nb"}, {"source": 7}]},
            [
                "m.json, documents[0]:1: `source` must be a line of up to 200 characters.",
                "m.json, documents[1]:1: `source` must be",
            ],
        ),
        (
            apollo({"id": "a", "body": OFFERS}, {"id": "a", "body": "{ segments }"}),
            [
                "m.json (Offers, id a):1: The id 'a' stands 2 times here.",
                "m.json (id a):1: The id 'a' stands 2 times here.",
            ],
        ),
    ],
)
def test_everything_that_is_wrong_with_a_manifest_is_named_at_once(
    manifest: Any, problems: list[str]
) -> None:
    found = problems_of(manifest)

    assert len(found) == len(problems)
    for one, beginning in zip(found, problems, strict=True):
        assert one.startswith(beginning)


def test_a_text_that_comes_by_several_ids_is_one_document() -> None:
    own = hash_document(OFFERS)
    drafts = [OperationDraft(OFFERS, f"{name}.json", name) for name in ("b", None, "a", own)]

    [document] = merge_drafts(drafts, [], NOW)

    assert (document.text, document.source, document.ids) == (OFFERS, "b.json", ("a", "b"))
    assert document.names == (own, "a", "b")


@pytest.mark.parametrize("id", [MD5, hash_document("{ segments }")])
def test_one_id_of_two_texts_is_refused(id: str) -> None:
    drafts = [
        OperationDraft("{ segments }", "one.json", id),
        OperationDraft(OFFERS, "two.json", id),
    ]

    with pytest.raises(InvalidOperations) as refusal:
        merge_drafts(drafts, [], NOW)

    [problem] = refusal.value.as_json()["problems"]
    assert problem["source"] == f"two.json (Offers, id {id[:12]})"
    assert "names another document, too: one.json" in problem["message"]
