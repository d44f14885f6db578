"""A headless Chromium for tests of pages, driven by the Chrome DevTools Protocol.

@needs_chromium
async def test_a_page(tmp_path: Path) -> None:
    async with open_browser(tmp_path) as browser:
        page = await browser.open("http://127.0.0.1:8000/graphql")
        await page.wait_for("document.querySelector('#run')")
        assert page.console_errors == []
"""

import asyncio
import base64
import itertools
import json
import shutil
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.waiting import until

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
needs_chromium = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium on this machine: how pages behave in a browser was not tested"
)
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # root, as in most containers, cannot have one; tests open our own pages only
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
)
KEY_CODES = {"Enter": 13, "Escape": 27, "Tab": 9, " ": 32, "a": 65}
CONTROL = 2
"""The bit of the control key in `modifiers`."""


class PageError(Exception):
    """What a page threw, or why Chromium did not do what it was to do."""


@dataclass
class Page:
    """A tab. Expressions are JavaScript; what they give comes back as JSON, promises fulfilled."""

    browser: "Browser"
    session: str
    console_errors: list[str] = field(default_factory=list)
    """What the console shows in red: errors, uncaught exceptions, failed loads, CSP violations."""

    async def close(self) -> None:
        await self._send("Page.close")

    async def evaluate(self, expression: str) -> Any:
        answer = await self._send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if details := answer.get("exceptionDetails"):
            raise PageError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    async def wait_for(self, expression: str) -> Any:
        """Wait until an expression is true in JavaScript, and give its value (of an object: true).

        What it throws until then, while the page loads, does not count.
        """
        value: Any = None
        thrown = ""

        async def holds() -> bool:
            nonlocal value, thrown
            try:
                value = await self.evaluate(
                    f"(async () => {{ const it = await ({expression});"
                    " return it && typeof it === 'object' ? true : it })()"
                )
            except PageError as error:
                thrown = str(error)
            return bool(value)

        try:
            await until(holds)
        except TimeoutError:
            shown = await self.evaluate("document.body.innerText")
            raise PageError(f"Never: {expression} {thrown}\n{shown[:2_000]}") from None
        return value

    async def click(self, selector: str) -> None:
        await self.wait_for(f"document.querySelector({json.dumps(selector)})")
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    async def type(self, text: str) -> None:
        """Press a key for each letter."""
        for letter in text:
            for kind in ("keyDown", "keyUp"):
                await self._send("Input.dispatchKeyEvent", type=kind, key=letter, text=letter)

    async def insert(self, text: str) -> None:
        """Put a text where the focus is all at once, as if it were pasted."""
        await self._send("Input.insertText", text=text)

    async def press(self, key: str, *, control: bool = False) -> None:
        pressed = {
            "key": key,
            "code": "Space" if key == " " else key,
            "windowsVirtualKeyCode": KEY_CODES[key],
            "modifiers": CONTROL * control,
            "commands": ["selectAll"] if (key, control) == ("a", True) else [],
        }
        for kind in ("rawKeyDown", "keyUp"):
            await self._send("Input.dispatchKeyEvent", type=kind, **pressed)

    async def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        await self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._send("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self, file: Path) -> None:
        answer = await self._send("Page.captureScreenshot", format="png")
        await asyncio.to_thread(file.write_bytes, base64.b64decode(answer["data"]))

    async def block(self, *urls: str) -> None:
        """Let requests to these addresses fail (`*` is a wildcard), and load the page again."""
        await self._send("Network.enable")
        await self._send("Network.setBlockedURLs", urls=list(urls))
        await self._send("Page.reload", ignoreCache=True)

    async def _send(self, method: str, **parameters: Any) -> Any:
        return await self.browser.send(method, self.session, **parameters)

    def hear(self, method: str, event: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            text = details.get("exception", {}).get("description", details["text"])
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "assert"):
            text = " ".join(str(a.get("value", a.get("description"))) for a in event["args"])
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            text = f"{event['entry']['text']} {event['entry'].get('url', '')}"
        else:
            return
        self.console_errors.append(text)


class Browser:
    """A running Chromium."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._pages: dict[str, Page] = {}

    async def open(
        self, url: str, *, width: int = 1_400, height: int = 850, dark: bool = False
    ) -> Page:
        """A new tab with an address, as large as this."""
        target = await self.send("Target.createTarget", url="about:blank")
        attached = await self.send(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        page = Page(self, attached["sessionId"])
        self._pages[page.session] = page
        for domain in ("Runtime", "Log", "Page"):
            await self.send(f"{domain}.enable", page.session)
        await page.resize(width, height, dark=dark)
        await self.send("Page.navigate", page.session, url=url)
        return page

    async def send(self, method: str, session: str = "", **parameters: Any) -> Any:
        """What Chromium answers to a command; raises PageError."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._answers[number] = future = asyncio.get_running_loop().create_future()
        await self._connection.send(
            json.dumps(message | {"sessionId": session} if session else message)
        )
        answer = await future
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    async def listen(self) -> None:
        """Hand answers and events to who waits for them, until Chromium ends."""
        try:
            with suppress(ConnectionClosed):
                async for text in self._connection:
                    message = json.loads(text)
                    if "id" in message:
                        self._answers.pop(message["id"]).set_result(message)
                    elif page := self._pages.get(message.get("sessionId", "")):
                        page.hear(message["method"], message["params"])
        finally:
            for answer in self._answers.values():
                answer.set_exception(PageError("Chromium has ended."))


@asynccontextmanager
async def open_browser(folder: Path) -> AsyncIterator[Browser]:
    """A Chromium with a profile of its own in `folder`, as long as the block lasts."""
    profile = folder / "chromium"
    command = (CHROMIUM, *ARGUMENTS, f"--user-data-dir={profile}", "about:blank")
    process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
    try:
        async with connect(await _address(profile, process), max_size=None, proxy=None) as socket:
            browser = Browser(socket)
            listening = asyncio.create_task(browser.listen())
            yield browser
            with suppress(PageError, ConnectionClosed):
                await browser.send("Browser.close")
            await listening
    finally:
        await _end(process)


async def _address(profile: Path, process: Process) -> str:
    """Where the browser listens: it writes its port and path to a file, in two lines."""
    file = profile / "DevToolsActivePort"
    await until(
        lambda: (
            process.returncode is not None
            or (file.exists() and len(file.read_text().splitlines()) == 2)
        )
    )
    if process.returncode is not None:
        raise PageError(f"Chromium ended with status {process.returncode}.")
    port, path = file.read_text().splitlines()
    return f"ws://127.0.0.1:{port}{path}"


async def _end(process: Process) -> None:
    if process.returncode is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
    await process.wait()
