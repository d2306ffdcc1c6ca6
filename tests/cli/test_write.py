"""PULSE from a shell."""

import json
import math
from pathlib import Path

import pytest

from pulse_bridge.pulse import parse
from tests.support.command import Caller


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["idle"], ("idle", 0, 0, 0, "")),
        (["idle", "--message", "waiting"], ("idle", 0, 0, 0, "waiting")),
        (["running", "--epoch", "1.5", "--total-epochs", "3", "--loss", "0.342"], ("running", 1.5, 3, 0.342, "")),
        (["done", "--total-epochs", "3", "--loss", "0.1"], ("done", 3, 3, 0.1, "Training completed")),
        (["error", "--message", "out of memory"], ("error", 0, 0, 0, "out of memory")),
    ],
)
def test_each_status_is_written_as_a_reader_expects_it(
    arguments: list[str], expected: tuple[object, ...], call: Caller
) -> None:
    result = call("write", *arguments, "--path", "s.json")
    assert (result.code, result.out, result.err) == (0, "", "")
    pulse = parse(Path("s.json").read_bytes(), "s.json")
    assert (pulse.status, pulse.epoch, pulse.total_epochs, pulse.loss, pulse.message) == expected


def test_integers_stay_integers(call: Caller) -> None:
    assert (
        call("write", "running", "--path", "s.json", "--epoch", "2", "--total-epochs", "3", "--loss", "1").code
        == 0
    )
    assert '"epoch": 2,' in Path("s.json").read_text()


@pytest.mark.parametrize("loss", ["nan", "inf", "-inf"])
def test_a_loss_that_is_not_finite_is_written_and_read_as_diverged(loss: str, call: Caller) -> None:
    assert (
        call("write", "running", "--path", "s.json", "--epoch", "1", "--total-epochs", "3", "--loss", loss).code
        == 0
    )
    assert not math.isfinite(json.loads(Path("s.json").read_text())["loss"])
    assert parse(Path("s.json").read_bytes(), "s.json").diverged


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["running", "--path", "s.json"], "--epoch"),
        (["running", "--path", "s.json", "--epoch", "1", "--total-epochs", "3"], "--loss"),
        (["running", "--path", "s.json", "--epoch", "nan", "--total-epochs", "3", "--loss", "1"], "--epoch"),
        (["running", "--path", "s.json", "--epoch", "x", "--total-epochs", "3", "--loss", "1"], "--epoch"),
        (
            ["running", "--path", "s.json", "--epoch", "1", "--total-epochs", "9" * 400, "--loss", "1"],
            "--total-epochs",
        ),
        (["done", "--path", "s.json", "--epoch", "1", "--total-epochs", "3", "--loss", "1"], "--epoch"),
        (["error", "--path", "s.json"], "--message"),
        (["idle"], "--path"),
        (["finished", "--path", "s.json"], "finished"),
    ],
)
def test_a_wrong_or_missing_option_is_named_and_exits_2(arguments: list[str], named: str, call: Caller) -> None:
    result = call("write", *arguments)
    assert result.code == 2
    assert named in result.err
    assert result.err.count("\n") == 1
    assert not Path("s.json").exists()


def test_a_folder_that_is_not_there_is_one_sentence_and_exits_1(call: Caller) -> None:
    result = call("write", "idle", "--path", "runs/s.json")
    assert result.code == 1
    assert result.err == (
        "pulse-bridge: runs/s.json: cannot be written: No such file or directory; make the folder runs first\n"
    )


def test_a_folder_in_the_place_of_the_file_is_one_sentence_and_exits_1(call: Caller) -> None:
    Path("s.json").mkdir()
    result = call("write", "idle", "--path", "s.json")
    assert (result.code, result.err) == (1, "pulse-bridge: s.json: cannot be written: Is a directory\n")
    assert [path.name for path in Path().iterdir()] == ["s.json"]
