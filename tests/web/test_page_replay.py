"""The page on the past, as a browser shows it."""

from pathlib import Path

from playwright.async_api import expect

from pulse_bridge.event import Event, to_json
from pulse_bridge.testing import make_host_event, make_job_event
from tests.support.logged_process import LoggedProcess
from tests.support.processes import free_port
from tests.web.conftest import Visit

T0 = 1_790_000_000_000
STEPS = 40
STEP_MS = 500


def run() -> list[Event]:
    """Tell of a run of twenty seconds that ends well."""
    events: list[Event] = [make_host_event(1, observed_ms=T0)]
    for step in range(STEPS):
        at_ms = T0 + step * STEP_MS
        changes = {"epoch": step / 20, "total_epochs": 2, "progress": step * 2.5, "message": f"step {step}"}
        events.append(make_job_event(2 + step, job="llm/a", loss=1 / (step + 1), observed_ms=at_ms, **changes))
    end = {"state": "done", "status": "done", "epoch": 2, "total_epochs": 2, "progress": 100, "loss": 0.1234}
    events.append(
        make_job_event(99, job="llm/a", observed_ms=T0 + STEPS * STEP_MS, eta_s=None, message="finished", **end)
    )
    return events


async def test_a_run_replayed_at_ten_times_its_speed_ends_in_its_last_state(tmp_path: Path, visit: Visit) -> None:
    recording = tmp_path / "run.jsonl"
    recording.write_text("".join(to_json(event) + "\n" for event in run()), encoding="utf-8")
    port = free_port()
    arguments = ["replay", "--from", str(recording), "--with", f"web?port={port}", "--speed", "10", "--now"]
    with LoggedProcess(arguments, tmp_path / "replay.log", state_folder=tmp_path / "state") as process:
        process.wait_for_message("serving the page")
        await visit.page.goto(f"http://127.0.0.1:{port}/")
        row = visit.job("llm/a")
        await expect(row.locator(".word")).to_have_text("done", timeout=20_000)
        await expect(row).to_contain_text("100.0 %")
        await expect(row.locator("[data-slot=loss]")).to_have_text("0.1234")
        await expect(row.locator("[data-slot=message]")).to_have_text("finished")
        assert process.stop() == 0
        await visit.page.goto("about:blank")
    visit.watch.forgive(r"ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE")
