"""Five hundred jobs, and a week: what is written to the page is what changed, and what is kept has a bound."""

from playwright.async_api import expect

from tests.support.fake_web import FakeWeb, job_view
from tests.support.processes import WAIT_S
from tests.web.conftest import Visit

COUNT_WRITES = """
() => {
  window.writes = 0;
  window.touched = new Set();
  new MutationObserver(records => {
    window.writes += records.length;
    for (const {target} of records) {
      const element = target instanceof Element ? target : target.parentElement;
      const row = element?.closest('.job');
      if (row && !element.closest('[data-slot=updated], [data-slot=eta]')) window.touched.add(row.dataset.key);
    }
  }).observe(
    document.getElementById('jobs'), {subtree: true, childList: true, attributes: true, characterData: true}
  );
}
"""


FRAMES = 10


async def test_five_hundred_jobs_cost_only_what_changed(web: FakeWeb, visit: Visit) -> None:
    names = [f"job{number:03}" for number in range(500)]
    web.put(
        *[
            job_view(name, host=f"node{number % 5}", spark=[[0, 2.0], [1, 1.0]])
            for number, name in enumerate(names)
        ]
    )
    await visit.page.goto(web.url)
    await expect(visit.page.locator(".job")).to_have_count(500)
    await visit.page.evaluate(COUNT_WRITES)
    changed = [job_view(f"job{number:03}", host=f"node{number % 5}", loss=0.125) for number in range(0, 500, 50)]
    web.send(*changed)
    await expect(visit.job("job450").locator("[data-slot=loss]")).to_have_text("0.1250")
    assert sorted(await visit.page.evaluate("[...touched]")) == sorted(
        f"{job['host']}/{job['job']}" for job in changed
    )
    await visit.page.evaluate("() => { writes = 0; touched.clear(); }")
    for number in range(FRAMES):
        web.send(
            *[job_view(name, host=f"node{index % 5}", loss=1 + number / 8) for index, name in enumerate(names)]
        )
    await expect(visit.job("job499").locator("[data-slot=loss]")).to_have_text("2.1250", timeout=WAIT_S * 1000)
    frames_written = await visit.page.evaluate("writes") / 500
    # Loss, sparkline, age, ETA and seldom another for each frame in which a job is written; ten would be another
    # sort of page. Ten updates come in ten frames or, when the machine is slow, in fewer.
    assert frames_written < FRAMES * 6
    unpainted = "e => !e.checkVisibility({contentVisibilityAuto: true})"
    skipped = f"[...document.querySelectorAll('.job .figure')].filter({unpainted}).length"
    assert await visit.page.evaluate(skipped) > 1000  # rows out of sight are neither laid out nor painted


async def test_rows_keep_their_place_while_what_sorts_them_changes(web: FakeWeb, lone_visit: Visit) -> None:
    web.put(job_view("a", loss=1.0), job_view("b", loss=2.0))
    await lone_visit.page.clock.install()
    await lone_visit.page.goto(web.url + "?sort=loss")
    await expect(lone_visit.page.locator(".job a")).to_have_text(["a", "b"])
    web.send(job_view("a", loss=3.0))
    await lone_visit.page.clock.run_for(100)
    await expect(lone_visit.job("a").locator("[data-slot=loss]")).to_have_text("3.0000")
    await expect(lone_visit.page.locator(".job a")).to_have_text(["a", "b"])
    await lone_visit.page.clock.run_for(6000)
    web.send(job_view("a", loss=4.0))
    await lone_visit.page.clock.run_for(100)
    await expect(lone_visit.page.locator(".job a")).to_have_text(["b", "a"])


async def test_a_week_of_a_job_is_kept_within_bounds(web: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(web.url)
    kept = await visit.page.evaluate(
        """async () => {
          const {Past} = await import('/static/past.js');
          const {Fleet} = await import('/static/state.js');
          const past = new Past();
          const fleet = new Fleet();
          let most = 0;
          for (let n = 0; n < 60000; n++) {
            const run = Math.floor(n / 2000) < 5 ? 1 : 1 + Math.floor(n / 500);
            const at = new Date(n * 2000).toISOString();
            const state = n % 1000 === 7 ? 'stale' : 'running';
            const fixed = {kind: 'change', host: 'h', job: 'j'};
            const view = {...fixed, id: `x-${n}`, run, state, epoch: n / 10, loss: 1 / (n + 1), observed_at: at};
            past.add([view]);
            fleet.applyUpdate({jobs: [view], hosts: [], removed: []});
            most = Math.max(most, ...past.runs.map(run => run.events.length));
          }
          const events = past.runs.reduce((sum, run) => sum + run.events.length, 0);
          const spark = fleet.jobs.get('h/j').spark.length;
          return {most, runs: past.runs.length, events, ids: past._ids.size, spark};
        }"""
    )
    assert kept["most"] <= 4000
    assert kept["runs"] == 20
    assert kept["ids"] == kept["events"]
    assert kept["spark"] == 60


async def test_turns_of_state_outlast_the_thinning(web: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(web.url)
    turns = await visit.page.evaluate(
        """async () => {
          const {Past, isTurn} = await import('/static/past.js');
          const past = new Past();
          const events = Array.from({length: 9000}, (_, n) => ({id: `x-${n}`, kind: 'change', run: 1, epoch: n,
            state: n % 100 === 7 ? 'stale' : 'running', observed_at: new Date(n * 1000).toISOString()}));
          past.add(events);
          const kept = past.runs[0].events;
          return [kept.length, kept.filter((event, at) => event.state === 'stale' && isTurn(kept, at)).length];
        }"""
    )
    assert turns[0] <= 4000
    assert turns[1] == 90


async def test_hosts_that_come_for_one_job_leave_with_it(web: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(web.url)
    kept = await visit.page.evaluate(
        """async () => {
          const {Fleet} = await import('/static/state.js');
          const fleet = new Fleet();
          for (let n = 0; n < 1000; n++) {
            const host = `node-${n}`;
            const job = {host, job: 'j', state: 'running', run: n};
            fleet.applyUpdate({jobs: [job], hosts: [{host, hearing: 'heard'}]});
            if (n >= 10) fleet.applyUpdate({removed: [[`node-${n - 10}`, 'j']]});
          }
          return [fleet.jobs.size, fleet.hosts.size];
        }"""
    )
    assert kept == [10, 10]
