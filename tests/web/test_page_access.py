"""For everybody: by keyboard, by voice, in the dark, on a phone, and with hostile names."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from pulse_bridge.testing import HOSTILE_NAMES
from tests.support.browser import PHONE, violations, watched_page
from tests.support.fake_web import FakeWeb, host_view, job_view
from tests.web.conftest import Visit
from tests.web.test_page_job import ADDRESS, JOB, past_run

LOOKS: Mapping[str, Mapping[str, Any]] = {"wide": {}, "phone": {"viewport": PHONE, "has_touch": True}}


def put_one_of_each(web: FakeWeb) -> None:
    for state in ("idle", "running", "stale", "done", "error", "gone"):
        web.put(job_view(f"job {state}", state=state, spark=[[0, 1], [1, 0.5], [2, 0.7]], label_profile="TRIZ"))
    web.put(job_view("diverged", diverged=True, loss=None), job_view("unheard", host="node2"))
    web.put(host_view("node2", "silent", malformed=1, lag={"redis": 2}))


@pytest.mark.parametrize("look", LOOKS)
async def test_axe_finds_nothing_serious(web: FakeWeb, browser: Browser, axe: str, look: str) -> None:
    put_one_of_each(web)
    web.histories["node1", JOB] = past_run(0) + past_run(1, state="error", status="error")
    web.put(job_view(JOB, state="stale", status="error", label_dataset="patents"))
    async with watched_page(browser, **LOOKS[look]) as (page, _):

        async def found() -> list[str]:
            by_day = await violations(page, axe)
            await page.emulate_media(color_scheme="dark")
            by_night = await violations(page, axe)
            await page.emulate_media(color_scheme="light")
            return by_day + by_night

        await page.goto(web.url)
        await expect(page.locator(".job")).to_have_count(9)
        assert await found() == []
        await page.goto(web.url + ADDRESS)
        await expect(page.locator("#events tr")).not_to_have_count(0)
        assert await found() == []
        await page.locator("#events button").last.click()
        assert await found() == []
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_markup_from_a_training_is_shown_as_text(web: FakeWeb, visit: Visit) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>&amp;{{1}}"
    names = [*HOSTILE_NAMES, evil]
    for number, name in enumerate(names):
        web.put(
            job_view(
                name, host=f"{name.replace('/', '_')}{number}", message=name, label_profile=name, label_x=evil
            )
        )
        web.put(host_view(f"{name.replace('/', '_')}{number}", version=evil))
    await visit.page.goto(web.url)
    await expect(visit.page.locator(".job")).to_have_count(len(names))
    row = visit.page.locator(".job").last
    await expect(row).to_be_attached()
    texts = await visit.page.locator(".job [data-slot=job]").evaluate_all(
        "links => links.map(link => link.textContent)"
    )
    assert sorted(texts) == sorted(names)
    assert await visit.page.locator("main img, main script").count() == 0
    await visit.page.get_by_role("link", name=evil, exact=True).click()
    await expect(visit.page.locator("h1[data-slot=job]")).to_have_text(evil)
    await expect(visit.slot("message")).to_have_text(evil)
    assert await visit.page.locator("main img, main script").count() == 0


async def test_the_theme_is_the_system_s_until_chosen_and_then_remembered(web: FakeWeb, browser: Browser) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    dark, light = "rgb(13, 16, 21)", "rgb(246, 247, 249)"
    async with watched_page(browser, color_scheme="dark") as (page, _):
        await page.goto(web.url)
        assert await page.evaluate(ground) == dark
        await page.emulate_media(color_scheme="light")
        assert await page.evaluate(ground) == light
        await page.get_by_role("button", name="Theme: as the system").click()
        assert await page.evaluate(ground) == dark
        await page.reload()
        assert await page.evaluate(ground) == dark
        await page.get_by_role("button", name="Theme: dark").click()
        await page.emulate_media(color_scheme="dark")
        assert await page.evaluate(ground) == light
        await page.goto(web.url + ADDRESS)
        assert await page.evaluate(ground) == light


async def test_the_overview_is_used_with_the_keyboard_alone(web: FakeWeb, visit: Visit) -> None:
    web.put(job_view("a"), job_view("b"), job_view("c"))
    await visit.page.goto(web.url)
    await expect(visit.job("a")).to_be_visible()
    keyboard = visit.page.keyboard
    await keyboard.press("/")
    await keyboard.type("b")
    await expect(visit.page.locator(".job a")).to_have_text(["b"])
    await keyboard.press("Escape")
    await expect(visit.page.locator(".job a")).to_have_text(["a", "b", "c"])
    await keyboard.press("ArrowDown")
    await keyboard.press("ArrowDown")
    await expect(visit.page.get_by_role("link", name="b", exact=True)).to_be_focused()
    outline = "getComputedStyle(document.activeElement.closest('.job')).outlineStyle"
    assert await visit.page.evaluate(outline) == "solid"
    await keyboard.press("g")
    await expect(visit.page.get_by_role("button", name="By host")).to_have_attribute("aria-pressed", "false")
    await expect(visit.page.get_by_role("link", name="b", exact=True)).to_be_focused()
    await keyboard.press("?")
    await expect(visit.page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    await visit.page.get_by_label("Single keys act as shortcuts").uncheck()
    await keyboard.press("Escape")
    await keyboard.press("g")
    await expect(visit.page.get_by_role("button", name="By host")).to_have_attribute("aria-pressed", "false")
    await visit.page.get_by_role("link", name="c", exact=True).focus()
    await keyboard.press("Enter")
    await expect(visit.page.get_by_role("heading", name="c", exact=True)).to_be_visible()


async def test_everything_that_acts_is_reached_by_tab_and_shows_its_focus(web: FakeWeb, visit: Visit) -> None:
    web.put(job_view("a"))
    await visit.page.goto(web.url)
    await expect(visit.job("a")).to_be_visible()
    reached = []
    for _ in range(40):
        await visit.page.keyboard.press("Tab")
        at = await visit.page.evaluate(
            "() => {const e = document.activeElement; return e === document.body ? null :"
            " [e.id || e.textContent.trim(), getComputedStyle(e.closest('.job') ?? e).outlineStyle]}"
        )
        if at is None or at in reached:
            break
        reached.append(at)
    wanted = {"Skip to the jobs", "notify", "theme", "help", "search", "group", "Loss", "node1", "a"}
    assert wanted <= {name for name, _ in reached}
    assert {outline for _, outline in reached} == {"solid"}


async def test_the_skip_link_leads_to_the_jobs(web: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(web.url + ADDRESS)
    await visit.page.keyboard.press("Tab")
    await expect(visit.page.get_by_role("link", name="Skip to the job")).to_be_focused()
    await visit.page.keyboard.press("Enter")
    await expect(visit.page.get_by_role("main")).to_be_focused()
    assert visit.page.url == web.url + ADDRESS


async def test_nothing_moves_for_whoever_wants_no_motion(web: FakeWeb, browser: Browser) -> None:
    web.put(job_view("a"))
    async with watched_page(browser, reduced_motion="reduce") as (page, _):
        await page.goto(web.url)
        await expect(page.locator(".job")).to_have_count(1)
        moving = (
            "[...document.querySelectorAll('*')].filter(e => parseFloat(getComputedStyle(e).transitionDuration))"
        )
        assert await page.evaluate(f"{moving}.length") == 0


GAPS = """
() => {
  const boxes = [...document.querySelectorAll('.top > *')].filter(box => box.checkVisibility()).map(box => {
    const inside = document.createRange();
    inside.selectNodeContents(box);
    const [own, content] = [box.getBoundingClientRect(), inside.getBoundingClientRect()];
    if (box.className === 'brand') return [own.left, own.right];  // what is too long for it is cut
    return [Math.min(own.left, content.left), Math.max(own.right, content.right)];
  });
  return Math.min(innerWidth - boxes.at(-1)[1], ...boxes.slice(1).map(([left], at) => left - boxes[at][1]));
}
"""
"""How far apart what stands in the top bar is at the least; below zero where something lies over its neighbour."""


@pytest.mark.parametrize("width", [320, 390])
async def test_on_a_phone_nothing_in_the_top_bar_lies_over_another(
    web: FakeWeb, browser: Browser, width: int
) -> None:
    web.put(job_view("a"))
    async with watched_page(browser, viewport={"width": width, "height": 700}, has_touch=True) as (page, watch):
        for address in ("", ADDRESS):
            await page.goto(web.url + address)
            await expect(page.locator("#link")).to_have_text("Live")
            assert await page.evaluate(GAPS) >= 0
            web.stop()
            await expect(page.locator("#link")).to_have_text("Reconnecting")
            assert await page.evaluate(GAPS) >= 0
            web.start()
        watch.forgive("ERR_")


async def test_on_a_phone_all_of_a_job_is_seen(web: FakeWeb, browser: Browser) -> None:
    web.put(job_view("a", step=10, total_steps=20, learning_rate=0.1, label_profile="TRIZ"))
    async with watched_page(browser, **LOOKS["phone"]) as (page, _):
        await page.goto(web.url)
        for slot in ("state", "job", "percent", "epochs", "loss", "rate", "eta", "updated", "step", "started"):
            place = page.locator(f".job [data-slot={slot}]")
            await expect(place).to_be_visible()
            await expect(place).to_have_text(re.compile("."))
        await page.get_by_label("Sort by").select_option("loss")
        await page.get_by_role("button", name="Ascending").click()
        assert page.url.endswith("?sort=loss&order=desc")
