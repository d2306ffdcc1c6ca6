"""What a real Home Assistant shows of a job through its life."""

import math

import pytest

from tests.homeassistant.house import House
from tests.support.processes import wait_until_blocking

FORGOTTEN_S = 120.0  # a publisher looks once a minute


def test_every_entity_of_a_running_job_has_its_state_and_its_unit(house: House) -> None:
    house.write("first", message="epoch 2/3", loss=0.342)
    house.await_states(
        "node1_first",
        status="running",
        progress="50.0",
        epoch="1.5",
        loss="0.342",
        eta="unknown",
        message="epoch 2/3",
        problem="off",
        running="on",
    )
    states = house.home.states()
    ours = {name: state for name, state in states.items() if ".node1_first_" in name}
    units = {
        name.partition("first_")[2]: state["attributes"].get("unit_of_measurement") for name, state in ours.items()
    }
    assert units == {
        "status": None,
        "progress": "%",
        "epoch": "epochs",
        "loss": None,
        "eta": None,
        "message": None,
        "run_start": None,
        "last_update": None,
        "problem": None,
        "running": None,
    }
    assert states["sensor.node1_first_run_start"]["state"].endswith("+00:00")
    assert states["sensor.node1_first_last_update"]["state"].endswith("+00:00")
    assert house.attributes("node1_first", "status")["options"] == [
        "idle",
        "running",
        "stale",
        "done",
        "error",
        "gone",
    ]
    assert {"host": "node1", "job": "first"}.items() <= house.attributes("node1_first", "status").items()
    device = house.home.devices()["node1 first"]
    assert device["via_device_id"] == house.home.devices()["pulse-bridge node1"]["id"]
    assert None not in house.home.devices()


def test_the_host_s_device_says_that_the_sidecar_is_there(house: House) -> None:
    house.await_states("pulse_bridge_node1", connectivity="on")
    assert (
        house.home.states()["sensor.pulse_bridge_node1_running_jobs"]["attributes"]["unit_of_measurement"]
        == "jobs"
    )


def test_a_job_without_a_sign_of_life_is_a_problem_until_it_is_back(house: House) -> None:
    house.write("silent")
    house.await_states("node1_silent", status="running", problem="off", running="on")
    house.await_states("node1_silent", status="stale", problem="on", running="off")
    house.write("silent", epoch=1.6)
    house.await_states("node1_silent", status="running", problem="off", running="on")
    house.write("silent", status="done", epoch=3.0)
    house.await_states("node1_silent", status="done", progress="100.0", problem="off")


@pytest.mark.parametrize("loss", [math.nan, math.inf], ids=str)
def test_a_loss_that_is_no_number_is_a_problem_of_a_running_job(house: House, loss: float) -> None:
    job = f"diverging-{loss}"
    house.write(job, loss=0.5)
    house.await_states(f"node1_diverging_{loss}", loss="0.5", problem="off")
    house.write(job, loss=loss)
    house.await_states(f"node1_diverging_{loss}", status="running", loss="unknown", problem="on")


def test_a_finished_job_stays_although_its_sidecar_has_ended(house: House) -> None:
    with house.make_sidecar("node2") as sidecar:
        house.write("ended", sidecar=sidecar, status="done", epoch=3.0, loss=0.25)
        house.write("going", sidecar=sidecar)
        house.await_states("node2_ended", status="done", loss="0.25")
        house.await_states("node2_going", status="running")
        house.await_states("pulse_bridge_node2", connectivity="on", running_jobs="1")
        assert sidecar.stop() == 0
    house.await_states("pulse_bridge_node2", connectivity="off", running_jobs="unavailable")
    house.await_states("node2_going", status="unavailable", loss="unavailable")
    house.await_states("node2_ended", status="done", loss="0.25", progress="100.0")


def test_a_job_that_is_over_for_long_is_removed(house: House) -> None:
    with house.make_sidecar("node3", "&forget_after_s=1") as sidecar:
        house.write("kept", sidecar=sidecar)
        house.write("old", sidecar=sidecar, status="done", epoch=3.0)
        house.await_states("node3_old", status="done")
        wait_until_blocking(
            lambda: not [name for name in house.home.states() if "node3_old" in name], "it goes", FORGOTTEN_S
        )
        assert "node3 old" not in house.home.devices()
        assert "node3 kept" in house.home.devices()


def test_after_a_restart_with_a_broker_that_keeps_nothing_all_is_back_and_nothing_twice(house: House) -> None:
    house.write("lasting", loss=0.125)
    house.write("over", status="done", epoch=3.0, loss=0.0625)
    house.await_states("node1_lasting", status="running", loss="0.125")
    house.await_states("node1_over", status="done", loss="0.0625")
    entities, devices = house.home.entities(), house.home.devices()
    states = house.home.states().keys()
    pid = house.sidecar.process.pid
    house.home.stop()
    house.broker.restart()
    house.home.start()
    house.await_states("pulse_bridge_node1", connectivity="on")
    house.await_states("node1_lasting", status="running", loss="0.125", problem="off")
    house.await_states("node1_over", status="done", loss="0.0625", problem="off")
    assert house.home.entities() == entities
    assert {name: device["id"] for name, device in house.home.devices().items()} == {
        name: device["id"] for name, device in devices.items()
    }
    assert house.home.states().keys() == states
    assert house.sidecar.process.poll() is None
    assert house.sidecar.process.pid == pid


def test_a_broker_that_forgot_gets_all_again_while_home_assistant_runs(house: House) -> None:
    house.write("through", loss=0.75)
    house.await_states("node1_through", status="running", loss="0.75")
    entities = house.home.entities()
    house.broker.restart()
    house.await_states("node1_through", status="unavailable")
    house.write("through", loss=0.5)
    house.await_states("node1_through", status="running", loss="0.5")
    assert house.home.entities() == entities
