"""The blueprint in a real Home Assistant: imported as a user does, made an automation, and seen to tell."""

import math
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.homeassistant.home import HomeAssistant
from tests.homeassistant.house import House
from tests.support.processes import wait_until_blocking

FILE = Path(__file__).parents[2] / "adapters" / "homeassistant" / "notify_about_trainings.yaml"
SAVED_AS = "pulse_bridge/notify_about_trainings.yaml"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def blueprint(shared_house: House) -> str:
    """Import the blueprint from an address and save it, as the user interface does; gives its path."""
    home = shared_house.home
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(FILE.parent)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/{FILE.name}"
        (found,) = home.ask({"type": "blueprint/import", "url": url})
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert found["validation_errors"] is None
    text = found["raw_data"]
    home.ask({"type": "blueprint/save", "domain": "automation", "path": SAVED_AS, "yaml": text, "source_url": url})
    return SAVED_AS


@pytest.fixture
def told(house: House, blueprint: str) -> Iterator[list[tuple[str, str]]]:
    """Start with no notification and no automation."""
    home = house.home
    _dismiss_all(home)
    yield []
    for state in home.states().values():
        if state["entity_id"].startswith("automation."):
            assert home.delete(f"/api/config/automation/config/{state['attributes']['id']}") == {"result": "ok"}
    _dismiss_all(home)
    assert blueprint


def test_each_happening_is_told_once(house: House, told: list[tuple[str, str]], blueprint: str) -> None:
    jobs = ["ends", "fails", "diverges", "silent-stalls"]
    for job in jobs:
        house.write(job, status="idle")
        house.await_states(_device(job), status="idle", problem="off")
    _automate(house.home, blueprint, [_status(job) for job in jobs])
    for job in jobs[:3]:
        house.write(job)
        house.await_states(_device(job), status="running")
    house.write("ends", status="done", epoch=3.0, message="Training completed")
    told.append(("ends has ended", "on node1: Training completed"))
    _await_told(house.home, told)
    house.write("fails", status="error", message="CUDA out of memory")
    told.append(("fails failed", "on node1: CUDA out of memory"))
    _await_told(house.home, told)
    house.write("diverges", loss=math.nan, message="step 7")
    told.append(("diverges diverges", "on node1: step 7"))
    _await_told(house.home, told)
    house.write("silent-stalls")
    told.append(("silent-stalls gives no sign of life", "on node1: Process unresponsive (stale pulse)"))
    _await_told(house.home, told)


def test_what_is_said_again_is_not_told_again_and_a_new_run_is(
    house: House, told: list[tuple[str, str]], blueprint: str
) -> None:
    house.write("again")
    house.await_states("node1_again", status="running")
    _automate(house.home, blueprint, [_status("again")])
    house.write("again", status="done", epoch=3.0, message="first")
    told.append(("again has ended", "on node1: first"))
    _await_told(house.home, told)
    house.write("again", status="done", epoch=3.0, message="saved")
    house.await_states("node1_again", message="saved")
    house.write("again", epoch=0.1, message="once more")
    house.await_states("node1_again", status="running")
    house.write("again", status="done", epoch=3.0, message="second")
    told.append(("again has ended", "on node1: second"))
    _await_told(house.home, told)


def test_only_the_chosen_happenings_of_the_chosen_jobs_are_told(
    house: House, told: list[tuple[str, str]], blueprint: str
) -> None:
    for job in ("chosen", "other", "last"):
        house.write(job)
        house.await_states(_device(job), status="running")
    _automate(house.home, blueprint, [_status("chosen"), _status("last")], happenings=["error"])
    house.write("chosen", status="done", epoch=3.0)
    house.write("other", status="error", message="not asked for")
    house.await_states("node1_chosen", status="done")
    house.await_states("node1_other", status="error")
    house.write("last", status="error", message="asked for")
    told.append(("last failed", "on node1: asked for"))
    _await_told(house.home, told)


def test_any_action_can_use_what_is_known(house: House, told: list[tuple[str, str]], blueprint: str) -> None:
    house.write("acting")
    house.await_states("node1_acting", status="running")
    text = "{{ happening }}|{{ host }}|{{ job }}|{{ entity }}|{{ message }}"
    action = {"action": "persistent_notification.create", "data": {"title": "mine", "message": text}}
    _automate(house.home, blueprint, [_status("acting")], notify=[action])
    house.write("acting", status="error", message="")
    told.append(("mine", "error|node1|acting|sensor.node1_acting_status|on node1"))
    _await_told(house.home, told)


def test_a_restart_is_no_happening(house: House, told: list[tuple[str, str]], blueprint: str) -> None:
    jobs = ["was-done", "was-going", "ended-meanwhile", "witness"]
    house.write("was-done", status="done", epoch=3.0)
    house.await_states("node1_was_done", status="done")
    for job in jobs[1:]:
        house.write(job)
        house.await_states(_device(job), status="running")
    _automate(house.home, blueprint, [_status(job) for job in jobs])
    house.home.stop()
    house.broker.restart()
    house.write("ended-meanwhile", status="done", epoch=3.0)
    house.home.start()
    house.await_states("node1_was_done", status="done")
    house.await_states("node1_was_going", status="running")
    house.await_states("node1_ended_meanwhile", status="done")
    house.await_states("node1_witness", status="running")
    house.write("witness", status="done", epoch=3.0, message="bye")
    told.append(("witness has ended", "on node1: bye"))
    _await_told(house.home, told)


def test_what_ended_while_its_sidecar_was_away_is_told_when_it_is_back(
    house: House, told: list[tuple[str, str]], blueprint: str
) -> None:
    with house.make_sidecar("node4") as sidecar:
        house.write("was-done", sidecar=sidecar, status="done", epoch=3.0)
        house.write("was-going", sidecar=sidecar)
        house.await_states("node4_was_done", status="done")
        house.await_states("node4_was_going", status="running")
        _automate(house.home, blueprint, ["sensor.node4_was_done_status", "sensor.node4_was_going_status"])
        sidecar.kill()
        house.await_states("node4_was_going", status="unavailable")
        house.write("was-going", sidecar=sidecar, status="done", epoch=3.0, message="late")
        sidecar.start()
        told.append(("was-going has ended", "on node4: late"))
        _await_told(house.home, told)


def _automate(home: HomeAssistant, blueprint: str, jobs: list[str], **inputs: Any) -> None:
    """Make an automation of the blueprint and wait until it is on."""
    inputs["jobs"] = jobs
    config = {"alias": "Trainings", "description": "", "use_blueprint": {"path": blueprint, "input": inputs}}
    assert home.post("/api/config/automation/config/1", config) == {"result": "ok"}

    def on() -> bool:
        return home.states().get("automation.trainings", {}).get("state") == "on"

    wait_until_blocking(on, "the automation is on")


def _await_told(home: HomeAssistant, told: list[tuple[str, str]]) -> None:
    """Wait for so many notifications, which must be these."""
    wait_until_blocking(lambda: len(home.notifications()) >= len(told), f"told: {told}", 30)
    found = home.notifications()
    assert found == told


def _dismiss_all(home: HomeAssistant) -> None:
    home.post("/api/services/persistent_notification/dismiss_all", {})
    wait_until_blocking(lambda: not home.notifications(), "no notification is left")


def _device(job: str) -> str:
    return f"node1_{job.replace('-', '_')}"


def _status(job: str) -> str:
    return f"sensor.{_device(job)}_status"
