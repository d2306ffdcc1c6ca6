"""From any bus to any other, in a process of its own."""

import json
import signal
from pathlib import Path

from pulse_bridge.event import from_json
from pulse_bridge.testing import make_host_event, make_job_event
from tests.support.command import Home
from tests.support.mosquitto import Mosquitto, retained
from tests.support.processes import WAIT_S, wait_until_blocking
from tests.support.redis_server import RedisServer


def lines(path: Path) -> list[int]:
    return [from_json(line).id.seq for line in path.read_text().splitlines()] if path.exists() else []


def test_a_second_start_goes_on_where_the_first_was_stopped(home: Home) -> None:
    home.fill_journal([make_job_event(job="a"), make_job_event(job="b")])
    out = home.folder / "out.jsonl"
    for count in (2, 3):
        with home.started("relay", "--to", "out.jsonl") as process:
            wait_until_blocking(lambda count=count: len(lines(out)) == count, f"{count} events are there")  # type: ignore[misc]
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=WAIT_S)
            assert process.returncode == 0
            assert b"Traceback" not in err
        home.fill_journal([make_job_event(job="a")])
    assert lines(out) == [1, 2, 3]


def test_what_a_journal_has_comes_to_redis_and_mqtt_and_stays_for_later_viewers(
    home: Home, tmp_path: Path
) -> None:
    home.fill_journal([make_job_event(job="a"), make_host_event()])
    with (
        RedisServer(tmp_path / "redis") as redis,
        Mosquitto(tmp_path) as mosquitto,
        home.started("relay", "--to", redis.url),
        home.started("relay", "--to", f"mqtt://127.0.0.1:{mosquitto.port}"),
        redis.client() as client,
    ):
        wait_until_blocking(lambda: client.xlen("pulse:events") == 2, "Redis has both")
        assert json.loads(client.hget("pulse:state", "node1/a"))["job"] == "a"
        assert not client.exists("pulse:host:node1"), "a relay is no host's sidecar"
        wait_until_blocking(lambda: "pulse/node1/host" in retained(mosquitto.port), "the broker has both")
        assert "pulse/node1/a/state" in retained(mosquitto.port)
        assert "pulse/node1/bridge" not in retained(mosquitto.port)


def test_a_destination_that_is_down_is_waited_for(home: Home, tmp_path: Path) -> None:
    home.fill_journal([make_job_event(job="a")])
    redis = RedisServer(tmp_path / "redis")
    with home.started("relay", "--to", redis.url) as process:
        assert process.stderr is not None
        assert json.loads(process.stderr.readline())["message"] == "unavailable; trying again"
        with redis, redis.client() as client:
            wait_until_blocking(lambda: client.xlen("pulse:events") == 1, "it has arrived")


def test_what_the_destination_can_never_take_lies_beside_the_journal(home: Home, tmp_path: Path) -> None:
    # A label of half a megabyte is more than this broker takes in one packet.
    home.fill_journal([make_job_event(job="a", labels={"x": "y" * 500_000}), make_job_event(job="b")])
    with (
        Mosquitto(tmp_path, extra_lines=["max_packet_size 100000"]) as mosquitto,
        home.started("relay", "--to", f"mqtt://127.0.0.1:{mosquitto.port}"),
    ):
        wait_until_blocking(lambda: "pulse/node1/b/state" in retained(mosquitto.port), "the good one has arrived")
        letters = home.journal.with_name("node1.dead.jsonl")
        wait_until_blocking(lambda: lines(letters) == [1], "the other is kept")
    assert json.loads(letters.read_text())["rejected_by"] == "mqtt"


def test_a_second_relay_to_the_same_place_is_told_who_runs(home: Home) -> None:
    home.fill_journal([make_job_event()])
    with home.started("relay", "--to", "out.jsonl") as process:
        wait_until_blocking(lambda: bool(lines(home.folder / "out.jsonl")), "the first one works")
        result = home.run("relay", "--to", "./out.jsonl")
        assert result.code == 2
        assert f"in use by pid {process.pid}" in result.err
