"""A user's mistake is one sentence that names it, with exit code 2, or 1 where something outside failed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pulse_bridge.testing import make_job_event
from tests.support.command import Caller, Home

ROWS = [
    (2, "No such command 'watsch'", ["watsch"]),
    (2, "no PATH is given", ["run"]),
    (2, "'redis' is neither a bus URL", ["run", "x", "--to", "redis"]),
    (2, "there is no bus 'foo'; installed are: journal,", ["run", "x", "--to", "foo://h"]),
    (2, "unknown option 'bogus'; known are: db,", ["run", "x", "--to", "redis://h?bogus=1"]),
    (2, "redis://u:***@h", ["run", "x", "--to", "redis://u:secret@h?bogus=1"]),
    (2, "no bus URL", ["run", "x", "--to", "mqtt://h:99999"]),
    (2, "this destination is named twice", ["run", "x", "--to", "redis://h", "--to", "redis://h"]),
    (2, "'profile' is not of the form NAME=VALUE", ["run", "x", "--label", "profile"]),
    (2, "the label name 'a b'", ["run", "x", "--label", "a b=c"]),
    (2, "'stale_after_s'", ["run", "x", "--stale-after-s", "-1"]),
    (2, "'soon' is not a valid float", ["run", "x", "--stale-after-s", "soon"]),
    (2, "the configuration file no.toml is not there", ["run", "x", "--config", "no.toml"]),
    (2, "cannot be made", ["run", "x", "--journal", "/proc/none/j.db"]),
    (2, "garbage.db cannot be used", ["run", "x", "--journal", "garbage.db"]),
    (2, "names no file", ["watch", "--from", "journal://j.db"]),
    (2, "is read with 'pulse-bridge replay'", ["watch", "--from", "a.jsonl"]),
    (1, "no.jsonl cannot be read: No such file", ["replay", "--from", "no.jsonl"]),
    (1, "folder.jsonl cannot be read: Is a directory", ["replay", "--from", "folder.jsonl"]),
    (1, "garbage.db cannot be read", ["replay", "--from", "journal:///proc/self/cwd/garbage.db"]),
    (1, "there is no journal", ["replay"]),
    (1, "cannot be reached", ["replay", "--from", "redis://127.0.0.1:1"]),
    (1, "sidecar's journal", ["replay", "--from", "mqtt://127.0.0.1:1"]),
    (2, "'soon' is neither an instant", ["replay", "--since", "soon"]),
    (2, "neither an instant with its zone", ["replay", "--since", "2026-01-01T00:00:00"]),
    (2, "neither an instant", ["replay", "--until", "99999999999w"]),
    (2, "--since is not before --until", ["replay", "--since", "1h", "--until", "2h"]),
    (2, "'first' is neither the number of a run nor 'last'", ["replay", "--run", "first"]),
    (2, "0 is not in the range", ["replay", "--limit", "0"]),
    (2, "'news' is not one of", ["replay", "--kind", "news"]),
    (2, "Missing option '--to'", ["relay"]),
    (2, "source and destination at once", ["relay", "--from", "a.jsonl", "--to", "./a.jsonl"]),
    (2, "source and destination at once", ["relay", "--from", "redis://h", "--to", "redis://u:p@h"]),
    (2, "is read with 'pulse-bridge replay'", ["relay", "--from", "a.jsonl", "--to", "b.jsonl"]),
    (2, "there is no bus 'foo'", ["demo", "--to", "foo://h"]),
    (2, "is not in the range", ["demo", "--seconds", "0"]),
]


@pytest.mark.parametrize(("code", "sentence", "arguments"), ROWS, ids=[" ".join(row[2]) for row in ROWS])
def test_a_mistake_is_one_sentence(code: int, sentence: str, arguments: list[str], call: Caller) -> None:
    Path("garbage.db").write_text("garbage")
    Path("a.jsonl").write_text("")
    Path("folder.jsonl").mkdir()
    result = call(*arguments)
    assert result.code == code
    assert sentence in result.err
    assert "secret" not in result.err
    assert not result.out
    assert result.err.startswith("pulse-bridge: ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"a = [", "no TOML"),
        (b"bogus = 1", "there is no setting 'bogus'; known are: coalesce_ms,"),
        (b"stale_after_s = 'soon'", "'stale_after_s'"),
        (b"[jobs.a]\nbogus = 1", "'jobs.a.bogus'"),
        (b"labels = 3", "'labels'"),
        (b"\xff", "cannot be read"),
    ],
)
def test_a_wrong_configuration_file_is_named_with_the_place(text: bytes, sentence: str, call: Caller) -> None:
    Path("pulse-bridge.toml").write_bytes(text)
    result = call("run", "x")
    assert result.code == 2
    assert "pulse-bridge.toml" in result.err
    assert sentence in result.err
    assert result.err.count("\n") == 1


def test_reading_commands_name_a_wrong_configuration_file_too(call: Caller) -> None:
    Path("pulse-bridge.toml").write_text("journal = 3")
    result = call("replay")
    assert (result.code, result.err) == (2, "pulse-bridge: pulse-bridge.toml: setting 'journal' is no text\n")


def test_a_name_with_escapes_cannot_steer_the_terminal(call: Caller) -> None:
    result = call("replay", "--from", "\x1b[2Jno.jsonl")
    assert result.err == "pulse-bridge: \\x1b[2Jno.jsonl cannot be read: No such file or directory\n"


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_full_disk_under_the_output_is_one_sentence(flags: list[str], home: Home) -> None:
    home.fill_journal([make_job_event()])
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "pulse_bridge", "replay", *flags],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=home.environ,
            cwd=home.folder,
        )
    assert result.returncode == 1
    assert result.stderr == "pulse-bridge: standard output cannot be written: No space left on device\n"


def test_a_closed_standard_output_is_no_mistake(home: Home) -> None:
    home.fill_journal([make_job_event()])
    command = f"{sys.executable} -m pulse_bridge replay >&-"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=home.environ, cwd=home.folder
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_ctrl_c_while_it_still_loads_shows_nothing(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    result = subprocess.run(
        [sys.executable, "-m", "pulse_bridge", "watch"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (1, b"", b"")
