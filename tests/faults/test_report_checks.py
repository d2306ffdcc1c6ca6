"""The report's five end-to-end checks, through the whole project, on Redis and on MQTT."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pulse_bridge.writer import write_running_status
from tests.support.processes import wait_until_blocking
from tests.support.sidecar_process import SidecarProcess, write_pulse
from tests.support.viewers import MqttViewer, RedisViewer, Viewer, job_events


@pytest.fixture(params=["redis", "mqtt"])
def viewer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Viewer]:
    found: Viewer = RedisViewer(tmp_path) if request.param == "redis" else MqttViewer(tmp_path)
    with found:
        yield found


def wait_for_events(viewer: Viewer, count: int) -> list[dict[str, Any]]:
    wait_until_blocking(lambda: len(job_events(viewer)) >= count, f"{count} events, got {job_events(viewer)}")
    return job_events(viewer)


def test_however_often_a_run_starts_no_event_is_doubled(viewer: Viewer, tmp_path: Path) -> None:
    with SidecarProcess(tmp_path, [viewer.url]) as sidecar:
        sidecar.wait_for_message("connected")
        status = sidecar.jobs / "training_status.json"
        for start in range(5):
            write_pulse(status, status="idle", epoch=0.0, message=f"start {start}")
            wait_for_events(viewer, 2 * start + 1)
            write_pulse(status, message=f"start {start}")
            wait_for_events(viewer, 2 * start + 2)
        assert sidecar.stop() == 0
    events = [event for event in job_events(viewer) if event["kind"] == "change"]
    shown = [(event["status"], event["message"]) for event in events]
    assert shown == [(status, f"start {start}") for start in range(5) for status in ("idle", "running")]
    runs = [event["run"] for event in events if event["status"] == "running"]
    assert len(set(runs)) == 5
    assert runs == sorted(runs)


def test_half_way_shows_50_percent_its_loss_and_its_message(viewer: Viewer, tmp_path: Path) -> None:
    with SidecarProcess(tmp_path, [viewer.url]) as sidecar:
        write_running_status(str(sidecar.jobs / "training_status.json"), 1.5, 3.0, 0.342, "test epoch 1.5/3")
        (event,) = wait_for_events(viewer, 1)
    assert event["progress"] == 50
    assert f"{event['loss']:.4f}" == "0.3420"
    assert event["message"] == "test epoch 1.5/3"
    assert (event["status"], event["state"]) == ("running", "running")


def test_context_goes_with_the_events_and_is_never_in_the_pulse(viewer: Viewer, tmp_path: Path) -> None:
    sidecar = SidecarProcess(tmp_path, [viewer.url], options=["--label", "team=vision"])
    context = sidecar.jobs / "training_context.json"
    context.write_text('{"profile": "TRIZ Engineer", "dataset": "Cleaned Documents"}', encoding="utf-8")
    with sidecar:
        status = sidecar.jobs / "training_status.json"
        write_pulse(status)
        (event,) = wait_for_events(viewer, 1)
        assert "profile" not in status.read_text()
    expected = {"label_profile": "TRIZ Engineer", "label_dataset": "Cleaned Documents", "label_team": "vision"}
    assert expected.items() <= event.items()


def test_a_running_file_70_s_old_shows_an_unresponsive_process(viewer: Viewer, tmp_path: Path) -> None:
    with SidecarProcess(tmp_path, [viewer.url]) as sidecar:
        write_pulse(sidecar.jobs / "training_status.json", timestamp=int(time.time()) - 70, message="old status")
        (event,) = wait_for_events(viewer, 1)
    assert (event["kind"], event["state"]) == ("stale", "stale")
    assert (event["status"], event["message"]) == ("error", "Process unresponsive (stale pulse)")


def test_no_epochs_configured_shows_0_percent(viewer: Viewer, tmp_path: Path) -> None:
    with SidecarProcess(tmp_path, [viewer.url]) as sidecar:
        write_pulse(sidecar.jobs / "training_status.json", epoch=0.0, total_epochs=0.0, loss=0.0)
        (event,) = wait_for_events(viewer, 1)
        assert event["progress"] == 0
        assert sidecar.messages("watching")
        assert not [line for line in sidecar.log.read_text().splitlines() if '"level": "error"' in line]
