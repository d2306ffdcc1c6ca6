"""A whole life of a job as Home Assistant sees it: a real sidecar, a real broker, nothing but its messages."""

import time
from pathlib import Path

from paho.mqtt.publish import single

from pulse_bridge_mqtt.homeassistant_devices import host_id, job_id
from pulse_bridge_mqtt.topics import Topics
from tests.support.homeassistant_model import HomeAssistantModel
from tests.support.logged_process import LoggedProcess
from tests.support.mosquitto import Mosquitto, MqttListener, retained
from tests.support.processes import wait_until_blocking
from tests.support.redis_server import RedisServer
from tests.support.sidecar_process import SidecarProcess, write_pulse

TOPICS = Topics("pulse")
HOST, JOB = host_id(TOPICS, "node1"), job_id(TOPICS, "node1", "{{ 1/0 }} ü'\"")
# A short life: what takes a minute and a half a minute takes a few seconds.
SETTINGS = "stale_after_s = 3\ngone_after_s = 1\nheartbeat_s = 1\nhost_event_s = 1"
FORGET_AFTER_S = 6


class Viewer:
    """The model, fed with what a listener hears, message by message: no state in between is missed."""

    def __init__(self, listener: MqttListener) -> None:
        self.model = HomeAssistantModel()
        self._listener = listener
        self._taken = 0
        self._seen: list[dict[str, str]] = [{}]

    @property
    def now(self) -> dict[str, str]:
        """What is shown of the job and its host."""
        self._take()
        return self._seen[-1]

    def wait(self, **expected: str | None) -> None:
        """Go on to where all of this is shown at once; None for an entity that is not there."""

        def found() -> bool:
            self._take()
            for index, states in enumerate(self._seen):
                if all(states.get(name) == state for name, state in expected.items()):
                    del self._seen[:index]
                    return True
            return False

        wait_until_blocking(found, f"{expected} is shown; it is {self._seen[-1]}")

    def _take(self) -> None:
        messages = list(self._listener.received)
        for message in messages[self._taken :]:
            self.model.receive_all([message])
            self._seen.append(self.model.states(HOST) | self.model.states(JOB))
        self._taken = len(messages)


def test_new_running_stale_recovered_diverged_done_and_gone_need_mosquitto_alone(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, MqttListener(broker.port, retain_as_published=True) as listener:
        url = f"mqtt://127.0.0.1:{broker.port}?homeassistant=true&forget_after_s={FORGET_AFTER_S}"
        viewer = Viewer(listener)
        with SidecarProcess(tmp_path, [url], settings=SETTINGS) as sidecar:
            viewer.wait(connectivity="on")
            file = sidecar.jobs / "{{ 1" / "0 }} ü'\"" / "training_status.json"
            write_pulse(file, status="idle", epoch=0)
            viewer.wait(status="idle", running="off", problem="off")
            write_pulse(file, message="x" * 5000)
            viewer.wait(status="running", running="on", problem="off", message="x" * 255)
            viewer.wait(jobs_running="1")
            viewer.wait(status="stale", running="off", problem="on", message="Process unresponsive (stale pulse)")
            write_pulse(file, epoch=2.0)
            viewer.wait(status="running", running="on", problem="off", loss="0.342")
            write_pulse(file, epoch=2.1, loss=float("nan"))
            viewer.wait(status="running", problem="on", loss="unknown")
            write_pulse(file, status="done", epoch=3.0)
            viewer.wait(status="done", problem="off", progress="100.0", eta="unknown")
            assert sidecar.stop() == 0
            viewer.wait(connectivity="off")
            assert viewer.now["status"] == "done", "it stays though its sidecar has ended"
            sidecar.start()
            viewer.wait(connectivity="on", status="done")
            file.unlink()
            viewer.wait(status="gone")
            assert sidecar.stop() == 0
            viewer.wait(connectivity="off", status="gone")
            gone_at = time.time()
            wait_until_blocking(lambda: time.time() > gone_at + FORGET_AFTER_S, "it has been gone for long")
            sidecar.start()  # it looks for what is to be forgotten when it connects, and every minute
            viewer.wait(connectivity="on", status=None)
            assert sidecar.stop() == 0
            viewer.wait(connectivity="off")
        assert list(viewer.model.devices) == [HOST]
        assert set(retained(broker.port)) == {
            f"homeassistant/device/{HOST}/config",
            "pulse/node1/bridge",
            "pulse/node1/host",
        }
        viewer.model.check_references()
        assert viewer.model.complaints == []


def test_a_broker_that_keeps_nothing_and_home_assistant_restart_and_all_is_back_within_ten_seconds(
    tmp_path: Path,
) -> None:
    with Mosquitto(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}?homeassistant=true"
        with SidecarProcess(tmp_path, [url]) as sidecar:
            write_pulse(sidecar.jobs / "a" / "training_status.json")
            write_pulse(sidecar.jobs / "b" / "training_status.json", status="done", epoch=3.0)
            wait_until_blocking(lambda: len(retained(broker.port)) == 7, "all is there")
            before = set(retained(broker.port))
            broker.restart()
            single("homeassistant/status", "online", qos=1, hostname="127.0.0.1", port=broker.port)
            birth_at = time.monotonic()
            wait_until_blocking(lambda: set(retained(broker.port)) == before, "all is there again", 10)
            print(f"all retained again {time.monotonic() - birth_at:.2f} s after the birth")  # noqa: T201
            assert states_now(broker, job_id(TOPICS, "node1", "a"))["status"] == "running"
            assert states_now(broker, job_id(TOPICS, "node1", "b"))["status"] == "done"
            assert len(sidecar.messages("watching")) == 1, "the sidecar was not touched"


def test_a_relay_from_redis_shows_its_hosts_and_lets_them_go_when_it_is_killed(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "redis") as redis,
        Mosquitto(tmp_path) as broker,
        SidecarProcess(tmp_path, [redis.url]) as sidecar,
    ):
        write_pulse(sidecar.jobs / "a" / "training_status.json")
        write_pulse(sidecar.jobs / "b" / "training_status.json", status="done", epoch=3.0)
        to = f"mqtt://127.0.0.1:{broker.port}?homeassistant=true"
        arguments = ["relay", "--from", redis.url, "--to", to]
        a, b = job_id(TOPICS, "node1", "a"), job_id(TOPICS, "node1", "b")
        with LoggedProcess(arguments, tmp_path / "relay.log", state_folder=tmp_path / "state") as relay:
            wait_until_blocking(lambda: len(retained(broker.port)) == 7, "all is there")
            before = set(retained(broker.port))
            broker.restart()
            wait_until_blocking(lambda: set(retained(broker.port)) == before, "all is there again")
            wait_until_blocking(lambda: retained(broker.port)["pulse/node1/bridge"] == b"online", "it is heard")
            assert states_now(broker, a)["status"] == "running"
            relay.kill()
            wait_until_blocking(
                lambda: retained(broker.port)["pulse/node1/bridge"] == b"offline", "the will comes"
            )
        assert states_now(broker, a)["status"] == "unavailable"
        assert states_now(broker, b)["status"] == "done"


def states_now(broker: Mosquitto, device: str) -> dict[str, str]:
    """Give what a Home Assistant shows that starts now; nothing complained of."""
    model = HomeAssistantModel()
    for topic, payload in retained(broker.port).items():
        model.receive(topic, payload)
    model.check_references()
    assert model.complaints == []
    return model.states(device)
