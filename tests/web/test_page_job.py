"""A job's own page: now, what is wrong in words, the chart, the events and the replay of the past."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import expect

from pulse_bridge.testing import make_job_event
from tests.support.fake_web import FakeWeb, View, host_view, job_view, rfc3339
from tests.support.processes import free_port, wait_until
from tests.support.web import serving
from tests.web.conftest import UNKNOWN, Visit

START = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)
JOB = "llm/run a"
ADDRESS = "jobs/node1/llm/run%20a"


def past_run(hours: int, count: int = 20, *, job: str = JOB, **last: Any) -> list[View]:
    """Make a run's events, one a minute; `last` changes the last of them."""
    start = START + timedelta(hours=hours)
    events = []
    for number in range(count):
        at = start + timedelta(minutes=number)
        event = job_view(
            job,
            id=f"past{hours}-{number}",
            run=int(start.timestamp()),
            timestamp=int(at.timestamp()),
            observed_at=rfc3339(at),
            epoch=number / 10,
            progress=round(number / 10 / 3 * 100, 1),
            loss=2.0 - number / 20,
            message=f"minute {number}",
        )
        events.append(event)
    events[-1] |= last
    return events


@pytest.fixture
def told(web: FakeWeb) -> FakeWeb:
    """Give a server with a job that ran twice."""
    earlier, now = past_run(0, state="done", status="done"), past_run(1)
    web.histories["node1", JOB] = [*earlier, *now]
    web.put(now[-1])
    return web


async def test_a_job_s_address_can_be_shared_and_shows_what_is_so(told: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(told.url + ADDRESS)
    await expect(visit.page.get_by_role("heading", name=JOB, level=1)).to_be_visible()
    await expect(visit.page).to_have_title(f"{JOB} · pulse-bridge")
    await expect(visit.slot("state")).to_have_text("running")
    await expect(visit.slot("loss")).to_have_text("1.0500")
    await expect(visit.slot("epochs")).to_have_text("epoch 1.90 / 3")
    told.send(job_view(JOB, epoch=2.0, loss=0.9876, run=told.jobs["node1", JOB]["run"], message="minute 20"))
    await expect(visit.slot("loss")).to_have_text("0.9876")
    await expect(visit.page.locator("#events tr").first).to_contain_text("minute 20")
    await expect(visit.page.locator("#events tr")).to_have_count(21)


async def test_names_of_any_sort_have_an_address(web: FakeWeb, visit: Visit) -> None:
    for name in ("a/history", "a/../b", "50%/ü?#&", "a//b", "<b>", "x y/z"):
        web.histories["node1", name] = past_run(0, 3, job=name)
        web.put(web.histories["node1", name][-1])
    await visit.page.goto(web.url)
    await expect(visit.page.locator(".job")).to_have_count(6)
    for name in [job for _, job in web.jobs]:
        await visit.page.get_by_role("link", name=name, exact=True).click()
        await expect(visit.page.get_by_role("heading", name=name, level=1, exact=True)).to_be_visible()
        await expect(visit.page.locator("#events tr")).to_have_count(3)
        await visit.page.go_back()


async def test_a_job_that_is_not_there_yet_stands_there_once_it_is(web: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(web.url + ADDRESS)
    await expect(visit.page.get_by_role("heading", name=f"No job {JOB} on node1")).to_be_visible()
    web.send(job_view(JOB))
    await expect(visit.page.get_by_role("heading", name=JOB, level=1, exact=True)).to_be_visible()


async def test_what_is_wrong_is_said_in_words(web: FakeWeb, visit: Visit) -> None:
    web.put(job_view(JOB))
    await visit.page.goto(web.url + ADDRESS)
    wrong = visit.page.locator("#findings")
    await expect(wrong).to_have_text("Nothing.")
    ago = int(datetime.now(UTC).timestamp()) - 660
    web.send(job_view(JOB, state="stale", status="error", timestamp=ago))
    await expect(wrong).to_contain_text("The training has not written for 11 min")
    web.send(
        job_view(
            JOB, state="error", status="error", message="CUDA out of memory", loss=0.0, epoch=0.0, total_epochs=0.0
        )
    )
    await expect(wrong).to_have_text("The training failed: CUDA out of memory")
    await expect(visit.slot("loss")).to_have_text(UNKNOWN)
    web.send(job_view(JOB, diverged=True, loss=None))
    await expect(wrong).to_contain_text("the training has diverged")
    web.send(job_view(JOB, state="gone"))
    await expect(wrong).to_contain_text("The status file is there no more")
    web.send(job_view(JOB), host_view("node1", "silent", malformed=1, dropped=3))
    await expect(wrong.locator("li")).to_have_count(3)
    await expect(wrong).to_contain_text("Its sidecar is silent. What stands here is the last known")
    await expect(visit.slot("state")).to_have_text("last known")
    await expect(visit.slot("known")).to_have_text("running")


async def test_the_scrubber_replays_the_past_and_live_comes_back(told: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(told.url + ADDRESS)
    scrubber = visit.page.get_by_role("slider", name="Moment of the run")
    await expect(scrubber).to_have_attribute("max", "19")
    await scrubber.fill("4")
    await expect(visit.slot("loss")).to_have_text("1.8000")
    await expect(visit.slot("epochs")).to_have_text("epoch 0.40 / 3")
    await expect(visit.page.locator("#moment")).to_contain_text("As it was 2 Jan 2026, 04:04:00")
    await expect(visit.page.locator("#events tr[aria-current]")).to_contain_text("minute 4")
    told.send(job_view(JOB, epoch=2.5, loss=0.5, run=told.jobs["node1", JOB]["run"]))
    await expect(scrubber).to_have_attribute("max", "20")
    await expect(visit.slot("loss")).to_have_text("1.8000")
    await scrubber.press("ArrowRight")
    await expect(visit.slot("loss")).to_have_text("1.7500")
    await visit.page.get_by_role("button", name="Live").click()
    await expect(visit.slot("loss")).to_have_text("0.5000")
    await expect(visit.page.locator("#moment")).to_be_empty()


async def test_the_past_plays_from_the_beginning_to_the_end(told: FakeWeb, lone_visit: Visit) -> None:
    await lone_visit.page.goto(told.url + ADDRESS)
    await expect(lone_visit.page.locator("#events tr")).to_have_count(20)
    await lone_visit.page.clock.install()
    await lone_visit.page.get_by_label("Speed").select_option("600")
    await lone_visit.page.get_by_role("button", name="Play").click()
    await expect(lone_visit.page.get_by_role("button", name="Pause")).to_be_visible()
    await lone_visit.page.clock.run_for(5000)
    await expect(lone_visit.page.get_by_role("button", name="Play")).to_be_visible()
    await expect(lone_visit.page.locator("#moment")).to_contain_text("04:19:00")
    await expect(lone_visit.page.locator("#scrubber")).to_have_value("19")


async def test_an_earlier_run_stands_behind_and_can_be_chosen(told: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(told.url + ADDRESS)
    await expect(visit.page.locator("#chart .past")).to_have_count(1)
    await visit.page.get_by_role("button", name="Earlier runs").click()
    await expect(visit.page.locator("#chart .past")).to_have_count(0)
    await visit.page.locator("#run").select_option(index=1)
    await expect(visit.slot("state")).to_have_text("done")
    await expect(visit.page.locator("#moment")).to_contain_text("03:19:00")


async def test_the_chart_zooms_is_read_by_keyboard_and_has_a_log_scale(told: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(told.url + ADDRESS)
    chart = visit.page.locator("#chart")
    line = chart.locator(".line:not(.past)")
    await expect(line).to_have_count(1)
    await expect(chart).to_have_attribute(
        "aria-label", "Loss over epochs: from 2.0000 at epoch 0.00 to 1.0500 at epoch 1.90"
    )
    await chart.focus()
    await chart.press("End")
    await expect(visit.page.locator("#chart-said")).to_contain_text("loss 1.0500, epoch 1.90")
    await chart.press("ArrowLeft")
    await expect(chart.locator(".tip")).to_contain_text("loss 1.1000")
    whole = await line.get_attribute("d")
    await chart.press("+")
    await expect(visit.page.get_by_role("button", name="All", exact=True)).to_be_enabled()
    await expect(line).not_to_have_attribute("d", whole or "")
    await chart.press("0")
    await expect(line).to_have_attribute("d", whole or "")
    await visit.page.get_by_role("button", name="Log scale").click()
    await expect(line).not_to_have_attribute("d", whole or "")
    await visit.page.get_by_role("button", name="Log scale").click()
    await expect(line).to_have_attribute("d", whole or "")


async def test_the_chart_is_pointed_at_dragged_and_clicked(told: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(told.url + ADDRESS)
    chart = visit.page.locator("#chart")
    await expect(chart.locator(".past")).to_have_count(1)
    await chart.scroll_into_view_if_needed()
    box = await chart.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    await visit.page.mouse.move(box["x"] + box["width"] / 2, middle)
    await expect(chart.locator(".tip")).to_contain_text("loss")
    await visit.page.mouse.down()
    await visit.page.mouse.up()
    await expect(visit.page.locator("#moment")).to_contain_text("As it was")
    await visit.page.mouse.down()
    await visit.page.mouse.move(box["x"] + box["width"] * 0.75, middle)
    await expect(chart.locator(".brush")).to_have_count(1)
    await visit.page.mouse.up()
    everything = visit.page.get_by_role("button", name="All", exact=True)
    await expect(everything).to_be_enabled()
    await chart.dblclick(position={"x": 200, "y": 100})
    await expect(everything).to_be_disabled()


async def test_events_can_be_only_the_changes_of_state_and_lead_to_their_moment(
    told: FakeWeb, visit: Visit
) -> None:
    stale = told.histories["node1", JOB][-5]
    stale |= {
        "kind": "stale",
        "state": "stale",
        "status": "error",
        "message": "Process unresponsive (stale pulse)",
    }
    await visit.page.goto(told.url + ADDRESS)
    rows = visit.page.locator("#events tr")
    await expect(rows).to_have_count(20)
    await expect(visit.page.locator("#chart .mark")).to_have_count(1)
    await visit.page.get_by_label("Only changes of state").check()
    await expect(rows).to_have_count(3)
    await rows.nth(1).get_by_role("button").click()
    await expect(visit.slot("state")).to_have_text("stale")


async def test_a_bus_without_history_says_so(web: FakeWeb, visit: Visit) -> None:
    web.incomplete = "mqtt keeps no past events"
    web.put(job_view(JOB))
    await visit.page.goto(web.url + ADDRESS)
    note = visit.page.locator("#history-note")
    await expect(note).to_have_text("The past is not complete: mqtt keeps no past events.")
    await expect(visit.page.locator("#events tr")).to_have_count(1)


@asynccontextmanager
async def dashboard(address: str) -> AsyncIterator[str]:
    """Serve a page of another origin that shows an address in a frame; gives its origin."""
    page = f'<!doctype html><link rel="icon" href="data:,"><title>-</title><iframe src="{address}"></iframe>'

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(f"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n{page}".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "not listed"])
async def test_another_site_shows_a_job_in_a_frame_only_where_it_is_listed(
    lone_visit: Visit, *, listed: bool
) -> None:
    page, wrong, port = lone_visit.page, lone_visit.watch.wrong, free_port()
    async with dashboard(f"http://127.0.0.1:{port}/{ADDRESS}?embed") as origin:
        embed = origin if listed else "https://other.example"
        async with serving(make_job_event(1, job=JOB), port=str(port), embed=embed):
            await page.goto(origin)
            heading = page.frame_locator("iframe").get_by_role("heading", name=JOB, level=1)
            if listed:
                await expect(heading).to_be_visible()
                await expect(page.frame_locator("iframe").locator("#events tr")).to_have_count(1)
            else:
                await wait_until(lambda: any("frame-ancestors" in text for text in wrong), "it is refused")
                await expect(heading).to_have_count(0)
            await page.goto("about:blank")
    lone_visit.watch.forgive("off-host" if listed else "off-host|frame-ancestors|ERR_BLOCKED_BY")


async def test_an_embedded_page_has_no_frame_of_its_own(told: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(told.url + ADDRESS + "?embed")
    await expect(visit.page.get_by_role("heading", name=JOB, level=1)).to_be_visible()
    await expect(visit.page.locator(".top")).to_be_hidden()
