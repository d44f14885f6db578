"""What may be kept of an answer, by whom, and how it is asked for again; answers by gzip."""

import gzip

import pytest

from gateway.graphql_http.caching import cache_seconds
from gateway.graphql_http.compression import accepts_gzip
from services.chassis.bodies import BodyLimits
from services.contracts.enums import Role
from tests.unit.gateway.small_graph import ANN, InProcess, asking, bearer, endpoint

ROOMY = BodyLimits(1024 * 1024, "max_body_bytes", within_s=30)
SEGMENTS = {"query": "{ segments }"}
CATALOGUE = {"query": "{ catalogue }"}
"""Of a field that its service has tagged as cacheable."""


async def test_a_response_to_a_get_may_be_cached_by_its_client_which_revalidates_it() -> None:
    async with asking(endpoint(InProcess(), max_age_s=60)) as client:
        first = await client.get("/graphql", params=SEGMENTS)
        again = await client.get(
            "/graphql", params=SEGMENTS, headers={"If-None-Match": first.headers["etag"]}
        )

    assert first.headers["cache-control"] == "private, no-cache"
    assert (again.status_code, again.content) == (304, b"")
    for name in ("etag", "cache-control", "vary"):
        assert again.headers[name] == first.headers[name]


async def test_it_is_sent_again_when_it_has_changed() -> None:
    stale = {"If-None-Match": '"other", W/"another"'}

    async with asking(endpoint(InProcess())) as client:
        response = await client.get("/graphql", params=SEGMENTS, headers=stale)

    assert response.status_code == 200
    assert response.json() == {"data": {"segments": ["loyal"]}}


@pytest.mark.parametrize("form", ["{}", "*", '"x", {}', '{}, W/"x"'])
async def test_a_client_may_have_several_answers(form: str) -> None:
    async with asking(endpoint(InProcess())) as client:
        tag = (await client.get("/graphql", params=SEGMENTS)).headers["etag"]
        headers = {"If-None-Match": form.format(tag)}
        response = await client.get("/graphql", params=SEGMENTS, headers=headers)

    assert response.status_code == 304


async def test_what_is_the_same_for_all_may_be_kept_by_any_cache_for_a_while() -> None:
    async with asking(endpoint(InProcess(), max_age_s=60)) as client:
        response = await client.get("/graphql", params=CATALOGUE)

    assert response.headers["cache-control"] == "public, max-age=60"
    assert {"Authorization", "Accept", "Origin"} <= set(response.headers["vary"].split(", "))


@pytest.mark.parametrize(
    "query",
    [
        "{ catalogue segments }",
        "query($no: Boolean = false) { catalogue segments @include(if: $no) }",
    ],
)
async def test_with_a_field_that_is_not_tagged_it_may_not(query: str) -> None:
    async with asking(endpoint(InProcess(), max_age_s=60)) as client:
        response = await client.get("/graphql", params={"query": query})

    assert response.headers["cache-control"] == "private, no-cache"


async def test_nothing_is_kept_by_caches_unless_it_is_switched_on() -> None:
    async with asking(endpoint(InProcess(), max_age_s=0)) as client:
        response = await client.get("/graphql", params=CATALOGUE)

    assert response.headers["cache-control"] == "private, no-cache"


async def test_an_answer_with_an_error_is_not_kept() -> None:
    services = InProcess(down={"profile"})

    async with asking(endpoint(services, max_age_s=60)) as client:
        partial = await client.get("/graphql", params=CATALOGUE)
        refused = await client.get("/graphql", params={"query": "{"})

    assert "errors" in partial.json()
    for response in (partial, refused):
        assert "etag" not in response.headers
        assert "cache-control" not in response.headers


async def test_an_answer_by_post_is_not_kept() -> None:
    async with asking(endpoint(InProcess(), max_age_s=60)) as client:
        response = await client.post("/graphql", json=CATALOGUE, headers={"If-None-Match": "*"})

    assert response.status_code == 200
    assert "etag" not in response.headers


async def test_two_callers_have_validators_of_what_they_got() -> None:
    """A token that may not ask is refused, whatever it says it has."""
    async with asking(endpoint(InProcess())) as client:
        tag = (await client.get("/graphql", params=SEGMENTS)).headers["etag"]
        stranger = {"If-None-Match": tag, "Authorization": "Bearer forged"}
        response = await client.get("/graphql", params=SEGMENTS, headers=stranger)

    assert response.status_code == 401


@pytest.mark.parametrize(
    ("coordinates", "max_age_s"),
    [
        ({"Query.catalogue"}, 60),
        ({"Query.catalogue", "Action.name", "Action.key"}, 60),
        ({"Query.catalogue", "Customer.name"}, 0),
        ({"Query.Action"}, 0),
        (set(), 0),
        ({"Query.decide"}, None),
        ({"Query.catalogue", "Action.drawn"}, None),
    ],
)
def test_an_answer_is_kept_as_its_fields_and_their_types_are_tagged(
    coordinates: set[str], max_age_s: int | None
) -> None:
    tags = {
        "Query.catalogue": frozenset({"other", "cacheable"}),
        "Query.decide": frozenset({"cacheable", "not-idempotent"}),
        "Action": frozenset({"cacheable"}),
        "Action.drawn": frozenset({"not-idempotent"}),
        "Customer": frozenset({"other"}),
    }

    assert cache_seconds(coordinates, tags, max_age_s=60) == max_age_s


async def test_an_answer_that_leaves_a_trace_is_not_kept() -> None:
    query = {"query": '{ nextBestActions(customer: {id: "1"}) }'}

    async with asking(endpoint(InProcess(), max_age_s=60)) as client:
        response = await client.get("/graphql", params=query)

    assert response.json() == {"data": {"nextBestActions": ["jazz weeks"]}}
    assert "etag" not in response.headers


# --- gzip -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept_encoding", "takes"),
    [
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("br", False),
        ("identity", False),
        ("", False),
    ],
)
def test_gzip_is_for_clients_that_take_it(accept_encoding: str, takes: bool) -> None:
    assert accepts_gzip(accept_encoding) is takes


async def test_a_large_response_is_compressed_for_clients_that_accept_it() -> None:
    query = {"query": "{ " + " ".join(f"s{n}: segments" for n in range(10)) + " }"}

    async with asking(endpoint(InProcess(), compress_from_bytes=100)) as client:
        packed = await client.post("/graphql", json=query, headers={"Accept-Encoding": "gzip"})
        plain = await client.post("/graphql", json=query, headers={"Accept-Encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
    assert packed.json() == plain.json()
    assert "content-encoding" not in plain.headers
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


async def test_a_small_answer_is_not_packed_nor_any_where_it_is_off() -> None:
    for smallest in (200, 0):
        async with asking(endpoint(InProcess(), compress_from_bytes=smallest)) as client:
            response = await client.post("/graphql", json=SEGMENTS)

        assert "content-encoding" not in response.headers


async def test_an_answer_too_large_to_pack_in_passing_is_packed_all_the_same() -> None:
    query = {"query": '{ action(key: "' + "x" * 15_000 + '") }'}
    batch = [query] * 10

    async with asking(
        endpoint(InProcess(), compress_from_bytes=200, max_batch=10, body=ROOMY)
    ) as client:
        response = await client.post("/graphql", json=batch)

    assert response.headers["content-encoding"] == "gzip"
    assert len(response.json()) == 10


async def test_a_packed_answer_has_the_validator_of_the_plain_one() -> None:
    async with asking(endpoint(InProcess(), compress_from_bytes=1)) as client:
        packed = await client.get("/graphql", params=SEGMENTS)
        plain = await client.get(
            "/graphql", params=SEGMENTS, headers={"Accept-Encoding": "identity"}
        )

    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["etag"] == plain.headers["etag"]


async def test_a_body_may_come_by_gzip() -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = gzip.compress(b'{"query": "{ segments }"}')

    async with asking(endpoint(InProcess())) as client:
        response = await client.post("/graphql", content=body, headers=headers)

    assert response.json() == {"data": {"segments": ["loyal"]}}


async def test_a_denied_field_is_not_cached() -> None:
    async with asking(endpoint(InProcess(), max_age_s=60)) as client:
        kept = await client.get("/graphql", params=CATALOGUE)
        client.headers.update(bearer(Role.APP, ANN))
        denied = await client.get(
            "/graphql", params=CATALOGUE, headers={"If-None-Match": kept.headers["etag"]}
        )

    assert denied.status_code == 200
    assert denied.json()["data"] == {"catalogue": None}
    assert "etag" not in denied.headers
