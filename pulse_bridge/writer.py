"""The writing side of PULSE v1, for the training process: four functions that never stop a training run.

This file needs nothing but Python 3.8 and its standard library, so that it can be copied beside a training
script and imported alone. A failed write is a warning in the log, once for each path and reason; with
`strict=True` it is raised instead.

Source: `pulse-v1.md`, "The writer".
"""

from __future__ import annotations

import contextlib
import json
import logging
import operator
import os
import stat
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, SupportsFloat

logger = logging.getLogger(__name__)

MAX_MESSAGE_CHARS = 8_000
"""A longer message is cut. A reader refuses a file above 64 KiB; escaped, one character is up to six bytes."""

_REPLACE_DELAYS_S = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
_NEW_FILE_MODE = (
    0o666  # the umask takes its part, as with any new file: the sidecar's user must be able to read it
)
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

_warned: set[tuple[str, str]] = set()


class _Fields(NamedTuple):
    """A pulse as the caller gave it."""

    status: str
    epoch: SupportsFloat
    total_epochs: SupportsFloat
    loss: SupportsFloat
    message: object


def write_idle_status(status_path: str | os.PathLike[str], message: str = "", *, strict: bool = False) -> None:
    """Say that nothing is being trained.

    Args:
        status_path: The status file; its folder must exist.
        message: Free text.
        strict: Raise what goes wrong instead of logging it.
    """
    _write(status_path, _Fields("idle", 0.0, 0.0, 0.0, message), strict=strict)


def write_running_status(
    status_path: str | os.PathLike[str],
    epoch: SupportsFloat,
    total_epochs: SupportsFloat,
    loss: SupportsFloat,
    message: str = "",
    *,
    step: SupportsFloat | None = None,
    total_steps: SupportsFloat | None = None,
    learning_rate: SupportsFloat | None = None,
    strict: bool = False,
) -> None:
    """Say where the training is.

    Numbers may be anything with `__float__`: scalars of numpy and torch too. A loss that is not finite is
    written as the bare word `NaN` or `Infinity`, which a PULSE reader takes for "diverged".

    Args:
        status_path: The status file; its folder must exist.
        epoch: Epochs done, fractional (2.5 is half way through the third).
        total_epochs: Epochs configured.
        loss: Current training loss.
        message: Free text, e.g. `epoch 2/3, step 150/800`.
        step: Steps done; goes into the reserved object `v2`, which a v1 reader skips, as do the next two.
        total_steps: Steps configured.
        learning_rate: Current learning rate.
        strict: Raise what goes wrong instead of logging it.
    """
    v2 = {"current_step": step, "total_steps": total_steps, "learning_rate": learning_rate}
    _write(status_path, _Fields("running", epoch, total_epochs, loss, message), v2, strict=strict)


def write_done_status(
    status_path: str | os.PathLike[str],
    total_epochs: SupportsFloat,
    final_loss: SupportsFloat,
    message: str = "Training completed",
    *,
    strict: bool = False,
) -> None:
    """Say that the training has come to its end; `epoch` becomes `total_epochs`.

    Args:
        status_path: The status file; its folder must exist.
        total_epochs: Epochs configured.
        final_loss: The last training loss.
        message: Free text.
        strict: Raise what goes wrong instead of logging it.
    """
    _write(status_path, _Fields("done", total_epochs, total_epochs, final_loss, message), strict=strict)


def write_error_status(status_path: str | os.PathLike[str], error_message: str, *, strict: bool = False) -> None:
    """Say that the training has failed; all numbers are 0.0.

    Args:
        status_path: The status file; its folder must exist.
        error_message: What happened; the exception itself will do.
        strict: Raise what goes wrong instead of logging it.
    """
    _write(status_path, _Fields("error", 0.0, 0.0, 0.0, error_message), strict=strict)


def _write(
    status_path: str | os.PathLike[str],
    fields: _Fields,
    v2: Mapping[str, SupportsFloat | None] = MappingProxyType({}),
    *,
    strict: bool,
) -> None:
    try:
        pulse: dict[str, Any] = {
            "status": fields.status,
            "epoch": _plain_number(fields.epoch),
            "total_epochs": _plain_number(fields.total_epochs),
            "loss": _plain_number(fields.loss),
            "message": str(fields.message)[:MAX_MESSAGE_CHARS],
            "timestamp": int(time.time()),
        }
        given = {name: _plain_number(value) for name, value in v2.items() if value is not None}
        if given:
            pulse["v2"] = given
        _write_atomic(os.fspath(status_path), pulse)
    except Exception as error:  # whatever it is, a status line is never worth a training run
        if strict:
            raise
        _warn_once(status_path, error)


def _plain_number(value: SupportsFloat) -> int | float:
    """Make a number that JSON knows; integers stay integers."""
    try:
        return operator.index(value)  # type: ignore[arg-type]  # what has no __index__ is told by the TypeError
    except TypeError:
        return float(value)


def _write_atomic(path: str, pulse: dict[str, Any]) -> None:
    """Replace the file in one step, so that a reader never sees half of it.

    There is no fsync: it would make a training step wait for the disk, to save a status that is worthless after
    a power cut.
    """
    text = json.dumps(pulse, ensure_ascii=False, indent=2)
    # "replace": a message with half a surrogate pair (an undecodable file name, say) must still arrive.
    content = text.encode("utf-8", "replace")
    # Hidden, short whatever the target's name, and of no kind that a watcher looks for.
    temporary = os.path.join(os.path.dirname(path), f".pulse-{os.urandom(8).hex()}.tmp")
    fd = os.open(temporary, _CREATE_FLAGS, _NEW_FILE_MODE)
    try:
        with open(fd, "wb") as file:
            _keep_mode(path, fd)
            file.write(content)
        _replace(temporary, path)
    except BaseException:  # Ctrl-C too must leave nothing behind
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _keep_mode(path: str, fd: int) -> None:
    """Give the new file the permissions of the one it replaces: a person's chmod holds."""
    with contextlib.suppress(OSError, AttributeError):  # no such file yet; or no fchmod (Windows)
        mode = os.stat(path).st_mode & 0o777
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            os.fchmod(fd, mode)


def _replace(temporary: str, path: str) -> None:
    """Rename over the target; on Windows a reader that holds it open makes that fail for a moment."""
    for delay_s in _REPLACE_DELAYS_S:
        try:
            os.replace(temporary, path)
        except PermissionError as error:
            if getattr(error, "winerror", None) is None:
                raise  # elsewhere it is a matter of rights, which waiting does not mend
            time.sleep(delay_s)
        else:
            return
    os.replace(temporary, path)


def _warn_once(status_path: object, error: Exception) -> None:
    # The values stand in the text, because most training scripts log with a formatter that shows nothing else.
    with contextlib.suppress(Exception):  # a handler of the training's own may be broken too
        path = str(status_path)
        reason = str(error) or type(error).__name__
        key = (path, f"{type(error).__name__} {getattr(error, 'errno', reason)}")
        if key not in _warned:
            _warned.add(key)
            logger.warning("pulse status not written, training goes on: %s: %s", path, reason)
