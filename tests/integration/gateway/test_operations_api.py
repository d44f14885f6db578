"""A build publishes the operations of its client, to a gateway in production."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from hashlib import md5
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gateway import store
from gateway.access.authentication.api_keys import ApiKey, create_key
from gateway.access.authorization.roles import Roles
from gateway.access.limits.registered_operations import (
    OperationIdTaken,
    RegisteredOperation,
    hash_document,
)
from gateway.surfaces.operations import SCOPE
from infra import operations
from infra.cli import app
from infra.graph_client import GatewayUnreachable
from infra.operations import PublicationRefused, publish_to
from services.chassis.database import Database, open_database
from services.contracts.enums import Role
from tests.integration.gateway.test_in_production import (
    NOW,
    SECRET,
    DatabaseUrlFor,
    House,
    standing,
)
from tests.waiting import until

GRANTED = Roles.read().resolve_grant


def new_key(role: Role, *scopes: str) -> tuple[str, ApiKey]:
    narrowed = frozenset(scopes) or None
    return create_key(SECRET, GRANTED, name="ci", role=role, scopes=narrowed, now=NOW)


CI, CI_KEY = new_key(Role.ADMIN, SCOPE)
OTHER, OTHER_KEY = new_key(Role.ADMIN, "segments:read")
MARKETER, MARKETER_KEY = new_key(Role.MARKETER)


@pytest.fixture(scope="module")
async def address(database_url_for: DatabaseUrlFor) -> AsyncIterator[str]:
    """The gateway's database, with keys in it."""
    async with database_url_for("gateway") as url:
        async with open_database(url) as database, database.transaction() as connection:
            for key in (CI_KEY, OTHER_KEY, MARKETER_KEY):
                await store.add_key(connection, key)
        yield url


@pytest.fixture(scope="module")
def audit_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "audit.jsonl"


@pytest.fixture(scope="module")
async def house(
    key_files: tuple[Path, Path], address: str, audit_file: Path
) -> AsyncIterator[House]:
    async with standing(key_files, address, audit_file=audit_file) as house:
        await until(house.is_ready)
        yield house


@pytest.fixture
async def database(address: str) -> AsyncIterator[Database]:
    async with open_database(address) as database:
        yield database


async def post(
    house: House, manifest: Any, key: str | None = CI, body: bytes | None = None
) -> httpx.Response:
    content = json.dumps(manifest).encode() if body is None else body
    headers = {"X-API-Key": key} if key else {}
    return await house.client.post("/operations", content=content, headers=headers)


async def refusal_of(house: House, manifest: Any, **how: Any) -> tuple[int, str, str]:
    response = await post(house, manifest, **how)
    answer = response.json()
    assert answer["success"] is False
    assert answer["error"]["hint"]
    return response.status_code, answer["error"]["code"], answer["error"]["problem"]


async def test_apollos_manifest_is_answered_by_its_ids_within_a_moment(house: House) -> None:
    text = "query Apollo { segments __typename }"
    operation = {"id": "apollo-1", "name": "Apollo", "type": "query", "body": text}
    manifest = {
        "format": "apollo-persisted-query-manifest",
        "version": 1,
        "operations": [operation],
    }
    by_id = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "apollo-1"}}}

    response = await post(house, manifest)

    entry = {
        "id": "apollo-1",
        "hash": hash_document(text),
        "name": "Apollo",
        "source": f"manifest of key:{CI_KEY.id}",
    }
    assert (response.status_code, response.json()) == (
        200,
        {"registered": 1, "new": 1, "operations": [entry]},
    )
    await until(lambda: is_answered(house, by_id))
    assert await is_answered(house, {"documentId": "apollo-1"})
    assert await is_answered(house, {"documentId": hash_document(text)})
    assert await is_answered(house, {"query": "query Apollo { segments }"})
    assert (await post(house, manifest)).json()["new"] == 0


async def is_answered(house: House, request: dict[str, Any]) -> bool:
    return "data" in await house.ask(request)


async def test_relays_manifest_is_answered_by_its_hashes(house: House) -> None:
    text = "query Relay {\n  segments\n}\n"
    name = md5(text.encode(), usedforsecurity=False).hexdigest()

    assert (await post(house, {name: text})).json()["registered"] == 1

    await until(lambda: is_answered(house, {"doc_id": name}))
    assert await is_answered(house, {"documentId": name})


async def test_documents_alone_are_known_by_their_hash(house: House) -> None:
    text = "query Plain { segments } query Second { catalogue }"

    answer = (await post(house, {"documents": [text]})).json()

    assert [(each["id"], each["name"]) for each in answer["operations"]] == [
        (hash_document(text), "Plain"),
        (hash_document(text), "Second"),
    ]


async def test_nothing_is_published_unless_all_can_be(house: House, database: Database) -> None:
    manifest = {
        "a1": "query Good { segments }",
        "b2": "query Bad {\n  segmentz\n}",
        "c3": "query Broken {",
        "d4": 7,
    }

    response = await post(house, manifest)

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "NOT_PUBLISHABLE")
    source = f"manifest of key:{CI_KEY.id}"
    assert [(each["source"], each["line"]) for each in error["problems"]] == [
        (f"{source} (id d4)", 1),
        (f"{source} (Bad, id b2)", 2),
        (f"{source} (Broken, id c3)", 1),
    ]
    async with database.connection() as connection:
        assert "query Good { segments }" not in {d.text for d in await store.operations(connection)}


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        (b"", 400, "INVALID_JSON", "line 1, column 1"),
        (b"{", 400, "INVALID_JSON", "line 1, column 2"),
        (b"\xff", 400, "INVALID_JSON", "Byte 0 is not UTF-8"),
        (b'{"a": "{ segments }", "a": "{ catalogue }"}', 400, "INVALID_JSON", "'a' stands more"),
        (b'{"a": NaN}', 400, "INVALID_JSON", "line 1, column 7"),
        (b"[" * 100_000, 400, "INVALID_JSON", "depth limit"),
        (b"[]", 400, "NOT_PUBLISHABLE", "Accepted are Apollo's"),
        (b'{"a": "{ segments } # \\u0000"}', 400, "NOT_PUBLISHABLE", "NUL"),
        (b'{"\\ud800": "{ segments }"}', 400, "INVALID_JSON", "surrogate"),
        (b" " * (4 * 1024 * 1024 + 1), 413, "BODY_TOO_LARGE", "4096 KB (max_publish_bytes)"),
    ],
)
async def test_a_body_that_is_no_manifest_is_refused(
    house: House, body: bytes, status: int, code: str, words: str
) -> None:
    refusal = await refusal_of(house, None, body=body)

    assert refusal[:2] == (status, code)
    assert words in refusal[2]


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        (None, 401, "UNAUTHENTICATED"),
        ("raak_x", 401, "UNAUTHENTICATED"),
        (OTHER, 403, "FORBIDDEN"),
        (MARKETER, 403, "FORBIDDEN"),
    ],
    ids=["none", "malformed", "another scope", "another role"],
)
async def test_a_key_needs_the_scope(house: House, key: str | None, status: int, code: str) -> None:
    assert (await refusal_of(house, {"a": "{ segments }"}, key=key))[:2] == (status, code)


async def test_a_token_publishes_nothing(house: House) -> None:
    headers = {"Authorization": f"Bearer {house.token}"}

    response = await house.client.post("/operations", json={}, headers=headers)

    assert (response.status_code, response.json()["error"]["code"]) == (401, "UNAUTHENTICATED")


async def test_an_id_of_another_document_is_refused_and_nothing_is_published(
    house: House, database: Database
) -> None:
    first, second = "query First { segments }", "query Second { segments }"
    await post(house, {"same": first})

    taken = await refusal_of(house, {"same": second, "fresh": "query Fresh { segments }"})

    assert taken[:2] == (409, "OPERATION_ID_TAKEN")
    assert f"'same' (manifest of key:{CI_KEY.id})" in taken[2]
    async with database.connection() as connection:
        found = {d.text for d in await store.operations(connection)}
    assert first in found
    assert not {second, "query Fresh { segments }"} & found


async def test_a_hash_cannot_be_the_id_of_another_document(database: Database) -> None:
    one, two = (RegisteredOperation(f"query Hash{n} {{ segments }}", "a", NOW) for n in (1, 2))
    thief = RegisteredOperation(two.text, "b", NOW, (one.hash,))
    early = RegisteredOperation("query Early { segments }", "c", NOW, (two.hash,))

    async with database.transaction() as connection:
        await store.publish(connection, [one, early], NOW)
    for document in (thief, two):
        with pytest.raises(OperationIdTaken):
            async with database.transaction() as connection:
                await store.publish(connection, [document], NOW)


async def test_of_two_that_publish_an_id_at_once_the_later_is_refused(database: Database) -> None:
    texts = [f"query Race{n} {{ segments }}" for n in range(4)]

    async def publish(text: str) -> bool:
        with suppress(OperationIdTaken):
            async with database.transaction() as connection:
                document = RegisteredOperation(text, "race", NOW, ("race",))
                return await store.publish(connection, [document], NOW) == 1
        return False

    assert sorted(await asyncio.gather(*map(publish, texts))) == [False, False, False, True]


async def test_a_retired_document_takes_its_ids_with_it(database: Database) -> None:
    one, two = (
        RegisteredOperation(f"query Retired{n} {{ segments }}", "a", NOW, ("free",)) for n in (1, 2)
    )

    async with database.transaction() as connection:
        await store.publish(connection, [one], NOW)
        await store.retire(connection, one.hash)
        assert await store.publish(connection, [two], NOW) == 1


async def test_what_was_published_is_in_the_audit_log(house: House, audit_file: Path) -> None:
    text = "query Audited { segments }"
    await post(house, {"documents": [text]})
    await refusal_of(house, {}, key=OTHER)

    def records() -> list[dict[str, Any]]:
        lines = audit_file.read_text().splitlines()
        return [line for line in map(json.loads, lines) if line.get("operation") == "/operations"]

    def of(key: ApiKey) -> list[dict[str, Any]]:
        return [each for each in records() if each["caller"]["subject"] == f"key:{key.id}"]

    await until(lambda: any(hash_document(text) in each.get("hashes", ()) for each in of(CI_KEY)))
    await until(lambda: any(each["denied"] for each in of(OTHER_KEY)))
    published = next(each for each in of(CI_KEY) if hash_document(text) in each.get("hashes", ()))
    assert (published["kind"], published["documents"], published["errors"]) == ("call", 1, [])


# --- from the shell ---------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of the command line's own documents, which the small graph cannot answer."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own.graphql").write_text("query Own { segments }")
    monkeypatch.setattr(operations, "OWN", folder)
    return folder


async def test_the_shell_publishes_by_a_gateways_address(
    house: House, own: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "persisted.json"
    manifest.write_text(json.dumps({"sh1": "query Shell { segments }"}))
    command = ["operations", "publish", str(manifest), "--url", str(house.client.base_url)]

    result = await asyncio.to_thread(CliRunner(env={"RAAK_API_KEY": CI}).invoke, app, command)

    assert result.exit_code == 0, result.output
    assert "sh1  " in result.output
    assert "own.graphql: Own" in result.output
    assert "2 documents are registered; 2 are new." in result.output
    await until(lambda: is_answered(house, {"documentId": "sh1"}))


async def test_the_shell_says_what_the_gateway_refuses(
    house: House, own: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.graphql").write_text("query Bad { segmentz }")
    url = str(house.client.base_url)

    with pytest.raises(PublicationRefused, match=r"(?s)NOT_PUBLISHABLE.*bad\.graphql:1: Cannot"):
        await asyncio.to_thread(publish_to, url, CI, [tmp_path / "bad.graphql"], NOW)
    with pytest.raises(PublicationRefused, match="FORBIDDEN"):
        await asyncio.to_thread(publish_to, url, OTHER, [], NOW)
    for nowhere in ("http://127.0.0.1:1", "gateway", f"{url}/graphql"):
        with pytest.raises(GatewayUnreachable):
            await asyncio.to_thread(publish_to, nowhere, CI, [], NOW)
