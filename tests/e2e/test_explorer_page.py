"""The explorer in a real browser, before a whole Raak."""

import json
from collections.abc import AsyncIterator

import pytest

from tests.browser import Browser, Page, needs_chromium, open_browser
from tests.stack import BUYERS, Stack

pytestmark = needs_chromium

EDITOR = "document.querySelector('#query').shadowRoot"
BUYER = {"ref": {"identity": {"type": "email", "value": BUYERS[0].email}}}


@pytest.fixture(scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with open_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser, stack: Stack) -> Page:
    """The explorer, loaded, with nothing from the tests before."""
    page = await browser.open(f"{stack.instance.url}/graphql")
    await page.wait_for("document.querySelector('#docs h3')")
    await page.evaluate("localStorage.clear(), sessionStorage.clear(), location.reload()")
    await page.wait_for(f"{EDITOR}.textContent.includes('query Customer')")
    await page.wait_for("document.querySelector('#docs h3')")
    return page


async def make_token(page: Page, role: str) -> None:
    await page.click("#offer")
    await page.evaluate(
        "(() => { const menu = document.querySelector('#role');"
        f" menu.value = '{role}'; menu.onchange(); }})()"
    )
    await page.click("#make")
    await page.wait_for(f"document.querySelector('#owner').textContent.startsWith('{role} until')")


async def choose_example(page: Page, title: str) -> None:
    await page.evaluate(
        "(() => { const menu = document.querySelector('#examples');"
        f" menu.value = [...menu.options].find((each) => each.text === '{title}').value;"
        " menu.onchange(); })()"
    )


async def write(page: Page, pane: str, text: str) -> None:
    await page.evaluate(
        f"document.querySelector('#{pane}').shadowRoot.querySelector('.cm-content').focus()"
    )
    await page.press("a", control=True)
    await page.insert(text)


async def test_the_page_loads_without_an_error_in_the_console(page: Page) -> None:
    assert await page.evaluate("document.querySelector('#notice').hidden")
    assert await page.evaluate("document.querySelector('#loading').hidden")
    assert page.console_errors == []


async def test_the_editor_completes_fields_of_the_graph(page: Page) -> None:
    await write(page, "query", "{ customer(ref: {id: 1}) { ")
    await page.type("segm")

    shown = f"{EDITOR}.querySelector('.cm-tooltip-autocomplete')?.textContent"
    assert "segments" in await page.wait_for(shown)


async def test_the_editor_marks_what_the_graph_does_not_have(page: Page) -> None:
    await write(page, "query", "{ segmets { key } }")

    marked = f"{EDITOR}.querySelector('.cm-lintRange-error')?.textContent"
    assert await page.wait_for(marked) == "segmets"


async def test_with_a_token_that_the_page_made_an_example_is_answered_and_planned(
    page: Page,
) -> None:
    await make_token(page, "agent")
    await write(page, "variables", json.dumps(BUYER))
    await page.press("Enter", control=True)

    status = "document.querySelector('#status').textContent"
    await page.wait_for(f"{status}.includes('cost')")
    answer = await page.evaluate("document.querySelector('#answer').shadowRoot.textContent")
    assert '"segments"' in answer
    assert "Fetch(service:" in await page.evaluate("document.querySelector('#plan').textContent")
    assert page.console_errors == []


async def test_a_visitors_token_speaks_for_the_customer_that_was_named(page: Page) -> None:
    await make_token(page, "visitor")
    await choose_example(page, "Offers")
    await page.click("#run")

    answer = "document.querySelector('#answer').shadowRoot.textContent"
    assert await page.wait_for(f"{answer}.includes('\"propositions\"')")


async def test_an_error_is_shown_with_its_code_and_what_to_do(page: Page) -> None:
    await page.click("#run")

    shown = await page.wait_for("document.querySelector('#errors').innerText")
    assert "UNAUTHENTICATED" in shown
    assert "raak token" in shown


async def test_a_subscription_runs_until_it_is_stopped(page: Page) -> None:
    await make_token(page, "agent")
    await write(
        page, "query", "subscription S($ref: CustomerRef!) { customerActivity(ref: $ref) { kind } }"
    )
    await write(page, "variables", json.dumps(BUYER))
    await page.click("#run")

    answer = "document.querySelector('#answer').shadowRoot.textContent"
    await page.wait_for(f"{answer}.includes('WATCHING')")
    assert await page.evaluate("document.querySelector('#run').textContent") == "Stop"
    await page.click("#run")
    await page.wait_for("document.querySelector('#status').textContent === 'stopped'")
    assert await page.evaluate("document.querySelector('#run').textContent") == "Run"


async def test_without_the_editor_the_page_says_so_and_works_with_plain_fields(page: Page) -> None:
    await make_token(page, "agent")
    await page.block("*/graphql/editor.js*")
    field = "document.querySelector('#query textarea')"
    await page.wait_for(f"{field}?.value.includes('query Customer')")
    await page.wait_for("document.querySelector('#docs h3')")

    await page.click("#run")

    await page.wait_for("document.querySelector('#answer textarea').value.includes('customer')")
    notice = await page.evaluate("document.querySelector('#notice').textContent")
    assert "The editor has not loaded" in notice


async def test_in_a_narrow_window_nothing_is_wider_than_the_window(page: Page) -> None:
    await page.resize(420, 900)

    assert await page.evaluate("document.documentElement.scrollWidth") <= 420
