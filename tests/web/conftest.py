"""A browser for all tests, a page for each, and a server that says what the test wants."""

from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import pytest
from playwright.async_api import Browser, Locator, Page

from tests.support.browser import Watch, open_browser, read_axe, watched_page
from tests.support.fake_web import FakeWeb

UNKNOWN = "\u2013"
"""What stands where nothing is known."""


class Visit(NamedTuple):
    """A visitor's page, and what went wrong on it; at the end of a test nothing may have."""

    page: Page
    watch: Watch

    def job(self, name: str) -> Locator:
        """Find a job's row in the overview."""
        return self.page.locator(".job").filter(has=self.page.get_by_role("link", name=name, exact=True))

    def slot(self, name: str) -> Locator:
        """Find a place in the head of a job's page."""
        return self.page.locator(f"#facts [data-slot={name}]")


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Give the one browser: a start takes longer than most tests."""
    async with open_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
async def window(browser: Browser) -> AsyncIterator[Visit]:
    """Give the one window that tests share: a new one costs the browser a second."""
    async with watched_page(browser) as (page, watch):
        yield Visit(page, watch)


@pytest.fixture
async def visit(window: Visit) -> AsyncIterator[Visit]:
    """Give a page that knows nothing of the tests before: each server has an origin of its own."""
    window.watch.begin_anew()
    await window.page.mouse.move(0, 0)
    yield window
    await window.page.unroute_all()
    await window.page.goto("about:blank")
    wrong = list(window.watch.wrong)
    window.watch.begin_anew()
    assert wrong == []


@pytest.fixture
async def lone_visit(browser: Browser) -> AsyncIterator[Visit]:
    """Give a page of its own, for a test that sets its clock."""
    async with watched_page(browser) as (page, watch):
        yield Visit(page, watch)


@pytest.fixture
def web() -> Iterator[FakeWeb]:
    """Give a server."""
    with FakeWeb() as web:
        yield web


@pytest.fixture(scope="session")
def axe() -> str:
    """Give the source of axe-core."""
    return read_axe()
