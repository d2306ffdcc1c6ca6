"""Brokers and the sidecar go down and come back: nothing that was observed is lost, nothing stands twice."""

import itertools
import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.mosquitto import Mosquitto, MqttListener, retained
from tests.support.processes import wait_until_blocking
from tests.support.redis_server import RedisServer
from tests.support.sidecar_process import SidecarProcess, write_pulse
from tests.support.viewers import MqttViewer, RedisViewer, Viewer, job_events


@contextmanager
def writers(jobs: Path, names: list[str], period_s: float) -> Iterator[Counter[str]]:
    """Write to some jobs at a steady pace for the block; counts what was written of each."""
    written: Counter[str] = Counter()
    end = threading.Event()

    def write(name: str) -> None:
        for index in itertools.count():
            write_pulse(jobs / name / "training_status.json", epoch=index / 1000, message=f"{index}")
            written[name] += 1
            if end.wait(period_s):
                return

    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield written
    finally:
        end.set()
        for thread in threads:
            thread.join()


def stream(server: RedisServer) -> list[dict[str, str]]:
    return [fields for fields in server.stream() if fields["kind"] != "host"]


def assert_redis_has_all(server: RedisServer, sidecar: SidecarProcess) -> None:
    """Every journalled event but replaced heartbeats is in the stream, once, each job's in order."""
    journalled = sidecar.journalled()
    expected = [str(event.id) for event in journalled if event.kind != "heartbeat"]
    entries = stream(server)
    doubled = [name for name, count in Counter(entry["id"] for entry in entries).items() if count > 1]
    assert not doubled
    found = [entry["id"] for entry in entries if entry["kind"] != "heartbeat"]
    assert set(expected) - set(found) == set()
    for job in {event.job for event in journalled}:
        ours = [int(entry["message"]) for entry in entries if entry["job"] == job and entry["kind"] == "change"]
        assert ours == sorted(ours)


def test_random_crashes_of_redis_mosquitto_and_sidecar_lose_and_double_nothing(tmp_path: Path) -> None:
    dice = random.Random(20260102)
    (tmp_path / "mosquitto").mkdir()
    with (
        RedisServer(tmp_path / "redis", appendonly=True) as redis_server,
        Mosquitto(tmp_path / "mosquitto") as broker,
        SidecarProcess(tmp_path, [redis_server.url, f"mqtt://127.0.0.1:{broker.port}"]) as sidecar,
        writers(sidecar.jobs, ["a", "b", "c"], 0.25) as written,
    ):
        victims = ["redis", "broker", "sidecar"] * 2
        dice.shuffle(victims)
        for victim in victims:
            goal = written["a"] + dice.randint(3, 8)
            wait_until_blocking(lambda goal=goal: written["a"] >= goal, "the writers go on")  # type: ignore[misc]
            if victim == "redis":
                redis_server.kill()
            elif victim == "broker":
                broker.end(signal.SIGTERM)
            else:
                sidecar.kill()
            goal = written["a"] + dice.randint(1, 5)
            wait_until_blocking(lambda goal=goal: written["a"] >= goal, "the writers go on")  # type: ignore[misc]
            if victim == "redis":
                redis_server.start()
            elif victim == "broker":
                broker.start()
            else:
                sidecar.start()
        last = sidecar.journalled()[-1]
        wait_until_blocking(
            lambda: any(entry["id"] == str(last.id) for entry in stream(redis_server)), "Redis has caught up"
        )
        assert sidecar.stop() == 0
        shown = {topic: json.loads(text) for topic, text in retained(broker.port, ["pulse/+/+/state"]).items()}
    with redis_server:
        assert_redis_has_all(redis_server, sidecar)
    newest = {event.job: event for event in sidecar.journalled()}
    assert {event["job"]: event["message"] for event in shown.values()} == {
        job: event.message for job, event in newest.items()
    }
    for job in ("a", "b", "c"):
        assert sum(event.job == job for event in sidecar.journalled()) > 20


def test_every_state_of_a_mosquitto_outage_reaches_a_subscriber_that_listens_after_it(tmp_path: Path) -> None:
    (tmp_path / "mosquitto").mkdir()
    broker = Mosquitto(tmp_path / "mosquitto")
    with broker, SidecarProcess(tmp_path, [f"mqtt://127.0.0.1:{broker.port}"]) as sidecar:
        status = sidecar.jobs / "llm" / "training_status.json"
        write_pulse(status, message="before")
        sidecar.wait_for_message("connected")
        broker.kill()
        sidecar.wait_for_message("unavailable; trying again")
        for index in range(200):
            write_pulse(status, message=f"during {index}")
            wait_until_blocking(
                lambda index=index: sidecar.journalled()[-1].message == f"during {index}",  # type: ignore[misc]
                "the sidecar sees each state",
            )
        sidecar.process.send_signal(signal.SIGSTOP)  # so that the subscriber is there before the sidecar is back
        broker.start()
        with MqttListener(broker.port, ["pulse/+/+/state"]) as listener:
            sidecar.process.send_signal(signal.SIGCONT)
            expected = [f"during {index}" for index in range(200)]

            def got() -> list[str]:
                events = [json.loads(message.payload) for message in listener.received]
                return [event["message"] for event in events if event["kind"] == "change"]

            wait_until_blocking(lambda: got()[-1:] == expected[-1:], f"the last state arrives, got {len(got())}")
            assert [message for message in got() if message != "before"] == expected


def test_a_redis_restored_from_an_older_dump_is_given_its_last_seconds_again(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    with server, SidecarProcess(tmp_path, [server.url]) as sidecar:
        status = sidecar.jobs / "training_status.json"

        def publish(first: int, last: int) -> None:
            for index in range(first, last):
                write_pulse(status, message=f"{index}")
                wait_until_blocking(
                    lambda index=index: [e["message"] for e in stream(server)][-1:] == [f"{index}"],  # type: ignore[misc]
                    "each state arrives",
                )

        publish(0, 10)
        older = server.save()
        publish(10, 20)
        server.kill()
        server.dump.write_bytes(older)
        server.start()
        sidecar.wait_for_message("the destination lost what it had acknowledged; it is given it again")
        publish(20, 22)
        assert [entry["message"] for entry in stream(server)] == [f"{index}" for index in range(22)]
        assert_redis_has_all(server, sidecar)


def test_a_redis_that_lost_everything_is_given_all_that_the_journal_has(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    with server:
        for start in range(2):  # over two starts of the sidecar, so by two producers
            with SidecarProcess(tmp_path, [server.url]) as sidecar:
                status = sidecar.jobs / "training_status.json"
                for index in range(start * 5, start * 5 + 5):
                    write_pulse(status, message=f"{index}")
                    wait_until_blocking(
                        lambda index=index: [e["message"] for e in stream(server)][-1:] == [f"{index}"],  # type: ignore[misc]
                        "each state arrives",
                    )
                if start == 0:
                    assert sidecar.stop() == 0
                    continue
                server.restart(signal.SIGKILL)
                wait_until_blocking(lambda: len(stream(server)) >= 10, "everything is there again")
                assert [entry["message"] for entry in stream(server)] == [f"{index}" for index in range(10)]


def test_redis_down_at_the_start_harms_nobody_and_gets_everything_when_it_comes(tmp_path: Path) -> None:
    redis = RedisViewer(tmp_path)
    with MqttViewer(tmp_path) as mqtt, SidecarProcess(tmp_path, [redis.url, mqtt.url]) as sidecar:
        sidecar.wait_for_message("unavailable; trying again")
        status = sidecar.jobs / "training_status.json"
        for index in range(20):
            write_pulse(status, message=f"state {index}")
            wait_until_blocking(
                lambda index=index: len(job_events(mqtt)) > index,  # type: ignore[misc]
                "the other destination is served meanwhile",
            )
        with redis:
            wait_until_blocking(lambda: len(job_events(redis)) >= 20, "everything arrives")
            assert [event["message"] for event in job_events(redis)] == [f"state {index}" for index in range(20)]
            assert len(sidecar.messages("unavailable; trying again")) == 1


def test_a_refused_password_harms_nobody_and_heals_when_it_is_rotated(tmp_path: Path) -> None:
    redis = RedisViewer(tmp_path, config=[("requirepass", "right")])
    secret = tmp_path / "password"
    secret.write_text("wrong-secret")
    url = f"{redis.url}?password_file={secret}"
    with redis, MqttViewer(tmp_path) as mqtt, SidecarProcess(tmp_path, [url, mqtt.url]) as sidecar:
        sidecar.wait_for_message("refused; trying again now and then")
        write_pulse(sidecar.jobs / "training_status.json", message="one")
        wait_until_blocking(lambda: len(job_events(mqtt)) == 1, "the other destination is served meanwhile")
        secret.write_text("right\n")
        sidecar.wait_for_message("connected", 2)
        wait_until_blocking(lambda: len(redis.server.stream(password="right")) >= 1, "it arrives")
        assert "wrong-secret" not in sidecar.log.read_text()


def test_24_s_of_silence_give_2_or_3_heartbeats_and_a_restart_announces_nothing_again(tmp_path: Path) -> None:
    with RedisViewer(tmp_path) as redis, MqttViewer(tmp_path) as mqtt:
        with SidecarProcess(tmp_path, [redis.url, mqtt.url]) as sidecar:
            write_pulse(sidecar.jobs / "done" / "training_status.json", status="done", epoch=3.0)
            write_pulse(sidecar.jobs / "running" / "training_status.json")
            for viewer in (redis, mqtt):
                wait_until_blocking(lambda viewer=viewer: len(job_events(viewer)) == 2, "both jobs")  # type: ignore[misc]
            begin = time.monotonic()
            wait_until_blocking(lambda: time.monotonic() - begin >= 24, "24 s of silence", 30)
            for viewer in (redis, mqtt):
                kinds = Counter(event["kind"] for event in job_events(viewer, "running"))
                assert kinds["change"] == 1
                assert kinds["heartbeat"] in {2, 3}
                assert set(kinds) == {"change", "heartbeat"}
                assert [event["kind"] for event in job_events(viewer, "done")] == ["change"]
            assert sidecar.stop() == 0
        changes_before = [_changes(viewer) for viewer in (redis, mqtt)]
        with SidecarProcess(tmp_path, [redis.url, mqtt.url]) as sidecar:
            sidecar.wait_for_message("connected", 4)
            wait_until_blocking(
                lambda: sum(event["kind"] == "host" for event in redis.events()) >= 5, "the restarted one is there"
            )
            write_pulse(sidecar.jobs / "running" / "training_status.json", message="news")
            viewers: list[Viewer] = [redis, mqtt]
            for seen_by, before in zip(viewers, changes_before, strict=True):
                wait_until_blocking(
                    lambda viewer=seen_by: _changes(viewer)[-1][1] == "news",  # type: ignore[misc]
                    "what is news arrives",
                )
                assert _changes(seen_by)[:-1] == before


def _changes(viewer: Viewer) -> list[tuple[str, str]]:
    return [(event["id"], event["message"]) for event in job_events(viewer) if event["kind"] == "change"]
