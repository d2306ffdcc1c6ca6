"""Would this have woken me? Alerts and the page on the past, from the command line."""

import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from pulse_bridge.event import Event, to_json
from pulse_bridge.testing import make_host_event, make_job_event
from tests.support.command import Caller, Home
from tests.support.processes import WAIT_S, free_port, wait_until_blocking
from tests.support.sink import Sink, running_sink

T0 = 1_790_000_000_000


def story() -> Iterator[Event]:
    """Tell of a job that goes stale at 125 s and comes back, of a host silent for 140 s, and of a failure."""
    seq = iter(range(1, 1000))

    def job(second: float, **changes: object) -> Event:
        return make_job_event(next(seq), job="llm/a", observed_ms=T0 + int(second * 1000), **changes)

    for second in range(0, 261, 10):
        yield make_host_event(next(seq), observed_ms=T0 + second * 1000)
        if second == 0:
            yield job(0.5)
        if second == 120:
            yield job(125, kind="stale", state="stale", status="error")
        if second == 200:
            yield job(200.5, kind="recovered")
    for second in range(400, 501, 10):
        yield make_host_event(next(seq), observed_ms=T0 + second * 1000)
        if second == 450:
            yield job(450.5, state="error", status="error", message="out of memory")


@pytest.fixture
def recording(home: Home) -> Path:
    path = home.folder / "story.jsonl"
    path.write_text("".join(to_json(event) + "\n" for event in story()), encoding="utf-8")
    return path


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as sink:
        yield sink


WOKEN = [
    "ALERT llm/a on node1: no sign of life",
    "OK llm/a on node1: alive again",
    "ALERT node1: the sidecar is silent",
    "OK node1: heard again",
    "ALERT llm/a on node1: failed",
]


def told(out: str) -> Sequence[str]:
    return [line.partition("would tell webhook-1: ")[2] for line in out.splitlines() if "would tell" in line]


@pytest.mark.parametrize("speed", ["max", "5000"])
def test_alerts_say_what_would_have_woken_whom_and_tell_nobody(
    speed: str, call: Caller, recording: Path, sink: Sink
) -> None:
    result = call("replay", "--from", str(recording), "--with", f"alerts?webhook={sink.url()}", "--speed", speed)
    assert result.code == 0, result.err
    assert told(result.out) == WOKEN
    assert "2026-09-21T14:15:25.000Z  would tell webhook-1: ALERT llm/a on node1: no sign of life" in result.out
    assert "    Message: out of memory" in result.out
    assert not sink.requests
    assert not list(call.home.folder.glob("state/**/*")), "nothing is saved"


def test_the_same_past_gives_the_same_words_each_time(call: Caller, recording: Path, sink: Sink) -> None:
    arguments = ["replay", "--from", str(recording), "--with", f"alerts?webhook={sink.url()}", "--speed", "max"]
    first, second = (
        [line for line in call(*arguments).out.splitlines() if "Incident:" not in line] for _ in range(2)
    )
    assert first == second


def test_a_range_begins_with_what_stood_before_and_that_wakes_nobody(
    call: Caller, recording: Path, sink: Sink
) -> None:
    arguments = ["replay", "--from", str(recording), "--with", f"alerts?webhook={sink.url()}", "--speed", "max"]
    result = call(*arguments, "--since", "2026-09-21T14:15:30Z", "--until", "2026-09-21T14:17:30Z")
    assert told(result.out) == []


def test_the_end_of_a_range_is_waited_for(call: Caller, recording: Path, sink: Sink) -> None:
    arguments = ["replay", "--from", str(recording), "--with", f"alerts?webhook={sink.url()}", "--speed", "max"]
    ending = call(*arguments, "--until", "2026-09-21T14:17:50Z")
    assert WOKEN[2] not in told(ending.out)
    assert WOKEN[2] in told(call(*arguments, "--until", "2026-09-21T14:18:20Z").out)


def test_from_a_journal_no_host_is_taken_for_silent(home: Home, recording: Path, sink: Sink) -> None:
    home.fill_journal(list(story()))
    arguments = ["--with", f"alerts?webhook={sink.url()}", "--speed", "max"]
    result = home.run("replay", *arguments)
    assert recording.exists()
    assert told(result.out) == [WOKEN[0], WOKEN[1], WOKEN[4]]


def test_really_send_tells_people(home: Home, recording: Path, sink: Sink) -> None:
    result = home.run(
        *("replay", "--from", str(recording), "--speed", "max"),
        *("--with", f"alerts?webhook={sink.url()}", "--really-send"),
    )
    assert result.code == 0, result.err
    assert [body["title"] for body in sink.bodies()] == WOKEN
    assert not result.out


def test_the_page_stays_at_the_end_until_it_is_stopped(home: Home, recording: Path) -> None:
    port = free_port()
    with home.started(
        "replay", "--from", str(recording), "--with", f"web?port={port}", "--speed", "max"
    ) as process:

        def is_failed() -> bool:
            try:
                jobs = httpx.get(f"http://127.0.0.1:{port}/api/jobs").json()["jobs"]
            except httpx.TransportError:
                return False
            return [job["message"] for job in jobs] == ["out of memory"]

        wait_until_blocking(is_failed, "the page shows the end")
        assert process.stderr
        assert any(b"all of it is given; web stays until Ctrl-C" in line for line in process.stderr)
        assert is_failed()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_a_port_in_use_is_one_sentence(call: Caller, recording: Path, sink: Sink) -> None:
    result = call("replay", "--from", str(recording), "--with", f"web?port={sink.port}")
    assert result.code == 2
    assert str(sink.port) in result.err


def test_subscribers_and_a_bus_at_once(home: Home, recording: Path, sink: Sink) -> None:
    result = home.run(
        *("replay", "--from", str(recording), "--speed", "max", "--to", "copy.jsonl"),
        *("--with", f"alerts?webhook={sink.url()}"),
    )
    assert told(result.out) == WOKEN
    copied = [json.loads(line) for line in (home.folder / "copy.jsonl").read_text().splitlines()]
    assert len(copied) == len(list(story()))
