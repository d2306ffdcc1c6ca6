"""From the status file to the browser: the real sidecar, the real buses, the real server."""

import re

from playwright.async_api import expect

from tests.support.station import Station, just_now
from tests.web.conftest import Visit
from tests.web.test_page_link import BROUGHT_ABOUT

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>&amp;{{1}}"


async def test_a_training_is_followed_from_its_beginning_to_its_end(station: Station, visit: Visit) -> None:
    a, b, zero = (visit.job(station.name(job)) for job in ("llm/a", "b", "zero"))
    await visit.page.goto(station.url)
    await expect(visit.page.locator("#link")).to_have_text("Live")
    await expect(a).to_have_count(0)
    station.write("llm/a", epoch=1.5, total_epochs=3.0, loss=0.342, message="test epoch 1.5/3")
    await expect(a.locator(".word")).to_have_text("running")
    await expect(a).to_contain_text("50.0 %")
    await expect(a.locator("[data-slot=loss]")).to_have_text("0.3420")
    await expect(a.locator("[data-slot=message]")).to_have_text("test epoch 1.5/3")
    station.write("llm/a", timestamp=just_now(seconds_ago=70))
    station.write("b", timestamp=just_now(seconds_ago=70), message="long ago")
    await expect(b.locator(".word")).to_have_text("stale")
    await expect(b).to_contain_text("Process unresponsive (stale pulse)")
    station.write("b", epoch=2.0, message="back again")
    await expect(b.locator(".word")).to_have_text("running")
    station.write("zero", epoch=0.0, total_epochs=0.0, loss=0.0, status="idle")
    await expect(zero).to_contain_text("0.0 %")
    station.write("llm/a", status="done", epoch=3.0, loss=0.1)
    await expect(a.locator(".word")).to_have_text("done")


async def test_the_past_of_a_job_is_drawn_listed_and_replayed(station: Station, visit: Visit) -> None:
    name = station.name("llm/a")
    await visit.page.goto(station.url)
    for step in range(6):
        station.write("llm/a", epoch=step / 2, loss=1 / (step + 1), message=f"step {step}")
        await expect(visit.job(name).locator("[data-slot=message]")).to_have_text(f"step {step}")
    await visit.page.get_by_role("link", name=name).click()
    await expect(visit.page.locator("#events tr")).to_have_count(6)
    await expect(visit.page.locator("#history-note")).to_be_hidden()
    await visit.page.get_by_role("slider").fill("1")
    await expect(visit.slot("message")).to_have_text("step 1")
    await expect(visit.slot("loss")).to_have_text("0.5000")
    station.write("llm/a", epoch=0.0, loss=2.0, message="a second run")
    await expect(visit.page.locator("#run option")).to_have_count(2)
    await expect(visit.slot("message")).to_have_text("step 1")
    await visit.page.get_by_role("button", name="Live").click()
    await expect(visit.slot("message")).to_have_text("a second run")
    await expect(visit.page.locator("#chart .past")).to_have_count(1)


async def test_markup_from_a_training_is_text_all_the_way(station: Station, visit: Visit) -> None:
    name = station.name("<b>evil&amp;")
    await visit.page.goto(station.url)
    station.write("<b>evil&amp;", message=EVIL)
    await expect(visit.job(name).locator("[data-slot=message]")).to_have_text(EVIL)
    await visit.page.get_by_role("link", name=name, exact=True).click()
    await expect(visit.page.get_by_role("heading", level=1)).to_have_text(name)
    await expect(visit.slot("message")).to_have_text(EVIL)
    await expect(visit.page.locator("#events tr")).to_contain_text([EVIL])
    station.write("<b>evil&amp;", status="error", epoch=0.0, total_epochs=0.0, loss=0.0, message=EVIL)
    await expect(visit.page.locator("#findings")).to_have_text(f"The training failed: {EVIL}")
    assert await visit.page.locator("main img, main script, main b").count() == 0


async def test_jobs_are_found_and_opened_with_the_keyboard_alone(station: Station, visit: Visit) -> None:
    own = station.jobs.rstrip("/")
    for job, message in (("a", "warming up"), ("b", "step 1"), ("c", "step 2")):
        station.write(job, message=message)
    await visit.page.goto(station.url)
    await expect(visit.job(station.name("c"))).to_be_visible()
    keyboard = visit.page.keyboard
    links = visit.page.locator(".job a")
    await keyboard.press("/")
    await keyboard.type(f"{own} step")
    await expect(links).to_have_text([station.name("b"), station.name("c")])
    await keyboard.press("ArrowDown")
    await keyboard.press("ArrowDown")
    await expect(links.nth(1)).to_be_focused()
    station.write("a", message="step 3")
    await expect(links).to_have_count(3)
    await expect(links.nth(2)).to_be_focused()
    await keyboard.press("Enter")
    await expect(visit.page.get_by_role("heading", name=station.name("c"), exact=True)).to_be_visible()


async def test_a_filter_follows_what_becomes_of_the_jobs(station: Station, visit: Visit) -> None:
    station.write("a")
    station.write("b", status="done", epoch=3.0)
    await visit.page.goto(f"{station.url}?q={station.jobs}&state=done")
    links = visit.page.locator(".job a")
    await expect(links).to_have_text([station.name("b")])
    station.write("a", status="done", epoch=3.0)
    await expect(links).to_have_text([station.name("a"), station.name("b")])
    await visit.page.get_by_role("button", name=re.compile("^running")).click()
    await expect(visit.page.get_by_text("No job is like that")).to_be_visible()


async def test_a_theme_that_was_chosen_outlasts_a_reload(station: Station, visit: Visit) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    await visit.page.goto(station.url)
    before = await visit.page.evaluate(ground)
    await visit.page.get_by_role("button", name="Theme: as the system").click()
    chosen = await visit.page.evaluate(ground)
    assert chosen != before
    await visit.page.reload()
    assert await visit.page.evaluate(ground) == chosen


async def test_the_page_heals_when_the_server_comes_back(station: Station, visit: Visit) -> None:
    word = visit.job(station.name("a")).locator("[data-slot=message]")
    station.write("a", message="before")
    await visit.page.goto(station.url)
    await expect(word).to_have_text("before")
    station.server.kill()
    await expect(visit.page.locator("#link")).to_have_text("Reconnecting")
    station.write("a", message="meanwhile")
    station.server.launch()
    await expect(visit.page.locator("#link")).to_have_text("Live", timeout=20_000)
    await expect(word).to_have_text("meanwhile")
    visit.watch.forgive(BROUGHT_ABOUT)
