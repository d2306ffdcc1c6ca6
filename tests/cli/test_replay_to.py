"""A replay that is published, stepped through, looped, followed and stopped; with real servers and signals."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pulse_bridge.bus import Query, open_bus
from pulse_bridge.event import Event, EventId, format_time, from_json, parse_time, to_fields, to_json
from pulse_bridge.journal import open_journal
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event
from tests.support.command import Caller, Home
from tests.support.mosquitto import Mosquitto
from tests.support.processes import WAIT_S, wait_until_blocking
from tests.support.redis_server import RedisServer
from tests.support.terminal import Terminal, plain

CTRL_C = "\x03"
ABSENT = {"loss": None, "eta_s": None, "step": None, "total_steps": None, "learning_rate": None}
EVENTS: Sequence[Event] = [
    make_host_event(1),
    make_job_event(2, job="llm/a", epoch=2, labels={"profile": "é ✓", "a b": ""}),
    make_job_event(3, job="1", host="node2", message="\x1b NaN \u2028 🚀", diverged=True, **ABSENT),
    make_job_event(4, job="llm/a", kind="stale", state="stale", status="error", labels={}),
    make_host_event(5, host="node2", jobs={"idle": 0, "running": 0, "stale": 0, "done": 0, "error": 0, "gone": 0}),
    make_job_event(6, job="llm/a", id=EventId("other", 1), epoch=1e-300, loss=5e-324, learning_rate=1e-07),
]


def write(path: Path, events: Sequence[Event]) -> Path:
    path.write_text("".join(to_json(event) + "\n" for event in events), encoding="utf-8")
    return path


@pytest.fixture
def recording(home: Home) -> Path:
    return write(home.folder / "rec.jsonl", EVENTS)


@pytest.fixture
def slow(home: Home) -> Path:
    """Give a recording whose second event comes a minute behind the first."""
    first = make_job_event(1, observed_ms=SAMPLE_MS)
    return write(home.folder / "slow.jsonl", [first, make_job_event(2, observed_ms=SAMPLE_MS + 60_000)])


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


def press(terminal: Terminal, keys: str) -> None:
    if keys == CTRL_C:
        terminal.process.send_signal(signal.SIGINT)
    else:
        os.write(terminal._master, keys.encode())


def without_origin(event: Event) -> dict[str, object]:
    return {name: value for name, value in to_fields(event).items() if name not in {"id", "replay_of"}}


async def history(url: str) -> list[Event]:
    return [event async for event in open_bus(url).history(Query())]


# Into a bus


@pytest.mark.parametrize("target", ["redis", "journal", "jsonl"])
async def test_what_is_replayed_is_field_by_field_what_was_recorded(
    target: str, redis: RedisServer, home: Home, recording: Path
) -> None:
    urls = {
        "redis": f"{redis.url}?prefix=fields",
        "journal": f"journal://{home.folder}/target.db",
        "jsonl": str(home.folder / "target.jsonl"),
    }
    result = home.run("replay", "--from", str(recording), "--to", urls[target])
    assert result.code == 0, result.err
    found = await history(urls[target])
    expected = list(EVENTS)
    if target == "journal":  # it keeps a host's newest event
        assert len(found) == len(EVENTS)
    assert [without_origin(event) for event in found] == [without_origin(event) for event in expected]
    assert [event.replay_of for event in found] == [event.id for event in EVENTS]
    assert len({event.id.producer for event in found}) == 1
    assert [event.id.seq for event in found] == list(range(1, len(EVENTS) + 1))
    assert not {event.id.producer for event in found} & {event.id.producer for event in EVENTS}


def test_a_second_replay_is_published_under_a_producer_of_its_own(
    redis: RedisServer, home: Home, recording: Path
) -> None:
    for _ in range(2):
        home.run("replay", "--from", str(recording), "--to", f"{redis.url}?prefix=twice")
    producers = [fields["id"].rpartition("-")[0] for fields in redis.stream("twice:events")]
    assert len(producers) == 2 * len(EVENTS)
    assert len(set(producers)) == 2


def test_a_replay_retains_nothing(redis: RedisServer, home: Home, recording: Path) -> None:
    home.run("replay", "--from", str(recording), "--to", f"{redis.url}?prefix=bare")
    with redis.client() as client:
        keys = {key.split(":")[1] for key in client.keys("bare:*")}
    assert keys == {"events", "job", "seq", "meta"}


def test_on_mqtt_a_replay_retains_nothing_and_is_announced_by_nobody(
    tmp_path: Path, home: Home, recording: Path
) -> None:
    with Mosquitto(tmp_path) as broker:
        command = ["mosquitto_sub", "-p", str(broker.port), "-t", "r/#", "-F", "%r %t", "-C", str(len(EVENTS))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
            wait_until_blocking(lambda: "SUBSCRIBE" in broker.log.read_text(), "the reader is there")
            result = home.run(
                "replay", "--from", str(recording), "--to", f"mqtt://127.0.0.1:{broker.port}?prefix=r"
            )
            assert result.code == 0, result.err
            out, _ = reader.communicate(timeout=WAIT_S)
        assert sorted(line.split("/")[-1] for line in out.splitlines()) == ["host"] * 2 + ["state"] * 4
        assert all(line.startswith("0 ") for line in out.splitlines())
        late = subprocess.run(
            [*command[:-2], "-W", "1"], capture_output=True, text=True, check=False, timeout=WAIT_S
        )
        assert not late.stdout


def test_dead_letters_are_replayed_to_where_they_belong(redis: RedisServer, home: Home) -> None:
    letters = home.folder / "node1.dead.jsonl"
    fields = {**to_fields(EVENTS[1]), "rejected_by": "mqtt", "reason": "too large"}
    letters.write_text(json.dumps(fields) + "\n")
    home.run("replay", "--from", str(letters), "--to", f"{redis.url}?prefix=dead")
    (found,) = redis.stream("dead:events")
    assert found["replay_of"] == str(EVENTS[1].id)
    assert "rejected_by" not in found


@pytest.mark.parametrize(
    ("source", "to", "sentence"),
    [
        ("rec.jsonl", "redis://h", "redis://h: the prefix 'pulse' belongs to what is live"),
        ("rec.jsonl", "redis://h", "by '?prefix=replay', say"),
        ("rec.jsonl", "redis://u:secret@h?maxlen=9", "by '&prefix=replay', say"),
        ("rec.jsonl", "mqtts://h?prefix=pulse", "the prefix 'pulse' belongs to what is live"),
        ("rec.jsonl", "redis+sentinel://h/m", "the prefix 'pulse' belongs to what is live"),
        ("redis://h?prefix=x", "redis://localhost?prefix=x", "belongs to what is to be replayed"),
        ("redis://h?prefix=x", "mqtt://h?prefix=x", "belongs to what is to be replayed"),
        ("rec.jsonl", "./rec.jsonl", "is what is to be replayed: name another file"),
        ("journal:///j.db", "journal:////j.db", "is what is to be replayed: name another file"),
    ],
)
def test_a_place_where_it_would_be_taken_for_live_is_refused(
    source: str, to: str, sentence: str, call: Caller, recording: Path
) -> None:
    assert recording.exists()
    result = call("replay", "--from", source, "--to", to)
    assert result.code == 2
    assert sentence in result.err
    assert "secret" not in result.err
    assert result.err.count("\n") == 1


# Mistakes


@pytest.mark.parametrize(
    ("sentence", "arguments"),
    [
        ("'fast' is no speed", ["--speed", "fast"]),
        ("'0' is no speed", ["--speed", "0"]),
        ("'nan' is no speed", ["--speed", "nan"]),
        ("--now wants a speed", ["--now", "--speed", "max"]),
        ("--max-gap shortens waits", ["--max-gap", "5"]),
        ("--step waits for Enter", ["--step", "--loop"]),
        ("--follow has no end", ["--follow", "--limit", "3"]),
        ("--follow has no end", ["--follow", "--now"]),
        ("'pulse-bridge subscribe'", ["--follow", "--with", "web"]),
        ("--really-send goes with --with", ["--really-send"]),
        ("--json prints", ["--json", "--to", "x.jsonl"]),
        ("there is no subscriber 'nobody'", ["--with", "nobody"]),
    ],
)
def test_what_cannot_be_meant_is_refused(
    sentence: str, arguments: list[str], call: Caller, recording: Path
) -> None:
    result = call("replay", "--from", str(recording), *arguments)
    assert (result.code, result.out) == (2, "")
    assert sentence in result.err


def test_mqtt_has_no_past_and_the_sentence_names_record(call: Caller) -> None:
    result = call("replay", "--from", "mqtt://127.0.0.1:1")
    assert result.code == 1
    assert "'record'" in result.err


# Plans, times and steps


def test_a_dry_run_says_how_much_and_how_long_and_does_nothing(call: Caller, slow: Path) -> None:
    target = slow.with_name("target.jsonl")
    result = call("replay", "--from", str(slow), "--to", str(target), "--speed", "2", "--dry-run")
    assert result.code == 0
    assert not target.exists()
    for line in (
        "events  2 (2 change)",
        "jobs    1 on 1 hosts",
        "to      2026-09-21T14:14:20.123Z (1 min 00 s later)",
        f"into    {target}",
        "takes   30 s",
    ):
        assert line in result.out.splitlines()


def test_a_long_gap_need_not_be_waited_for(call: Caller, slow: Path) -> None:
    arguments = ["replay", "--from", str(slow), "--json", "--speed", "1", "--max-gap", "0.1"]
    result = call(*arguments)
    assert [from_json(line).id.seq for line in result.out.splitlines()] == [1, 2]
    assert "takes   1 min 00 s at most" in call(*arguments, "--dry-run").out.splitlines()


def test_moved_times_look_live_and_keep_the_originals(call: Caller, recording: Path) -> None:
    result = call("replay", "--from", str(recording), "--now", "--json")
    found = [json.loads(line) for line in result.out.split("\n")[:-1]]
    assert [fields["replay_of"] for fields in found] == [str(event.id) for event in EVENTS]
    assert [fields["replay_observed_at"] for fields in found] == [
        format_time(event.observed_ms) for event in EVENTS
    ]
    moved_ms = [
        parse_time(fields["observed_at"]) - event.observed_ms for fields, event in zip(found, EVENTS, strict=True)
    ]
    assert len(set(moved_ms)) == 1
    shift_s = moved_ms[0] / 1000
    assert all(0 <= 1_790_000_000 + shift_s - fields["timestamp"] < 1 for fields in found if "job" in fields)
    assert len({fields["run"] for fields in found if "job" in fields}) == 1


def test_a_step_shows_the_next_at_enter_and_what_is_other(home: Home) -> None:
    events = [
        make_job_event(1, job="a", message="one"),
        make_job_event(2, job="b", message="\x1b[2J"),
        make_job_event(3, job="a", message="two", loss=None, diverged=True),
    ]
    path = write(home.folder / "steps.jsonl", events)
    arguments = ["replay", "--from", str(path), "--step"]
    with Terminal(arguments, environ=home.environ, cwd=home.folder) as terminal:
        terminal.wait_for("one")
        assert "node1/b" not in terminal.raw
        press(terminal, "\n")
        terminal.wait_for("node1/b")
        press(terminal, "\n")
        terminal.wait_for("loss      0.125 -> none")
        terminal.wait_for("diverged  False -> True")
        terminal.wait_for("message   one -> two")
        assert terminal.wait() == 0
    assert "\x1b[2J" not in terminal.raw


@pytest.mark.parametrize("end", ["q\n", CTRL_C])
def test_a_step_by_step_ends_with_q_and_with_ctrl_c(end: str, home: Home, recording: Path) -> None:
    arguments = ["replay", "--from", str(recording), "--step", "--job", "*"]
    with Terminal(arguments, environ=home.environ, cwd=home.folder) as terminal:
        terminal.wait_for("llm/a")
        press(terminal, end)
        assert terminal.wait() == 0
        assert ("go on with --since" in plain(terminal.raw)) == (end == CTRL_C)


def test_a_bar_shows_how_far_it_is(home: Home, slow: Path) -> None:
    arguments = ["replay", "--from", str(slow), "--to", "target.jsonl"]
    with Terminal(arguments, environ=home.environ, cwd=home.folder) as terminal:
        terminal.wait_for("1 of 2 events, 1x")
        press(terminal, CTRL_C)
        assert terminal.wait() == 0
        assert "stopped at 2026-09-21T14:14:20.123Z after 1 events" in plain(terminal.raw)


def test_where_nobody_looks_no_bar_is_painted(call: Caller, recording: Path) -> None:
    result = call("replay", "--from", str(recording), "--to", "target.jsonl", "--speed", "max")
    assert "%" not in result.err
    assert "\x1b" not in result.err


# Stops, loops and what follows


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_obeyed_at_once_and_says_how_to_go_on_without_a_gap(
    number: signal.Signals, home: Home, slow: Path
) -> None:
    with home.started("replay", "--from", str(slow), "--json", "--speed", "1") as process:
        assert process.stdout
        assert from_json(process.stdout.readline()).id.seq == 1
        process.send_signal(number)
        out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out) == (0, b"")
    since = re.search(r"go on with (--since) (\S+)\n", err.decode())
    assert since
    rest = home.run("replay", "--from", str(slow), "--json", *since.groups())
    assert [from_json(line).id.seq for line in rest.out.splitlines()] == [1, 2], "the state before, then the rest"


def test_a_stop_while_the_destination_is_away_is_obeyed(home: Home, slow: Path) -> None:
    with home.started("replay", "--from", str(slow), "--to", "redis://127.0.0.1:1?prefix=r") as process:
        assert process.stderr
        assert b"unavailable" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert f"go on with --since {format_time(SAMPLE_MS)}" in err.decode()


def test_a_loop_begins_anew_until_it_is_stopped(home: Home, recording: Path) -> None:
    with home.started("replay", "--from", str(recording), "--json", "--loop") as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(3 * len(EVENTS))]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert [from_json(line) for line in lines] == [*EVENTS] * 3


def test_a_destination_that_is_restarted_gets_everything(tmp_path: Path, home: Home) -> None:
    events = [make_job_event(seq, observed_ms=SAMPLE_MS + seq * 20) for seq in range(1, 101)]
    path = write(home.folder / "many.jsonl", events)
    with RedisServer(tmp_path / "own", appendonly=True, config=[("appendfsync", "always")]) as server:
        with home.started("replay", "--from", str(path), "--to", f"{server.url}?prefix=r") as process:
            wait_until_blocking(lambda: len(server.stream("r:events")) >= 10, "some are there")
            server.kill()
            server.start()
            process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
        assert [fields["replay_of"] for fields in server.stream("r:events")] == [str(event.id) for event in events]


@pytest.mark.parametrize("kind", ["journal", "redis"])
async def test_following_goes_on_with_what_comes_with_no_gap_and_nothing_twice(
    kind: str, redis: RedisServer, home: Home
) -> None:
    url = f"{redis.url}?prefix=follow" if kind == "redis" else f"journal://{home.journal}"
    events = [make_job_event(seq, id=EventId("p", seq)) for seq in range(1, 401)]
    for_journal = [make_job_event(1, message=str(number)) for number in range(400)]

    async def put(start: int, end: int) -> None:
        if kind == "journal":
            home.fill_journal(for_journal[start:end])
        else:
            async with open_bus(url).publisher(None) as publisher:
                await publisher.publish(events[start:end])

    await put(0, 200)
    with home.started("replay", "--from", url, "--json", "--follow") as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(150)]
        await put(200, 400)
        lines += [process.stdout.readline() for _ in range(250)]
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out) == (0, b"")
    found = [from_json(line) for line in lines]
    assert [event.id.seq for event in found] == list(range(1, 401))


def test_a_sidecar_s_journal_is_read_while_it_is_written(home: Home) -> None:
    with open_journal(home.journal) as journal:
        journal.append(EVENTS)
        result = home.run("replay", "--job", "*")
    assert len(result.out.splitlines()) == 4
