"""Debian's Chromium, and a page in it that tells of everything that went wrong."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, async_playwright

from tests.support.processes import require_binary

WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Give a browser without a window; a missing one fails in CI and skips elsewhere."""
    path = require_binary("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


class Watch:
    """Notes what a page must never do. A test that breaks the line on purpose calls `forgive`.

    Args:
        context: Every page that is opened in it is watched.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.wrong: list[str] = []
        self._hosts: set[str] = set()
        context.on("console", self._console)
        context.on("weberror", lambda error: self.wrong.append(f"error: {error.error}"))
        context.on("request", self._request)
        context.on("requestfailed", self._failed)
        context.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.wrong.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme == "data":
            return
        self._hosts.add(address.netloc)
        if len(self._hosts) > 1:
            self.wrong.append(f"off-host: {request.url}")

    def _failed(self, request: Request) -> None:
        # A page that is left ends its own stream.
        if request.failure != "net::ERR_ABORTED":
            self.wrong.append(f"failed: {request.url} {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.wrong.append(f"answered {response.status}: {response.url}")

    def begin_anew(self) -> None:
        """Forget everything: another test has the page."""
        self.wrong.clear()
        self._hosts.clear()

    def forgive(self, pattern: str) -> None:
        """Forget what the test itself brought about, and only that."""
        self.wrong = [text for text in self.wrong if not re.search(pattern, text)]


@asynccontextmanager
async def watched_page(browser: Browser, **options: Any) -> AsyncIterator[tuple[Page, Watch]]:
    """Give a page of a visitor of its own, at the cost of a new window; at the end nothing may have gone wrong."""
    context = await browser.new_context(**({"viewport": WIDE, "timezone_id": "UTC"} | options))
    context.set_default_timeout(10_000)
    watch = Watch(context)
    page = await context.new_page()
    try:
        yield page, watch
        assert watch.wrong == []
    finally:
        await context.close()


def read_axe() -> str:
    """Give the source of axe-core 4, which a Python package brings along."""
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


async def violations(page: Page, axe: str) -> list[str]:
    """Name the serious and critical violations that axe-core finds on the page as it is."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(axe)  # by the debugger: the page's own policy lets no foreign script in
    found = await page.evaluate(
        "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}, resultTypes: ['violations']})",
        AXE_RULES,
    )
    return [
        f"{violation['id']}: {violation['help']}: {[node['html'][:200] for node in violation['nodes'][:3]]}"
        for violation in found["violations"]
        if violation["impact"] in {"serious", "critical"}
    ]
