"""Operations asked for by their hash: registered ones, and those that clients have taught."""

import json
from typing import Any

import pytest

from gateway.access.limits.registered_operations import OperationRegistry, hash_document
from gateway.graphql_http.persisted_operations import PersistedOperations
from tests.unit.gateway.small_graph import InProcess, asking, endpoint, the_error
from tests.unit.over_http import LEGACY, MODERN

TEXT = "{ segments }"
HASH = hash_document(TEXT)
DATA = {"data": {"segments": ["loyal"]}}
APOLLOS = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": HASH}}}
BY_HASH: list[dict[str, Any]] = [
    {"documentId": HASH},
    {"documentId": f"sha256:{HASH}"},
    {"doc_id": HASH},
    APOLLOS,
]


async def registered(text: str = TEXT) -> PersistedOperations:
    """Documents among which one text is registered."""
    registry = OperationRegistry()
    await registry.adopt([text])
    return PersistedOperations(registry)


def teachable(learns: int = 10) -> Any:
    return endpoint(InProcess(), operations=PersistedOperations(OperationRegistry(), learns))


@pytest.mark.parametrize("body", BY_HASH)
async def test_a_registered_document_is_found_by_its_hash(body: dict[str, Any]) -> None:
    async with asking(endpoint(InProcess(), operations=await registered())) as client:
        response = await client.post("/graphql", json=body)

    assert response.json() == DATA


MANIFEST_ID = "5d41402abc4b2a76b9719d911017c592"


@pytest.mark.parametrize(
    "body",
    [
        {"documentId": MANIFEST_ID},
        {"doc_id": MANIFEST_ID},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": MANIFEST_ID}}},
        {"query": TEXT, "documentId": MANIFEST_ID},
    ],
)
async def test_a_registered_document_is_found_by_the_id_of_its_manifest(
    body: dict[str, Any],
) -> None:
    registry = OperationRegistry()
    await registry.adopt([TEXT], {MANIFEST_ID: TEXT})
    app = endpoint(InProcess(), operations=PersistedOperations(registry))

    async with asking(app) as client:
        known = await client.post("/graphql", json=body)
        await registry.adopt([TEXT])
        forgotten = await client.post("/graphql", json=body)

    assert known.json() == DATA
    assert the_error(forgotten)["code"].startswith("PERSISTED_QUERY_")


@pytest.mark.parametrize("body", BY_HASH)
async def test_it_may_be_asked_for_by_get(body: dict[str, Any]) -> None:
    params = {k: v if isinstance(v, str) else json.dumps(v) for k, v in body.items()}

    async with asking(endpoint(InProcess(), operations=await registered())) as client:
        response = await client.get("/graphql", params=params)

    assert response.json() == DATA


async def test_it_takes_variables_and_a_name_like_any_other() -> None:
    text = "query A { segments } query B($k: ID!) { action(key: $k) }"
    body = {"documentId": hash_document(text), "operationName": "B", "variables": {"k": "x"}}

    async with asking(endpoint(InProcess(), operations=await registered(text))) as client:
        response = await client.post("/graphql", json=body)

    assert response.json() == {"data": {"action": "x"}}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"documentId": HASH}, "PERSISTED_QUERY_NOT_FOUND"),
        (APOLLOS, "PERSISTED_QUERY_NOT_SUPPORTED"),
    ],
)
@pytest.mark.parametrize(("accept", "status"), [(MODERN, 400), (LEGACY, 200)])
async def test_an_unknown_hash_is_refused_in_the_words_clients_wait_for(
    body: dict[str, Any], code: str, accept: str, status: int
) -> None:
    async with asking(endpoint(InProcess())) as client:
        response = await client.post("/graphql", json=body, headers={"Accept": accept})

    assert response.status_code == status
    assert the_error(response)["code"] == code


@pytest.mark.parametrize("body", [{"documentId": HASH}, APOLLOS])
async def test_a_text_with_the_hash_of_another_is_refused(body: dict[str, Any]) -> None:
    async with asking(endpoint(InProcess(), operations=await registered())) as client:
        response = await client.post("/graphql", json={"query": "{ other }", **body})

    assert the_error(response)["code"] == "PERSISTED_QUERY_HASH_MISMATCH"


@pytest.mark.parametrize(
    "body",
    [
        {"documentId": ""},
        {"documentId": "two words"},
        {"documentId": "x" * 257},
        {"doc_id": 7},
        {"doc_id": "é"},
        {"extensions": {"persistedQuery": {"version": 1}}},
        {"extensions": {"persistedQuery": {"sha256Hash": 7}}},
        {"extensions": {"persistedQuery": "x"}},
        {"extensions": {"persistedQuery": None}},
    ],
)
@pytest.mark.parametrize("accept", [MODERN, LEGACY])
async def test_what_is_no_hash_is_malformed(body: dict[str, Any], accept: str) -> None:
    async with asking(endpoint(InProcess())) as client:
        response = await client.post("/graphql", json=body, headers={"Accept": accept})

    assert response.status_code == 400
    assert the_error(response)["code"] == "MALFORMED_REQUEST"


async def test_a_client_teaches_a_document_and_asks_for_it_by_hash_from_then_on() -> None:
    async with asking(teachable()) as client:
        unknown = await client.post("/graphql", json=APOLLOS)
        taught = await client.post("/graphql", json={"query": TEXT, **APOLLOS})
        known = await client.get(
            "/graphql", params={"extensions": json.dumps(APOLLOS["extensions"])}
        )

    assert the_error(unknown) == {
        "message": "PersistedQueryNotFound",
        "code": "PERSISTED_QUERY_NOT_FOUND",
    }
    assert taught.json() == known.json() == DATA


async def test_a_document_that_cannot_be_answered_is_not_learnt() -> None:
    """Or its size would be bounded by the body's limit only."""
    text = "{ nothing }"
    by_hash = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hash_document(text)}}}

    async with asking(teachable()) as client:
        await client.post("/graphql", json={"query": text, **by_hash})
        response = await client.post("/graphql", json=by_hash)

    assert the_error(response)["code"] == "PERSISTED_QUERY_NOT_FOUND"


async def test_no_more_is_learnt_than_may_be() -> None:
    texts = [f"{{ s{n}: segments }}" for n in range(3)]
    hashes = [
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hash_document(text)}}}
        for text in texts
    ]

    async with asking(teachable(learns=2)) as client:
        for text, by_hash in zip(texts, hashes, strict=True):
            await client.post("/graphql", json={"query": text, **by_hash})
        answers = [(await client.post("/graphql", json=by_hash)).json() for by_hash in hashes]

    assert ["data" in answer for answer in answers] == [False, True, True]


async def test_where_nothing_is_learnt_a_text_may_come_with_its_hash_all_the_same() -> None:
    async with asking(endpoint(InProcess())) as client:
        first = await client.post("/graphql", json={"query": TEXT, **APOLLOS})
        second = await client.post("/graphql", json=APOLLOS)

    assert first.json() == DATA
    assert the_error(second)["code"] == "PERSISTED_QUERY_NOT_SUPPORTED"


@pytest.mark.parametrize("body", BY_HASH)
async def test_in_every_mode_a_hash_is_to_be_asked_again_before_registered_ones_are_read(
    body: dict[str, Any],
) -> None:
    registry = OperationRegistry(is_read=False)
    app = endpoint(InProcess(), operations=PersistedOperations(registry))

    async with asking(app) as client:
        early = await client.post("/graphql", json=body)
        await registry.adopt([TEXT])
        later = await client.post("/graphql", json=body)

    assert (early.status_code, the_error(early)["code"]) == (
        503,
        "OPERATIONS_UNKNOWN",
    )
    assert later.json() == DATA


async def test_what_clients_teach_is_taught_before_registered_ones_are_read() -> None:
    app = endpoint(
        InProcess(), operations=PersistedOperations(OperationRegistry(is_read=False), learns=10)
    )

    async with asking(app) as client:
        unknown = await client.post("/graphql", json=APOLLOS)
        taught = await client.post("/graphql", json={"query": TEXT, **APOLLOS})
        known = await client.post("/graphql", json=APOLLOS)

    assert the_error(unknown)["code"] == "PERSISTED_QUERY_NOT_FOUND"
    assert taught.json() == known.json() == DATA
