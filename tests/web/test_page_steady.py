"""A page that is left open: nothing on it moves while values change, and it holds its memory."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from playwright.async_api import Browser, CDPSession, Page, expect

from pulse_bridge.bus import open_bus
from pulse_bridge.event import JobEvent, to_json
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event
from tests.support.browser import watched_page
from tests.support.station import Station
from tests.support.web import Page as Server
from tests.support.web import serving
from tests.web.conftest import Visit

WATCH_SHIFTS = """
() => {
  window.shifts = [];
  const name = node => `${node.tagName} ${node.id} ${node.className} ${node.dataset.slot ?? ''}`;
  window.shiftWatch = new PerformanceObserver(list => take(list.getEntries()));
  window.take = entries => {
    for (const {sources} of entries) {
      // Boxes: the text of a number that stands to the right begins elsewhere when it gets longer. A new event
      // stands above those before it, as it should: the list moves within its own box.
      const boxes = sources.map(({node}) => node).filter(node => node instanceof Element);
      shifts.push(...boxes.filter(node => node.closest('#events') === null).map(name));
    }
  };
  shiftWatch.observe({type: 'layout-shift'});
}
"""

READ_SHIFTS = """
() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
  take(shiftWatch.takeRecords());
  done(shifts);
})))
"""

VALUES: Sequence[dict[str, object]] = [
    {"epoch": 0.01, "total_epochs": 3, "loss": 9.87654321, "message": "a"},
    {"epoch": 1.5, "total_epochs": 3.0, "loss": 123456.7, "message": "x" * 4000},
    {"epoch": 2.99, "total_epochs": 3.0, "loss": 0.0000042, "message": ""},
    {"epoch": 3.0, "total_epochs": 12345.0, "loss": 1e300, "message": "line\n" * 40},
    {"epoch": 99.99, "total_epochs": 100, "loss": -0.5, "message": "ж" * 300},
    {"epoch": 100, "total_epochs": 100, "loss": float("nan"), "message": "diverged"},
]


async def shifts_while_values_change(station: Station, visit: Visit, page: str) -> list[str]:
    for job in ("a", "b"):
        station.write(job, epoch=0.0, total_epochs=3.0, loss=1.0, message="the first of them")
    await visit.page.goto(station.url + page)
    await expect(visit.page.locator("[data-slot=message]").first).to_have_text("the first of them")
    await visit.page.evaluate("document.fonts.ready.then(() => {})")
    await visit.page.evaluate(WATCH_SHIFTS)
    for values in VALUES:
        station.write("a", **values)
        place = visit.page.locator("[data-slot=message]").first
        await expect(place).to_have_text(str(values["message"]).strip(), use_inner_text=False)
    return list(await visit.page.evaluate(READ_SHIFTS))


async def test_nothing_in_the_overview_moves_while_values_change(station: Station, visit: Visit) -> None:
    assert await shifts_while_values_change(station, visit, f"?q={station.jobs}") == []


async def test_nothing_on_a_job_s_page_moves_while_values_change(station: Station, visit: Visit) -> None:
    assert await shifts_while_values_change(station, visit, f"jobs/node1/{station.name('a')}") == []


async def test_what_moves_is_seen_by_these_tests(station: Station, visit: Visit) -> None:
    station.write("a")
    await visit.page.goto(f"{station.url}?q={station.jobs}")
    await expect(visit.job(station.name("a"))).to_be_visible()
    await visit.page.evaluate(WATCH_SHIFTS)
    await visit.page.evaluate("document.getElementById('jobs').style.marginTop = '80px'")
    assert await visit.page.evaluate(READ_SHIFTS) != []


JOBS = 50
FRAMES = 10
EARLIER = 4500
"""Events of the one job that are in the past already: more than a page keeps of a run."""


class Kept(NamedTuple):
    """What a page holds after its garbage was collected.

    Args:
        nodes: Of the document, and of what was taken out of it and is held all the same.
    """

    nodes: int
    listeners: int
    events: int
    rows: int
    jobs: int
    points: int


async def count_of(cdp: CDPSession, module: str, kind: str, count: str) -> int:
    """Sum up something over all the objects of a class that the page holds."""
    found = await cdp.send(
        "Runtime.evaluate",
        {"expression": f"import('/static/{module}.js').then(m => m.{kind}.prototype)", "awaitPromise": True},
    )
    objects = await cdp.send("Runtime.queryObjects", {"prototypeObjectId": found["result"]["objectId"]})
    body = f"function() {{ return this.reduce((sum, one) => sum + ({count}), 0); }}"
    summed = await cdp.send(
        "Runtime.callFunctionOn",
        {"objectId": objects["objects"]["objectId"], "functionDeclaration": body, "returnByValue": True},
    )
    await cdp.send("Runtime.releaseObject", {"objectId": objects["objects"]["objectId"]})
    return int(summed["result"]["value"])


async def kept(page: Page) -> Kept:
    cdp = await page.context.new_cdp_session(page)
    try:
        # By their class, so that a second Past or Fleet which something still holds would be counted, too.
        events = await count_of(cdp, "past", "Past", "one.runs.reduce((n, run) => n + run.events.length, 0)")
        ids = await count_of(cdp, "past", "Past", "one._ids.size")
        assert events == ids
        jobs = await count_of(cdp, "state", "Fleet", "one.jobs.size")
        points = await count_of(
            cdp, "state", "Fleet", "[...one.jobs.values()].reduce((n, job) => n + job.spark.length, 0)"
        )
        await cdp.send("HeapProfiler.collectGarbage")
        counters: dict[str, Any] = await cdp.send("Memory.getDOMCounters")
    finally:
        await cdp.detach()
    rows = await page.locator("#events tr").count()
    return Kept(counters["nodes"], counters["jsEventListeners"], events, rows, jobs, points)


def job_at(number: int, seq: int) -> JobEvent:
    return make_job_event(
        seq,
        job=f"job{number:02}",
        observed_ms=SAMPLE_MS + seq,
        epoch=seq / 1000,
        total_epochs=1000,
        message=f"event {seq}",
    )


@asynccontextmanager
async def old_server(folder: Path) -> AsyncIterator[Server]:
    """Start a real server with many jobs of which the first has a long past."""
    past = [job_at(0, seq) for seq in range(1, EARLIER + 1)]
    others = [job_at(number, EARLIER + spot * JOBS + number) for spot in range(60) for number in range(JOBS)]
    record = folder / "record.jsonl"
    record.write_text("".join(f"{to_json(event)}\n" for event in past), encoding="utf-8")
    async with serving(*others, make_host_event(10**6), bus=open_bus(str(record))) as server:
        yield server


async def go_on(server: Server, pages: Iterable[Page], first: int) -> int:
    """Change every job in each frame, and wait until it is drawn; gives the last number."""
    seq = first
    for _ in range(FRAMES):
        await server.give(*[job_at(number, seq + number) for number in range(JOBS)])
        for page in pages:
            await expect(page.locator("[data-slot=message]").first).to_have_text(f"event {seq}")
        seq += JOBS
    return seq


async def test_a_page_that_is_left_open_holds_its_memory(tmp_path: Path, browser: Browser) -> None:
    """A thousand changes of fifty jobs, and a job whose past is longer than what is kept of it."""
    async with (
        old_server(tmp_path) as server,
        watched_page(browser) as (overview, _),
        watched_page(browser) as (own, _),
    ):
        await overview.goto(f"http://127.0.0.1:{server.port}/")
        await own.goto(f"http://127.0.0.1:{server.port}/jobs/node1/job00")
        await expect(overview.locator(".job")).to_have_count(JOBS)
        await expect(own.locator("#events tr")).to_have_count(300)
        seq = await go_on(server, (overview, own), 20_000)
        before = [await kept(overview), await kept(own)]
        await go_on(server, (overview, own), seq)
        after = [await kept(overview), await kept(own)]
        for then, now in zip(before, after, strict=True):
            assert now.nodes <= then.nodes * 1.02
            assert now.listeners <= then.listeners * 1.02
            assert (now.jobs, now.points) == (JOBS, JOBS * 60)
        assert 0 < after[1].events <= 4000
        assert after[1].rows == 300
