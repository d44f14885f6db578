"""What browsers are told with every answer, and which pages may call."""

from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from gateway.graphql_http.preflight import PREFLIGHT_HEADERS
from gateway.security_headers import add_security_headers

SHOP = "https://shop.example"
SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    """Says nothing but a text."""
    await PlainTextResponse("text")(scope, receive, send)


async def own_mind(scope: Scope, receive: Receive, send: Send) -> None:
    """Knows better what may be kept."""
    headers = {"Cache-Control": "private", "Content-Security-Policy": "default-src 'self'"}
    await PlainTextResponse("text", headers=headers)(scope, receive, send)


def browsing(
    app: Any, *origins: str, https_only_s: int = 0, allows_local_pages: bool = False
) -> httpx.AsyncClient:
    app = add_security_headers(app, origins, https_only_s, allows_local_pages=allows_local_pages)
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


def preflight(headers: str, origin: str = SHOP) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": headers,
    }


async def test_every_answer_says_what_may_not_be_done_with_it() -> None:
    async with browsing(plain) as client:
        headers = (await client.get("/")).headers

    assert {name: headers[name] for name in SAFE} == SAFE
    assert "strict-transport-security" not in headers


async def test_an_endpoint_may_say_better_what_may_be_kept_and_shown() -> None:
    async with browsing(own_mind) as client:
        headers = (await client.get("/")).headers

    assert headers.get_list("cache-control") == ["private"]
    assert headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert headers["x-content-type-options"] == "nosniff"


async def test_browsers_are_to_use_https_only_where_that_is_set() -> None:
    async with browsing(plain, https_only_s=600) as client:
        headers = (await client.get("/")).headers

    assert headers["strict-transport-security"] == "max-age=600; includeSubDomains"


async def test_without_origins_no_page_of_another_may_call() -> None:
    async with browsing(plain) as client:
        response = await client.get("/", headers={"Origin": SHOP})

    assert "access-control-allow-origin" not in response.headers


async def test_a_page_of_an_allowed_origin_may_read_and_no_other_may() -> None:
    async with browsing(plain, SHOP) as client:
        ours = await client.get("/", headers={"Origin": SHOP})
        other = await client.get("/", headers={"Origin": "https://evil.example"})

    assert ours.headers["access-control-allow-origin"] == SHOP
    exposed = set(ours.headers["access-control-expose-headers"].split(", "))
    assert {"ETag", "Retry-After", "X-Raak-In-Production"} <= exposed
    assert "Origin" in ours.headers["vary"]
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    "header",
    [
        *PREFLIGHT_HEADERS,
        *("content-type", "if-none-match", "traceparent", "tracestate", "baggage", "x-retry-count"),
        *("apollographql-client-name", "sentry-trace", "x-request-id", "last-event-id"),
    ],
)
async def test_a_page_may_send_every_header_of_ours_and_of_its_libraries(header: str) -> None:
    async with browsing(plain, SHOP) as client:
        allowed = await client.options("/graphql", headers=preflight(header))
        denied = await client.options("/graphql", headers=preflight(header, "https://evil.example"))

    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == SHOP
    assert denied.status_code == 400


@pytest.mark.parametrize("origins", [("*",), (SHOP,)])
async def test_no_page_may_send_what_the_browser_keeps_by_itself(origins: tuple[str, ...]) -> None:
    async with browsing(plain, *origins) as client:
        asked = await client.options("/graphql", headers=preflight("authorization"))
        answered = await client.get("/", headers={"Origin": SHOP, "Cookie": "a=b"})

    for response in (asked, answered):
        assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("origin", ["http://localhost:5173", "http://127.0.0.1:3000"])
async def test_pages_of_this_machine_may_call_in_development_only(origin: str) -> None:
    async with browsing(plain, allows_local_pages=True) as client:
        allowed = await client.options("/graphql", headers=preflight("authorization", origin))
        denied = await client.options("/graphql", headers=preflight("authorization", SHOP))
    async with browsing(plain) as client:
        in_production = await client.get("/", headers={"Origin": origin})

    assert allowed.headers["access-control-allow-origin"] == origin
    assert denied.status_code == 400
    assert "access-control-allow-origin" not in in_production.headers


async def test_a_page_of_a_like_named_host_is_not_of_this_machine() -> None:
    async with browsing(plain, allows_local_pages=True) as client:
        for origin in ("http://localhost.evil.example", "http://evil.example?localhost"):
            response = await client.options("/graphql", headers=preflight("authorization", origin))

            assert response.status_code == 400
