"""A subgraph over HTTP: for the gateway only, fast the second time, silent about itself."""

import logging
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import httpx
import jwt
import pytest
import strawberry
from graphql import GraphQLInputObjectType, GraphQLObjectType, introspection_types
from strawberry.scalars import JSON

from services.chassis import graphql
from services.chassis.errors import RaakError
from services.chassis.graphql import Schema, SubgraphEndpoint
from services.chassis.principal import ALGORITHM, Principal, ServiceTokenVerifier
from services.contracts.enums import Role
from tests.unit.over_http import OverHttp


class OvenCold(RaakError):
    """Nothing can be baked."""

    code: ClassVar[str] = "OVEN_COLD"


@strawberry.enum
class Grain(Enum):
    """What bread is made of."""

    RYE = "RYE"


@strawberry.type
class Query:
    """A baker's questions."""

    @strawberry.field
    def who(self, info: strawberry.Info[Principal]) -> str:
        """The caller's name."""
        return info.context.subject

    @strawberry.field
    def bread(self, name: str) -> str | None:
        """Fails in a way the caller can mend."""
        raise OvenCold(f"No {name!r} today.", hint="Heat the oven.")

    @strawberry.field
    def flour(self) -> JSON:
        """Answers with more than JSON can hold."""
        return JSON(2**70)

    @strawberry.field
    def baked(self, since: datetime | None = None, grain: Grain | None = None) -> int:
        """Takes a scalar of ours, and an enum."""
        return 0

    @strawberry.field
    def cake(self, name: str) -> str | None:
        """Fails in a way nobody foresaw."""
        raise ValueError(f"secret recipe of {name}")


@pytest.fixture
def client(key_files: tuple[Path, Path]) -> httpx.AsyncClient:
    """A client of a small subgraph, with the gateway's token."""
    caller = ServiceTokenVerifier(key_files[1], "oven").principal
    subgraph = SubgraphEndpoint(Schema(query=Query), lambda principal: principal, caller)
    claims = {
        **Principal(Role.AGENT, "desk 7").claims(),
        "iss": "raak",
        "aud": "raak-oven",
        "exp": datetime.now(UTC) + timedelta(minutes=10),
    }
    token = jwt.encode(claims, key_files[0].read_text(), algorithm=ALGORITHM)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(subgraph),
        base_url="http://oven",
        headers={"Authorization": f"Bearer {token}"},
    )


async def ask(client: httpx.AsyncClient, query: str, **variables: Any) -> dict[str, Any]:
    """The subgraph's answer."""
    response = await client.post("/graphql", json={"query": query, "variables": variables})
    answer: dict[str, Any] = response.json()
    return answer


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the steps that were really taken."""
    steps: list[str] = []

    def counting(step: Any) -> Any:
        def taken(*arguments: Any, **options: Any) -> Any:
            steps.append(step.__name__)
            return step(*arguments, **options)

        return taken

    for name in ("parse", "validate_document"):
        monkeypatch.setattr(graphql, name, counting(getattr(graphql, name)))
    return steps


async def test_the_resolvers_know_who_is_asking(client: httpx.AsyncClient) -> None:
    assert await ask(client, "{ who }") == {"data": {"who": "desk 7"}}


@pytest.mark.parametrize("header", ["", "Bearer x", "Basic YTpi"])
async def test_without_a_token_of_the_gateway_nothing_is_answered(
    client: httpx.AsyncClient, header: str
) -> None:
    response = await client.post(
        "/graphql", json={"query": "{ who }"}, headers={"Authorization": header}
    )

    assert response.status_code == 401
    [error] = response.json()["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    assert error["extensions"]["hint"]


async def test_our_errors_are_told_with_code_hint_and_path(client: httpx.AsyncClient) -> None:
    answer = await ask(client, '{ rye: bread(name: "rye") }')

    assert answer == {
        "data": {"rye": None},
        "errors": [
            {
                "message": "No 'rye' today.",
                "path": ["rye"],
                "extensions": {"code": "OVEN_COLD", "hint": "Heat the oven."},
            }
        ],
    }


async def test_a_bug_is_masked_and_logged_without_its_text(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await ask(client, '{ cake(name: "ann@example.com") }')

    [error] = answer["errors"]
    assert error["extensions"]["code"] == "INTERNAL"
    assert "secret" not in str(answer)
    [record] = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert record.__dict__["fields"]["path"] == ["cake"]
    assert record.__dict__["fields"]["because"].startswith("ValueError at ")
    assert "test_graphql.py" in record.__dict__["fields"]["because"]


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ('{ cake(name: "s3cret") }', {}),
        ('{ bread(name: "s3cret") }', {}),
        ('{ nothing(name: "s3cret") }', {}),
        ('{ bread(name: "s3cret" }', {}),
        ("query($s: Int!) { bread(name: $s) }", {"s": "s3cret"}),
    ],
    ids=["bug", "our error", "unknown field", "syntax", "variable"],
)
async def test_nothing_a_caller_typed_is_logged(
    client: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    query: str,
    variables: dict[str, Any],
) -> None:
    caplog.set_level(logging.DEBUG)

    answer = await ask(client, query, **variables)

    assert answer["errors"]
    output = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    assert "s3cret" not in str(output)


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("query($since: DateTime) { baked(since: $since) }", {"since": "yesterday"}),
        ("query($since: DateTime) { baked(since: $since) }", {"since": 5}),
        ("query($since: DateTime) { baked(since: $since) }", {"since": "2026-13-01T00:00:00Z"}),
        ("query($grain: Grain) { baked(grain: $grain) }", {"grain": "STONE"}),
        ("query($name: String!) { bread(name: $name) }", {"name": {}}),
        ('{ baked(since: "yesterday") }', {}),
        ("{ baked(grain: STONE) }", {}),
    ],
)
async def test_a_value_that_does_not_fit_its_type_is_the_callers_mistake_and_no_bug(
    client: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    query: str,
    variables: dict[str, Any],
) -> None:
    answer = await ask(client, query, **variables)

    [error] = answer["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    expected = "2026-11-30T09:30:00Z" if "since" in query else "schema declares"
    assert expected in error["extensions"]["hint"]
    assert "data" not in answer
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_document_is_parsed_and_validated_once(
    client: httpx.AsyncClient, counted: list[str]
) -> None:
    for name in ("rye", "wheat", "spelt"):
        await ask(client, "query($name: String!) { bread(name: $name) }", name=name)

    assert counted == ["parse", "validate_document"]


async def test_a_document_that_is_not_valid_stays_so_the_second_time(
    client: httpx.AsyncClient, counted: list[str]
) -> None:
    first = await ask(client, "{ nothing }")
    second = await ask(client, "{ nothing }")

    assert first == second
    assert "Cannot query field 'nothing'" in first["errors"][0]["message"]
    assert counted == ["parse", "validate_document"]


async def test_so_many_documents_are_cached_and_no_more(
    counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.chassis.graphql.DOCUMENTS", 50)
    schema, desk = Schema(query=Query), Principal(Role.AGENT, "desk 7")
    for n in range(51):
        await schema.answer(f"{{ w{n}: who }}", context=desk)
    counted.clear()

    await schema.answer("{ w1: who }", context=desk)
    assert counted == []

    await schema.answer("{ w0: who }", context=desk)
    assert counted == ["parse", "validate_document"]


async def test_a_document_that_nests_too_deep_to_be_read_is_refused(
    client: httpx.AsyncClient,
) -> None:
    answer = await ask(client, "{ a" * 100_000)

    assert "nested too deeply" in answer["errors"][0]["message"]


@pytest.mark.parametrize(
    ("query", "name", "code"),
    [
        ("query A { who } query B { who }", None, "UNKNOWN_OPERATION"),
        ("query A { who } query B { who }", "C", "UNKNOWN_OPERATION"),
        ("subscription { who }", None, "MUTATION_NOT_ALLOWED"),
    ],
    ids=["several and no name", "a name of none", "a subscription"],
)
async def test_no_operation_is_guessed(
    client: httpx.AsyncClient, query: str, name: str | None, code: str
) -> None:
    response = await client.post("/graphql", json={"query": query, "operationName": name})

    [error] = response.json()["errors"]
    assert error["extensions"]["code"] == code
    assert "data" not in response.json()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"query": 1}', b"\xff", b"{}"])
async def test_what_is_no_request_is_refused_without_a_crash(
    client: httpx.AsyncClient, body: bytes
) -> None:
    response = await client.post(
        "/graphql", content=body, headers={"Content-Type": "application/json"}
    )

    assert response.status_code == 400


async def test_there_is_no_page(client: httpx.AsyncClient) -> None:
    page = await client.get("/graphql", headers={"Accept": "text/html"})

    assert page.status_code == 406
    assert page.headers["content-type"].startswith("application/json")


class TestASubgraphSpeaksGraphQLOverHttp(OverHttp):
    """As the specification asks."""


async def test_what_no_json_can_hold_is_masked(client: httpx.AsyncClient) -> None:
    """JSON scalars pass as they are, also numbers of more than 64 bits."""
    response = await client.post("/graphql", json={"query": "{ flour }"})

    assert response.status_code == 500
    assert response.json()["errors"][0]["extensions"]["code"] == "INTERNAL"


# --- @oneOf -----------------------------------------------------------------------------------


@strawberry.input(one_of=True)
class ByInput:
    id: strawberry.ID | None = strawberry.UNSET
    name: str | None = strawberry.UNSET


@strawberry.type(name="Query")
class LoafQuery:
    @strawberry.field
    def loaf(self, by: ByInput) -> str:
        return by.name or f"loaf {by.id}"


LOAVES = Schema(query=LoafQuery)
LOAF = "query ($by: ByInput!) { loaf(by: $by) }"


async def test_one_field_of_a_one_of_input_is_enough() -> None:
    assert await LOAVES.answer(LOAF, {"by": {"id": "1"}}) == {"data": {"loaf": "loaf 1"}}
    assert await LOAVES.answer('{ loaf(by: {name: "rye"}) }') == {"data": {"loaf": "rye"}}


@pytest.mark.parametrize("by", [{}, {"id": None}, {"id": "1", "name": "rye"}])
async def test_both_or_neither_field_of_a_one_of_input_says_what_to_pass(
    by: dict[str, Any],
) -> None:
    [error] = (await LOAVES.answer(LOAF, {"by": by}))["errors"]

    assert "ByInput" in error["message"]
    assert error["extensions"] == {
        "code": "BAD_USER_INPUT",
        "hint": "Pass exactly one of its fields, which is not null.",
    }


def test_a_schema_leaves_the_introspection_of_all_others_in_its_process_as_it_is() -> None:
    introspection = introspection_types["__Type"]
    assert isinstance(introspection, GraphQLObjectType)
    before = introspection.fields["isOneOf"]

    types = Schema(query=LoafQuery)._schema.type_map

    assert introspection.fields["isOneOf"] is before
    assert isinstance(types["ByInput"], GraphQLInputObjectType)
    assert types["ByInput"].is_one_of
