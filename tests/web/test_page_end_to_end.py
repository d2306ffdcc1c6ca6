"""From the status file to the browser: the real sidecar, a real bus, the real server."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.async_api import expect

from tests.support.logged_process import LoggedProcess
from tests.support.processes import free_port
from tests.support.redis_server import RedisServer
from tests.support.sidecar_process import SidecarProcess, write_pulse
from tests.web.conftest import Visit
from tests.web.test_page_link import BROUGHT_ABOUT

EVIL = "<img src=x onerror=alert(1)>"


class Station(NamedTuple):
    """A sidecar on a folder, and a page that reads its bus."""

    sidecar: SidecarProcess
    server: LoggedProcess
    url: str

    def write(self, job: str, **changes: object) -> None:
        """Write a job's status file."""
        write_pulse(self.sidecar.jobs / job / "training_status.json", **changes)


@pytest.fixture(params=["redis", "journal"])
def station(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Station]:
    """Give a station on a bus that keeps history: on each of them, where the test names none."""
    port = free_port()
    with ExitStack() as stack:
        urls = [stack.enter_context(RedisServer(tmp_path / "redis")).url] if request.param == "redis" else []
        sidecar = stack.enter_context(SidecarProcess(tmp_path, urls))
        command = ["subscribe", f"web?port={port}", "--from", *(urls or [f"journal://{sidecar.journal}"])]
        server = LoggedProcess(command, tmp_path / "web.log", state_folder=tmp_path / "state")
        stack.enter_context(server).wait_for_message("serving the page")
        yield Station(sidecar, server, f"http://127.0.0.1:{port}/")


async def test_a_training_is_followed_from_its_beginning_to_its_end(station: Station, visit: Visit) -> None:
    await visit.page.goto(station.url)
    await expect(visit.page.locator("#link")).to_have_text("Live")
    await expect(visit.page.get_by_text("No training job yet")).to_be_visible()
    station.write("llm/a", epoch=1.5, total_epochs=3.0, loss=0.342, message=f"test epoch 1.5/3 {EVIL}")
    row = visit.job("llm/a")
    await expect(row.locator(".word")).to_have_text("running")
    await expect(row).to_contain_text("50.0 %")
    await expect(row.locator("[data-slot=loss]")).to_have_text("0.3420")
    await expect(row.locator("[data-slot=message]")).to_have_text(f"test epoch 1.5/3 {EVIL}")
    station.write("llm/a", timestamp=int(time.time()) - 70)
    station.write("b", timestamp=int(time.time()) - 70, message="long ago")
    await expect(visit.job("b").locator(".word")).to_have_text("stale")
    await expect(visit.job("b")).to_contain_text("Process unresponsive (stale pulse)")
    station.write("b", epoch=2.0, message="back again")
    await expect(visit.job("b").locator(".word")).to_have_text("running")
    station.write("zero", epoch=0.0, total_epochs=0.0, loss=0.0, status="idle")
    await expect(visit.job("zero")).to_contain_text("0.0 %")
    station.write("llm/a", status="done", epoch=3.0, loss=0.1)
    await expect(row.locator(".word")).to_have_text("done")
    assert station.sidecar.stop() == 0
    await expect(visit.job("b").locator(".word")).to_have_text("last known")
    await expect(visit.page.locator(".badge:visible")).to_contain_text("stopped")


async def test_the_past_of_a_job_is_drawn_listed_and_replayed(station: Station, visit: Visit) -> None:
    await visit.page.goto(station.url)
    for step in range(6):
        station.write("llm/a", epoch=step / 2, loss=1 / (step + 1), message=f"step {step}")
        await expect(visit.job("llm/a").locator("[data-slot=message]")).to_have_text(f"step {step}")
    await visit.page.get_by_role("link", name="llm/a").click()
    await expect(visit.page.locator("#events tr")).to_have_count(6)
    await expect(visit.page.locator("#history-note")).to_be_hidden()
    await visit.page.get_by_role("slider").fill("1")
    await expect(visit.slot("message")).to_have_text("step 1")
    await expect(visit.slot("loss")).to_have_text("0.5000")
    await visit.page.get_by_role("button", name="Live").click()
    await expect(visit.slot("message")).to_have_text("step 5")
    station.write("llm/a", epoch=0.0, loss=2.0, message="a second run")
    await expect(visit.slot("message")).to_have_text("a second run")
    await expect(visit.page.locator("#chart .past")).to_have_count(1)
    await expect(visit.page.locator("#run option")).to_have_count(2)


@pytest.mark.parametrize("station", ["redis"], indirect=True)
async def test_the_page_heals_when_the_server_comes_back(station: Station, visit: Visit) -> None:
    station.write("a", message="before")
    await visit.page.goto(station.url)
    await expect(visit.job("a").locator(".word")).to_have_text("running")
    station.server.kill()
    await expect(visit.page.locator("#link")).to_have_text("Reconnecting")
    station.write("a", message="meanwhile")
    station.server.launch()
    await expect(visit.page.locator("#link")).to_have_text("Live", timeout=20_000)
    await expect(visit.job("a").locator("[data-slot=message]")).to_have_text("meanwhile")
    visit.watch.forgive(BROUGHT_ABOUT)


@pytest.mark.slow
@pytest.mark.parametrize("station", ["redis"], indirect=True)
async def test_a_sidecar_that_was_killed_is_silent_and_its_jobs_the_last_known(
    station: Station, visit: Visit
) -> None:
    station.write("a")
    await visit.page.goto(station.url)
    await expect(visit.job("a").locator(".word")).to_have_text("running")
    station.sidecar.kill()
    await expect(visit.job("a").locator(".word")).to_have_text("last known", timeout=60_000)
    await expect(visit.page.locator(".badge:visible")).to_contain_text("silent")
    station.sidecar.start()
    await expect(visit.job("a").locator(".word")).to_have_text("running")
