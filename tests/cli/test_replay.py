"""What was, in the order of the bus, and nothing but what was asked for."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pulse_bridge.bus import Presence, open_bus
from pulse_bridge.event import Event, format_time, from_json, to_json
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event
from tests.support.command import Caller, Home
from tests.support.redis_server import RedisServer
from tests.support.terminal import Terminal

EVENTS: Sequence[Event] = [
    make_host_event(1),
    make_job_event(2, job="llm/a", run=100),
    make_job_event(3, job="llm/b", run=101, message="\x1b[2J\x9bé"),
    make_job_event(4, job="llm/a", run=200),
    make_job_event(5, job="vision", host="node2", run=50, kind="stale", state="stale"),
    make_job_event(6, job="llm/a", run=200, loss=None, diverged=True, eta_s=None),
]


@pytest.fixture
def recording(home: Home) -> Path:
    path = home.folder / "rec.jsonl"
    path.write_text("".join(to_json(event) + "\n" for event in EVENTS), encoding="utf-8")
    return path


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


def test_json_is_exactly_the_event(call: Caller, recording: Path) -> None:
    assert call("replay", "--from", str(recording), "--json").out == recording.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [1, 2, 3, 4, 5, 6]),
        (["--job", "llm/*"], [2, 3, 4, 6]),
        (["--job", "*/b", "--job", "vis*"], [3, 5]),
        (["--host", "node2"], [5]),
        (["--host", "node[12]", "--kind", "host", "--kind", "stale"], [1, 5]),
        (["--run", "200"], [4, 6]),
        (["--run", "100", "--run", "50"], [2, 5]),
        (["--run", "last"], [3, 4, 5, 6]),
        (["--run", "last", "--run", "100", "--job", "llm/a"], [2, 4, 6]),
        (["--run", "last", "--limit", "2"], [3, 4]),
        (["--limit", "2"], [1, 2]),
        (["--since", format_time(SAMPLE_MS + 3)], [2, 3, 4, 5, 6]),
        (["--until", format_time(SAMPLE_MS + 3)], [1, 2]),
        (["--since", "2026-09-21T16:13:20.126+02:00", "--until", "2026-09-21T14:13:20.128Z"], [2, 3, 4]),
        (["--since", "1d"], [3, 5, 6]),
        (["--since", "1d", "--job", "x"], []),
        (["--since", "1d", "--run", "last", "--job", "llm/*"], [3, 6]),
        (["--since", "1d", "--run", "100"], []),
        (["--since", "1d", "--kind", "stale", "--job", "llm/a"], [6]),
        (["--until", "1d"], [1, 2, 3, 4, 5, 6]),
    ],
)
def test_filters_leave_what_was_asked_for(
    arguments: list[str], expected: list[int], call: Caller, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: SAMPLE_MS / 1000 + 30 * 86_400)
    result = call("replay", "--from", str(recording), "--json", *arguments)
    assert [from_json(line).id.seq for line in result.out.splitlines()] == expected
    assert result.code == 0
    assert bool(result.err) == (not expected)


def test_lines_are_readable_and_harmless(call: Caller, recording: Path) -> None:
    lines = call("replay", "--from", str(recording)).out.splitlines()
    assert len(lines) == len(EVENTS)
    assert "\\x1b[2J\\x9bé" in lines[2]
    assert lines[3].split()[1:7] == ["node1/llm/a", "change", "running", "50.0", "%", "epoch"]
    assert "loss NaN" in lines[5]


async def fill(url: str) -> None:
    async with open_bus(url).publisher(Presence("node1", "owner1")) as publisher:
        assert not await publisher.publish(EVENTS)


async def test_redis_and_the_journal_give_the_same_as_a_recording(redis: RedisServer, home: Home) -> None:
    for url in (redis.url, f"journal://{home.folder}/relayed.db"):
        await fill(url)
        result = home.run("replay", "--from", url, "--json", "--job", "*")
        assert result.out == "".join(to_json(event) + "\n" for event in EVENTS[1:]), result.err


def test_without_from_the_default_journal_is_read(call: Caller, home: Home) -> None:
    home.fill_journal(EVENTS)
    assert len(call("replay").out.splitlines()) == len(EVENTS)


@pytest.mark.parametrize("where", ["environment", "file"])
def test_the_journal_that_run_was_told_of_is_the_default(
    where: str, call: Caller, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.fill_journal(EVENTS)
    own = home.folder / "a b#?.db"
    for file in home.journal.parent.glob("node1.db*"):
        file.rename(own.with_name(file.name.replace("node1.db", own.name)))
    if where == "environment":
        monkeypatch.setenv("PULSE_BRIDGE_JOURNAL", str(own))
    else:
        Path("pulse-bridge.toml").write_text(f'journal = "{own}"')
    assert len(call("replay").out.splitlines()) == len(EVENTS)


def test_json_on_a_terminal_is_the_same_value_and_harmless(home: Home, recording: Path) -> None:
    arguments = ["replay", "--from", str(recording), "--json", "--job", "llm/b"]
    with Terminal(arguments, columns=1000, environ=home.environ, cwd=home.folder) as terminal:
        assert terminal.wait() == 0
        assert "\x1b" not in terminal.raw
        assert "\x9b" not in terminal.raw
        assert from_json(terminal.raw) == EVENTS[2]


@pytest.mark.parametrize("flags", ["", "--json"])
def test_a_reader_that_has_seen_enough_ends_it_with_exit_code_0(flags: str, home: Home, recording: Path) -> None:
    recording.write_text(recording.read_text(encoding="utf-8") * 2000, encoding="utf-8")
    script = (
        f'{sys.executable} -m pulse_bridge replay --from rec.jsonl {flags} | head -1; echo "${{PIPESTATUS[0]}}"'
    )
    result = subprocess.run(
        ["bash", "-c", script], cwd=home.folder, env=home.environ, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[1:] == ["0"]
    assert not result.stderr


def test_a_locale_with_few_characters_gets_escapes_and_its_json_is_still_utf_8(
    home: Home, recording: Path
) -> None:
    few = {**home.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "pulse_bridge", "replay", "--from", str(recording)]
    assert b"\xe9pique \\u2713" in subprocess.run(command, env=few, capture_output=True, check=True).stdout
    found = subprocess.run([*command, "--json"], env=few, capture_output=True, check=True).stdout
    assert found == recording.read_bytes()
