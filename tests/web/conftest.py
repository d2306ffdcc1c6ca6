"""A browser for all tests, a page for each, and servers: the real ones, and one that says what the test wants."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import NamedTuple

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.support.browser import Watch, open_browser, read_axe, watched_page
from tests.support.fake_web import FakeWeb
from tests.support.processes import free_port
from tests.support.station import BUSES, Station, open_stations

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


class Silenced(NamedTuple):
    """A sidecar that was killed a while ago, and who has looked on since before: a page on each bus."""

    stations: Mapping[str, Station]
    visits: Mapping[str, Visit]


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
    """Give a page that knows nothing of the tests before."""
    window.watch.begin_anew()
    await window.page.mouse.move(0, 0)
    yield window
    await window.page.unroute_all()
    if window.page.url.startswith("http"):
        await window.page.evaluate("localStorage.clear()")
    await window.page.goto("about:blank")
    wrong = list(window.watch.wrong)
    window.watch.begin_anew()
    assert wrong == []


@pytest.fixture
async def lone_visit(browser: Browser) -> AsyncIterator[Visit]:
    """Give a page of its own, for a test that sets its clock."""
    async with watched_page(browser) as (page, watch):
        yield Visit(page, watch)


@pytest.fixture(scope="session")
def web_port() -> int:
    """Give the port of all servers that say what a test wants."""
    return free_port()


@pytest.fixture
def web(web_port: int) -> Iterator[FakeWeb]:
    """Give a server that says what the test wants."""
    with FakeWeb(port=web_port) as web:
        yield web


@pytest.fixture(scope="session")
def stations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Station]]:
    """Give the stations that tests share: a start takes longer than most tests."""
    with open_stations(tmp_path_factory.mktemp("stations")) as stations:
        yield stations


@pytest.fixture(params=BUSES)
def station(request: pytest.FixtureRequest, stations: Mapping[str, Station]) -> Station:
    """Give a station on each bus that keeps history, with job names of the test's own."""
    number = [item.nodeid for item in request.session.items].index(request.node.nodeid)
    return replace(stations[request.param], jobs=f"t{number}/")


@pytest.fixture(scope="session")
async def silenced(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Silenced]:
    """Kill a sidecar whose job was seen running. A host is silent half a minute later: see `_begin_waiting`."""
    with open_stations(tmp_path_factory.mktemp("silenced"), host="node2") as stations:
        async with AsyncExitStack() as stack:
            visits = {}
            for bus, station in stations.items():
                page, watch = await stack.enter_async_context(watched_page(browser))
                visits[bus] = Visit(page, watch)
                await page.goto(station.url)
                await expect(page.get_by_text("No training job yet")).to_be_visible()
            stations["redis"].write("a")
            for visit in visits.values():
                await expect(visit.job("a").locator(".word")).to_have_text("running")
            stations["redis"].sidecar.kill()
            yield Silenced(stations, visits)


@pytest.fixture(scope="session", autouse=True)
def _begin_waiting(request: pytest.FixtureRequest) -> None:
    """Begin before the first test with what takes half a minute by itself, if a test needs it at all."""
    if any("silenced" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("silenced")


@pytest.fixture(scope="session")
def axe() -> str:
    """Give the source of axe-core."""
    return read_axe()
