"""The table on a real terminal: what a person sees at any size, what keys do, and that it is left clean."""

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pulse_bridge.journal import Journal, open_journal
from pulse_bridge.testing import make_host_event, make_job_event
from tests.support.command import Home
from tests.support.processes import WAIT_S, wait_until_blocking
from tests.support.redis_server import RedisServer
from tests.support.sidecar_process import write_pulse
from tests.support.terminal import Terminal

CLEAN = ["\x1b[?1049l", "\x1b[?25h", "\x1b[?7h"]


@pytest.fixture
def journal(home: Home) -> Iterator[Journal]:
    with open_journal(home.journal) as journal:
        now_ms = int(time.time() * 1000)
        fresh = {"timestamp": now_ms // 1000, "observed_ms": now_ms}
        journal.append(
            [
                make_job_event(job="llm/alpha", loss=0.5, **fresh),
                make_job_event(
                    job="llm/beta", loss=0.25, state="error", status="error", message="no memory", **fresh
                ),
                make_job_event(job="vision", loss=0.75, host="node2", **fresh),
            ]
        )
        yield journal


def watch(home: Home, *, columns: int = 120, rows: int = 30, keyboard: bool = True) -> Terminal:
    return Terminal(
        ["watch"], columns=columns, rows=rows, keyboard=keyboard, environ=home.environ, cwd=home.folder
    )


def job_rows(terminal: Terminal) -> list[str]:
    return [line[2:].split()[0] for line in terminal.lines if any(char in line for char in "▶✗")]


def assert_left_clean(terminal: Terminal) -> None:
    for mode in CLEAN:
        assert mode in terminal.raw
    assert terminal.raw.rindex("\x1b[?1049l") > terminal.raw.rindex("\x1b[?1049h")
    assert "Traceback" not in terminal.raw


@pytest.mark.usefixtures("journal")
def test_keys_sort_filter_and_select(home: Home) -> None:
    with watch(home) as terminal:
        terminal.wait_for("vision")
        assert job_rows(terminal) == ["llm/alpha", "llm/beta", "vision"]
        terminal.press("gL")
        wait_until_blocking(
            lambda: job_rows(terminal) == ["node1/llm/beta", "node1/llm/alpha", "node2/vision"], "sorted by loss"
        )
        terminal.press("r")
        wait_until_blocking(lambda: job_rows(terminal)[0] == "node2/vision", "the other way round")
        terminal.press("\x1b[B")
        wait_until_blocking(
            lambda: any(line.startswith("> node1/llm/alpha") for line in terminal.lines), "selected"
        )
        assert terminal.style_of("> node1/llm/alpha").reverse
        terminal.press("/beta")
        wait_until_blocking(lambda: job_rows(terminal) == ["node1/llm/beta"], "filtered while it is written")
        assert "/beta_  1 of 3 jobs" in terminal.screen
        terminal.press("\x1b")
        wait_until_blocking(lambda: len(job_rows(terminal)) == 3, "Esc clears it")
        terminal.press("?")
        terminal.wait_for("sort by loss")
        terminal.press("\x1b")
        wait_until_blocking(lambda: len(job_rows(terminal)) == 3, "and leads back")
        terminal.press("q")
        assert terminal.wait() == 0
        assert_left_clean(terminal)


def test_enter_shows_a_job_with_what_is_wrong_its_curve_and_what_happened(home: Home, journal: Journal) -> None:
    now_ms = int(time.time() * 1000)
    journal.append(
        [
            make_job_event(job="llm/alpha", epoch=n / 10, loss=9 - n / 10, observed_ms=now_ms + n)
            for n in range(1, 31)
        ]
    )
    with watch(home) as terminal:
        terminal.wait_for("llm/beta")
        terminal.press("\r")
        terminal.wait_for("as far as the bus keeps it")
        assert terminal.lines[0].startswith("node1/llm/alpha  ▶ running")
        assert "lowest 0.5000" in terminal.screen
        assert any(0x2800 < ord(char) < 0x2900 for char in terminal.screen)
        terminal.press("l")
        terminal.wait_for("loss, logarithmic")
        terminal.press("n")
        terminal.wait_for("It failed: no memory")
        terminal.press("\x1b")
        terminal.wait_for("3 jobs on 2 hosts")
        terminal.press("q")
        assert terminal.wait() == 0


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize(("columns", "rows"), [(40, 10), (80, 24), (200, 60), (20, 4)])
def test_a_terminal_of_any_size_shows_the_jobs_and_their_states(columns: int, rows: int, home: Home) -> None:
    with watch(home, columns=columns, rows=rows) as terminal:
        terminal.wait_for("llm")
        assert any("▶ running" in line for line in terminal.lines)
        terminal.press("q")
        assert terminal.wait() == 0
        assert_left_clean(terminal)


@pytest.mark.usefixtures("journal")
def test_a_new_size_is_drawn_at_once(home: Home) -> None:
    with watch(home, columns=160) as terminal:
        terminal.wait_for("profile=TRIZ")
        terminal.resize(40, 12)
        wait_until_blocking(
            lambda: "labels" not in terminal.screen and "llm/alpha" in terminal.screen, "the columns that fit"
        )
        assert "1 of 3" in terminal.lines[-1]
        terminal.resize(160, 40)
        terminal.wait_for("profile=TRIZ")
        assert "q quit" in terminal.lines[39]


def test_a_thousand_jobs_are_scrolled_through(home: Home) -> None:
    with open_journal(home.journal) as journal:
        journal.append([make_job_event(job=f"job{number:04}") for number in range(1000)])
    with watch(home, rows=24) as terminal:
        terminal.wait_for("1 of 1000")
        terminal.press("\x1b[F")
        terminal.wait_for("> job0999")
        terminal.press("\x1b[5~")
        terminal.wait_for("> job0979")
        terminal.press("/job05")
        terminal.wait_for("100 of 1000 jobs")
        terminal.press("\r")
        terminal.press("\x1b[H")
        terminal.wait_for("> job0500")


def test_nothing_is_sent_while_nothing_changes(home: Home) -> None:
    with open_journal(home.journal) as journal:
        # So old that its ages are told in days, and nothing counts on.
        old = make_job_event(job="first", state="done", status="done", timestamp=1, observed_ms=1000)
        journal.append([old])
        with watch(home) as terminal:
            terminal.wait_for("✓ done")
            before = len(terminal.raw)
            journal.append(
                [make_job_event(job="later", state="done", status="done", timestamp=1, observed_ms=1000)]
            )
            terminal.wait_for("later")
            sent = terminal.raw[before:]
            assert "first" not in sent, "what did not change is not drawn again"
            assert sent.count("\x1b[?2026h") == 1


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_the_terminal_clean(number: signal.Signals, home: Home) -> None:
    with watch(home) as terminal:
        before = terminal.modes
        terminal.wait_for("vision")
        assert terminal.modes != before
        os.kill(terminal.process.pid, number)
        assert terminal.wait() == 0
        assert_left_clean(terminal)
        assert "llm/alpha" in terminal.raw.rpartition("\x1b[?1049l")[2]


@pytest.mark.usefixtures("journal")
def test_ctrl_c_leaves_the_terminal_clean_and_its_modes_as_they_were(home: Home) -> None:
    with shell(home) as terminal:
        before = terminal.modes
        start(terminal)
        assert terminal.modes != before
        terminal.press("\x03")
        terminal.wait_for_raw("\x1b[?1049l")
        terminal.press("echo left $?\r")
        terminal.wait_for_raw("left 0")
        assert terminal.modes == before


class Shell(Terminal):
    """A shell with job control, as a person has it."""

    def wait_for_raw(self, text: str, times: int = 1) -> None:
        wait_until_blocking(lambda: self.raw.count(text) >= times, f"{text!r} was written {times} times")


def shell(home: Home) -> Shell:
    environ = {**home.environ, "PS1": "ready> ", "PYTHONPATH": str(Path(__file__).parents[2])}
    # Without the shell's own line editing, which sets modes of its own at each prompt.
    return Shell([], command=["bash", "--norc", "--noediting", "-i"], environ=environ, cwd=home.folder)


def start(terminal: Shell) -> None:
    terminal.wait_for_raw("ready> ")
    terminal.press(f"{sys.executable} -m pulse_bridge watch\r")
    wait_until_blocking(lambda: any("vision" in line for line in terminal.lines), "the table is there")


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(home: Home, journal: Journal) -> None:
    with shell(home) as terminal:
        before = terminal.modes
        start(terminal)
        own = terminal.modes
        terminal.press("\x1a")
        terminal.wait_for_raw("Stopped")
        assert terminal.modes == before
        assert terminal.raw.rindex("\x1b[?1049l") > terminal.raw.rindex("\x1b[?1049h")
        terminal.press("echo in between\r")
        terminal.wait_for_raw("in between", 2)
        journal.append([make_job_event(job="meanwhile", state="done", status="done")])
        terminal.press("fg\r")
        wait_until_blocking(lambda: any("meanwhile" in line for line in terminal.lines), "it is there again")
        assert terminal.modes == own
        assert "in between" not in terminal.screen
        terminal.press("?")
        wait_until_blocking(lambda: any("sort by loss" in line for line in terminal.lines), "keys are read again")
        # And once more, because a handler that is put back wrongly works only once.
        terminal.press("\x1a")
        terminal.wait_for_raw("Stopped", 2)
        terminal.press("fg\r")
        terminal.wait_for_raw("\x1b[?1049h", 3)
        terminal.press("qq")
        terminal.wait_for_raw("\x1b[?1049l", 3)
        terminal.press("echo left $?\r")
        terminal.wait_for_raw("left 0")
        assert terminal.modes == before


def test_without_a_keyboard_there_are_no_keys_and_it_follows_all_the_same(home: Home, journal: Journal) -> None:
    with watch(home, keyboard=False) as terminal:
        before = terminal.modes
        terminal.wait_for("vision")
        assert terminal.modes == before
        assert "Ctrl-C ends it" in terminal.lines[-1]
        assert not any(line.startswith(">") for line in terminal.lines)
        journal.append([make_job_event(job="another", state="done", status="done")])
        terminal.wait_for("another")
        os.kill(terminal.process.pid, signal.SIGINT)
        assert terminal.wait() == 0
        assert_left_clean(terminal)


@pytest.mark.usefixtures("journal")
def test_no_color_is_no_colour_and_the_states_are_still_told_apart(home: Home) -> None:
    environ = {**home.environ, "NO_COLOR": "1"}
    with Terminal(["watch"], environ=environ, cwd=home.folder) as terminal:
        terminal.wait_for("✗ error")
        assert terminal.style_of("✗ error").fg == "default"
    with watch(home) as terminal:
        terminal.wait_for("✗ error")
        assert terminal.style_of("✗ error").fg == "red"


@pytest.mark.usefixtures("journal")
def test_a_hang_up_ends_it_and_leaves_the_terminal_clean_where_there_still_is_one(home: Home) -> None:
    with watch(home) as terminal:
        terminal.wait_for("vision")
        os.kill(terminal.process.pid, signal.SIGHUP)
        assert terminal.wait() == 0
        assert_left_clean(terminal)


class Closable(Terminal):
    """A terminal whose window can be closed."""

    _is_open = True

    def _read(self) -> None:
        while self._is_open:
            if select.select([self._master], [], [], 0.05)[0]:
                self._received += os.read(self._master, 65_536)

    def close(self) -> None:
        """Close the window."""
        self._is_open = False
        self._reader.join(WAIT_S)
        with Path(os.devnull).open("rb") as null:
            os.dup2(null.fileno(), self._master)


@pytest.mark.usefixtures("journal")
def test_a_terminal_that_is_closed_ends_it(home: Home) -> None:
    with Closable(["watch"], environ=home.environ, cwd=home.folder) as terminal:
        terminal.wait_for("vision")
        terminal.close()
        assert terminal.wait() == 0


class Frozen(Terminal):
    """A terminal that takes nothing once its buffer is full, as after Ctrl-S."""

    def _read(self) -> None:
        return

    @property
    def is_written_to(self) -> bool:
        return bool(select.select([self._master], [], [], 0)[0])


def test_a_terminal_that_takes_nothing_does_not_hold_up_the_end(home: Home) -> None:
    with open_journal(home.journal) as journal:
        # A frame of more bytes than the kernel keeps for a terminal, which are four thousand.
        journal.append([make_job_event(job=f"job{number:04}") for number in range(200)])
        with Frozen(["watch"], rows=60, columns=200, environ=home.environ, cwd=home.folder) as terminal:
            wait_until_blocking(lambda: terminal.is_written_to, "it is written to")
            os.kill(terminal.process.pid, signal.SIGTERM)
            assert terminal.process.wait(WAIT_S) == 0


class FrozenAfterwards(Terminal):
    """A terminal that is read until the screen was left, and then no more."""

    def _read(self) -> None:
        while b"\x1b[?1049l" not in self._received:
            self._received += os.read(self._master, 16)


def test_a_terminal_that_takes_nothing_of_what_stays_does_not_hold_up_the_end(home: Home) -> None:
    with open_journal(home.journal) as journal:
        journal.append([make_job_event(job=f"job{number:04}") for number in range(200)])
        with FrozenAfterwards(["watch"], rows=60, columns=200, environ=home.environ, cwd=home.folder) as terminal:
            terminal.wait_for("job0050")
            os.kill(terminal.process.pid, signal.SIGTERM)
            assert terminal.process.wait(WAIT_S) == 0


def test_the_end_of_the_broker_is_said_and_its_return_too(home: Home, tmp_path: Path) -> None:
    status = home.folder / "runs" / "llm" / "training_status.json"
    write_pulse(status)
    (home.folder / "pulse-bridge.toml").write_text("reconnect_max_s = 1\n")
    with (
        RedisServer(tmp_path / "redis") as redis,
        home.started("run", "runs", "--to", redis.url),
        Terminal(["watch", "--from", redis.url], environ=home.environ, cwd=home.folder) as terminal,
    ):
        terminal.wait_for("▶ running ")
        redis.kill()
        terminal.wait_for("not connected")
        terminal.wait_for("▶ running?")
        assert "everything is last known" in terminal.screen
        redis.start()
        wait_until_blocking(
            lambda: "not connected" not in terminal.screen and "▶ running " in terminal.screen, "all is well again"
        )
        terminal.press("\r")
        terminal.wait_for("as far as the bus keeps it")


def test_a_sidecar_that_stops_is_said_at_once(home: Home, journal: Journal) -> None:
    with watch(home) as terminal:
        terminal.wait_for("vision")
        journal.append([make_host_event(host="node2", stopping=True, observed_ms=int(time.time() * 1000))])
        terminal.wait_for("node2: the sidecar was stopped")
        assert "▶ running?" in terminal.screen
