"""GraphQL over HTTP: forms of asking, forms of answering, and what is told when they don't fit."""

import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.access.limits.registered_operations import OperationRegistry
from gateway.graphql_http.request_context import REQUESTS
from gateway.pipeline.pipeline import RequestPipeline
from services.chassis import telemetry
from services.chassis.bodies import DISCARD_BYTES
from services.chassis.graphql_http.media_types import choose_media_type
from services.contracts.enums import Role
from tests.unit.gateway.small_graph import (
    ANN,
    InProcess,
    asking,
    bearer,
    endpoint,
    graph,
    the_error,
)
from tests.unit.over_http import OverHttp

MODERN = "application/graphql-response+json"
LEGACY = "application/json"

FUZZED = endpoint(InProcess())
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def json_of_requests() -> st.SearchStrategy[bytes]:
    """Requests that are nearly right."""
    words = st.sampled_from(
        ["query ", "$a", ": Int", "{", "}", "segments", "(", ")", "...", "@skip"]
    )
    documents = st.lists(words, max_size=12).map(" ".join) | st.just("{ segments }")
    parts = st.fixed_dictionaries(
        {"query": documents | JSON_VALUES},
        optional={
            "variables": JSON_VALUES,
            "operationName": JSON_VALUES,
            "extensions": JSON_VALUES,
        },
    )
    return parts.map(orjson.dumps)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an endpoint in production."""
    async with asking(endpoint(InProcess())) as client:
        yield client


@pytest.fixture
async def developer() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an endpoint in development."""
    async with asking(endpoint(InProcess(), is_open=True)) as client:
        yield client


async def post(client: httpx.AsyncClient, body: Any, accept: str = MODERN) -> httpx.Response:
    return await client.post("/graphql", json=body, headers={"Accept": accept})


class TestTheGatewaySpeaksGraphQLOverHttp(OverHttp):
    """As the specification asks."""

    @pytest.fixture
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client of an endpoint that tells its schema."""
        async with asking(endpoint(InProcess(), is_open=True)) as client:
            yield client


# --- answering --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (MODERN, MODERN),
        (LEGACY, LEGACY),
        ("*/*", LEGACY),
        ("application/*", LEGACY),
        ("text/html, */*;q=0.1", LEGACY),
        (f"{LEGACY};q=0.9, {MODERN}", MODERN),
        (f"{LEGACY}, {MODERN};q=0.5", LEGACY),
        (f"{MODERN}, {LEGACY}", MODERN),
        (f"{MODERN};q=0, */*", LEGACY),
        (f"{LEGACY};q=0, */*", MODERN),
        (f"*/*, {LEGACY};q=0", MODERN),
        (f"{LEGACY};q=0.1, application/*;q=0.5", MODERN),
        ("application/*;q=0, */*", None),
        (f"{MODERN}, {LEGACY};q=0.9", MODERN),  # Apollo Client
        (f"{MODERN}, application/graphql+json, {LEGACY}, text/event-stream", MODERN),  # urql
        (f"{MODERN.upper()}; charset=utf-8", MODERN),
        ("text/html", None),
        ("", None),
        (f"{LEGACY};q=0", None),
        (f"{LEGACY};q=x", None),
        (f"{LEGACY};q=nan, {MODERN};q=0.1", MODERN),
    ],
)
def test_the_answer_comes_in_the_form_the_client_prefers(
    accept: str, media_type: str | None
) -> None:
    assert choose_media_type(accept) == media_type


async def test_a_client_that_says_nothing_gets_json(client: httpx.AsyncClient) -> None:
    del client.headers["accept"]

    response = await client.post("/graphql", json={"query": "{ segments }"})

    assert response.headers["content-type"] == f"{LEGACY}; charset=utf-8"
    assert response.json() == {"data": {"segments": ["loyal"]}}


async def test_a_client_that_accepts_no_media_type_of_ours_learns_which_there_are(
    client: httpx.AsyncClient,
) -> None:
    response = await post(client, {"query": "{ segments }"}, "image/png")

    assert response.status_code == 406
    assert the_error(response)["code"] == "NOT_ACCEPTABLE"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "query A { segments }", "operationName": "B"}, "UNKNOWN_OPERATION"),
        ({"query": "query($r: CustomerRef!) { customer(ref: $r) { id } }"}, "BAD_USER_INPUT"),
        ({"query": "{ __schema { description } }"}, "INTROSPECTION_OFF"),
        ({"query": "{" + " a: segments" * 11 + "}"}, "LIMIT_EXCEEDED"),
        ({"query": "subscription { x }"}, "GRAPHQL_VALIDATION_FAILED"),
    ],
)
async def test_a_request_that_is_refused_has_no_data_and_the_status_its_form_asks_for(
    client: httpx.AsyncClient, body: dict[str, Any], code: str
) -> None:
    modern, legacy = await post(client, body), await post(client, body, LEGACY)

    assert the_error(modern)["code"] == the_error(legacy)["code"] == code
    assert modern.status_code == (403 if code == "INTROSPECTION_OFF" else 400)
    assert legacy.status_code == 200


async def test_another_customer_is_forbidden(client: httpx.AsyncClient) -> None:
    client.headers.update(bearer(Role.APP, ANN))

    response = await post(client, {"query": '{ customer(ref: {id: "1"}) { id } }'})

    assert response.status_code == 403
    assert the_error(response)["code"] == "FORBIDDEN"


@pytest.mark.parametrize("accept", [MODERN, LEGACY])
async def test_without_a_good_token_there_is_401_in_any_form(
    client: httpx.AsyncClient, accept: str
) -> None:
    del client.headers["authorization"]
    none = await post(client, {"query": "{ segments }"}, accept)
    client.headers["Authorization"] = "Bearer forged"
    forged = await post(client, {"query": "{ segments }"}, accept)

    for response in (none, forged):
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert the_error(response)["code"] == "UNAUTHENTICATED"


# --- asking -----------------------------------------------------------------------------------


async def test_a_request_can_have_all_its_parts(client: httpx.AsyncClient) -> None:
    query = "query A { segments } query B($k: ID!) { action(key: $k) }"
    body = {"query": query, "operationName": "B", "variables": {"k": "é"}, "extensions": {}}

    response = await post(client, body)

    assert response.json() == {"data": {"action": "é"}}


async def test_parts_that_are_null_are_as_good_as_absent(client: httpx.AsyncClient) -> None:
    body = {"query": "{ segments }", "operationName": None, "variables": None, "extensions": None}

    assert (await post(client, body)).json() == {"data": {"segments": ["loyal"]}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"query": "\xff"}', "not valid UTF-8 (byte 11)"),
        (b'{"query": ', "not valid JSON: line 1, column"),
        (b"", "not valid JSON"),
        (b"null", "null, not an object"),
        (b'"{ segments }"', "a string, not an object"),
        (b"{}", "has no `query`"),
        (b'{"query": null}', "`query` is null"),
        (b'{"query": 1}', "`query` is a number"),
        (b'{"query": {}}', "`query` is an object"),
        (b'{"query": "{ segments }", "operationName": []}', "`operationName` is a list"),
        (b'{"query": "{ segments }", "variables": "{}"}', "`variables` is a string"),
        (b'{"query": "{ segments }", "variables": []}', "`variables` is a list"),
        (b'{"query": "{ segments }", "extensions": true}', "`extensions` is a boolean"),
    ],
)
@pytest.mark.parametrize("accept", [MODERN, LEGACY])
async def test_a_body_that_is_no_request_is_refused_with_the_reason(
    client: httpx.AsyncClient, body: bytes, said: str, accept: str
) -> None:
    headers = {"Content-Type": "application/json", "Accept": accept}

    response = await client.post("/graphql", content=body, headers=headers)

    assert response.status_code == 400
    assert the_error(response)["code"] == "MALFORMED_REQUEST"
    assert said in the_error(response)["message"]


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ('Application/JSON;charset="UTF-8"', 200),
        ("application/json; charset=iso-8859-1", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/graphql", 415),
        ("", 415),
    ],
)
async def test_only_json_is_taken(
    client: httpx.AsyncClient, content_type: str, status: int
) -> None:
    body = orjson.dumps({"query": "{ segments }"})

    response = await client.post("/graphql", content=body, headers={"Content-Type": content_type})

    assert response.status_code == status


async def test_a_body_without_end_is_read_so_far_and_dropped() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 40_000
            yield b" " * 40_000

    headers = {"Content-Type": "application/json", "Accept": MODERN}
    transport = _Streaming(endpoint(InProcess()), endless())
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        tracemalloc.start()
        response = await client.post("/graphql", headers=headers)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert response.status_code == 413
    assert the_error(response)["code"] == "BODY_TOO_LARGE"
    assert DISCARD_BYTES < read < DISCARD_BYTES + 200_000
    assert peak < 1_000_000


class _Streaming(httpx.AsyncBaseTransport):
    """Gives an application a body piece by piece, only as it asks; httpx reads it whole."""

    def __init__(self, app: Any, body: AsyncIterator[bytes]) -> None:
        self._app = app
        self._body = body

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            chunk = await anext(self._body)
            return {"type": "http.request", "body": chunk, "more_body": True}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(k.lower(), v) for k, v in request.headers.raw if k.lower() != b"content-length"]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/graphql",
            "query_string": b"",
            "headers": headers,
        }
        await self._app(scope, receive, send)
        start, *rest = sent
        content = b"".join(message.get("body", b"") for message in rest)
        return httpx.Response(start["status"], headers=start["headers"], content=content)


async def test_the_refusal_of_a_large_body_names_the_limit(client: httpx.AsyncClient) -> None:
    response = await post(client, {"query": "{ segments }" + " " * 70_000})

    assert response.status_code == 413
    assert "64 KB (max_body_bytes)" in the_error(response)["message"]


# --- GET --------------------------------------------------------------------------------------


async def test_a_query_can_be_asked_by_get(client: httpx.AsyncClient) -> None:
    query = "query A { segments } query B($k: ID!) { action(key: $k) }"
    parameters = {"query": query, "operationName": "B", "variables": '{"k": "+ é"}'}

    response = await client.get("/graphql", params=parameters)

    assert response.json() == {"data": {"action": "+ é"}}


async def test_a_mutation_by_get_is_refused_and_not_done() -> None:
    services = InProcess()
    query = 'mutation { track(input: {customer: {id: "1"}, event: "e"}) }'

    async with asking(endpoint(services)) as client:
        response = await client.get("/graphql", params={"query": query})

    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert the_error(response)["code"] == "MUTATION_NOT_ALLOWED"
    assert services.asked == []


@pytest.mark.parametrize("parameters", [{}, {"query": "{ segments }", "variables": "{"}])
async def test_a_get_that_is_no_request_is_refused(
    client: httpx.AsyncClient, parameters: dict[str, str]
) -> None:
    response = await client.get("/graphql", params=parameters)

    assert response.status_code == 400
    assert the_error(response)["code"] == "MALFORMED_REQUEST"


# --- the query plan ---------------------------------------------------------------------------

PLANNED = {
    "query": "query A($id: ID!) { customer(ref: {id: $id}) { id } }",
    "variables": {"id": "1"},
}


async def test_in_development_a_header_says_what_production_would_refuse() -> None:
    registry = OperationRegistry(is_read=False)
    served = replace(graph(InProcess(), is_open=True), registry=registry)

    async def header(asker: httpx.AsyncClient, text: str) -> str | None:
        response = await post(asker, {"query": text})
        code: str | None = response.headers.get("x-raak-in-production")
        return code

    async with asking(endpoint(InProcess(), is_open=True, served=lambda: served)) as caller:
        assert await header(caller, "{ segments }") is None, "nobody can tell yet"
        await registry.adopt(["{ segments }"])
        assert await header(caller, "{ segments }") is None
        assert await header(caller, "{ segments, __typename }") is None
        assert await header(caller, "{ s: segments }") == "OPERATION_NOT_REGISTERED"
        assert await header(caller, "{ nothing }") == "OPERATION_NOT_REGISTERED"
    async with asking(endpoint(InProcess(), served=lambda: served)) as caller:
        assert await header(caller, "{ s: segments }") is None, "it is said in development only"


async def post_for_plan(client: httpx.AsyncClient, body: Any, mode: str = "true") -> httpx.Response:
    headers = {"Accept": MODERN, "Apollo-Expose-Query-Plan": mode}
    return await client.post("/graphql", json=body, headers=headers)


async def test_a_signed_in_developer_gets_the_query_plan_with_the_answer(
    developer: httpx.AsyncClient,
) -> None:
    plain = await post(developer, PLANNED)

    response = await post_for_plan(developer, PLANNED)

    answer = response.json()
    plan = answer.pop("extensions")["apolloQueryPlan"]
    assert answer == plain.json()
    assert plan["object"]["kind"] == "QueryPlan"
    assert plan["object"]["node"]["serviceName"] == "profile"
    assert plan["text"].startswith('QueryPlan {\n  Fetch(service: "profile") {\n')


async def test_a_dry_run_gives_the_plan_and_asks_no_service() -> None:
    services = InProcess()
    async with asking(endpoint(services, is_open=True)) as client:
        response = await post_for_plan(client, PLANNED, "dry-run")

    assert response.status_code == 200
    assert response.json()["data"] is None
    assert "QueryPlan" in response.json()["extensions"]["apolloQueryPlan"]["text"]
    assert services.asked == []


@pytest.mark.parametrize("mode", ["true", "dry-run"])
async def test_the_query_plan_is_exposed_neither_in_production_nor_without_a_token(
    mode: str, client: httpx.AsyncClient, developer: httpx.AsyncClient
) -> None:
    in_production = await post_for_plan(client, PLANNED, mode)
    del developer.headers["authorization"]
    anonymous = await post_for_plan(developer, {"query": "{ __typename }"}, mode)

    assert in_production.json() == (await post(client, PLANNED)).json()
    assert "extensions" not in anonymous.json()


async def test_the_query_plan_is_not_exposed_unless_it_is_asked_for(
    developer: httpx.AsyncClient,
) -> None:
    for mode in ("false", ""):
        assert "extensions" not in (await post_for_plan(developer, PLANNED, mode)).json()


async def test_wrong_variables_are_refused_beside_the_plan(developer: httpx.AsyncClient) -> None:
    response = await post_for_plan(developer, PLANNED | {"variables": {}})

    assert response.status_code == 400
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_an_operation_that_is_refused_has_no_plan(developer: httpx.AsyncClient) -> None:
    response = await post_for_plan(developer, {"query": "{ nonsense }"})

    assert set(response.json()) == {"errors"}


async def test_an_answer_with_a_plan_is_not_cached(developer: httpx.AsyncClient) -> None:
    url = "/graphql?query={__typename}"

    plain = await developer.get(url)
    planned = await developer.get(url, headers={"Apollo-Expose-Query-Plan": "true"})

    assert "etag" in plain.headers
    assert "etag" not in planned.headers


# --- what is told of it -----------------------------------------------------------------------


async def test_a_failure_of_ours_is_masked_and_logged_without_what_the_caller_typed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(*_: Any) -> Any:
        raise ValueError("secret of ann@example.com")

    monkeypatch.setattr(RequestPipeline, "answer", failing)
    async with asking(endpoint(InProcess())) as client:
        response = await post(client, {"query": "{ segments }"})

    assert response.status_code == 500
    assert response.json()["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert "ann@example.com" not in response.text + caplog.text
    assert any("ValueError" in str(vars(record)) for record in caplog.records)


async def test_requests_are_counted_by_type_and_first_error(client: httpx.AsyncClient) -> None:
    def counted(kind: str, code: str) -> float:
        return float(REQUESTS.labels(kind, code)._value.get())

    good, bad = counted("query", "OK"), counted("none", "GRAPHQL_PARSE_FAILED")

    await post(client, {"query": "query SecretName { segments }"})
    await post(client, {"query": "{"})

    assert counted("query", "OK") == good + 1
    assert counted("none", "GRAPHQL_PARSE_FAILED") == bad + 1


async def test_a_span_is_named_after_the_operation_and_holds_no_literal(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "tracing", lambda: True)

    with provider.get_tracer("test").start_as_current_span("POST /graphql"):
        await post(client, {"query": 'query One { action(key: "private") }'})

    [span] = exporter.get_finished_spans()
    assert span.name == "query One"
    assert "private" not in span.to_json()


# --- nothing a caller sends is a failure of ours -------------------------------------------------

NASTY = {
    "deep fields": "{a" * 600 + "}" * 600,
    "deep fragments": "{" + "...{" * 600 + "segments" + "}" * 601,
    "deep list": "{ customer(ref: " + "[" * 900 + "]" * 900 + ") { id } }",
    "deep object": '{ action(key: "x" a: ' + "{a:" * 450 + "1" + "}" * 450 + ") }",
    "deep type": "query($a: " + "[" * 900 + "Int" + "]" * 900 + ") { segments }",
    "long chain of fragments": "{ ...F0 } fragment F220 on Query { segments } "
    + " ".join(f"fragment F{n} on Query {{ ...F{n + 1} }}" for n in range(220)),
    "cycle of fragments": "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
    "one directive many times": "{ segments " + "@skip(if: false) " * 300 + "}",
    "no operation": "type A { a: Int }",
    "two without a name": "{ segments } { segments }",
    "same name twice": "query A { segments } query A { segments }",
    "a null character": "{\0}",
}


@pytest.mark.parametrize("name", NASTY)
async def test_documents_made_to_hurt_are_answered_like_any_other(
    client: httpx.AsyncClient, name: str
) -> None:
    response = await post(client, {"query": NASTY[name]})

    assert response.status_code in (200, 400), response.text


@settings(max_examples=100, deadline=None)
@given(body=st.binary() | st.text().map(str.encode) | json_of_requests())
async def test_any_bytes_are_answered_with_what_is_wrong_with_them(body: bytes) -> None:
    async with asking(FUZZED) as client:
        headers = {"Content-Type": "application/json", "Accept": MODERN}
        response = await client.post("/graphql", content=body, headers=headers)

    assert response.status_code in (200, 400, 413), response.text
    assert set(response.json()) <= {"data", "errors"}
