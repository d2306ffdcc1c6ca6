import errno
import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path

import pytest

from pulse_bridge import writer
from pulse_bridge.pulse import parse, read_file
from pulse_bridge.writer import write_done_status, write_error_status, write_idle_status, write_running_status


@pytest.fixture(autouse=True)
def nothing_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_warned", set())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "training_status.json"


class FloatLike:
    """A scalar as torch and numpy have them: a float on demand, and no index."""

    def __float__(self) -> float:
        return 0.25

    def __index__(self) -> int:
        raise TypeError("only integer scalars can be converted to an index")


def content(path: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def test_running_writes_the_six_fields_of_the_report_as_the_report_does(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1732800000.9)
    write_running_status(str(path), 1.5, 3.0, 0.342, "эпоха 2/3")
    assert path.read_text(encoding="utf-8") == (
        '{\n  "status": "running",\n  "epoch": 1.5,\n  "total_epochs": 3.0,\n  "loss": 0.342,\n'
        '  "message": "эпоха 2/3",\n  "timestamp": 1732800000\n}'
    )


def test_done_sets_epoch_to_total_epochs_and_has_the_reports_default_message(path: Path) -> None:
    write_done_status(path, 3, 0.1)
    assert content(path) | {"timestamp": 0} == {
        "status": "done",
        "epoch": 3,
        "total_epochs": 3,
        "loss": 0.1,
        "message": "Training completed",
        "timestamp": 0,
    }


def test_idle_and_error_write_zeros(path: Path) -> None:
    write_idle_status(path)
    idle = content(path)
    write_error_status(path, "CUDA out of memory")
    error = content(path)
    assert (idle["status"], idle["message"]) == ("idle", "")
    assert (error["status"], error["message"]) == ("error", "CUDA out of memory")
    for pulse in (idle, error):
        assert (pulse["epoch"], pulse["total_epochs"], pulse["loss"]) == (0.0, 0.0, 0.0)


def test_v2_holds_only_what_was_given(path: Path) -> None:
    write_running_status(path, 1, 3, 0.5, step=0, learning_rate=2e-05)
    assert content(path)["v2"] == {"current_step": 0, "learning_rate": 2e-05}
    write_running_status(path, 1, 3, 0.5)
    assert "v2" not in content(path)


@pytest.mark.parametrize(
    ("value", "written"), [(FloatLike(), 0.25), (Decimal("1.5"), 1.5), (7, 7), (True, 1), (2.0, 2.0)]
)
def test_a_number_may_be_anything_that_is_one(path: Path, value: float, written: float) -> None:
    write_running_status(path, value, 10, value, strict=True)
    loss = content(path)["loss"]
    assert loss == written
    assert type(loss) is type(written)


@pytest.mark.parametrize(("loss", "word"), [(float("nan"), "NaN"), (float("inf"), "Infinity")])
def test_a_loss_that_is_not_finite_is_written_as_the_bare_word_and_read_as_diverged(
    path: Path, loss: float, word: str
) -> None:
    write_running_status(path, 1, 3, loss, strict=True)
    assert f'"loss": {word},' in path.read_text()
    assert parse(path.read_bytes(), str(path)).diverged


def test_an_exception_and_an_undecodable_name_make_messages(path: Path) -> None:
    write_error_status(path, RuntimeError("no file \udcff"), strict=True)  # type: ignore[arg-type]  # as users do
    assert content(path)["message"] == "no file ?"


def test_the_longest_message_still_fits_what_a_reader_takes(path: Path) -> None:
    write_error_status(path, "\x01" * 1_000_000, strict=True)
    assert read_file(str(path)) is not None


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_of_any_new_file(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_idle_status(path, strict=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_persons_chmod_holds_over_writes(path: Path) -> None:
    write_idle_status(path)
    path.chmod(0o640)
    write_idle_status(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


class Trouble:
    """Ways in which a write can fail, by name."""

    @staticmethod
    def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
        def keep_mode(_path: str, _fd: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(writer, "_keep_mode", keep_mode)

    @staticmethod
    def refused_replace(monkeypatch: pytest.MonkeyPatch) -> None:
        def replace(_source: str, _target: str) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "replace", replace)

    @staticmethod
    def broken_json(monkeypatch: pytest.MonkeyPatch) -> None:
        def dumps(*_args: object, **_options: object) -> str:
            raise ValueError("cannot be serialised")

        monkeypatch.setattr(json, "dumps", dumps)


@pytest.mark.parametrize("trouble", ["full_disk", "refused_replace", "broken_json"])
def test_trouble_leaves_no_temporary_file_and_stops_nothing_unless_strict(
    path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_idle_status(path, "before")
    getattr(Trouble, trouble)(monkeypatch)
    for _ in range(3):
        write_running_status(path, 1, 3, 0.5)
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert str(path) in caplog.records[0].getMessage()
    with pytest.raises((OSError, ValueError)):
        write_running_status(path, 1, 3, 0.5, strict=True)
    assert list(path.parent.iterdir()) == [path]
    assert content(path)["message"] == "before"


@pytest.mark.parametrize("bad", [None, "much", object(), [1]])
def test_a_value_that_is_no_number_stops_nothing_unless_strict(path: Path, bad: float) -> None:
    write_running_status(path, 1, 3, bad)
    with pytest.raises((TypeError, ValueError)):
        write_running_status(path, 1, 3, bad, strict=True)
    assert not path.exists()


def test_a_missing_folder_and_a_broken_log_handler_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warning(*_args: object) -> None:
        raise RuntimeError("handler")

    monkeypatch.setattr(writer.logger, "warning", warning)
    write_idle_status(tmp_path / "missing" / "x.json")
    with pytest.raises(FileNotFoundError):
        write_idle_status(tmp_path / "missing" / "x.json", strict=True)


def test_ctrl_c_in_the_middle_passes_and_leaves_no_temporary_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(_source: str, _target: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        write_idle_status(path)
    assert list(path.parent.iterdir()) == []


def test_a_reader_on_windows_that_holds_the_file_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refusals, slept = os.replace, [1, 2, 3], list[float]()

    def replace(source: str, target: str) -> None:
        if refusals:
            refusals.pop()
            error = PermissionError(errno.EACCES, "Access is denied")
            error.winerror = 5  # type: ignore[attr-defined]  # exists on Windows
            raise error
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(time, "sleep", slept.append)
    write_idle_status(path, "through", strict=True)
    assert content(path)["message"] == "through"
    assert len(slept) == 3


def test_threads_that_write_one_path_never_show_half_a_file(path: Path) -> None:
    write_idle_status(path, strict=True)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for count in range(100):
                write_running_status(path, count, 100, number, "x" * 2000, strict=True)
        except BaseException as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        parse(path.read_bytes(), str(path))
    assert errors == []
    assert list(path.parent.iterdir()) == [path]


def test_a_file_name_of_255_bytes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".json")
    write_idle_status(path, strict=True)
    assert content(path)["status"] == "idle"


def test_the_file_works_copied_alone_with_nothing_but_the_standard_library(tmp_path: Path) -> None:
    shutil.copy(writer.__file__, tmp_path / "pulse_writer.py")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import pulse_writer as w\n"
        f"w.write_running_status({str(tmp_path / 's.json')!r}, 1.5, 3.0, 0.342, 'alone', step=1, strict=True)"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", script], check=True, cwd="/")
    assert content(tmp_path / "s.json")["message"] == "alone"


def test_importing_the_writer_imports_no_library() -> None:
    script = (
        "import sys, pulse_bridge.writer;"
        "print(sorted({'pydantic', 'click', 'redis', 'paho', 'asyncio', 'inotify_simple'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
