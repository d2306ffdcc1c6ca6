"""The past of a job has no holes, stays where it is looked at, and says what is wrong where it cannot be read."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from pulse_bridge.bus import Batch, open_bus
from pulse_bridge.event import JobEvent, to_json
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event
from tests.support.fake_web import FakeWeb, job_view
from tests.support.station import Station
from tests.support.web import Page as Server
from tests.support.web import serving
from tests.web.conftest import Visit
from tests.web.test_page_job import ADDRESS, JOB, past_run

STEPS = [{"epoch": number / 20, "message": f"step {number}", "loss": 2 - number / 25} for number in range(41)]
"""More in a second than the stream tells of."""

AGAIN_MS = 31_000
"""A job that changes is asked about after so long at the latest."""


def rows(page: Page) -> Locator:
    return page.locator("#events tr")


async def messages(page: Page) -> list[str]:
    return await page.locator("#events tr td:last-child").all_inner_texts()


def newest_first(pulses: Sequence[dict[str, object]]) -> list[object]:
    return [pulse["message"] for pulse in reversed(pulses)]


async def test_a_job_that_changes_faster_than_the_stream_tells_has_no_holes(
    station: Station, lone_visit: Visit
) -> None:
    page = lone_visit.page
    await page.clock.install()
    station.write("a", **STEPS[0])
    await page.goto(f"{station.url}jobs/node1/{station.name('a')}")
    await expect(rows(page)).to_have_count(1)
    await asyncio.to_thread(station.write_all, "a", *STEPS[1:])
    await expect(lone_visit.slot("message")).to_have_text("step 40")
    await page.clock.fast_forward(AGAIN_MS)
    await expect(rows(page)).to_have_count(41)
    assert await messages(page) == newest_first(STEPS)
    await expect(page.locator("#scrubber")).to_have_attribute("max", "40")


async def test_at_the_end_of_a_job_its_past_is_whole_at_once(station: Station, visit: Visit) -> None:
    station.write("a", **STEPS[0])
    await visit.page.goto(f"{station.url}jobs/node1/{station.name('a')}")
    await expect(rows(visit.page)).to_have_count(1)
    end = {"status": "done", "epoch": 3.0, "message": "the end"}
    await asyncio.to_thread(station.write_all, "a", *STEPS[1:], end)
    await expect(rows(visit.page)).to_have_count(42)
    assert await messages(visit.page) == newest_first([*STEPS, end])


def recorded(path: Path, *events: JobEvent) -> Path:
    path.write_text("".join(f"{to_json(event)}\n" for event in events), encoding="utf-8")
    return path


@asynccontextmanager
async def recorded_server(record: Path, *known: JobEvent) -> AsyncIterator[Server]:
    """Start a real server whose bus is a recording, and which was told of some of its events itself."""
    recorded(record, *known)
    async with serving(*known, make_host_event(99), bus=open_bus(str(record))) as server:
        yield server


def step(seq: int) -> JobEvent:
    return make_job_event(seq, observed_ms=SAMPLE_MS + seq, message=f"step {seq}")


async def test_what_the_server_itself_has_missed_is_asked_for(tmp_path: Path, visit: Visit) -> None:
    record = tmp_path / "record.jsonl"
    async with recorded_server(record, step(1)) as server:
        async with visit.page.expect_response("**/history?*"):
            await visit.page.goto(f"http://127.0.0.1:{server.port}/{ADDRESS}")
        await expect(rows(visit.page)).to_have_count(1)
        await expect(visit.page.locator("#history-note")).to_be_hidden()
        recorded(record, *map(step, range(1, 5)))
        await server.subscriber.on_batch(Batch([step(4)], snapshot=True, lost=2), server.now)
        await expect(rows(visit.page)).to_have_count(4)
        assert await messages(visit.page) == ["step 4", "step 3", "step 2", "step 1"]
        await visit.page.goto("about:blank")


@pytest.mark.parametrize("known", [True, False], ids=["goes on from there", "begins anew"])
async def test_what_happened_while_the_line_was_lost_is_asked_for(
    tmp_path: Path, visit: Visit, *, known: bool
) -> None:
    """The browser says where it was, and is then told what is so, and nothing of what was."""
    record = tmp_path / "record.jsonl"
    async with recorded_server(record, step(1)) as server:
        async with visit.page.expect_response("**/history?*"):
            await visit.page.goto(f"http://127.0.0.1:{server.port}/{ADDRESS}")
        await expect(rows(visit.page)).to_have_count(1)
        for viewer in list(server.hub.viewers):
            server.hub.leave(viewer)
        await expect(visit.page.locator("#link")).to_have_text("Reconnecting")
        if not known:
            server.subscriber.board.boot = "another"
        recorded(record, *map(step, range(1, 5)))
        await server.give(step(4))
        await expect(rows(visit.page)).to_have_count(4)
        assert await messages(visit.page) == ["step 4", "step 3", "step 2", "step 1"]
        await visit.page.goto("about:blank")


async def test_a_bus_that_keeps_no_past_is_not_asked_for_it_again_and_again(lone_visit: Visit) -> None:
    page = lone_visit.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/history?" in request.url else None)
    await page.clock.install()
    async with serving(step(1), make_host_event(99), bus=open_bus("mqtt://127.0.0.1:1")) as server:
        await page.goto(f"http://127.0.0.1:{server.port}/{ADDRESS}")
        note = page.locator("#history-note")
        await expect(note).to_contain_text("MQTT keeps what is so and no past events")
        end = make_job_event(3, observed_ms=SAMPLE_MS + 3, state="done", status="done", message="the end")
        for event in (step(2), end):
            await server.give(event)
            await expect(lone_visit.slot("message")).to_have_text(event.message)
            await page.clock.fast_forward(AGAIN_MS)
        await page.evaluate("() => fetch('healthz')")
        assert len(asked) == 1
        await expect(note).to_contain_text("MQTT keeps what is so and no past events")
        server.subscriber.board.boot = "another"  # a server that was started anew may have another bus
        async with page.expect_request("**/history?*"):
            for viewer in list(server.hub.viewers):
                server.hub.leave(viewer)
        await page.goto("about:blank")


async def test_names_that_a_path_cannot_have_are_opened_on_the_real_server(tmp_path: Path, visit: Visit) -> None:
    names = [("..", "."), (".", "..~/x"), ("..~", "a/../b")]
    jobs = [
        make_job_event(seq, host=host, job=job, observed_ms=SAMPLE_MS + seq)
        for seq, (host, job) in enumerate(names, start=1)
    ]
    async with recorded_server(tmp_path / "record.jsonl", *jobs) as server:
        for host, job in names:
            await visit.page.goto(f"http://127.0.0.1:{server.port}/")
            await visit.page.get_by_role("link", name=job, exact=True).click()
            await expect(visit.page.get_by_role("heading", name=job, level=1, exact=True)).to_be_visible()
            await expect(visit.page.locator("#crumb-host")).to_have_text(host)
            await expect(rows(visit.page)).to_have_count(1)
            found = await visit.page.evaluate(
                """async ([host, job]) => {
                  const {apiAddress} = await import('/static/address.js');
                  return await (await fetch(`${apiAddress(host, job)}/history`)).json();
                }""",
                [host, job],
            )
            assert [(event["host"], event["job"]) for event in found["events"]] == [(host, job)]
        await visit.page.goto("about:blank")


async def test_the_replayed_moment_stays_where_events_before_it_become_known(web: FakeWeb, visit: Visit) -> None:
    run = past_run(1)
    web.histories["node1", JOB] = run[10:]
    web.put(run[-1])
    await visit.page.goto(web.url + ADDRESS)
    await expect(rows(visit.page)).to_have_count(10)
    await visit.page.get_by_role("slider").fill("3")
    await expect(visit.slot("message")).to_have_text("minute 13")
    web.send(*run[:10])
    web.histories["node1", JOB] = run
    for number in range(10):
        web.send(run[number])
    await expect(rows(visit.page)).to_have_count(20)
    await expect(visit.slot("message")).to_have_text("minute 13")
    await expect(visit.page.locator("#scrubber")).to_have_value("13")
    await expect(visit.page.locator("#events tr[aria-current]")).to_contain_text("minute 13")
    await visit.page.get_by_role("slider").press("ArrowLeft")
    await expect(visit.slot("message")).to_have_text("minute 12")


async def test_a_run_that_begins_takes_the_replayed_moment_not_away(web: FakeWeb, visit: Visit) -> None:
    first, second = past_run(1), past_run(2)
    web.histories["node1", JOB] = [*first]
    web.put(first[-1])
    await visit.page.goto(web.url + ADDRESS)
    await visit.page.get_by_role("slider").fill("3")
    await expect(visit.slot("message")).to_have_text("minute 3")
    web.send(second[0])
    await expect(visit.page.locator("#run option")).to_have_count(2)
    await expect(visit.page.locator("#run")).to_have_value(str(first[0]["run"]))
    await expect(visit.page.locator("#scrubber")).to_have_value("3")
    await expect(visit.slot("message")).to_have_text("minute 3")
    await visit.page.get_by_role("button", name="Live").click()
    await expect(visit.page.locator("#run")).to_have_value(str(second[0]["run"]))


async def test_a_past_that_could_not_be_read_is_asked_for_until_it_is(web: FakeWeb, lone_visit: Visit) -> None:
    page, note = lone_visit.page, lone_visit.page.locator("#history-note")
    web.histories["node1", JOB] = past_run(1)
    web.put(web.histories["node1", JOB][-1])
    web.refusals = [503, 429, 500]
    await page.clock.install()
    await page.goto(web.url + ADDRESS)
    await expect(note).to_have_text(
        "The past cannot be read now: the server is busy. It is asked for again by itself."
    )
    for limit_ms, words in ((3_000, "is asked too often"), (6_000, "answers with the error 500")):
        await page.clock.run_for(limit_ms)
        await expect(note).to_contain_text(words)
    await page.clock.run_for(12_000)
    await expect(rows(page)).to_have_count(20)
    await expect(note).to_be_hidden()
    lone_visit.watch.forgive("503|429|500")


async def test_each_try_waits_longer_and_no_two_viewers_as_long(web: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(web.url)
    waits = await visit.page.evaluate(
        """async () => {
          const {delayMs} = await import('/static/backoff.js');
          return [0, 1, 2, 9].map(tries => [0, 1].map(chance => delayMs(tries, 3000, 60000, () => chance)));
        }"""
    )
    assert waits == [[1500, 3000], [3000, 6000], [6000, 12_000], [30_000, 60_000]]


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "the server wants its token again"), (400, "the server answers with the error 400")],
)
async def test_a_question_that_is_wrong_is_not_asked_again(
    web: FakeWeb, lone_visit: Visit, status: int, words: str
) -> None:
    page = lone_visit.page
    web.put(job_view(JOB))
    web.refusals = [status, status]
    await page.clock.install()
    await page.goto(web.url + ADDRESS)
    await expect(page.locator("#history-note")).to_contain_text(f"The past cannot be read: {words}")
    await page.clock.run_for(40_000)
    await page.evaluate("() => fetch('api/fence')")
    assert web.refusals == [status]
    lone_visit.watch.forgive(f"{status}|404")


async def test_the_server_s_own_words_are_shown_where_it_has_some(web: FakeWeb, visit: Visit) -> None:
    web.put(job_view(JOB))
    sentence = '{"error": "others read the past; ask again in a moment"}'
    await visit.page.route("**/history?*", lambda route: route.fulfill(status=503, body=sentence))
    await visit.page.goto(web.url + ADDRESS)
    await expect(visit.page.locator("#history-note")).to_contain_text("now: others read the past; ask again")
    visit.watch.forgive("503")


async def test_a_tab_that_nobody_sees_asks_once_it_is_seen(web: FakeWeb, lone_visit: Visit) -> None:
    page = lone_visit.page
    web.put(past_run(1, 1)[0])
    await page.clock.install()
    await page.goto(web.url + ADDRESS)
    await expect(rows(page)).to_have_count(1)

    async def hide(*, hidden: bool) -> None:
        await page.evaluate(
            """hidden => {
              Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
              document.dispatchEvent(new Event('visibilitychange'));
            }""",
            hidden,
        )

    await hide(hidden=True)
    later = past_run(1, 3)
    web.histories["node1", JOB] = later
    web.send(later[-1])
    await expect(lone_visit.slot("message")).to_have_text("minute 2")
    asked = len(web.requests)
    await page.clock.run_for(AGAIN_MS)
    await page.evaluate("() => fetch('api/fence')")
    assert [path for path in web.requests[asked:] if "history" in path] == []
    await hide(hidden=False)
    await expect(rows(page)).to_have_count(3)
    lone_visit.watch.forgive("404")
