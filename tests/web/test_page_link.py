"""What the page does when it loses its server, or its server the bus."""

from playwright.async_api import Browser, Route, expect

from tests.support.browser import watched_page
from tests.support.fake_web import FakeWeb, job_view
from tests.support.processes import wait_until
from tests.web.conftest import Visit

BROUGHT_ABOUT = r"ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE"


async def test_a_lost_connection_says_so_and_heals_by_itself(web: FakeWeb, visit: Visit) -> None:
    web.put(job_view("a"))
    await visit.page.goto(web.url)
    link = visit.page.locator("#link")
    await expect(link).to_have_text("Live")
    web.stop()
    await expect(link).to_have_text("Reconnecting")
    await expect(visit.page.locator("#banner")).to_contain_text("Connection lost: the server does not answer.")
    await expect(visit.job("a").locator(".word")).to_have_text("last known")
    web.jobs.clear()
    web.put(job_view("b"), job_view("a", state="done", status="done"))
    web.start()
    await expect(link).to_have_text("Live")
    await expect(visit.page.locator("#banner")).to_be_hidden()
    await expect(visit.job("a").locator(".word")).to_have_text("done")
    await expect(visit.job("b").locator(".word")).to_have_text("running")
    visit.watch.forgive(BROUGHT_ABOUT)


async def test_a_line_that_died_without_a_word_is_no_frozen_running(web: FakeWeb, lone_visit: Visit) -> None:
    web.put(job_view("a"))
    page = lone_visit.page
    await page.clock.install()
    await page.goto(web.url)
    await expect(page.locator("#link")).to_have_text("Live")
    web.thawed.clear()
    await page.clock.fast_forward(46_000)
    await expect(page.locator("#banner")).to_contain_text("nothing has come for 45 s")
    await page.clock.fast_forward(3_000)
    await expect(lone_visit.job("a").locator(".word")).to_have_text("last known")
    web.thawed.set()
    await expect(page.locator("#link")).to_have_text("Live")
    await expect(lone_visit.job("a").locator(".word")).to_have_text("running")


async def test_a_proxy_s_refusal_is_no_end(web: FakeWeb, visit: Visit) -> None:
    """An event source gives up for good when the answer is anything but 200."""
    web.put(job_view("a"))
    refused = 0

    async def refuse(route: object) -> None:
        nonlocal refused
        refused += 1
        await route.fulfill(status=502, body="bad gateway")  # type: ignore[attr-defined]

    await visit.page.route("**/events", refuse)
    await visit.page.route("**/api/jobs", lambda route: route.fulfill(status=200, body="{}"))
    await visit.page.goto(web.url)
    await wait_until(lambda: refused >= 2, "it has tried again")
    await visit.page.unroute("**/events")
    await expect(visit.job("a")).to_be_visible()
    visit.watch.forgive("502")


async def test_a_token_that_is_wanted_again_is_said(web: FakeWeb, visit: Visit) -> None:
    await visit.page.route("**/events", lambda route: route.fulfill(status=401, body="{}"))
    await visit.page.route("**/api/jobs", lambda route: route.fulfill(status=401, body="{}"))
    await visit.page.goto(web.url)
    await expect(visit.page.locator("#banner")).to_contain_text("the server wants its token again")
    visit.watch.forgive("401")


async def test_the_reason_of_a_refusal_stands_still_while_it_is_tried_again(
    web: FakeWeb, lone_visit: Visit
) -> None:
    page, tries = lone_visit.page, 0

    async def refuse(route: Route) -> None:
        nonlocal tries
        tries += 1
        await route.fulfill(status=401, body="{}")

    await page.route("**/events", refuse)
    await page.route("**/api/jobs", lambda route: route.fulfill(status=401, body="{}"))
    await page.clock.install()
    await page.goto(web.url)
    await wait_until(lambda: tries > 0, "it has tried")
    await page.clock.run_for(4_000)
    banner = page.locator("#banner-text")
    await expect(banner).to_contain_text("the server wants its token again")
    await banner.evaluate(
        """banner => {
          window.said = [];
          new MutationObserver(() => said.push(banner.textContent)).observe(
            banner, {childList: true, characterData: true, subtree: true}
          );
        }"""
    )
    for before in (tries, tries + 1):
        await page.clock.run_for(16_000)
        await wait_until(lambda before=before: tries > before, "it has tried again")  # type: ignore[misc]
    assert await page.evaluate("said") == []
    await page.goto("about:blank")
    lone_visit.watch.forgive("401")


async def test_a_server_without_its_bus_shows_the_last_known(web: FakeWeb, visit: Visit) -> None:
    web.put(job_view("a"))
    await visit.page.goto(web.url)
    await expect(visit.job("a").locator(".word")).to_have_text("running")
    web.say_connection(connected=False, reason="the bus refused the connection")
    await expect(visit.page.locator("#link")).to_have_text("No bus")
    await expect(visit.page.locator("#banner")).to_contain_text("the bus refused the connection")
    await expect(visit.job("a").locator(".word")).to_have_text("last known")
    web.say_connection(connected=True)
    await expect(visit.job("a").locator(".word")).to_have_text("running")
    await expect(visit.page.locator("#banner")).to_be_hidden()


async def test_a_server_that_has_just_started_takes_no_job_away(web: FakeWeb, visit: Visit) -> None:
    """It knows of none before it hears its bus."""
    web.put(job_view("a"))
    await visit.page.goto(web.url)
    await expect(visit.job("a")).to_be_visible()
    kept = web.jobs.copy()
    web.jobs.clear()
    web.connected, web.reason = False, "not connected to the bus yet"
    web.send_snapshot()
    await expect(visit.page.locator("#link")).to_have_text("No bus")
    await expect(visit.job("a")).to_be_visible()
    web.jobs = kept
    web.connected = True
    web.send_snapshot()
    await expect(visit.page.locator("#link")).to_have_text("Live")
    await expect(visit.page.locator("#announcer")).to_be_empty()
    web.jobs = {}
    web.send_snapshot()
    await expect(visit.page.get_by_text("No training job yet")).to_be_visible()


async def test_the_empty_page_says_what_to_do_next(web: FakeWeb, visit: Visit) -> None:
    web.connected, web.reason = False, "the bus refused the connection"
    await visit.page.goto(web.url)
    await expect(visit.page.get_by_role("heading", name="The bus does not answer")).to_be_visible()
    await expect(visit.page.locator("#empty")).to_contain_text("the bus refused the connection")
    web.say_connection(connected=True)
    await expect(visit.page.locator("code")).to_have_text("pulse-bridge run PATH --to 'redis://127.0.0.1:6379'")


async def test_notifications_are_asked_for_on_a_click_and_tell_of_turns(web: FakeWeb, browser: Browser) -> None:
    spy = """
    window.asked = 0; window.told = [];
    window.Notification = class {
      static permission = "default";
      static async requestPermission() { window.asked++; return (this.permission = "granted"); }
      constructor(title, options) { window.told.push([title, options.body, options.tag]); }
    };
    """
    web.put(job_view("a", state="stale", status="error"))
    async with watched_page(browser) as (page, _):
        await page.add_init_script(spy)
        await page.goto(web.url)
        visit = Visit(page, _)
        await expect(visit.job("a")).to_be_visible()
        web.send(job_view("b", state="error", status="error"))
        await expect(visit.job("b")).to_be_visible()
        assert await page.evaluate("[asked, told]") == [0, []]
        button = page.get_by_role("button", name="Notifications")
        await button.click()
        await expect(button).to_have_attribute("aria-pressed", "true")
        for changes in (
            {"message": "still"},
            {"state": "stale", "status": "error", "message": "Process unresponsive (stale pulse)"},
            {"kind": "recovered"},
            {"diverged": True, "loss": None},
            {"diverged": True, "loss": None, "message": "again"},
            {"state": "done", "status": "done", "message": "Training completed"},
        ):
            web.send(job_view("c", **changes))
        await expect(visit.job("c").locator(".word")).to_have_text("done")
        assert await page.evaluate("asked") == 1
        assert await page.evaluate("told") == [
            ["c has stopped writing (node1)", "Process unresponsive (stale pulse)", "node1/c"],
            ["c has diverged: its loss is no finite number (node1)", "epoch 2/3", "node1/c"],
            ["c is done (node1)", "Training completed", "node1/c"],
        ]
