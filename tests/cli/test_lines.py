"""Events as lines: nothing in them can steer a terminal or begin a line of its own."""

import json

import pytest

from pulse_bridge.cli.lines import format_epoch, format_event, format_loss, format_span
from pulse_bridge.printable import printable, printable_json
from pulse_bridge.testing import make_host_event, make_job_event


def test_a_line_has_time_host_job_kind_state_progress_epoch_loss_and_message() -> None:
    line = format_event(make_job_event(loss=0.342, message="test epoch 1.5/3"))
    assert line == (
        "2026-09-21T14:13:20.124Z  node1/llm/run a  change     running   50.0 %  epoch 1.5/3  loss 0.3420"
        "  ETA 12 s  test epoch 1.5/3"
    )


def test_a_host_line_says_what_is_not_as_it_should_be() -> None:
    line = format_event(make_host_event())
    assert line.startswith("2026-09-21T14:13:20.124Z  node1  host       sidecar 0.1.0, 2 running, 1 done, ")
    assert line.endswith("3 not yet at redis, 1 malformed")
    assert "stopping" in format_event(make_host_event(stopping=True))


def test_control_characters_are_shown_and_not_obeyed() -> None:
    line = format_event(make_job_event(job="a\nb", message="\x1b[2J\r\x9b2J\u202egnp.\ud800"))
    assert "node1/llm" not in line
    assert "a\\nb" in line
    assert line.endswith("\\x1b[2J\\r\\x9b2J\\u202egnp.\\ud800")


@pytest.mark.parametrize("text", ["épique ✓ ж 漢字 👍🏽", "tab-free text \\ with a backslash", ""])
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_json_made_harmless_is_the_same_json() -> None:
    text = '{"message":"\x7f\x9b2J\u202e ✓"}'
    shown = printable_json(text)
    assert shown == '{"message":"\\u007f\\u009b2J\\u202e ✓"}'
    assert json.loads(shown) == json.loads(text)


@pytest.mark.parametrize(
    ("loss", "diverged", "expected"),
    [
        (0.342, False, "0.3420"),
        (0, False, "0.0000"),
        (None, True, "NaN"),
        (None, False, "-"),
        (1e-5, False, "1.0000e-05"),
        (12345678.0, False, "1.2346e+07"),
    ],
)
def test_a_loss_has_four_decimals(loss: float | None, diverged: bool, expected: str) -> None:  # noqa: FBT001 - a row of the table
    assert format_loss(make_job_event(loss=loss, diverged=diverged)) == expected


def test_an_epoch_has_at_most_two_decimals() -> None:
    assert format_epoch(make_job_event(epoch=1.23456, total_epochs=3)) == "1.23/3"
    assert format_epoch(make_job_event(epoch=1e300, total_epochs=100)) == "1e+300/100"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "0 s"),
        (0.9, "0 s"),
        (59, "59 s"),
        (65, "1 min 05 s"),
        (3599, "59 min 59 s"),
        (7260, "2 h 01 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_a_span_has_its_two_largest_units(seconds: float, expected: str) -> None:
    assert format_span(seconds) == expected
