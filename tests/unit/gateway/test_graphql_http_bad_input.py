"""What is no request, or no decent one: each told what is wrong, none a failure of ours."""

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.access.limits.registered_operations import OperationRegistry
from gateway.graphql_http.persisted_operations import PersistedOperations
from gateway.pipeline.pipeline import RequestPipeline
from services.chassis.bodies import BodyLimits
from services.chassis.graphql_http.request import MAX_DEPTH
from tests.unit.gateway.small_graph import AGENT, InProcess, asking, endpoint, the_error
from tests.unit.over_http import MODERN

JSON = {"Content-Type": "application/json", "Accept": MODERN}
APP = endpoint(InProcess(), max_batch=3)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an endpoint that takes batches."""
    async with asking(APP) as client:
        yield client


async def refused(client: httpx.AsyncClient, body: bytes, **headers: str) -> tuple[int, str, str]:
    """Status, code and message of the answer to a body that is refused."""
    response = await client.post("/graphql", content=body, headers={**JSON, **headers})
    error = the_error(response)
    return response.status_code, error["code"], error["message"]


# --- JSON -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"query": "{ segments }", "query": "{ action }"}', "`query` is sent twice"),
        (b'{"query": "{ segments }", "qu\\u0065ry": "{ action }"}', "`query` is sent twice"),
        (b'{"query": "{ a }", "variables": {}, "variables": {}}', "`variables` is sent twice"),
        (b'[{"query": "{ a }", "query": "{ b }"}]', "`query` is sent twice"),
        (b'{"query": "{ a }", "documentId": "x", "documentId": "y"}', "`documentId` is"),
        (b'{"query": "{ segments }", "variables": {"a": NaN}}', "not valid JSON"),
        (b'{"query": "{ segments }", "variables": {"a": Infinity}}', "not valid JSON"),
        (b'{"query": "{ segments }", "variables": {"a": ' + b"9" * 5_000 + b"}}", "not valid"),
        (b'{"query": "\\ud800"}', "not valid JSON"),
        (b'\xef\xbb\xbf{"query": "{ segments }"}', "not valid JSON"),
        ('{"query": "{ segments }"}'.encode("utf-16"), "not valid UTF-8"),
        (b'{"query": "{ segments }"} {}', "not valid JSON"),
        (b"[" * 5_000 + b"]" * 5_000, "not valid JSON"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, f"nests deeper than {MAX_DEPTH} levels"),
        (
            b'{"query": "{ segments }", "variables": {"a": ' + b"[" * 200 + b"]" * 200 + b"}}",
            f"nests deeper than {MAX_DEPTH} levels",
        ),
    ],
)
async def test_json_that_can_be_read_in_two_ways_or_in_none_is_refused(
    client: httpx.AsyncClient, body: bytes, said: str
) -> None:
    status, code, message = await refused(client, body)

    assert (status, code) == (400, "MALFORMED_REQUEST")
    assert said in message


@pytest.mark.parametrize(
    "body",
    [
        b'{"query": "{ segments }", "variables": {"query": 1, "variables": {"query": 2}}}',
        b'{"query": "{ segments }", "variables": {"\\u0061": 1}}',
        b'{"query": "{ segments }", "variables": {"a": ' + b"9" * 300 + b"}}",
        b'{"query": "{ segments }", "variables": {"a": "\\u0061", "b": ' + b"9" * 300 + b"}}",
        b'{"query": "{ segments }", "extensions": {"list": [' + b"{}," * 150 + b"{}]}}",
        b'{"query": "{ segments }", "more": 1, "more": 2}',
    ],
)
async def test_what_only_looks_like_it_is_answered(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/graphql", content=body, headers=JSON)

    assert response.json() == {"data": {"segments": ["loyal"]}}


@pytest.mark.parametrize(
    ("query_string", "said"),
    [
        ("query={a}&query={b}", "`query` is sent twice"),
        ("query={segments}&variables={}&variables={}", "`variables` is sent twice"),
        ("query=%ff", "not UTF-8"),
        ("query={segments}&variables=7", "`variables` is a number"),
        ("query={segments}&extensions={", "extensions is not valid JSON"),
        ("query", "has no `query`"),
        ("", "has no `query`"),
        ("&&=&=&;", "has no `query`"),
    ],
)
async def test_an_address_that_is_no_request_is_refused(
    client: httpx.AsyncClient, query_string: str, said: str
) -> None:
    response = await client.get(f"/graphql?{query_string}", headers={"Accept": MODERN})

    assert response.status_code == 400
    assert said in the_error(response)["message"] or the_error(response)["code"].startswith("GRAPH")


async def test_an_address_is_no_longer_than_a_body_may_be() -> None:
    small = BodyLimits(1_000, "max_body_bytes", within_s=30)

    async with asking(endpoint(InProcess(), body=small)) as client:
        response = await client.get("/graphql", params={"query": " " * 2_000 + "{ segments }"})

    assert response.status_code == 414
    assert the_error(response)["code"] == "ADDRESS_TOO_LONG"


@pytest.mark.parametrize("deep", [2**70, "\ud800", "deep"])
async def test_an_answer_that_cannot_be_written_is_masked(
    monkeypatch: pytest.MonkeyPatch, deep: Any
) -> None:
    """What a service says may be read by orjson, and yet not be written."""
    said: Any = deep
    if deep == "deep":
        for _ in range(300):
            said = [said]

    async def answer(*_: Any) -> Any:
        return {"data": {"a": said}}

    monkeypatch.setattr(RequestPipeline, "answer", answer)
    async with asking(APP) as client:
        one = await client.post("/graphql", json={"query": "{ segments }"})
        batch = await client.post("/graphql", json=[{"query": "{ segments }"}])

    assert one.status_code == 500
    assert one.json()["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert batch.json() == [one.json()]


# --- bodies -----------------------------------------------------------------------------------


GOOD = [
    (b"content-type", b"application/json"),
    (b"authorization", AGENT["Authorization"].encode()),
]
Receive = Callable[[], Awaitable[dict[str, Any]]]


async def receiving(
    receive: Receive, headers: list[tuple[bytes, bytes]] | None = None, **rules: Any
) -> list[dict[str, Any]]:
    """What the application sends to a request whose body comes so."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": headers or GOOD,
    }
    await endpoint(InProcess(), **rules)(scope, receive, send)  # type: ignore[arg-type]
    return sent


def code_of(sent: list[dict[str, Any]]) -> tuple[int, str]:
    error = orjson.loads(sent[1]["body"])["errors"][0]
    return sent[0]["status"], error["extensions"]["code"]


async def test_a_body_that_does_not_come_is_not_waited_for_longer_than_it_may_take() -> None:
    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    impatient = BodyLimits(1_000, "max_body_bytes", within_s=0.02)
    async with asyncio.timeout(30):
        sent = await receiving(never, body=impatient)

    assert code_of(sent) == (408, "BODY_TOO_SLOW")
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_a_body_that_trickles_in_has_no_more_time_for_that() -> None:
    async def trickle() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b" ", "more_body": True}

    impatient = BodyLimits(10_000_000, "max_body_bytes", within_s=0.05)

    assert code_of(await receiving(trickle, body=impatient)) == (408, "BODY_TOO_SLOW")


async def test_a_client_that_goes_away_is_no_failure() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert code_of(await receiving(gone)) == (400, "BODY_INCOMPLETE")


async def test_a_body_in_pieces_is_put_together() -> None:
    pieces = iter([b'{"query"', b': "{ seg', b'ments }"}'])

    async def next_piece() -> dict[str, Any]:
        body = next(pieces)
        return {"type": "http.request", "body": body, "more_body": body != b'ments }"}'}

    sent = await receiving(next_piece)

    assert orjson.loads(sent[1]["body"]) == {"data": {"segments": ["loyal"]}}


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_header_that_is_there_twice_is_a_list_and_no_choice(is_first: bool) -> None:
    async def body() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"query": "{ segments }"}'}

    other = (b"authorization", b"Bearer another")
    headers = [other, *GOOD] if is_first else [*GOOD, other]

    assert code_of(await receiving(body, headers)) == (401, "UNAUTHENTICATED")


async def test_a_few_bytes_that_stand_for_gigabytes_are_not_unpacked() -> None:
    bomb = gzip.compress(b" " * 64 * 1024 * 1024)
    small = BodyLimits(100_000, "max_body_bytes", within_s=30)

    async def body() -> dict[str, Any]:
        return {"type": "http.request", "body": bomb}

    tracemalloc.start()
    sent = await receiving(body, [*GOOD, (b"content-encoding", b"gzip")], body=small)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert code_of(sent) == (413, "BODY_TOO_LARGE")
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("body", "encoding", "expected"),
    [
        (b"{}", "br", (415, "BODY_ENCODED")),
        (b"{}", "gzip, gzip", (415, "BODY_ENCODED")),
        (b"{}", "gzip", (400, "BODY_INCOMPLETE")),
        (gzip.compress(b"{}")[:-4], "gzip", (400, "BODY_INCOMPLETE")),
        (gzip.compress(b"{}") + b"more", "gzip", (400, "BODY_INCOMPLETE")),
        (gzip.compress(b"{}") + gzip.compress(b"{}"), "gzip", (400, "BODY_INCOMPLETE")),
        (zlib.compress(b"{}"), "gzip", (400, "BODY_INCOMPLETE")),
        (b"", "gzip", (400, "BODY_INCOMPLETE")),
        (gzip.compress(b" " * 64 * 1024 * 1024), "gzip", (413, "BODY_TOO_LARGE")),
        (gzip.compress(b"[]x"), "gzip", (400, "MALFORMED_REQUEST")),
    ],
    ids=["br", "twice", "no gzip", "cut", "more", "two", "zlib", "empty", "bomb", "no JSON"],
)
async def test_a_packed_body_is_unpacked_no_further_than_it_may_be_large(
    client: httpx.AsyncClient, body: bytes, encoding: str, expected: tuple[int, str]
) -> None:
    status, code, _ = await refused(client, body, **{"Content-Encoding": encoding})

    assert (status, code) == expected


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "٣", "9" * 5_000])
async def test_a_length_that_is_no_number_is_not_believed(
    client: httpx.AsyncClient, length: str
) -> None:
    headers = {**JSON, "Content-Length": length.encode()}
    body = b'{"query": "{ segments }"}'

    response = await client.post("/graphql", content=body, headers=headers)  # type: ignore[arg-type]

    assert response.status_code in (200, 413)


# --- preflight --------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["", "GraphQL-Require-Preflight", "X-Apollo-Operation-Name"])
async def test_what_a_browser_sends_for_any_page_is_refused(header: str) -> None:
    """A GET without a header that would make it ask first."""
    headers = {header: "1"} if header else {}

    async with asking(endpoint(InProcess(), is_open=True)) as client:
        del client.headers["authorization"]
        response = await client.get("/graphql", params={"query": "{ __typename }"}, headers=headers)

    if header:
        assert response.json() == {"data": {"__typename": "Query"}}
    else:
        assert response.status_code == 400
        assert the_error(response)["code"] == "PREFLIGHT_REQUIRED"


# --- anything at all --------------------------------------------------------------------------

FUZZED = endpoint(
    InProcess(),
    max_batch=2,
    operations=PersistedOperations(OperationRegistry(), 5),
    compress_from_bytes=99,
)
NAMES = st.text(max_size=5) | st.sampled_from(
    ["query", "variables", "operationName", "extensions", "documentId", "persistedQuery"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["{ segments }", "query", "sha256Hash", "persistedQuery", "a" * 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
HEADER_NAMES = st.sampled_from(
    [
        b"accept",
        b"accept-encoding",
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"if-none-match",
        b"x-api-key",
        b"x-apollo-operation-name",
    ]
)
HEADER_VALUES = st.binary(max_size=20) | st.sampled_from(
    [
        b"application/json",
        MODERN.encode(),
        b"*/*;q=0.5, gzip",
        b"gzip",
        b"text/html",
        AGENT["Authorization"].encode(),
        b"Bearer x",
        b"7",
        b"*",
    ]
)


def as_json(value: Any) -> bytes:
    """JSON, as far as there is any: Python also writes NaN."""
    return json.dumps(value).encode()


@settings(max_examples=200, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "\xff", ""]),
    query_string=st.binary(max_size=40)
    | st.dictionaries(NAMES, VALUES.map(as_json).map(bytes.decode), max_size=4).map(
        lambda pairs: str(httpx.QueryParams(pairs)).encode()
    ),
    headers=st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=5),
    is_right=st.booleans(),
    pieces=st.lists(st.binary(max_size=30) | VALUES.map(as_json), min_size=1, max_size=3),
    is_whole=st.booleans(),
)
@example("POST", b"", [(b"content-encoding", b"gzip")], True, [gzip.compress(b"{}")], True)
async def test_whatever_comes_the_answer_is_well_formed_and_no_failure(
    method: str,
    query_string: bytes,
    headers: list[tuple[bytes, bytes]],
    is_right: bool,
    pieces: list[bytes],
    is_whole: bool,
) -> None:
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append(
        {"type": "http.request", "body": b""} if is_whole else {"type": "http.disconnect"}
    )
    coming, sent = iter(messages), []

    async def receive() -> Any:
        return next(coming)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": "/graphql",
        "query_string": query_string,
        "headers": [*(GOOD if is_right else []), *headers],
    }
    await FUZZED(scope, receive, send)

    start, body = sent
    answered = dict(start["headers"])
    assert start["status"] in {200, 304, 400, 401, 403, 405, 406, 408, 413, 414, 415}
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    if start["status"] != 304:
        content = body["body"]
        assert int(answered[b"content-length"]) == len(content)
        packed = answered.get(b"content-encoding") == b"gzip"
        value = orjson.loads(gzip.decompress(content) if packed else content)
        for answer in value if isinstance(value, list) else [value]:
            assert answer.keys() <= {"data", "errors"}
            for error in answer.get("errors", ()):
                assert error["message"]
                assert error["extensions"]["code"] != "INTERNAL"
