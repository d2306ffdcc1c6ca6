"""The overview: what is so with every job, and finding the one that is sought."""

import re
from datetime import UTC, datetime, timedelta

from playwright.async_api import expect

from tests.support.fake_web import FakeWeb, host_view, job_view, rfc3339
from tests.web.conftest import UNKNOWN, Visit


async def names(visit: Visit) -> list[str]:
    return await visit.page.locator(".job a").all_inner_texts()


async def test_a_job_appears_and_changes_without_a_reload(web: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(web.url)
    await expect(visit.page.get_by_text("No training job yet")).to_be_visible()
    web.send(job_view("llm/a", epoch=1.5, total_epochs=3.0, loss=0.342, message="test epoch 1.5/3"))
    row = visit.job("llm/a")
    await expect(row).to_contain_text("running")
    await expect(row).to_contain_text("50.0 %")
    await expect(row).to_contain_text("epoch 1.50 / 3")
    await expect(row.locator("[data-slot=loss]")).to_have_text("0.3420")
    await expect(row).to_contain_text("test epoch 1.5/3")
    web.send(
        job_view("llm/a", epoch=3.0, progress=100.0, loss=0.1, state="done", status="done", message="all done")
    )
    await expect(row).to_contain_text("done")
    await expect(row).to_contain_text("100.0 %")
    await expect(row.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    await expect(row.locator("[data-slot=loss]")).to_have_text("0.1000")
    await expect(visit.page.locator("#empty")).to_be_empty()


async def test_everything_known_of_a_job_stands_in_its_row(web: FakeWeb, visit: Visit) -> None:
    web.put(
        job_view(
            "a",
            run=1_790_000_000,
            step=4210,
            total_steps=12_000,
            learning_rate=2e-5,
            label_profile="TRIZ",
            label_dataset="patents",
            spark=[[0.5, 2.0], [1.0, 1.0], [1.5, 0.5]],
        )
    )
    await visit.page.goto(web.url)
    row = visit.job("a")
    await expect(row.locator("[data-slot=step]")).to_have_text("step 4\u202f210 / 12\u202f000")
    await expect(row.locator("[data-slot=rate]")).to_have_text("lr 2e-5")
    await expect(row.locator("[data-slot=started]")).to_have_text("since 21 Sept, 14:13")
    await expect(row.locator("[data-slot=eta]")).to_have_text("12 min")
    await expect(row.locator(".label")).to_have_text(["profile TRIZ", "dataset patents"])
    await expect(row.locator("[data-slot=spark]")).to_have_attribute("d", "M0.0 2.0L48.0 18.0L96.0 26.0")
    web.send(job_view("a", run=1_790_000_000, epoch=2.0, loss=0.5))
    await expect(row.locator("[data-slot=spark]")).to_have_attribute("d", "M0.0 2.0L32.0 18.0L64.0 26.0L96.0 26.0")
    web.send(job_view("a", run=1_790_009_000, epoch=0.0, loss=3.0))
    await expect(row.locator("[data-slot=spark]")).to_have_attribute("d", "")


async def test_without_epochs_progress_is_nought_and_what_is_unknown_a_dash(web: FakeWeb, visit: Visit) -> None:
    web.put(
        job_view("zero", epoch=0.0, total_epochs=0.0, progress=0, loss=0.0, eta_s=None),
        job_view("diverged", diverged=True, loss=None),
        job_view("beyond", epoch=1e300, total_epochs=-1, progress=0, loss=-1e300, eta_s=1e300, timestamp=0),
    )
    await visit.page.goto(web.url)
    await expect(visit.job("zero")).to_contain_text("0.0 %")
    await expect(visit.job("zero").locator("[data-slot=eta]")).to_have_text(UNKNOWN)
    await expect(visit.job("diverged").locator("[data-slot=loss]")).to_have_text("diverged")
    await expect(visit.job("beyond").locator("[data-slot=loss]")).to_have_text("-1.00e+300")
    for wrong in ("NaN", "undefined", "Infinity", "null"):
        await expect(visit.page.locator("main")).not_to_contain_text(wrong)


async def test_stale_and_recovered_are_told_by_shape_word_and_voice(web: FakeWeb, visit: Visit) -> None:
    web.put(job_view("a"))
    await visit.page.goto(web.url)
    row = visit.job("a")
    await expect(row.locator(".status use")).to_have_attribute("href", "static/icons.svg#running")
    web.send(
        job_view("a", kind="stale", state="stale", status="error", message="Process unresponsive (stale pulse)")
    )
    await expect(row.locator(".status use")).to_have_attribute("href", "static/icons.svg#stale")
    await expect(row.locator(".word")).to_have_text("stale")
    await expect(row).to_contain_text("Process unresponsive (stale pulse)")
    await expect(visit.page.locator("#announcer")).to_have_text("a on node1: stale.")
    await expect(visit.page).to_have_title("(1) pulse-bridge")
    web.send(job_view("a", kind="recovered"))
    await expect(row.locator(".word")).to_have_text("running")
    await expect(visit.page.locator("#announcer")).to_have_text("a on node1: running.")
    await expect(visit.page).to_have_title("pulse-bridge")


async def test_a_silent_host_s_jobs_are_the_last_known_and_never_running(web: FakeWeb, visit: Visit) -> None:
    web.put(job_view("a"), job_view("b", state="done", status="done"), job_view("c", host="node2"))
    await visit.page.goto(web.url)
    await expect(visit.job("a").locator(".word")).to_have_text("running")
    ago = rfc3339(datetime.now(UTC) - timedelta(seconds=305))
    web.send(host_view("node1", "silent", last_seen=ago))
    for job, state in (("a", "running"), ("b", "done")):
        await expect(visit.job(job).locator(".word")).to_have_text("last known")
        await expect(visit.job(job).locator("[data-slot=known]")).to_have_text(state)
        await expect(visit.job(job).locator("[data-slot=eta]")).to_have_text(UNKNOWN)
    await expect(visit.job("c").locator(".word")).to_have_text("running")
    await expect(visit.page.locator(".badge:visible")).to_have_text("silent · last word 5 min ago")
    web.send(host_view("node1"))
    await expect(visit.job("a").locator(".word")).to_have_text("running")
    await expect(visit.page.locator(".badge:visible")).to_have_count(0)


async def test_a_stopped_host_and_one_long_not_heard_are_the_last_known_too(web: FakeWeb, visit: Visit) -> None:
    old = rfc3339(datetime.now(UTC) - timedelta(seconds=60))
    web.put(job_view("a"), job_view("b", host="node2"), job_view("c", host="node3"))
    web.put(
        host_view("node1", "stopped"), host_view("node2", "unheard", last_seen=old), host_view("node3", "unheard")
    )
    await visit.page.goto(web.url)
    await expect(visit.job("a").locator(".word")).to_have_text("last known")
    await expect(visit.job("b").locator(".word")).to_have_text("last known")
    await expect(visit.job("c").locator(".word")).to_have_text("running")
    await expect(visit.page.locator(".badge:visible")).to_contain_text(
        ["stopped", "not heard yet", "not heard yet"]
    )


async def test_the_age_counts_every_second_on_the_server_s_clock(web: FakeWeb, lone_visit: Visit) -> None:
    web.clock = lambda: datetime.now(UTC) + timedelta(hours=5)
    now = web.clock()
    web.put(job_view("a", timestamp=int(now.timestamp()) - 40, observed_at=rfc3339(now), eta_s=50))
    await lone_visit.page.clock.install()
    await lone_visit.page.goto(web.url)
    updated = lone_visit.job("a").locator("[data-slot=updated]")
    await expect(updated).to_have_text(re.compile("^4[0-9] s ago$"))
    before = int((await updated.inner_text()).split()[0])
    await lone_visit.page.clock.run_for(12_000)  # eleven ticks, wherever between two it begins
    shown = int((await updated.inner_text()).split()[0])
    assert before + 11 <= shown
    eta = int((await lone_visit.job("a").locator("[data-slot=eta]").inner_text()).split()[0])
    assert 88 <= shown + eta <= 92


async def test_jobs_are_filtered_by_state_and_every_word_of_the_search(web: FakeWeb, visit: Visit) -> None:
    web.put(
        job_view("llm/a", label_dataset="Patents"),
        job_view("llm/b", host="node2", message="warming up"),
        job_view("vit", state="done", status="done"),
    )
    await visit.page.goto(web.url)
    search = visit.page.get_by_role("searchbox")
    for text, found in (
        ("LLM", ["llm/a", "llm/b"]),
        ("llm node2", ["llm/b"]),
        ("patents", ["llm/a"]),
        ("warming", ["llm/b"]),
    ):
        await search.fill(text)
        await expect(visit.page.locator(".job a")).to_have_text(found)
    await search.fill("")
    await visit.page.get_by_role("button", name="done 1").click()
    await expect(visit.page.locator(".job a")).to_have_text(["vit"])
    assert visit.page.url.endswith("?state=done")
    web.send(job_view("llm/a", state="done", status="done"))
    await expect(visit.page.locator(".job a")).to_have_text(["llm/a", "vit"])
    await search.fill("nothing like it")
    await expect(visit.page.get_by_text("No job is like that")).to_be_visible()
    await visit.page.reload()
    await expect(search).to_have_value("nothing like it")
    await visit.page.get_by_role("button", name="Show all jobs").click()
    await expect(visit.page.locator(".job a")).to_have_text(["llm/a", "vit", "llm/b"])


async def test_jobs_are_sorted_by_each_column_and_the_unknown_stands_last(web: FakeWeb, visit: Visit) -> None:
    web.put(
        job_view("job10", loss=0.5, progress=10.0, eta_s=None),
        job_view("job9", loss=0.1, progress=90.0, eta_s=9),
        job_view("job1", host="node0", loss=None, diverged=True, progress=50.0, eta_s=99),
    )
    await visit.page.goto(web.url)
    await expect(visit.page.locator(".job a")).to_have_text(["job1", "job9", "job10"])
    await visit.page.get_by_role("button", name="By host").click()
    loss = visit.page.get_by_role("columnheader", name="Loss")
    await loss.get_by_role("button").click()
    await expect(visit.page.locator(".job a")).to_have_text(["job9", "job10", "job1"])
    await expect(loss).to_have_attribute("aria-sort", "ascending")
    await loss.get_by_role("button").click()
    await expect(visit.page.locator(".job a")).to_have_text(["job10", "job9", "job1"])
    await expect(loss).to_have_attribute("aria-sort", "descending")
    await visit.page.get_by_role("columnheader", name="ETA").get_by_role("button").click()
    await expect(visit.page.locator(".job a")).to_have_text(["job9", "job1", "job10"])
    await expect(visit.job("job1")).to_contain_text("node0")


async def test_a_job_that_is_let_go_of_leaves(web: FakeWeb, visit: Visit) -> None:
    web.put(job_view("a"), job_view("b"))
    await visit.page.goto(web.url)
    await expect(visit.page.locator(".job a")).to_have_text(["a", "b"])
    web.send(removed=[("node1", "a")])
    await expect(visit.page.locator(".job a")).to_have_text(["b"])


async def test_a_host_is_folded_and_says_what_its_sidecar_tells(web: FakeWeb, visit: Visit) -> None:
    web.put(job_view("a"), host_view("node1", malformed=2, dropped=7, lag={"redis": 312, "mqtt": 0}))
    await visit.page.goto(web.url)
    facts = visit.page.locator(".host-facts")
    await expect(facts).to_have_text(
        "sidecar 0.1.0 · 2 unreadable files · 7 events dropped · redis is behind by 312"
    )
    await visit.page.get_by_role("button", name="node1").click()
    await expect(visit.job("a")).to_be_hidden()
    web.send(job_view("b"))
    await expect(visit.page.locator(".host-count")).to_have_text("2 jobs")
    await expect(visit.job("b")).to_be_hidden()
    await visit.page.get_by_role("button", name="node1").click()
    await expect(visit.job("b")).to_be_visible()


async def test_columns_do_not_move_while_values_change(web: FakeWeb, visit: Visit) -> None:
    web.put(job_view("a"), job_view("b"))
    await visit.page.goto(web.url)
    await expect(visit.job("b")).to_be_visible()
    places = """() => [...document.querySelectorAll('.cell')].map(cell => {
      const {x, width} = cell.getBoundingClientRect();
      return [x, width];
    })"""
    before = await visit.page.evaluate(places)
    changed = job_view(
        "a", epoch=99.99, total_epochs=12345.0, progress=100.0, loss=123456.7, eta_s=9e9, step=10**9
    )
    web.send(changed | {"total_steps": 10**10, "message": "x" * 4000, "learning_rate": 1e-9, "label_a": "y" * 300})
    await expect(visit.job("a")).to_contain_text("123456.7000")
    assert await visit.page.evaluate(places) == before
    assert await visit.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


async def test_a_base_path_holds_for_everything(visit: Visit) -> None:
    with FakeWeb("/train/pulse") as web:
        web.put(job_view("llm/a"))
        await visit.page.goto(web.url)
        await visit.page.get_by_role("link", name="llm/a").click()
        await expect(visit.page.get_by_role("heading", name="llm/a", level=1)).to_be_visible()
        assert visit.page.url == web.url + "jobs/node1/llm/a"
        await visit.page.get_by_role("link", name="All jobs").click()
        await expect(visit.job("llm/a")).to_be_visible()
        assert all(path.startswith("/train/pulse/") for path in web.requests)
