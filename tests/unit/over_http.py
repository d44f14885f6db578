"""What the specification of GraphQL over HTTP asks of every endpoint of ours.

One test for each of the 61 checks of the public audit `graphql-http`, and no data beside an error
of a request. A subclass has the fixture `client`: who may ask for `__typename`, and for the schema.
"""

from typing import Any

import httpx
import pytest

MODERN = "application/graphql-response+json"
LEGACY = "application/json"
FORMS = pytest.mark.parametrize("accept", [MODERN, LEGACY])
NOT_A_STRING = pytest.mark.parametrize("value", [{"obj": "ect"}, 0, False, ["array"]])
NOT_A_MAP = pytest.mark.parametrize("value", ["string", 0, False, ["array"]])
TYPE = "query Type($name: String!) { __type(name: $name) { name } }"
REFUSED = pytest.mark.parametrize(
    "body",
    [
        {"query": "{"},
        {"query": "{ 8f31403dfe404bccbb0e835f2629c6a7 }"},
        {"query": "{ nothing }"},
        {"query": "query CoerceFailure($id: ID!) { __typename }", "variables": {"id": None}},
        {"query": TYPE, "variables": {"name": None}},
        {"query": TYPE, "variables": {"name": ["a", "b"]}},
        {"query": "query A { __typename } query B { __typename }"},
        {"query": "query A { __typename }", "operationName": "B"},
    ],
    ids=["syntax", "name", "field", "unused", "null", "type", "no name", "unknown name"],
)


async def post(client: httpx.AsyncClient, accept: str | None = None, **body: Any) -> httpx.Response:
    """Send a request as JSON."""
    if accept is None:
        client.headers.pop("accept", None)
        return await client.post("/graphql", json=body)
    return await client.post("/graphql", json=body, headers={"Accept": accept})


async def post_text(client: httpx.AsyncClient, text: bytes, **headers: str) -> httpx.Response:
    """Send a body as it is."""
    return await client.post(
        "/graphql", content=text, headers={"Content-Type": "application/json", **headers}
    )


class OverHttp:
    """The checks; a subclass whose name begins with Test runs them."""

    @pytest.mark.parametrize(
        ("accept", "media_type"), [(MODERN, MODERN), (LEGACY, LEGACY), ("*/*", LEGACY)]
    )
    async def test_the_answer_is_in_the_form_that_is_accepted(
        self, client: httpx.AsyncClient, accept: str, media_type: str
    ) -> None:
        response = await post(client, accept, query="{ __typename }")

        assert response.status_code == 200
        assert response.headers["content-type"] == f"{media_type}; charset=utf-8"
        assert response.json() == {"data": {"__typename": "Query"}}

    async def test_who_accepts_nothing_in_particular_gets_json_in_utf_8(
        self, client: httpx.AsyncClient
    ) -> None:
        response = await post(client, query="{ __typename }")

        assert response.status_code == 200
        assert response.headers["content-type"] == f"{LEGACY}; charset=utf-8"
        assert response.content.decode("utf-8")

    @pytest.mark.parametrize("charset", ["", "; charset=utf-8"])
    async def test_a_request_is_read_as_utf_8(
        self, client: httpx.AsyncClient, charset: str
    ) -> None:
        body = '{"query": "{ __type(name: \\"Run🏃Swim🏊\\") { name } }"}'.encode()

        response = await client.post(
            "/graphql", content=body, headers={"Content-Type": f"application/json{charset}"}
        )

        assert response.json() == {"data": {"__type": None}}

    async def test_a_query_may_come_by_get(self, client: httpx.AsyncClient) -> None:
        response = await client.get("/graphql", params={"query": "{ __typename }"})

        assert response.status_code == 200
        assert response.json() == {"data": {"__typename": "Query"}}

    @FORMS
    async def test_variables_of_a_get_are_json_in_the_address(
        self, client: httpx.AsyncClient, accept: str
    ) -> None:
        params = {"query": TYPE, "variables": '{"name": "sometype"}'}

        response = await client.get("/graphql", params=params, headers={"Accept": accept})

        assert response.json() == {"data": {"__type": None}}

    @FORMS
    async def test_a_mutation_by_get_is_refused(
        self, client: httpx.AsyncClient, accept: str
    ) -> None:
        response = await client.get(
            "/graphql", params={"query": "mutation { __typename }"}, headers={"Accept": accept}
        )

        assert response.status_code == 405
        assert response.headers["allow"] == "POST"
        assert set(response.json()) == {"errors"}

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
    async def test_other_methods_are_told_which_there_are(
        self, client: httpx.AsyncClient, method: str
    ) -> None:
        response = await client.request(method, "/graphql")

        assert response.status_code == 405
        assert response.headers["allow"] == "GET, POST"

    @pytest.mark.parametrize("content_type", [None, "text/plain", "multipart/form-data"])
    async def test_a_body_that_is_not_said_to_be_json_is_refused(
        self, client: httpx.AsyncClient, content_type: str | None
    ) -> None:
        headers = {"Content-Type": content_type} if content_type else {}

        response = await client.post(
            "/graphql", content=b'{"query": "{ __typename }"}', headers=headers
        )

        assert response.status_code == 415
        assert set(response.json()) == {"errors"}

    async def test_a_missing_body_is_refused(self, client: httpx.AsyncClient) -> None:
        assert (await post_text(client, b"")).status_code == 400

    @FORMS
    @pytest.mark.parametrize("body", [{}, {"notquery": "{ __typename }"}, {"qeury": "{ a }"}])
    async def test_a_missing_query_is_refused(
        self, client: httpx.AsyncClient, body: dict[str, str], accept: str
    ) -> None:
        response = await post(client, accept, **body)

        assert response.status_code == 400
        assert set(response.json()) == {"errors"}

    @FORMS
    @NOT_A_STRING
    async def test_a_query_that_is_no_string_is_refused(
        self, client: httpx.AsyncClient, value: Any, accept: str
    ) -> None:
        assert (await post(client, accept, query=value)).status_code == 400

    @FORMS
    @NOT_A_STRING
    async def test_an_operation_name_that_is_no_string_is_refused(
        self, client: httpx.AsyncClient, value: Any, accept: str
    ) -> None:
        response = await post(client, accept, query="{ __typename }", operationName=value)

        assert response.status_code == 400

    @FORMS
    @NOT_A_MAP
    @pytest.mark.parametrize("name", ["variables", "extensions"])
    async def test_variables_and_extensions_that_are_no_map_are_refused(
        self, client: httpx.AsyncClient, name: str, value: Any, accept: str
    ) -> None:
        response = await post(client, accept, query="{ __typename }", **{name: value})

        assert response.status_code == 400

    @FORMS
    @pytest.mark.parametrize(
        "body",
        [
            {"query": "query Query { __typename }", "operationName": "Query"},
            {"query": "{ __typename }", "variables": None},
            {"query": "{ __typename }", "operationName": None},
            {"query": "{ __typename }", "extensions": None},
            {"query": "{ __typename }", "extensions": {"some": "value"}},
            {"query": TYPE, "variables": {"name": "sometype"}},
        ],
    )
    async def test_all_parts_of_a_request_may_be_there_or_null(
        self, client: httpx.AsyncClient, body: dict[str, Any], accept: str
    ) -> None:
        response = await post(client, accept, **body)

        assert response.status_code == 200
        assert set(response.json()) == {"data"}

    @FORMS
    @pytest.mark.parametrize("text", [b'{ "not a JSON', b'{"query": "\xff"}', b"[1"])
    async def test_what_is_no_json_is_refused_in_any_form(
        self, client: httpx.AsyncClient, text: bytes, accept: str
    ) -> None:
        response = await post_text(client, text, Accept=accept)

        assert response.status_code == 400
        assert set(response.json()) == {"errors"}

    @REFUSED
    async def test_an_operation_that_is_not_executed_is_400_without_data(
        self, client: httpx.AsyncClient, body: dict[str, Any]
    ) -> None:
        response = await post(client, MODERN, **body)

        assert response.status_code == 400
        assert set(response.json()) == {"errors"}

    @REFUSED
    async def test_in_the_older_form_it_is_200_without_data(
        self, client: httpx.AsyncClient, body: dict[str, Any]
    ) -> None:
        response = await post(client, LEGACY, **body)

        assert response.status_code == 200
        assert set(response.json()) == {"errors"}

    async def test_who_accepts_no_form_of_ours_is_told_so(self, client: httpx.AsyncClient) -> None:
        response = await post(client, "image/png", query="{ __typename }")

        assert response.status_code == 406
        assert set(response.json()) == {"errors"}
