"""How a sidecar ends, what it survives, and what becomes of two of them."""

import json
import os
import signal
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.mosquitto import retained
from tests.support.processes import require_binary, short_folder, wait_until_blocking
from tests.support.sidecar_process import SidecarProcess, write_pulse
from tests.support.viewers import MqttViewer, RedisViewer, Viewer, job_events


def test_sigterm_flushes_says_offline_and_exits_0_within_5_s(tmp_path: Path) -> None:
    with (
        RedisViewer(tmp_path) as redis,
        MqttViewer(tmp_path) as mqtt,
        SidecarProcess(tmp_path, [redis.url, mqtt.url]) as sidecar,
    ):
        sidecar.wait_for_message("connected", 2)
        for index in range(50):
            write_pulse(sidecar.jobs / f"job{index}" / "training_status.json")
        wait_until_blocking(lambda: len(sidecar.journalled()) == 50, "all are seen")
        begin = time.monotonic()
        assert sidecar.stop() == 0
        assert time.monotonic() - begin < 5
        for viewer in (redis, mqtt):
            wait_until_blocking(lambda viewer=viewer: len(job_events(viewer)) == 50, "all are sent")  # type: ignore[misc]
            (goodbye,) = [event for event in viewer.events() if event.get("stopping")]
            assert (goodbye["kind"], goodbye["jobs_running"]) == ("host", 50)
        assert retained(mqtt.server.port)["pulse/node1/bridge"] == b"offline"
        with redis.server.client() as client:
            assert not client.exists("pulse:host:node1")


def test_sigterm_with_a_destination_that_is_down_exits_0_within_5_s(tmp_path: Path) -> None:
    redis = RedisViewer(tmp_path)
    with SidecarProcess(tmp_path, [redis.url]) as sidecar:
        sidecar.wait_for_message("unavailable; trying again")
        begin = time.monotonic()
        assert sidecar.stop() == 0
        assert time.monotonic() - begin < 5


def test_sigterm_with_a_destination_that_hangs_exits_0_within_5_s(tmp_path: Path) -> None:
    with RedisViewer(tmp_path) as redis, SidecarProcess(tmp_path, [redis.url]) as sidecar:
        sidecar.wait_for_message("connected")
        os.kill(redis.server.pid, signal.SIGSTOP)
        begin = time.monotonic()
        assert sidecar.stop() == 0
        assert time.monotonic() - begin < 5


def test_kill_9_leaves_it_to_the_will_to_say_offline(tmp_path: Path) -> None:
    with MqttViewer(tmp_path) as mqtt, SidecarProcess(tmp_path, [mqtt.url]) as sidecar:
        wait_until_blocking(
            lambda: mqtt.listener.payloads("pulse/node1/bridge")[-1:] == [b"online"], "the bridge is online"
        )
        sidecar.kill()
        wait_until_blocking(
            lambda: mqtt.listener.payloads("pulse/node1/bridge")[-1] == b"offline", "the will is sent"
        )


def test_exit_when_done_ends_with_0_once_every_job_is_done_and_sent(tmp_path: Path) -> None:
    with RedisViewer(tmp_path) as redis:
        sidecar = SidecarProcess(tmp_path, [redis.url], options=["--exit-when-done"])
        write_pulse(
            sidecar.jobs / "old" / "training_status.json", status="done", timestamp=int(time.time()) - 3600
        )
        with sidecar:
            write_pulse(sidecar.jobs / "a" / "training_status.json")
            write_pulse(sidecar.jobs / "b" / "training_status.json")
            wait_until_blocking(lambda: len(job_events(redis)) == 3, "all are seen")
            write_pulse(sidecar.jobs / "a" / "training_status.json", status="done", epoch=3.0)
            write_pulse(sidecar.jobs / "b" / "training_status.json", status="error", epoch=0.0)
            assert sidecar.wait() == 0
        assert {event["state"] for event in job_events(redis)[-2:]} == {"done", "error"}


def test_a_hostile_folder_harms_nothing_and_is_logged_once_per_file_and_content(tmp_path: Path) -> None:
    name = "training_status.json"
    with short_folder() as short, MqttViewer(tmp_path) as mqtt, RedisViewer(tmp_path) as redis:
        sidecar = SidecarProcess(tmp_path, [redis.url, mqtt.url], settings="host_event_s = 1")
        if os.geteuid() == 0:  # root may read everything; without these capabilities it may not
            rights = "-dac_override,-dac_read_search"
            sidecar.command = [require_binary("setpriv"), f"--bounding-set={rights}", *sidecar.command]
        jobs = sidecar.jobs
        bad = _make_hostile(jobs, name, short)
        good = ["a b", "a+b", "a#b", "a..b", "ünï✓", "n" * 200, "$SYS"]
        for job in good:
            write_pulse(jobs / job / name)
        with sidecar:
            wait_until_blocking(lambda: len(job_events(redis)) == len(good), "the good jobs are published")
            wait_until_blocking(lambda: len(job_events(mqtt)) == len(good), "on MQTT too")
            assert {event["job"] for event in job_events(redis)} == set(good)
            refused = "status file cannot be used, its last known state is kept"
            sidecar.wait_for_message(refused, len(bad))
            write_pulse(jobs / "a b" / name, message="still alive")
            wait_until_blocking(lambda: job_events(redis, "a b")[-1]["message"] == "still alive", "it goes on")
            wait_until_blocking(
                lambda: (
                    [event for event in redis.events() if event["kind"] == "host"][-1]["malformed"] == len(bad)
                ),
                "the host event counts them",
            )
            said = [message["path"] for message in sidecar.messages(refused)]
            assert sorted(said) == sorted(str(path) for path in bad)
            assert sidecar.peak_memory_bytes() < 150e6
            assert sidecar.stop() == 0
    topics = {message.topic for message in mqtt.listener.received}
    assert all(topic.isascii() and len(topic) <= 70 for topic in topics)


def _make_hostile(jobs: Path, name: str, short: Path) -> list[Path]:
    """Make one job folder for each hostile thing; gives the paths that must be refused."""
    bad = []

    def place(job: str) -> Path:
        path = jobs / job / name
        path.parent.mkdir(parents=True)
        bad.append(path)
        return path

    os.mkfifo(place("fifo"))
    place("device").symlink_to("/dev/zero")
    place("directory").mkdir()
    place("dangling").symlink_to(jobs / "nowhere")
    place("large").write_bytes(b" " * 5_000_000)
    place("brackets").write_bytes(b"[" * 50_000)
    place("forbidden").write_bytes(b"{}")
    bad[-1].chmod(0)
    place("binary").write_bytes(bytes(range(256)))
    place("empty").write_bytes(b"")
    place("types").write_text('{"status": 1, "epoch": "2", "total_epochs": [], "loss": {}, "message": 0}')
    place("infinite").write_text(
        '{"status": "running", "epoch": Infinity, "total_epochs": 1, "loss": 1, "message": "", "timestamp": 1}'
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short / "socket"))
        place("socket").symlink_to(short / "socket")
        os.rename(short / "socket", jobs / "socket-file")
    bad[-1].unlink()
    bad[-1].symlink_to(jobs / "socket-file")
    return bad


def test_a_second_sidecar_on_one_journal_exits_2_and_names_the_holder(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path) as first:
        second = SidecarProcess(tmp_path)
        second.log = tmp_path / "second.log"
        assert second.launch().wait() == 2
        sentence = second.log.read_text()
        assert f"in use by pid {first.process.pid}" in sentence
        assert str(first.journal) in sentence
        assert sentence.count("\n") == 1


@pytest.fixture(params=["redis", "mqtt"])
def viewer(request: pytest.FixtureRequest, tmp_path: Path) -> Viewer:
    return RedisViewer(tmp_path) if request.param == "redis" else MqttViewer(tmp_path)


def test_the_newest_sidecar_under_one_host_name_wins_and_the_older_says_so(viewer: Viewer, tmp_path: Path) -> None:
    with (
        viewer,
        SidecarProcess(tmp_path / "older", [viewer.url]) as older,
    ):
        older.wait_for_message("connected")
        write_pulse(older.jobs / "one" / "training_status.json")
        wait_until_blocking(lambda: len(job_events(viewer)) == 1, "the older one publishes")
        with SidecarProcess(tmp_path / "newer", [viewer.url]) as newer:
            taken = older.wait_for_message("a newer sidecar has this host's name; this destination is left to it")
            assert "node1" in taken["reason"]
            newer.wait_for_message("connected")
            write_pulse(older.jobs / "one" / "training_status.json", message="too late")
            write_pulse(newer.jobs / "two" / "training_status.json")
            wait_until_blocking(lambda: len(job_events(viewer, "two")) == 1, "the newer one publishes")
            wait_until_blocking(
                lambda: older.journalled()[-1].message == "too late", "the older one goes on watching"
            )
            assert older.stop() == 0
            assert not [event for event in job_events(viewer) if event["message"] == "too late"]
            if isinstance(viewer, MqttViewer):
                assert retained(viewer.server.port)["pulse/node1/bridge"] == b"online"
            assert newer.stop() == 0


def test_a_journal_that_cannot_be_written_is_said_and_its_events_are_published_and_stored_later(
    tmp_path: Path,
) -> None:
    require_binary("mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=400k tmpfs {disk} 2>/dev/null") != 0:
        pytest.skip("a small disk can only be mounted by root")
    try:
        with RedisViewer(tmp_path) as redis:
            sidecar = SidecarProcess(tmp_path, [redis.url])
            sidecar.command[sidecar.command.index(str(sidecar.journal))] = str(disk / "journal.db")
            sidecar.journal = disk / "journal.db"
            with sidecar:
                sidecar.wait_for_message("connected")
                status = sidecar.jobs / "training_status.json"
                write_pulse(status, message="before")
                wait_until_blocking(lambda: len(job_events(redis)) == 1, "it is published")
                (disk / "filler").write_bytes(b"x" * _free_bytes(disk))
                index = 0
                while not sidecar.messages(
                    "the journal cannot be written; events are published from memory until it can"
                ):
                    index += 1
                    write_pulse(status, message=f"full {index}")
                    wait_until_blocking(
                        lambda: job_events(redis)[-1]["message"] == f"full {index}",  # noqa: B023
                        "published all the same",
                    )
                (disk / "filler").unlink()
                sidecar.wait_for_message("the journal can be written again")
                stored = [event.message for event in sidecar.journalled()]
                assert stored == ["before", *(f"full {number}" for number in range(1, index + 1))]
                assert sidecar.stop() == 0
    finally:
        os.system(f"umount {disk}")


def _free_bytes(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def test_what_a_destination_can_never_take_becomes_a_dead_letter_and_the_rest_goes_on(tmp_path: Path) -> None:
    with MqttViewer(tmp_path) as mqtt:
        mqtt.listener.__exit__()
        mqtt.server.end()
        config = Path(mqtt.server.command[-1])
        config.write_text(config.read_text() + "max_packet_size 1000\n")
        mqtt.server.start()
        mqtt.listener = type(mqtt.listener)(mqtt.server.port)
        mqtt.listener.__enter__()
        with SidecarProcess(tmp_path, [mqtt.url]) as sidecar:
            sidecar.wait_for_message("connected")
            write_pulse(sidecar.jobs / "large" / "training_status.json", message="x" * 3000)
            sidecar.wait_for_message("a destination can never take an event; it is kept as a dead letter")
            write_pulse(sidecar.jobs / "small" / "training_status.json")
            wait_until_blocking(lambda: len(job_events(mqtt, "small")) == 1, "the rest goes on")
            (letter,) = (tmp_path / "journal.dead.jsonl").read_text().splitlines()
            assert json.loads(letter)["message"] == "x" * 3000


def test_a_journal_from_elsewhere_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value)")
        connection.execute("INSERT INTO meta VALUES ('layout', 99)")
        connection.commit()
    sidecar = SidecarProcess(tmp_path)
    assert sidecar.launch().wait() == 2
    assert "has layout 99" in sidecar.log.read_text()
    (tmp_path / "journal.db").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    assert sidecar.launch().wait() == 2
    assert "file is not a database" in sidecar.log.read_text()
