import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pulse_bridge.locks import HeldError, hold_lock

HOLDER = """
import sys, time
from pathlib import Path
from pulse_bridge.locks import hold_lock

with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db.lock"


def test_a_second_holder_learns_the_first_one_s_pid(path: Path) -> None:
    with hold_lock(path):
        with pytest.raises(HeldError) as error, hold_lock(path):
            pass
        assert error.value.pid == os.getpid()


def test_the_lock_is_free_after_the_block(path: Path) -> None:
    for _ in range(2):
        with hold_lock(path):
            pass


def test_a_process_that_is_killed_lets_go(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(HeldError) as error, hold_lock(path):
            pass
        assert error.value.pid == holder.pid
        holder.kill()
    with hold_lock(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_shorter_pid_leaves_no_digit_of_a_longer(path: Path) -> None:
    path.write_text("9999999999\n")
    with hold_lock(path):
        assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("content", ["", "not a pid", "\xff"])
def test_a_holder_that_left_no_pid_is_held_by_nobody_known(path: Path, content: str) -> None:
    path.write_text(content, encoding="latin-1")
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(HeldError) as error, hold_lock(path):
            pass
    assert error.value.pid is None


def test_a_child_does_not_keep_the_lock(path: Path) -> None:
    with hold_lock(path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with hold_lock(path):
            pass
    finally:
        child.communicate(b"\n")
