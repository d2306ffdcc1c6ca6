"""A bus that is a file, a journal or a recording: can it be written, can it be read."""

import os
from collections.abc import Iterator
from pathlib import Path

from pulse_bridge.doctor import Examination, Finding, format_bytes


def check_file(path: Path, examination: Examination) -> Iterator[Finding]:
    """Judge the rights to a file, and to the folder of one that is still to be made; opens nothing."""
    if path.exists() and not path.is_file():
        yield examination.problem(
            f"{path} is no regular file", "name a file, or the path of one that is to be made"
        )
    elif not path.exists():
        yield from _check_missing(path, examination)
    elif not os.access(path, os.W_OK if examination.publishes else os.R_OK):
        what = "written" if examination.publishes else "read"
        yield examination.problem(
            f"{path} cannot be {what} by this user", "let the user that pulse-bridge runs as do so (chmod, chown)"
        )
    else:
        what = "written" if examination.publishes else "read"
        yield examination.fine(f"{path} has {format_bytes(path.stat().st_size)} and can be {what}")


def _check_missing(path: Path, examination: Examination) -> Iterator[Finding]:
    if not examination.publishes:
        yield examination.problem(
            f"there is no file {path}", "start what writes it ('pulse-bridge run'), or compare the path"
        )
    elif not path.absolute().parent.is_dir():
        yield examination.problem(f"{path} cannot be made: there is no folder {path.parent}", "make that folder")
    elif not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        yield examination.problem(
            f"{path} cannot be made: the folder {path.parent} takes no files of this user",
            "let the user that pulse-bridge runs as write there, or name another file",
        )
    else:
        yield examination.fine(f"{path} will be made")
