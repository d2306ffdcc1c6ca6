"""The PULSE v1 status file: what it says, and reading it safely.

Source: `pulse-v1.md`. A path can be anything that a user's disk holds, so a file is opened without blocking,
never read beyond `MAX_FILE_BYTES`, and every refusal names the file, the field and the reason.
"""

import errno
import math
import os
import stat
from typing import Annotated, Final, Literal, NamedTuple, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from pulse_bridge.errors import PulseFileError

Status = Literal["idle", "running", "done", "error"]
Number = int | float

MAX_FILE_BYTES: Final = 64 * 1024
MAX_TIMESTAMP_S: Final = 2**53
_MAX_EXACT: Final = 2**53
_BOM: Final = b"\xef\xbb\xbf"
_OPEN_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


class Pulse(NamedTuple):
    """What one status file says. Two are equal where a viewer could see no difference.

    Args:
        epoch: Epochs, fractional, finite.
        total_epochs: Epochs, finite.
        loss: None where the file's loss is NaN or infinite; `diverged` is then true.
        timestamp: Unix seconds at which the training wrote, 0 to 2^53.
        step: From the reserved object `v2`, as are `total_steps` and `learning_rate`; None where absent.
    """

    status: Status
    epoch: Number
    total_epochs: Number
    loss: Number | None
    diverged: bool
    message: str
    timestamp: int
    step: int | None = None
    total_steps: int | None = None
    learning_rate: Number | None = None


class Signature(NamedTuple):
    """What the file system says of one version of a file; another version differs in at least one of these.

    All but always: a replacement can reuse inode and size within one tick of the clock behind the times.
    """

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, result: os.stat_result) -> "Signature":
        """Take the signature from a stat."""
        return cls(result.st_dev, result.st_ino, result.st_size, result.st_mtime_ns, result.st_ctime_ns)


@with_config(ConfigDict(strict=True, extra="ignore"))
class _File(TypedDict):
    """The v1 object as it stands in the file. Strict, because `"1"` for 1 is a broken writer."""

    status: Status
    epoch: int | float
    total_epochs: int | float
    loss: int | float
    message: str
    timestamp: Annotated[int, Field(ge=0, le=MAX_TIMESTAMP_S)]
    v2: NotRequired[object]


_validate_json: Final = TypeAdapter(_File).validate_json


def read_file(path: str) -> tuple[bytes, Signature] | None:
    """Read a status file's bytes.

    Args:
        path: The file; links are followed.

    Returns:
        Its content and signature, or None where there is no such file.

    Raises:
        PulseFileError: It is no regular file, is too large, or cannot be read now.
    """
    try:
        _require_regular(path, os.stat(path))  # before opening: opening a FIFO or a device has effects
        fd = os.open(path, _OPEN_FLAGS)
        try:
            status = os.fstat(fd)
            _require_regular(path, status)
            content = os.read(fd, MAX_FILE_BYTES + 1)
        finally:
            os.close(fd)
    except FileNotFoundError:
        if os.path.islink(path):
            raise PulseFileError(path, "is a link to a file that is not there") from None
        return None
    except NotADirectoryError:
        return None
    except OSError as error:
        raise PulseFileError(path, _reason(error)) from error
    if len(content) > MAX_FILE_BYTES:
        raise PulseFileError(path, f"is larger than {MAX_FILE_BYTES:,} bytes, so it is no PULSE file")
    return content, Signature.of(status)


def _require_regular(path: str, status: os.stat_result) -> None:
    mode = status.st_mode
    if not stat.S_ISREG(mode):
        kinds = (
            (stat.S_ISDIR, "a directory"),
            (stat.S_ISFIFO, "a FIFO"),
            (stat.S_ISSOCK, "a socket"),
            (stat.S_ISCHR, "a device"),
            (stat.S_ISBLK, "a device"),
        )
        kind = next((name for test, name in kinds if test(mode)), "no regular file")
        raise PulseFileError(path, f"is {kind}; a PULSE file is a regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise PulseFileError(path, f"has {status.st_size:,} bytes; a PULSE file has at most {MAX_FILE_BYTES:,}")


def _reason(error: OSError) -> str:
    if error.errno == errno.EACCES:
        return "permission denied; let the user that pulse-bridge runs as read it"
    return f"cannot be read: {error.strerror or error}"


def parse(content: bytes, path: str) -> Pulse:
    """Read the PULSE v1 object in `content`.

    Args:
        content: UTF-8, with or without a byte order mark.
        path: Named in the refusal.

    Raises:
        PulseFileError: It is none; names the field and the reason. Half-written files give this too.
    """
    try:
        raw = _validate_json(content.removeprefix(_BOM))
    except ValidationError as error:
        raise _refusal(path, error) from None
    loss = _finite(raw["loss"])
    pulse = Pulse(
        raw["status"],
        _require_finite(path, "epoch", raw["epoch"]),
        _require_finite(path, "total_epochs", raw["total_epochs"]),
        loss,
        loss is None,
        raw["message"],
        raw["timestamp"],
    )
    extra = raw.get("v2")
    if not isinstance(extra, dict):
        return pulse
    return pulse._replace(
        step=_count(extra.get("current_step")),
        total_steps=_count(extra.get("total_steps")),
        learning_rate=_optional_number(extra.get("learning_rate")),
    )


def _refusal(path: str, error: ValidationError) -> PulseFileError:
    first = error.errors(include_url=False, include_input=False)[0]
    # A union's branches follow the field's name in the location; the field alone helps a person.
    field = str(first["loc"][0]) if first["loc"] else None
    if field in {"epoch", "total_epochs", "loss"}:
        reason = "is missing" if first["type"] == "missing" else "is no number"
    elif first["type"] == "json_invalid":
        reason = f"is no complete JSON: {first['ctx']['error']}"
    elif first["type"] == "missing":
        reason = "is missing"
    else:
        reason = first["msg"][:1].lower() + first["msg"][1:]
    return PulseFileError(path, reason, field)


def _finite(value: Number) -> Number | None:
    """Give the number where it is finite; an integer too large to be exact becomes a float."""
    if isinstance(value, int) and -_MAX_EXACT <= value <= _MAX_EXACT:
        return value
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _require_finite(path: str, field: str, value: Number) -> Number:
    number = _finite(value)
    if number is None:
        raise PulseFileError(path, "is not finite", field)
    return number


def _optional_number(value: object) -> Number | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else _finite(value)


def _count(value: object) -> int | None:
    number = _optional_number(value)
    return int(number) if number is not None and 0 <= number <= _MAX_EXACT and number == int(number) else None
