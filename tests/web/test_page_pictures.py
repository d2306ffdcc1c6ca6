"""The pictures in the README: always taken, so that they can be; kept only when they are asked for."""

import math
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.async_api import Browser, Page, expect

from tests.support.browser import watched_page
from tests.support.fake_web import FakeWeb, View, host_view, job_view, rfc3339

IMAGES = Path(__file__).parents[2] / "docs" / "images"
KEPT = os.environ.get("PULSE_BRIDGE_SCREENSHOTS") == "1"
NOW = datetime(2026, 3, 4, 14, 20, tzinfo=UTC)
JOB = "llm/triz-engineer"
NUMBERLESS: View = {"epoch": 0.0, "total_epochs": 0.0, "progress": 0, "loss": 0.0, "eta_s": None}


def loss_at(share: float, seed: float) -> float:
    """Give a loss that falls as losses do, with a little noise that is always the same."""
    noise = math.sin(share * 1511 + seed) + math.sin(share * 383 + seed * 2)
    return 2.1 * math.exp(-share * (3.2 + seed / 5)) + 0.31 + 0.025 * noise


def curve(upto: float, seed: float) -> list[list[float]]:
    return [[number / 20, loss_at(number / 60, seed)] for number in range(round(60 * upto))]


def at(seconds_ago: float) -> View:
    instant = NOW - timedelta(seconds=seconds_ago)
    return {"timestamp": int(instant.timestamp()), "observed_at": rfc3339(instant)}


def running(epoch: float, total_epochs: float, loss: float, eta_s: float, spark: list[list[float]]) -> View:
    progress = round(100 * epoch / total_epochs, 1)
    return {"epoch": epoch, "total_epochs": total_epochs, "loss": loss, "eta_s": eta_s} | {
        "progress": progress,
        "spark": spark,
    }


def training(run_start: datetime, epochs: float, seed: float) -> list[View]:
    """Make a run's events, one every 20 s."""
    started_ago = (NOW - run_start).total_seconds()
    return [
        job_view(
            JOB,
            id=f"{run_start:%H%M}-{number}",
            run=int(run_start.timestamp()),
            **at(started_ago - 20 * number),
            **running(number / 150, 3.0, loss_at(number / 450, seed), (450 - number) * 20.0, []),
            message=f"epoch {number // 150 + 1}/3, step {number * 8 % 1200}/1200",
            step=number * 8,
            total_steps=3600,
            learning_rate=2e-5 * (1 - number / 450),
            label_profile="TRIZ engineer",
            label_dataset="patents-2024",
        )
        for number in range(round(epochs * 150))
    ]


def others() -> list[View]:
    """Make the other jobs of a laboratory's afternoon."""
    run = int((NOW - timedelta(hours=2)).timestamp())
    stale: View = {"state": "stale", "status": "error", "message": "Process unresponsive (stale pulse)"}
    done: View = {
        "state": "done",
        "status": "done",
        "message": "Training completed",
        "label_dataset": "imagenet-1k",
    }
    failed: View = {
        "state": "error",
        "status": "error",
        "message": "CUDA out of memory. Tried to allocate 2.00 GiB",
    }
    idle: View = {"state": "idle", "status": "idle", "message": "waiting for a GPU"}
    legal = running(2.9, 3.0, 0.4127, 412, curve(1, 0.2)) | {"step": 3480, "total_steps": 3600}
    legal |= {"learning_rate": 6.7e-7, "label_dataset": "contracts", "message": "epoch 3/3, step 1080/1200"}
    whisper = running(4.2, 10.0, 0.7719, 0, curve(0.5, 4)) | stale
    vocoder = running(31.4, 200.0, 0, 31_000, curve(0.4, 6)) | {
        "loss": None,
        "diverged": True,
        "message": "epoch 32/200",
    }
    hopper = running(12.5, 50.0, 1.0421, 0, curve(0.3, 5)) | {"message": "update 1250/5000"}
    return [
        job_view("llm/legal", run=run, **at(4), **legal),
        job_view("vision/vit-base", run=run, **at(5400), **running(90.0, 90.0, 0.2871, 0, curve(1, 3)), **done),
        job_view("audio/whisper-ft", host="node2", run=run, **at(260), **whisper),
        job_view("vision/detr", host="node2", run=run, **at(900), **NUMBERLESS, **failed),
        job_view("speech/vocoder", host="node2", run=run, **at(6), **vocoder),
        job_view("rl/ppo-hopper", host="node3", run=run, **at(372), **hopper),
        job_view("rl/sac-ant", host="node3", run=run, **at(4000), **NUMBERLESS, **idle),
    ]


def fill(web: FakeWeb) -> None:
    """Put the afternoon on the server."""
    web.source = "redis://bus.lab:6379"
    web.clock = lambda: NOW
    history = [*training(NOW - timedelta(hours=9), 3, 1.0), *training(NOW - timedelta(minutes=110), 2.2, 2.4)]
    history[449] |= {"state": "done", "status": "done", "message": "Training completed"}
    history[-120] |= {"kind": "stale", "state": "stale", "status": "error", "message": "Process unresponsive"}
    web.histories["node1", JOB] = history
    web.put(history[-1] | at(2) | {"spark": curve(0.73, 2.4)}, *others())
    web.put(
        host_view("node1", last_seen=rfc3339(NOW)), host_view("node2", last_seen=rfc3339(NOW), lag={"mqtt": 12})
    )
    web.put(host_view("node3", "silent", last_seen=rfc3339(NOW - timedelta(seconds=365))))


async def take(page: Page, name: str) -> None:
    for theme in ("light", "dark"):
        await page.emulate_media(color_scheme=theme)
        picture = await page.screenshot(path=IMAGES / f"{name}-{theme}.png" if KEPT else None)
        assert picture.startswith(b"\x89PNG")


async def test_pictures_of_the_overview_and_of_a_job(web: FakeWeb, browser: Browser) -> None:
    fill(web)
    async with watched_page(browser, reduced_motion="reduce") as (page, _):
        await page.clock.set_fixed_time(NOW)
        await page.set_viewport_size({"width": 1440, "height": 760})
        await page.goto(web.url)
        await expect(page.locator(".job")).to_have_count(8)
        await take(page, "overview")
        await page.set_viewport_size({"width": 1440, "height": 1120})
        await page.get_by_role("link", name=JOB).click()
        await expect(page.locator("#chart .past")).to_have_count(1)
        await expect(page.locator("#chart .mark")).to_have_count(1)
        await take(page, "job")
