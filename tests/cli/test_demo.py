"""The demo trains a real model, shows it, and leaves nothing behind."""

import json
import os
import random
import re
import signal
import subprocess
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from pulse_bridge import demo_training
from pulse_bridge.event import EventId, from_json
from pulse_bridge.pulse import parse
from tests.support.command import Home
from tests.support.processes import WAIT_S, wait_until_blocking
from tests.support.redis_server import RedisServer
from tests.support.terminal import Terminal, plain


def trainings(home: Home) -> list[int]:
    """Give the processes that train in this home's folders."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue  # it has just ended
            if b"demo_training" in command and str(home.folder).encode() in command:
                found.append(int(folder.name))
    return found


def assert_nothing_is_left(home: Home) -> None:
    assert not trainings(home)
    assert not list(home.folder.glob("pulse-bridge-demo-*"))
    assert not home.journal.exists()


def test_the_gradient_leads_down_and_the_spirals_are_told_apart() -> None:
    source = random.Random(1)
    network = demo_training.Network(source)

    def train(batches: int) -> tuple[float, float]:
        results = [
            network.train([demo_training.draw_point(source) for _ in range(16)], 0.01) for _ in range(batches)
        ]
        return sum(loss for loss, _ in results) / batches, sum(right for _, right in results) / batches / 16

    first_loss, _ = train(40)
    train(1500)
    last_loss, accuracy = train(40)
    assert 0.5 < first_loss < 1.0
    assert last_loss < 0.6 * first_loss
    assert accuracy > 0.8


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    """Compared with the difference quotient: the weights move against the sign of each slope."""
    source = random.Random(2)
    batch = [demo_training.draw_point(source) for _ in range(8)]
    network = demo_training.Network(random.Random(3))
    before = [row[:] for row in network.weights]

    def loss_at(row: int, column: int, shift: float) -> float:
        probe = demo_training.Network(random.Random(3))
        probe.weights[row][column] += shift
        return probe.train(batch, 0.0)[0]

    network.train(batch, 1e-3)
    for row in (0, 5, 12, 20, 24):
        for column in range(len(before[row])):
            slope = (loss_at(row, column, 1e-5) - loss_at(row, column, -1e-5)) / 2e-5
            moved = network.weights[row][column] - before[row][column]
            assert abs(slope) < 1e-6 or moved * slope < 0


def test_the_training_writes_pulse_and_ends_with_done(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    demo_training.train(str(path), 0.4)
    pulse = parse(path.read_bytes(), str(path))
    assert (pulse.status, pulse.epoch, pulse.total_epochs) == ("done", 10, 10)


def test_a_training_that_fails_says_so_by_pulse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.json"

    def fail(*_: object, **__: object) -> None:
        raise MemoryError("out of memory")

    monkeypatch.setattr(demo_training, "train", fail)
    monkeypatch.setattr("sys.argv", ["demo_training", "--path", str(path)])
    with pytest.raises(SystemExit, match="out of memory"):
        demo_training.main()
    pulse = parse(path.read_bytes(), str(path))
    assert (pulse.status, pulse.message) == ("error", "MemoryError: out of memory")


def test_piped_it_prints_lines_ends_by_itself_and_says_where_to_go_next(home: Home) -> None:
    result = home.run("demo", "--seconds", "1")
    assert result.code == 0
    lines = result.out.splitlines()
    assert all("two-spirals" in line for line in lines[:-1])
    assert "running" in lines[0]
    assert "done     100.0 %" in lines[-2]
    assert "stopping, 1 done" in lines[-1]
    losses = [float(loss) for loss in re.findall(r"loss ([0-9.]+)", result.out)]
    assert losses[-1] < losses[0]
    for command in ("run", "watch", "replay"):
        assert f"pulse-bridge {command}" in result.err
    assert_nothing_is_left(home)


def page_address(process: "subprocess.Popen[bytes]") -> str:
    assert process.stderr is not None
    found = re.search(r"The page: (http://127\.0\.0\.1:\d+/)", process.stderr.readline().decode())
    assert found
    return found[1]


def jobs_of(address: str) -> list[str]:
    try:
        with urlopen(f"{address}api/jobs", timeout=WAIT_S) as answer:
            return [job["job"] for job in json.load(answer)["jobs"]]
    except URLError:
        return []  # not yet


def test_it_serves_the_page_and_a_second_one_beside_it_too(home: Home) -> None:
    with home.started("demo") as one:
        first = page_address(one)
        wait_until_blocking(lambda: jobs_of(first) == ["two-spirals"], "the page has the job")
        with home.started("demo") as two:
            second = page_address(two)
            assert second != first
            wait_until_blocking(lambda: jobs_of(second) == ["two-spirals"], "the other page has its own")
            for process in (one, two):
                process.terminate()
                assert process.wait(WAIT_S) == 0
    assert_nothing_is_left(home)


def test_without_the_page_nothing_is_served(home: Home) -> None:
    result = home.run("demo", "--seconds", "1", "--no-web")
    assert result.code == 0
    assert "The page" not in result.err
    assert "serving" not in result.err


def test_on_a_terminal_it_shows_the_table_with_labels_and_where_the_page_is(home: Home) -> None:
    with Terminal(["demo", "--seconds", "1"], columns=160, environ=home.environ, cwd=home.folder) as terminal:
        terminal.wait_for("two-spirals")
        terminal.wait_for("The page: http://127.0.0.1:")
        terminal.wait_for("profile=demo dataset")
        assert terminal.wait() == 0
        left = plain(terminal.raw.rpartition("\x1b[?1049l")[2])
        assert "✓ done" in left
        assert "The training is done: its loss fell from" in left
    assert_nothing_is_left(home)


def test_two_at_once_publish_to_the_same_bus_each_under_its_own_host(home: Home, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as redis, redis.client() as client:
        with (
            home.started("demo", "--seconds", "1", "--to", redis.url, "--no-web") as one,
            home.started("demo", "--seconds", "1", "--to", redis.url, "--no-web") as two,
        ):
            for process in (one, two):
                _, err = process.communicate(timeout=WAIT_S)
                assert process.returncode == 0, err
        states = [json.loads(text) for text in client.hgetall("pulse:state").values()]
        assert [(state["state"], state["label_dataset"]) for state in states] == [
            ("done", "two noisy spirals")
        ] * 2
        assert len({state["host"] for state in states}) == 2
        stored = [fields["id"] for _, fields in client.xrange("pulse:events")]
        assert len(stored) == len(set(map(EventId.parse, stored)))
    assert_nothing_is_left(home)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(number: signal.Signals, home: Home) -> None:
    with home.started("demo") as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert trainings(home)
        process.send_signal(number)
        _, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
        assert b"Traceback" not in err
    assert_nothing_is_left(home)


def test_ctrl_c_on_a_terminal_gives_it_back_clean(home: Home) -> None:
    with Terminal(["demo"], environ=home.environ, cwd=home.folder) as terminal:
        terminal.wait_for("two-spirals")
        os.kill(terminal.process.pid, signal.SIGINT)
        assert terminal.wait() == 0
        assert "Traceback" not in terminal.raw
        assert "\x1b[?25h" in terminal.raw
    assert_nothing_is_left(home)


def test_a_closed_pipe_ends_everything(home: Home) -> None:
    with home.started("demo") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(WAIT_S) == 0
    assert_nothing_is_left(home)


def test_the_training_ends_when_its_demo_is_killed(home: Home) -> None:
    with home.started("demo") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        wait_until_blocking(lambda: not trainings(home), "the training has ended")


def test_a_training_that_dies_is_said_and_exits_1(home: Home) -> None:
    with home.started("demo") as process:
        assert process.stdout is not None
        process.stdout.readline()
        (pid,) = trainings(home)
        os.kill(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 1
        assert err.splitlines()[-1] == b"pulse-bridge: the demo's training did not come to its end: it was ended"
    assert_nothing_is_left(home)


def test_a_recording_of_it_is_a_bus_like_any_other(home: Home) -> None:
    assert home.run("demo", "--seconds", "1", "--to", "out.jsonl").code == 0
    events = [from_json(line) for line in (home.folder / "out.jsonl").read_text().splitlines()]
    assert events[-1].kind == "host"
    assert home.run("replay", "--from", "out.jsonl", "--json").out == (home.folder / "out.jsonl").read_text()
