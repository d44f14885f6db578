"""The record shop of the examples before a whole Raak: its server, and its page in a browser."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from examples.shop.__main__ import prepare
from examples.shop.server import create
from tests.browser import Browser, Page, needs_chromium, open_browser
from tests.integration.gateway.serving import serving
from tests.stack import BUYERS, Stack
from tests.waiting import until

VISITOR = "0123456789abcdef0123456789abcdef"
JSON = dict[str, Any]
HISTORY = """query($ref: CustomerRef!) { customer(ref: $ref) {
  id
  consents { purpose status }
  events(first: 50) { edges { node { name properties sender } } }
  decisions(first: 50) { edges { node {
    placement propositions { id action { key } } outcomes { kind proposition } } } }
} }"""


@pytest.fixture(scope="module")
async def shop_url(stack: Stack) -> AsyncIterator[str]:
    """The shop, with an API key that the gateway knows by now."""
    async with prepare(stack.instance) as raak, httpx.AsyncClient(trust_env=False) as client:
        body = {"customer": {"type": "anonymous_id", "value": VISITOR}}
        headers = {"X-API-Key": raak.api_key}

        async def is_known() -> bool:
            answer = await client.post(f"{raak.url}/tokens", json=body, headers=headers)
            return answer.status_code == 200

        await until(is_known)
        async with serving(create(raak, client)) as server:
            yield server.url


# --- the server -------------------------------------------------------------------------------


@pytest.fixture
async def visitor(shop_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=shop_url, trust_env=False) as client:
        yield client


def read_claims(token: str) -> JSON:
    claims: JSON = jwt.decode(token, options={"verify_signature": False})
    return claims


async def test_a_token_speaks_for_the_browser_and_after_a_login_for_who_logged_in(
    visitor: httpx.AsyncClient,
) -> None:
    async def get_claims() -> JSON:
        answer = await visitor.post("/token", json={"visitorId": VISITOR})
        return read_claims(answer.json()["token"])

    before = await get_claims()
    login = {"visitorId": VISITOR, "email": "ann@example.com"}
    claim = (await visitor.post("/login", json=login)).json()["claim"]
    during = await get_claims()
    await visitor.post("/logout", json={})
    after = await get_claims()

    browser = ("visitor", {"type": "anonymous_id", "value": VISITOR})
    assert (before["role"], before["customer"]) == browser
    assert (during["role"], during["customer"]) == ("app", {"type": "user_id", "value": "ann"})
    assert (after["role"], after["customer"]) == browser
    signed = jwt.decode(claim, options={"verify_signature": False}, audience="raak-claim")
    assert (signed["anonymous_id"], signed["user_id"]) == (VISITOR, "ann")


@pytest.mark.parametrize(
    ("path", "request_", "problem"),
    [
        ("/token", {"json": {"visitorId": "v-42"}}, "visitorId"),
        ("/token", {"json": [VISITOR]}, "no JSON object"),
        ("/token", {"content": b"{", "headers": {"Content-Type": "application/json"}}, "JSON"),
        ("/token", {"content": b'{"visitorId": "x"}'}, "application/json"),
        ("/login", {"json": {"visitorId": VISITOR, "email": "ann"}}, "e-mail"),
    ],
    ids=["another id", "no object", "no JSON", "no JSON type", "no address"],
)
async def test_what_the_page_does_not_send_is_refused_with_a_reason(
    visitor: httpx.AsyncClient, path: str, request_: JSON, problem: str
) -> None:
    answer = await visitor.post(path, **request_)

    assert answer.status_code == 400
    assert problem in answer.json()["problem"]


async def test_the_page_may_speak_with_the_shop_and_raak_only(
    visitor: httpx.AsyncClient, stack: Stack
) -> None:
    policy = (await visitor.get("/")).headers["content-security-policy"]

    assert f"connect-src 'self' {stack.instance.url};" in policy
    assert "unsafe" not in policy


# --- the page ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with open_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser, shop_url: str) -> AsyncIterator[Page]:
    """The shop, opened by somebody who was never there, in a window too low for the offers."""
    page = await browser.open(shop_url, height=240)
    await page.wait_for("document.querySelector('#home-offers .offer')")
    await page.evaluate("localStorage.clear(), document.cookie = 'raak_visitor=; Max-Age=0'")
    await page.evaluate("fetch('/logout', {method: 'POST'}).then(() => location.reload())")
    await page.wait_for("localStorage.raak_visitor")
    await page.wait_for("document.querySelector('#home-offers .offer')")
    yield page
    await page.close()


async def load_history(stack: Stack, page: Page) -> JSON:
    """What Raak knows of who is before the page."""
    value = await page.evaluate("localStorage.raak_visitor")
    ref = {"identity": {"type": "anonymous_id", "value": value}}
    answer = await asyncio.to_thread(stack.as_("agent").data, HISTORY, ref=ref)
    customer: JSON = answer["customer"] or {"consents": [], "events": {}, "decisions": {}}
    return customer


def list_outcomes(history: JSON) -> list[tuple[str, str]]:
    """The action and kind of each outcome of the offers at the top of the page."""
    found = []
    for edge in history["decisions"].get("edges", ()):
        if edge["node"]["placement"] != "home":
            continue
        actions = {each["id"]: each["action"]["key"] for each in edge["node"]["propositions"]}
        found += [(actions[one["proposition"]], one["kind"]) for one in edge["node"]["outcomes"]]
    return found


async def show_offers(page: Page) -> None:
    await page.resize(1400, 850)
    await page.evaluate(
        "document.documentElement.style.scrollBehavior = 'auto',"
        "document.querySelector('#home-offers').scrollIntoView({block: 'center'})"
    )


async def look_at(page: Page, record: int) -> None:
    await page.click(f".shelf li:nth-child({record}) .sleeve")
    await page.click("dialog[open] .close")
    await page.wait_for("!document.querySelector('dialog')")


@needs_chromium
async def test_an_offer_counts_as_presented_once_it_was_looked_at_and_then_as_accepted(
    stack: Stack, page: Page
) -> None:
    before = list_outcomes(await load_history(stack, page))
    await show_offers(page)

    async def is_presented() -> bool:
        outcomes = list_outcomes(await load_history(stack, page))
        return ("welcome_discount", "PRESENTED") in outcomes

    await until(is_presented)
    await page.evaluate("scrollTo(0, document.body.scrollHeight)")
    await show_offers(page)
    await page.click("#home-offers [data-action=welcome_discount] .main")
    await page.wait_for("!document.querySelector('#home-offers [data-action=welcome_discount]')")

    outcomes = list_outcomes(await load_history(stack, page))
    assert before == []
    assert outcomes.count(("welcome_discount", "ACCEPTED")) == 1
    assert outcomes.count(("welcome_discount", "PRESENTED")) == 1
    assert page.console_errors == []


@needs_chromium
async def test_what_they_allow_reaches_raak_and_what_they_look_at_changes_the_offers_live(
    stack: Stack, page: Page
) -> None:
    await page.click("#allow")

    async def has_consents() -> bool:
        consents = (await load_history(stack, page))["consents"]
        return {c["purpose"]: c["status"] for c in consents} == {
            "personalisation": "GIVEN",
            "analytics": "GIVEN",
        }

    await until(has_consents)
    await look_at(page, 1)
    await look_at(page, 2)
    await page.wait_for("document.querySelector('#home-offers [data-action=jazz_weeks]')")

    edges = (await load_history(stack, page))["events"]["edges"]
    viewed = [edge["node"] for edge in edges if edge["node"]["name"] == "product_viewed"]
    assert [event["properties"]["sku"] for event in reversed(viewed)] == ["J-101", "J-102"]
    assert {event["sender"] for event in viewed} == {"WRITE_KEY"}
    assert page.console_errors == []


@needs_chromium
async def test_who_refuses_is_believed_and_segments_library_is_not_even_loaded(
    stack: Stack, page: Page
) -> None:
    await page.click("#refuse")

    async def is_denied() -> bool:
        consents = (await load_history(stack, page))["consents"]
        return [c["status"] for c in consents] == ["DENIED", "DENIED"]

    await until(is_denied)
    await look_at(page, 1)
    loaded = "performance.getEntriesByType('resource').map((entry) => entry.name).join()"
    assert "analytics" not in await page.evaluate(loaded)


@needs_chromium
async def test_after_a_login_the_visitor_and_the_customer_are_one(stack: Stack, page: Page) -> None:
    buyer = BUYERS[3]
    await page.click("#allow")
    await look_at(page, 1)
    await page.click("#account")
    await page.wait_for("document.querySelector('dialog input[name=email]')")
    await page.evaluate(f"document.querySelector('input[name=email]').value = '{buyer.email}'")
    await page.click("dialog[open] form .main")
    await page.wait_for(f"document.querySelector('#account').textContent.includes('{buyer.name}')")

    ref = {"identity": {"type": "user_id", "value": buyer.name}}
    query = "query($ref: CustomerRef!) { customer(ref: $ref) { id } }"
    known = await asyncio.to_thread(stack.as_("agent").data, query, ref=ref)

    async def is_one() -> bool:
        return bool((await load_history(stack, page)).get("id") == known["customer"]["id"])

    await until(is_one)
    await page.wait_for("!document.querySelector('#home-offers [data-action=welcome_discount]')")


@needs_chromium
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
async def test_in_a_narrow_window_nothing_is_wider_than_the_window(
    page: Page, *, is_dark: bool
) -> None:
    await page.resize(360, 800, dark=is_dark)

    assert await page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_page_fetches_nothing_from_elsewhere() -> None:
    folder = Path(__file__).parents[2] / "examples" / "shop" / "page"

    assert "//" not in (folder / "index.html").read_text()
    assert "url(" not in (folder / "shop.css").read_text()
