"""The demo's own page, as who tries pulse-bridge first sees it; its pictures stand in the README."""

import re
import subprocess
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page, expect

from tests.support.browser import watched_page
from tests.support.command import Home
from tests.support.processes import WAIT_S, listens, short_folder, wait_until
from tests.web.test_page_pictures import IMAGES, KEPT

HALF_WAY = re.compile(r"[5-9]\d\.\d %")


def address_of(demo: "subprocess.Popen[bytes]") -> str:
    assert demo.stderr is not None
    found = re.search(r"The page: (http://\S+)", demo.stderr.readline().decode())
    assert found
    return found[1]


async def take(page: Page, name: str) -> None:
    picture = await page.screenshot()
    assert picture.startswith(b"\x89PNG")
    if KEPT:
        IMAGES.joinpath(f"{name}.png").write_bytes(picture)


async def test_the_demo_is_seen_at_the_address_that_it_names_until_it_ends(browser: Browser) -> None:
    with short_folder() as folder, Home(folder).started("demo", "--seconds", "12") as demo:
        size = {"width": 1440, "height": 300}
        async with watched_page(browser, viewport=size, color_scheme="light") as (page, watch):
            address = address_of(demo)
            await wait_until(lambda: listens(urlsplit(address).port or 0), "the page is served")
            await page.goto(address)
            row = page.locator(".job").filter(has=page.get_by_role("link", name="two-spirals", exact=True))
            await expect(row.locator(".word")).to_have_text("running")
            await expect(row).to_contain_text("two noisy spirals")
            await expect(row).to_contain_text(HALF_WAY, timeout=WAIT_S * 1000)
            await take(page, "demo-overview")
            await page.set_viewport_size({"width": 1440, "height": 900})
            await row.get_by_role("link", name="two-spirals").click()
            await expect(page.get_by_role("heading", name="two-spirals")).to_be_visible()
            await expect(page.locator("#facts [data-slot=loss]")).to_have_text(re.compile(r"0\.\d{4}"))
            await expect(page.get_by_role("heading", name="Loss over epochs")).to_be_visible()
            await take(page, "demo-job")
            demo.terminate()
            assert demo.wait(WAIT_S) == 0
            await expect(page.locator("#link")).not_to_have_text("Live")
            watch.forgive("ERR_")  # the demo is over
