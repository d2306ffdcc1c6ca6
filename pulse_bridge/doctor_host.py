"""This machine: what the kernel gives, under which name we publish, what listens here."""

import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pulse_bridge.doctor import Finding, count

SUBJECT: Final = "this machine"

INOTIFY: Final = Path("/proc/sys/fs/inotify")
_CONTAINER_NAME: Final = re.compile(r"[0-9a-f]{12}")
_LOCAL_SERVERS: Final = {"redis://localhost": 6379, "mqtt://localhost": 1883}
_KNOCK_S: Final = 0.5


@dataclass(frozen=True)
class WatchFacts:
    """What the kernel gave of hints.

    Args:
        instance: It gave a queue of events.
        folders: So many folders were to be watched.
        refused: So many it would not watch.
        limits: Name of each limit to what is allowed, as far as the kernel tells.
    """

    instance: bool
    folders: int
    refused: int
    limits: Mapping[str, int] = field(default_factory=dict)


def read_limits(folder: Path = INOTIFY) -> dict[str, int]:
    """Read the limits of inotify. Source: inotify(7), "/proc interfaces"."""
    found = {}
    for name in ("max_user_instances", "max_user_watches", "max_queued_events"):
        with suppress(OSError, ValueError):
            found[name] = int((folder / name).read_text())
    return found


def check_hints(facts: WatchFacts) -> Iterator[Finding]:
    """Judge what the kernel gave."""
    if not facts.instance:
        instances = facts.limits.get("max_user_instances")
        limit = f" (fs.inotify.max_user_instances is {instances})" if instances is not None else ""
        yield Finding(
            "problem",
            SUBJECT,
            f"the kernel gives this user no inotify instance{limit}, so every file is polled",
            "end programs that hold many, or raise it: sysctl fs.inotify.max_user_instances=1024",
        )
    elif facts.refused:
        watches = facts.limits.get("max_user_watches")
        limit = f" (fs.inotify.max_user_watches is {watches})" if watches is not None else ""
        yield Finding(
            "problem",
            SUBJECT,
            f"the kernel watches {facts.folders - facts.refused} of {facts.folders} folders for this user{limit};"
            " the others are polled",
            "raise it: sysctl fs.inotify.max_user_watches=524288 (in a container: on the host, or"
            " user.max_inotify_watches), or name fewer folders",
        )
    elif facts.folders:
        yield Finding("fine", SUBJECT, f"the kernel tells of changes in {count(facts.folders, 'folder')}")


def check_host_name(host: str, *, chosen: bool, in_container: bool) -> Iterator[Finding]:
    """Judge the host name.

    Args:
        chosen: A person set it.
        in_container: This process runs in one.
    """
    if not chosen and in_container and _CONTAINER_NAME.fullmatch(host):
        yield Finding(
            "advice",
            SUBJECT,
            f"the host name {host!r} is that of a container and another one at each start, so that old hosts and"
            " jobs are left on the buses",
            "name it: --host NAME, PULSE_BRIDGE_HOST=NAME, or 'docker run --hostname NAME'",
        )
    else:
        yield Finding("fine", SUBJECT, f"jobs are published under the host name {host!r}")


def is_in_container() -> bool:
    """Say whether this process runs in a container, as far as that shows."""
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists() or "container" in os.environ


def find_local_servers(ports: Mapping[str, int] = _LOCAL_SERVERS) -> list[str]:
    """Give the bus URLs behind which something listens on this machine."""
    found = []
    for url, port in ports.items():
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=_KNOCK_S):
            found.append(url)
    return found


def advise_local_servers(urls: list[str]) -> Iterator[Finding]:
    """Tell a new user of servers that are there to be used."""
    for url in urls:
        yield Finding(
            "advice",
            SUBJECT,
            f"something listens where {url} would be",
            f"publish there with 'pulse-bridge run ./runs --to {url}'; 'pulse-bridge doctor ./runs --to {url}'"
            " looks at it first",
        )
