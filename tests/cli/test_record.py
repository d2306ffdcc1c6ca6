"""A recording of real buses, that are restarted; the recorder is killed, and started twice."""

import asyncio
import json
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pulse_bridge.bus import Presence, open_bus
from pulse_bridge.event import Event, EventId, to_json
from pulse_bridge.testing import make_host_event, make_job_event
from tests.support.command import Caller, Home
from tests.support.logged_process import LoggedProcess
from tests.support.mosquitto import Mosquitto
from tests.support.processes import WAIT_S, wait_until_blocking
from tests.support.redis_server import RedisServer


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", appendonly=True, config=[("appendfsync", "always")]) as server:
        yield server


def lines_of(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text.replace("\n", "\n\0").split("\0")[: -1 if text.endswith("\n") else None] if text else []


def seqs_of(path: Path) -> list[int]:
    """Give the number of each whole line that is an event."""
    return [int(json.loads(line)["id"].rpartition("-")[2]) for line in lines_of(path) if line.endswith("}\n")]


async def put(url: str, *events: Event) -> None:
    async with open_bus(url).publisher(Presence(None, "owner1")) as publisher:
        assert not await publisher.publish(events)


def recorder(home: Home, url: str, *options: str) -> LoggedProcess:
    return LoggedProcess(
        ["record", str(home.folder / "rec.jsonl"), "--from", url, *options],
        home.folder / "record.log",
        state_folder=home.folder / "state",
    )


def jobs(*seqs: int) -> Sequence[Event]:
    return [make_job_event(seq, message=f"é {seq}") for seq in seqs]


@pytest.mark.parametrize("kind", ["redis", "journal", "mqtt"])
async def test_everything_from_now_on_is_recorded_exactly_as_it_is(kind: str, home: Home, tmp_path: Path) -> None:
    path = home.folder / "rec.jsonl"
    events = [make_host_event(11), *jobs(12, 13), make_job_event(14, loss=None, diverged=True, labels={})]
    server: RedisServer | Mosquitto | None = None
    if kind == "redis":
        server = RedisServer(tmp_path / "server")
    elif kind == "mqtt":
        server = Mosquitto(tmp_path)
    try:
        if server is not None:
            server.start()
        url = f"{kind}://127.0.0.1:{server.port}" if server else f"journal://{home.folder}/j.db"
        await put(url, *jobs(1, 2))
        with recorder(home, url) as process:
            process.wait_for_message("connected")
            await put(url, *events)
            wait_until_blocking(lambda: len(lines_of(path)) == 4, "all are recorded")
            assert process.stop() == 0
    finally:
        if server is not None:
            server.end()
    assert lines_of(path) == [to_json(event) + "\n" for event in events]


async def test_ctrl_c_ends_it_and_says_how_much_came(home: Home, redis: RedisServer) -> None:
    with home.started("record", "rec.jsonl", "--from", redis.url) as process:
        assert process.stderr
        assert b'"connected"' in process.stderr.readline()
        await put(redis.url, *jobs(1))
        wait_until_blocking(lambda: seqs_of(home.folder / "rec.jsonl") == [1], "it is recorded")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err) == (0, b"pulse-bridge: 1 events came and are in rec.jsonl\n")


async def test_what_comes_while_the_bus_restarts_is_recorded_once(home: Home, redis: RedisServer) -> None:
    path = home.folder / "rec.jsonl"
    with recorder(home, redis.url) as process:
        process.wait_for_message("connected")
        await put(redis.url, *jobs(1, 2))
        wait_until_blocking(lambda: seqs_of(path) == [1, 2], "two are recorded")
        redis.kill()
        process.wait_for_message("unavailable; trying again")
        redis.start()
        await put(redis.url, *jobs(3))
        process.wait_for_message("connected", 2)
        await put(redis.url, *jobs(4))
        wait_until_blocking(lambda: len(seqs_of(path)) >= 4, "all are recorded")
        assert process.stop() == 0
    assert seqs_of(path) == [1, 2, 3, 4]


async def test_a_kill_cuts_at_most_the_last_line_and_another_goes_on_without_a_gap(
    home: Home, redis: RedisServer
) -> None:
    path = home.folder / "rec.jsonl"
    process = recorder(home, redis.url)
    with process:
        process.wait_for_message("connected")
        await put(redis.url, *jobs(1, 2))
        wait_until_blocking(lambda: seqs_of(path) == [1, 2], "two are recorded")
    path.write_bytes(path.read_bytes()[:-20])  # as a kill within a write would leave it
    assert home.run("replay", "--from", str(path), "--json").out == to_json(jobs(1)[0]) + "\n"
    await put(redis.url, *jobs(3))
    with recorder(home, redis.url, "--since", "2026-01-01T00:00:00Z"):
        wait_until_blocking(lambda: len(lines_of(path)) == 4, "it went on")
    again = home.run("replay", "--from", str(path), "--json")
    assert again.out == "".join(to_json(event) + "\n" for event in jobs(1, 2, 3))


async def test_only_what_is_asked_for_is_recorded(home: Home, redis: RedisServer) -> None:
    path = home.folder / "rec.jsonl"
    with recorder(home, redis.url, "--job", "a*", "--kind", "stale") as process:
        process.wait_for_message("connected")
        events = [
            make_job_event(1, job="a1"),
            make_job_event(2, job="a1", kind="stale"),
            make_job_event(3, job="b", kind="stale"),
            make_job_event(4, job="a2", kind="stale"),
        ]
        await put(redis.url, *events)
        wait_until_blocking(lambda: seqs_of(path) == [2, 4], "two are recorded")


def test_a_file_that_is_being_recorded_is_refused_with_its_pid(home: Home) -> None:
    with home.started("record", "rec.jsonl", "--from", f"journal://{home.folder}/none.db") as process:
        assert process.stderr
        assert b"unavailable" in process.stderr.readline()
        second = home.run("record", "rec.jsonl")
    assert second.code == 2
    assert f"rec.jsonl is being recorded by pid {process.pid}: stop that, or name another file" in second.err


@pytest.mark.parametrize(
    ("code", "sentence", "arguments"),
    [
        (2, "rec.json: a recording's name ends in .jsonl", ["rec.json"]),
        (2, "/proc/none/rec.jsonl cannot be made", ["/proc/none/rec.jsonl"]),
        (2, "is read with 'pulse-bridge replay'", ["rec.jsonl", "--from", "a.jsonl"]),
        (2, "is a directory", ["folder.jsonl"]),
        (2, "'soon' is neither an instant", ["rec.jsonl", "--since", "soon"]),
        (2, "Missing argument", []),
    ],
)
def test_a_mistake_is_one_sentence(code: int, sentence: str, arguments: list[str], call: Caller) -> None:
    Path("folder.jsonl").mkdir()
    result = call("record", *arguments)
    assert (result.code, result.out) == (code, "")
    assert sentence in result.err
    assert result.err.count("\n") == 1


async def test_a_past_that_mqtt_does_not_have_is_said(home: Home, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        result = home.run("record", "rec.jsonl", "--from", f"mqtt://127.0.0.1:{broker.port}", "--since", "1h")
    assert result.code == 1
    assert "MQTT keeps what is so and no past events" in result.err


async def test_a_file_that_cannot_be_written_any_more_ends_it_with_one_sentence(
    home: Home, redis: RedisServer
) -> None:
    await put(redis.url, *jobs(*range(1, 100)))
    command = [
        sys.executable,
        "-m",
        "pulse_bridge",
        "record",
        "rec.jsonl",
        "--from",
        redis.url,
        "--since",
        "2026-01-01T00:00:00Z",
    ]
    script = f"ulimit -f 1; exec {shlex.join(command)}"
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, cwd=home.folder, env=home.environ, stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 1
    assert err.decode().splitlines()[-1] == "pulse-bridge: the recording cannot be written: File too large"


async def test_what_was_recorded_and_replayed_into_an_empty_redis_is_what_was_recorded(
    home: Home, redis: RedisServer, tmp_path: Path
) -> None:
    events: list[Event] = [
        make_host_event(1),
        make_job_event(2, labels={"profile": "é 🚀", "x": ""}, epoch=3),
        make_job_event(3, loss=None, diverged=True, eta_s=None, step=None, total_steps=None, learning_rate=None),
        make_job_event(4, id=EventId("other", 1), message="\x1b\u2028 NaN", loss=5e-324),
    ]
    with recorder(home, redis.url) as process:
        process.wait_for_message("connected")
        await put(redis.url, *events)
        wait_until_blocking(lambda: len(seqs_of(home.folder / "rec.jsonl")) == 4, "all are recorded")
        assert process.stop() == 0
    recorded = redis.stream()
    with RedisServer(tmp_path / "empty") as empty:
        result = home.run("replay", "--from", "rec.jsonl", "--to", f"{empty.url}?prefix=replay")
        assert result.code == 0, result.err
        replayed = empty.stream("replay:events")
    assert [fields.pop("replay_of") for fields in replayed] == [fields["id"] for fields in recorded]
    for fields in (*recorded, *replayed):
        del fields["id"]
    assert replayed == recorded
