import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulse_bridge import pulse
from pulse_bridge.errors import PulseFileError
from pulse_bridge.pulse import MAX_FILE_BYTES, Pulse, parse, read_file
from tests.support.processes import short_folder

GOOD: dict[str, Any] = {
    "status": "running",
    "epoch": 1.5,
    "total_epochs": 3.0,
    "loss": 0.342,
    "message": "epoch 2/3",
    "timestamp": 1732800000,
}
MISSING = object()
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no bug


def encode(**changes: object) -> bytes:
    fields = {name: value for name, value in (GOOD | changes).items() if value is not MISSING}
    return json.dumps(fields).encode()


def refusal(content: bytes) -> PulseFileError:
    with pytest.raises(PulseFileError) as caught:
        parse(content, "/runs/a/training_status.json")
    assert str(caught.value).startswith("/runs/a/training_status.json: ")
    assert caught.value.reason
    return caught.value


def test_the_reports_example_is_read_as_it_stands() -> None:
    assert parse(encode(), "x") == Pulse(
        "running", 1.5, 3.0, 0.342, diverged=False, message="epoch 2/3", timestamp=1732800000
    )


@pytest.mark.parametrize("status", ["idle", "running", "done", "error"])
def test_the_four_states_are_read(status: str) -> None:
    assert parse(encode(status=status), "x").status == status


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + encode(),
        encode() + b"\n",
        b"\r\n " + encode(),
        encode(unknown={"a": [1]}),
        encode(v2=None),
    ],
    ids=["byte order mark", "newline at the end", "space before", "unknown field", "null as v2"],
)
def test_what_a_writer_may_add_changes_nothing(content: bytes) -> None:
    assert parse(content, "x") == parse(encode(), "x")


def test_integers_stay_integers() -> None:
    read = parse(encode(epoch=1, total_epochs=3, loss=0), "x")
    assert [type(number) for number in (read.epoch, read.total_epochs, read.loss)] == [int, int, int]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_loss_that_is_not_finite_is_absent_and_the_training_diverged(word: str) -> None:
    read = parse(encode(loss=7777).replace(b"7777", word.encode()), "x")
    assert (read.loss, read.diverged) == (None, True)


@pytest.mark.parametrize("field", ["epoch", "total_epochs"])
@pytest.mark.parametrize("word", ["NaN", "Infinity", "1e999"])
def test_a_position_that_is_not_finite_is_refused(field: str, word: str) -> None:
    error = refusal(encode(**{field: 7777}).replace(b"7777", word.encode()))
    assert (error.field, error.reason) == (field, "is not finite")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, MISSING) for field in GOOD),
        *((field, None) for field in GOOD),
        *((field, [1]) for field in GOOD),
        *((field, "1") for field in ("epoch", "total_epochs", "loss", "timestamp", "status")),
        *((field, True) for field in GOOD),
        ("message", 5),
        ("status", "Running"),
        ("status", "stale"),
        ("timestamp", -1),
        ("timestamp", 2**53 + 1),
        ("timestamp", 1.5),
    ],
)
def test_a_refusal_names_the_file_the_field_and_the_reason(field: str, value: object) -> None:
    error = refusal(encode(**{field: value}))
    assert error.field == field
    assert not error.reason.endswith(".")


@pytest.mark.parametrize("timestamp", [0, 2**53])
def test_the_ends_of_the_timestamps_range_are_in_it(timestamp: int) -> None:
    assert parse(encode(timestamp=timestamp), "x").timestamp == timestamp


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        encode()[:-1],
        encode()[:40],
        b"[" * 50_000,
        b'{"v2":' + b"[" * 50_000,
        b"\xff\xfe\x00",
        bytes(range(256)),
        b"null",
        b"[]",
        b'"running"',
        encode() + encode(),
        encode(message="x").replace(b'"x"', b'"\xff"'),
        encode(message="x").replace(b'"x"', b'"\\ud800"'),
    ],
    ids=str,
)
def test_what_is_no_pulse_object_is_refused(content: bytes) -> None:
    refusal(content)


def test_v2_is_read_where_it_makes_sense_and_ignored_where_not() -> None:
    good = parse(encode(v2={"current_step": 150, "total_steps": 800.0, "learning_rate": 2e-05}), "x")
    assert (good.step, good.total_steps, good.learning_rate) == (150, 800, 2e-05)
    nonsense: list[object] = [[], "v3", 7, {"current_step": "150", "total_steps": 1.5, "learning_rate": [1]}]
    for bad in nonsense:
        read = parse(encode(v2=bad), "x")
        assert (read.step, read.total_steps, read.learning_rate) == (None, None, None)


@pytest.mark.parametrize("step", [-1, True, 10**20, 1e300])
def test_a_step_that_no_counter_can_have_is_absent(step: float) -> None:
    assert parse(encode(v2={"current_step": step}), "x").step is None


@unhurried
@given(st.binary(max_size=400))
def test_arbitrary_bytes_raise_nothing_but_a_refusal(content: bytes) -> None:
    try:
        parse(content, "x")
    except PulseFileError as error:
        assert error.reason  # noqa: PT017 - either outcome is right


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
numbers = st.integers() | st.floats()


@unhurried
@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*GOOD, "v2"], json_values)))
def test_arbitrary_values_in_the_fields_raise_nothing_but_a_refusal(fields: dict[str, Any]) -> None:
    try:
        parse(json.dumps(GOOD | fields).encode(), "x")
    except PulseFileError as error:
        assert error.field in GOOD or error.field is None  # noqa: PT017 - either outcome is right


@unhurried
@given(numbers, numbers, numbers, st.text(max_size=20), st.integers(0, 2**53))
def test_what_is_read_can_always_go_on_as_strict_json(
    epoch: float, total: float, loss: float, message: str, at: int
) -> None:
    try:
        read = parse(encode(epoch=epoch, total_epochs=total, loss=loss, message=message, timestamp=at), "x")
    except PulseFileError:
        return
    json.dumps(read, allow_nan=False, ensure_ascii=False).encode()


def test_a_file_is_read_with_its_signature(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(encode())
    found = read_file(str(path))
    assert found is not None
    assert (found[0], found[1].inode, found[1].size_bytes) == (encode(), path.stat().st_ino, len(encode()))


def test_a_file_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert read_file(str(tmp_path / "s.json")) is None
    assert read_file(str(tmp_path / "missing" / "s.json")) is None
    assert read_file(str(tmp_path / "file" / "s.json")) is None


def test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(b" " * MAX_FILE_BYTES)
    assert read_file(str(path)) is not None
    path.write_bytes(b" " * (MAX_FILE_BYTES + 1))
    with pytest.raises(PulseFileError, match="65,537 bytes"):
        read_file(str(path))


def test_a_file_that_grows_while_it_is_opened_is_never_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(b" " * (MAX_FILE_BYTES + 1))
    monkeypatch.setattr(pulse, "_require_regular", lambda *_args: None)
    with pytest.raises(PulseFileError, match="larger than"):
        read_file(str(path))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("fifo", "is a FIFO"),
        ("folder", "is a directory"),
        ("dangling", "link to a file"),
        ("device", "is a device"),
    ],
)
def test_what_is_no_regular_file_is_refused_without_being_opened(tmp_path: Path, kind: str, sentence: str) -> None:
    path = tmp_path / "s.json"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"dangling": "nowhere", "device": "/dev/zero"}[kind])
    with pytest.raises(PulseFileError, match=sentence) as caught:
        read_file(str(path))
    assert caught.value.path == str(path)


def test_a_socket_and_a_link_to_itself_are_refused() -> None:
    with short_folder() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s.json"))
        with pytest.raises(PulseFileError, match="is a socket"):
            read_file(str(folder / "s.json"))
        (folder / "loop.json").symlink_to("loop.json")
        with pytest.raises(PulseFileError, match="cannot be read"):
            read_file(str(folder / "loop.json"))


def test_a_file_without_permission_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(encode())

    def refuse(*_args: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PulseFileError, match="let the user that pulse-bridge runs as read it"):
        read_file(str(path))
