"""What a person sees of a sidecar that runs beside it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from pulse_bridge.event import from_json, to_json
from pulse_bridge.journal import Journal, open_journal
from pulse_bridge.testing import make_host_event, make_job_event
from tests.support.command import Home
from tests.support.processes import WAIT_S, wait_until_blocking
from tests.support.terminal import Terminal, plain


@pytest.fixture
def journal(home: Home) -> Iterator[Journal]:
    with open_journal(home.journal) as journal:
        yield journal


def line(stream: IO[bytes] | None) -> str:
    assert stream is not None
    return stream.readline().decode()


def now_ms() -> int:
    return int(time.time() * 1000)


def test_lines_show_what_is_so_now_and_then_what_is_news(home: Home, journal: Journal) -> None:
    journal.append([make_job_event(job="a", loss=0.5), make_job_event(job="a", loss=0.342)])
    with home.started("watch") as process:
        assert "node1/a  change     running   50.0 %  epoch 1.5/3  loss 0.3420" in line(process.stdout)
        journal.append([make_job_event(job="a", kind="heartbeat"), make_host_event()])
        journal.append([make_job_event(job="b", state="done", status="done", message="a\nb")])
        shown = line(process.stdout)
        assert "node1/b  change     done" in shown
        assert shown.endswith("a\\nb\n")


def test_heartbeats_and_signs_of_life_are_shown_when_asked_for(home: Home, journal: Journal) -> None:
    with home.started("watch", "--heartbeats") as process:
        journal.append([make_job_event(job="a", kind="heartbeat")])
        assert "heartbeat" in line(process.stdout)
        journal.append([make_host_event()])
        assert "sidecar 0.1.0" in line(process.stdout)


def test_json_is_exactly_each_event(home: Home, journal: Journal) -> None:
    event = make_job_event(job="a", message="\x1b[2J ✓")
    journal.append([event])
    with home.started("watch", "--json") as process:
        shown = line(process.stdout)
        assert shown == to_json(event._replace(id=from_json(shown).id)) + "\n"
        journal.append([make_host_event()])
        assert json.loads(line(process.stdout))["kind"] == "host"


def test_a_journal_that_is_not_there_yet_is_waited_for_and_then_shown(home: Home) -> None:
    with home.started("watch") as process:
        sentence = line(process.stderr)
        assert sentence.startswith("pulse-bridge: waiting: there is no journal")
        assert str(home.journal) in sentence
        home.fill_journal([make_job_event(job="a")])
        assert "node1/a" in line(process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=WAIT_S) == (b"", b"")
        assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_exit_code_0(number: signal.Signals, home: Home, journal: Journal) -> None:
    journal.append([make_job_event()])
    with home.started("watch") as process:
        line(process.stdout)
        process.send_signal(number)
        assert process.communicate(timeout=WAIT_S) == (b"", b"")
        assert process.returncode == 0


def test_a_closed_pipe_ends_it_though_nothing_more_is_written(home: Home, journal: Journal) -> None:
    journal.append([make_job_event()])
    with home.started("watch") as process:
        line(process.stdout)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(WAIT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_the_head_of_many_jobs_ends_it_with_exit_code_0(home: Home, journal: Journal) -> None:
    journal.append([make_job_event(job=f"job{number}") for number in range(3000)])
    script = f'{sys.executable} -m pulse_bridge watch | head -1; echo "${{PIPESTATUS[0]}}"'
    result = subprocess.run(
        ["bash", "-c", script], cwd=home.folder, env=home.environ, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[1:] == ["0"]
    assert not result.stderr


def test_a_terminal_shows_a_table_that_follows(home: Home, journal: Journal) -> None:
    fresh = {"timestamp": now_ms() // 1000, "observed_ms": now_ms()}
    journal.append([make_job_event(job="llm/a", loss=0.342, eta_s=100.0, message="x\x1b[2Jy", **fresh)])
    with Terminal(["watch"], columns=160, environ=home.environ, cwd=home.folder) as terminal:
        terminal.wait_for("llm/a")
        for text in [
            "▶ running",
            "50.0 %",
            "1.5/3",
            "0.3420",
            "1 min ",
            "s ago",
            "x\\x1b[2Jy",
            "profile=TRIZ Engin",
        ]:
            assert text in terminal.screen
        assert "node1: the sidecar spoke" in terminal.screen
        # Counts without any event.
        terminal.wait_for("2 s ago")
        journal.append([make_job_event(job="llm/a", state="stale", status="error", kind="stale", **fresh)])
        terminal.wait_for("! stale")
        journal.append([make_job_event(job="b", state="done", status="done", progress=100, **fresh)])
        terminal.wait_for("✓ done")
        journal.append([make_host_event(stopping=True, observed_ms=now_ms())])
        terminal.wait_for("the sidecar was stopped")
        assert "states are last known" in terminal.screen
        terminal.resize(50)
        terminal.wait_for("llm/a")
        wait_until_blocking(lambda: max(map(len, terminal.screen.splitlines())) <= 50, "it fits the new width")
        os.kill(terminal.process.pid, signal.SIGINT)
        assert terminal.wait() == 0
        left = plain(terminal.raw.rpartition("\x1b[?1049l")[2])
        assert "llm/a" in left, "the last table stays on the ordinary screen"
        assert "Traceback" not in terminal.raw
        assert terminal.raw.count("\x1b[?25h") >= 1, "the cursor is back"


def test_a_terminal_says_that_it_waits_for_a_journal(home: Home) -> None:
    with Terminal(["watch"], environ=home.environ, cwd=home.folder) as terminal:
        terminal.wait_for("waiting: there is no journal")
        home.fill_journal([make_job_event(job="a")])
        terminal.wait_for("running")
        os.kill(terminal.process.pid, signal.SIGINT)
        assert terminal.wait() == 0


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_a_terminal_that_cannot_be_painted_on_gets_lines(term: str, home: Home, journal: Journal) -> None:
    journal.append([make_job_event(job="a")])
    with Terminal(["watch"], environ=home.environ, term=term, cwd=home.folder) as terminal:
        terminal.wait_for("node1/a  change")
        assert "\x1b" not in terminal.raw


def test_it_follows_a_real_sidecar_from_the_file_on(home: Home) -> None:
    status = home.folder / "runs" / "llm" / "training_status.json"
    status.parent.mkdir(parents=True)
    with home.started("run", "runs"), home.started("watch") as watch:
        fields = ["--epoch", "1.5", "--total-epochs", "3", "--loss", "0.342", "--message", "test epoch 1.5/3"]
        assert home.run("write", "running", "--path", str(status), *fields).code == 0
        shown = line(watch.stdout)
        assert "node1/llm  change     running   50.0 %  epoch 1.5/3  loss 0.3420" in shown
        assert "test epoch 1.5/3" in shown
    assert Path(home.journal).exists()
