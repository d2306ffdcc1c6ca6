import io
import json
import logging
import re
import sys

import pytest

from pulse_bridge.log import JsonFormatter, TextFormatter, set_up_logging


def make_record(**values: object) -> logging.LogRecord:
    record = logging.LogRecord("pulse_bridge.x", logging.WARNING, "x.py", 1, "unavailable; trying again", (), None)
    vars(record).update(values)
    return record


def test_text_is_one_line_with_time_level_message_and_values() -> None:
    line = TextFormatter().format(make_record(destination="redis://x", lag=3))
    assert re.fullmatch(r"\d\d:\d\d:\d\d warning unavailable; trying again  destination=redis://x  lag=3", line), (
        line
    )


def test_a_hostile_name_neither_begins_a_line_nor_steers_the_terminal() -> None:
    line = TextFormatter().format(make_record(path="a\n12:00:00 error   fake\x1b[2J"))
    assert "\n" not in line
    assert "\x1b" not in line
    assert r"path='a\n12:00:00 error   fake\x1b[2J'" in line


def test_json_is_one_strict_line_with_every_value() -> None:
    line = JsonFormatter().format(make_record(job="a\nb ж", lag=3))
    assert "\n" not in line
    fields = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", fields.pop("time"))
    assert fields == {
        "level": "warning",
        "logger": "pulse_bridge.x",
        "message": "unavailable; trying again",
        "job": "a\nb ж",
        "lag": "3",
    }


def test_a_value_never_stands_in_for_the_message_or_the_level() -> None:
    fields = json.loads(JsonFormatter().format(make_record(level="fine", logger="other", time="never")))
    assert (fields["level"], fields["logger"]) == ("warning", "pulse_bridge.x")
    assert fields["time"] != "never"


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_traceback_is_kept(formatter: logging.Formatter) -> None:
    record = make_record()
    try:
        int("boom")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "ValueError: invalid literal" in formatter.format(record)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_person_gets_text_and_a_program_json_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        root.handlers.clear()
        set_up_logging()
        logging.getLogger("pulse_bridge.x").info("watching", extra={"jobs": 3})
        logging.getLogger("pulse_bridge.x").debug("of use to a developer")
        set_up_logging(verbose=True)
        logging.getLogger("pulse_bridge.x").debug("of use to a developer")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.getLogger("asyncio").setLevel(logging.NOTSET)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    if terminal:
        assert lines[0].endswith("watching  jobs=3")
    else:
        assert [json.loads(line)["message"] for line in lines] == ["watching", "of use to a developer"]
