"""Five hundred status files, a sidecar, a journal and a Redis: the page has all, and writes only what changed."""

from pathlib import Path

from playwright.async_api import expect

from tests.support.processes import WAIT_S
from tests.support.station import BUSES, Station, open_stations
from tests.web.conftest import Visit
from tests.web.test_page_many import COUNT_WRITES

JOBS = [f"job{number:03}" for number in range(500)]
CHANGED = JOBS[::50]


async def watch_a_few_change(visit: Visit, station: Station, loss: float) -> None:
    await visit.page.goto(station.url)
    await expect(visit.page.locator(".job")).to_have_count(len(JOBS), timeout=WAIT_S * 1000)
    await visit.page.evaluate(COUNT_WRITES)
    for job in CHANGED:
        station.write(job, loss=loss)
    for job in CHANGED:
        await expect(visit.job(job).locator("[data-slot=loss]")).to_have_text(f"{loss:.4f}", timeout=WAIT_S * 1000)
    # Heartbeats of all the others come meanwhile: they change nothing but ages and what is left.
    assert sorted(await visit.page.evaluate("[...touched]")) == [f"node1/{job}" for job in CHANGED]


async def test_of_five_hundred_real_jobs_only_those_that_change_are_written(visit: Visit, tmp_path: Path) -> None:
    with open_stations(tmp_path) as stations:
        for job in JOBS:
            stations["journal"].write(job, loss=2.0)
        for bus, loss in zip(BUSES, (0.125, 0.25), strict=True):
            await watch_a_few_change(visit, stations[bus], loss)
            await visit.page.goto("about:blank")
            assert visit.watch.wrong == []
            visit.watch.begin_anew()  # the next page is of another server
