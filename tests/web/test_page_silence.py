"""Where a sidecar is not heard, what stands on the page is the last known, in every place where it stands."""

import re

import pytest
from playwright.async_api import expect

from tests.support.fake_web import FakeWeb, host_view, job_view
from tests.web.conftest import Silenced, Visit

QUITE_LONG_MS = 60_000
"""A host is silent after half a minute; it began before the first test."""


@pytest.mark.slow
async def test_a_sidecar_that_was_killed_is_silent_and_its_jobs_the_last_known(silenced: Silenced) -> None:
    for visit in silenced.visits.values():
        await expect(visit.job("a").locator(".word")).to_have_text("last known", timeout=QUITE_LONG_MS)
        await expect(visit.job("a").locator("[data-slot=known]")).to_have_text("running")
        await expect(visit.page.locator(".badge:visible")).to_contain_text("silent")
        await expect(visit.page.get_by_role("button", name="last known 1")).to_be_visible()
        await expect(visit.page.get_by_role("button", name="running 0")).to_be_visible()
        await expect(visit.page).to_have_title("(1) pulse-bridge")
    silenced.stations["redis"].write("a")  # the training itself went on
    sidecar = silenced.stations["redis"].sidecar.start()
    for visit in silenced.visits.values():
        await expect(visit.job("a").locator(".word")).to_have_text("running")
        await expect(visit.page.get_by_role("button", name="running 1")).to_be_visible()
        await expect(visit.page).to_have_title("pulse-bridge")
    assert sidecar.stop() == 0
    for visit in silenced.visits.values():
        await expect(visit.job("a").locator(".word")).to_have_text("last known")
        await expect(visit.page.locator(".badge:visible")).to_contain_text("stopped")


async def test_no_silent_host_s_job_counts_as_running(web: FakeWeb, visit: Visit) -> None:
    web.put(job_view("a"), job_view("b", state="done", status="done"), job_view("c", host="node2"))
    web.put(host_view("node1", "silent"))
    await visit.page.goto(web.url)
    await visit.page.get_by_role("button", name="running 1").click()
    await expect(visit.page.locator(".job a")).to_have_text(["c"])
    await visit.page.get_by_role("button", name="last known 2").click()
    await expect(visit.page.locator(".job a")).to_have_text(["a", "b"])
    assert visit.page.url.endswith("?state=unknown")
    await expect(visit.page).to_have_title("(1) pulse-bridge")
    web.send(host_view("node1"))
    await expect(visit.page.get_by_text("No job is like that")).to_be_visible()
    await expect(visit.page).to_have_title("pulse-bridge")


async def test_a_tab_that_nobody_sees_tells_by_its_title(web: FakeWeb, lone_visit: Visit) -> None:
    """A hidden tab is given no frames to draw in."""
    page = lone_visit.page
    await page.add_init_script("window.requestAnimationFrame = () => 0")
    web.put(job_view("a"))
    await page.goto(web.url)
    await expect(page.locator("#link")).to_have_text("Live")
    web.send(job_view("a", state="stale", status="error"))
    await expect(page).to_have_title("(1) pulse-bridge")
    web.send(job_view("b", state="error", status="error"))
    await expect(page).to_have_title("(2) pulse-bridge")


async def test_time_alone_makes_a_filtered_job_the_last_known(web: FakeWeb, lone_visit: Visit) -> None:
    page = lone_visit.page
    web.put(job_view("a"), host_view("node1", "unheard"))
    await page.clock.install()
    await page.goto(web.url + "?state=running")
    await expect(lone_visit.job("a")).to_be_visible()
    await page.clock.run_for(32_000)
    await expect(page.get_by_role("button", name=re.compile("^last known 1"))).to_be_visible()
    await expect(lone_visit.job("a")).to_have_count(0)
