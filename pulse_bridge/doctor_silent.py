"""File systems that do not answer: whoever asks one waits for ever, so a thread is sent that nobody waits for."""

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from pulse_bridge.mounts import Mounts, is_remote

ANSWER_S: Final = 3.0
"""A file system that takes longer to say whether a file is there is as good as dead."""

ResultT = TypeVar("ResultT")


def do_in_time(work: Callable[[], ResultT], wait_s: float = ANSWER_S) -> ResultT:
    """Do something that may touch a dead file system.

    Args:
        work: Raises what it likes; it is raised here.
        wait_s: Seconds.

    Raises:
        TimeoutError: It does not come to an end; its thread is left to itself.
    """
    outcome: list[ResultT] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - carried to whoever waits
            errors.append(error)

    thread = threading.Thread(target=run, name="may-hang", daemon=True)
    thread.start()
    thread.join(wait_s)
    if errors:
        raise errors[0]
    if not outcome:
        raise TimeoutError
    return outcome[0]


def find_silent(mounts: Mounts, wait_s: float = ANSWER_S) -> dict[str, str]:
    """Give mount point to type of the network and FUSE file systems that do not answer.

    Args:
        wait_s: Seconds, for all of them together.
    """
    remote = {point: fs_type for point, fs_type in mounts.fs_type_by_point.items() if is_remote(fs_type)}
    answered: set[str] = set()
    threads = [
        threading.Thread(target=partial(_ask, point, answered), name="may-hang", daemon=True) for point in remote
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(wait_s / len(threads))
    return {point: fs_type for point, fs_type in remote.items() if point not in answered}


def _ask(point: str, answered: set[str]) -> None:
    with suppress(OSError):  # which is an answer
        os.stat(point)  # noqa: PTH116 - a string
    answered.add(point)


def leads_to(root: str, points: Iterable[str]) -> set[str]:
    """Give those mount points that a search from a folder meets: it lies there, or they lie below it.

    Args:
        root: Absolute; no link in it is followed, which would ask the file system.
    """
    return {point for point in points if _is_below(point, root) or _is_below(root, point)}


def _is_below(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")
