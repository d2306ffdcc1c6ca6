"""`pulse-bridge write`: PULSE from a shell script."""

import math
from pathlib import Path
from typing import Any, Final

import click

from pulse_bridge.errors import PulseFileError
from pulse_bridge.writer import (
    write_done_status,
    write_error_status,
    write_idle_status,
    write_running_status,
)

_NEEDED: Final = {
    "idle": (),
    "running": ("epoch", "total_epochs", "loss"),
    "done": ("total_epochs", "loss"),
    "error": ("message",),
}
_POSSIBLE: Final = {"idle": ("message",), "running": ("message",), "done": ("message",), "error": ()}


def _number(text: str) -> int | float:
    """Read a number; an integer stays one."""
    try:
        try:
            return _writable(int(text))
        except ValueError:
            return float(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no number.") from None


def _writable(number: int) -> int:
    float(number)  # a reader could not take a larger one
    return number


def _finite_number(text: str) -> int | float:
    number = _number(text)
    if not math.isfinite(number):
        raise click.BadParameter(f"{text!r} is not finite; only a loss may be that.")
    return number


@click.command(short_help="Write a PULSE status file.")
@click.argument("status", type=click.Choice(list(_NEEDED)))
@click.option(
    "--path", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The status file to replace."
)
@click.option("--epoch", type=_finite_number, metavar="NUMBER", help="Epochs done, e.g. 2.5.  [running]")
@click.option("--total-epochs", type=_finite_number, metavar="NUMBER", help="Epochs configured.  [running, done]")
@click.option("--loss", type=_number, metavar="NUMBER", help="Training loss; may be nan.  [running, done]")
@click.option("--message", help="Free text; for an error, what happened.")
def write(status: str, path: Path, **fields: Any) -> None:  # noqa: ANN401 - click's values
    """Write a PULSE status file in one step, as a training script does.

    \b
    idle     nothing is being trained
    running  needs --epoch, --total-epochs and --loss
    done     needs --total-epochs and --loss
    error    needs --message
    """  # noqa: D301 - \b is click's mark for lines to be left as they are
    values = {name: value for name, value in fields.items() if value is not None}
    _check(status, values)
    try:
        _write(status, path, values)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        remedy = "" if path.parent.is_dir() else f"; make the folder {path.parent} first"
        raise PulseFileError(path, f"cannot be written: {reason}{remedy}") from error


def _check(status: str, values: dict[str, Any]) -> None:
    for name in _NEEDED[status]:
        if name not in values:
            raise click.UsageError(f"'{status}' needs {_flag(name)}.")
    for name in values:
        if name not in _NEEDED[status] + _POSSIBLE[status]:
            raise click.UsageError(f"{_flag(name)} has no meaning with '{status}'.")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _write(status: str, path: Path, values: dict[str, Any]) -> None:
    message = {"message": values["message"]} if "message" in values else {}
    match status:
        case "idle":
            write_idle_status(path, **message, strict=True)
        case "running":
            write_running_status(
                path, values["epoch"], values["total_epochs"], values["loss"], **message, strict=True
            )
        case "done":
            write_done_status(path, values["total_epochs"], values["loss"], **message, strict=True)
        case _:
            write_error_status(path, values["message"], strict=True)
