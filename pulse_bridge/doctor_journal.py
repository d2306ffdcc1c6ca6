"""The journal of this host: who writes it, how large it is, what is still unsent; judged from what was found."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pulse_bridge import journal_rows as rows
from pulse_bridge.doctor import Finding, count, format_bytes
from pulse_bridge.event import FINISHED_STATES, HostEvent
from pulse_bridge.journal_file import log_bytes
from pulse_bridge.mounts import remote_fs_type

SUBJECT: Final = "journal"

SILENT_S: Final = 30.0
MANY_UNSENT_EVENTS: Final = 1000
LITTLE_SPACE_BYTES: Final = 64 * 1024 * 1024
_PROC_LOCKS: Final = Path("/proc/locks")
_NEWEST_OF_HOST: Final = (
    f"SELECT {rows.EVENT_COLUMNS} FROM events WHERE kind = 'host' AND host = ? ORDER BY row DESC LIMIT 1"  # noqa: S608
)


@dataclass(frozen=True)
class JournalFacts:
    """What was found of the journal.

    Args:
        path: Its file.
        held: A process has it open to write, that is, a sidecar runs.
        pid: That process, where the lock file says so.
        size_bytes: Of the file and its log; 0 where there is none.
        free_bytes: On its disk; None where its folder is not there yet.
        fs_type: Of the network or FUSE file system that it lies on; None on a local disk.
        unwritable: The nearest folder that is there and cannot be written to; None where it can.
        refusal: Why it cannot be read; None where it can, or is not there.
        newest: The sidecar's last word, under this host name.
        jobs: Name of each job of this host to its state.
    """

    path: Path
    held: bool = False
    pid: int | None = None
    size_bytes: int = 0
    free_bytes: int | None = None
    fs_type: str | None = None
    unwritable: Path | None = None
    refusal: str | None = None
    newest: HostEvent | None = None
    jobs: dict[str, str] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Say whether there is one."""
        return self.size_bytes > 0


def read_journal(path: Path, host: str) -> JournalFacts:
    """Look at a journal without being in the way of whoever writes it."""
    held, pid = find_holder(path)
    folder = next((above for above in path.absolute().parents if above.is_dir()), Path("/"))
    facts = {
        "held": held,
        "pid": pid,
        "free_bytes": shutil.disk_usage(folder).free,
        "fs_type": remote_fs_type(path),
        "unwritable": None if os.access(folder, os.W_OK | os.X_OK) else folder,
    }
    try:
        size_bytes = path.stat().st_size + log_bytes(path)
    except OSError:
        return JournalFacts(path, **facts)  # type: ignore[arg-type]  # each as its field wants it
    try:
        newest, jobs = _read_rows(path, host, written=held)
    except (sqlite3.Error, OSError, ValueError) as error:
        return JournalFacts(path, size_bytes=size_bytes, refusal=str(error), **facts)  # type: ignore[arg-type]
    return JournalFacts(path, size_bytes=size_bytes, newest=newest, jobs=jobs, **facts)  # type: ignore[arg-type]


def _read_rows(path: Path, host: str, *, written: bool) -> tuple[HostEvent | None, dict[str, str]]:
    # Where nobody writes and no log is left, nothing need be made beside the file to read it.
    mode = "mode=ro" if written or log_bytes(path) else "mode=ro&immutable=1"
    uri = f"{path.absolute().as_uri()}?{mode}"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        found = connection.execute(_NEWEST_OF_HOST, (host,)).fetchone()
        jobs = dict(connection.execute("SELECT job, state FROM jobs WHERE host = ? AND job != ''", (host,)))
    newest = rows.from_row(found) if found else None
    return (newest if isinstance(newest, HostEvent) else None), jobs


def find_holder(path: Path) -> tuple[bool, int | None]:
    """Say whether somebody writes a journal, and who; never takes the lock, which could keep a sidecar out.

    Source: proc_locks(5): a lock is told by the device and inode of its file.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        inode = lock.stat().st_ino
        text = lock.read_text(errors="replace").strip()
    except OSError:
        return False, None
    pid = int(text) if text.isdigit() else None
    try:
        held = any(
            columns[1] == "FLOCK" and columns[5].rpartition(":")[2] == str(inode)
            for columns in (line.split() for line in _PROC_LOCKS.read_text().splitlines())
            if len(columns) > 5  # noqa: PLR2004 - up to the file's
        )
    except OSError:
        held = pid is not None and Path(f"/proc/{pid}").exists()
    return held, pid if held else None


def check_journal(
    facts: JournalFacts, *, max_bytes: int, host: str, wall_s: float, wanted: bool
) -> Iterator[Finding]:
    """Judge what was found.

    Args:
        max_bytes: How large the journal may become.
        host: The host name in question.
        wall_s: Unix seconds now.
        wanted: A sidecar is configured here, so that none running is worth a word.
    """
    if facts.fs_type is not None:
        yield _problem(
            f"{facts.path} lies on {facts.fs_type}, and its log needs the shared memory of a local disk",
            "choose a file on a local disk with --journal",
        )
    if facts.unwritable is not None:
        yield _problem(
            f"{facts.path} cannot be made: the folder {facts.unwritable} takes no files of this user",
            "choose another file with --journal, or let this user write there",
        )
    if facts.refusal is not None:
        yield _problem(
            f"{facts.path} is no journal that can be read: {facts.refusal}",
            "choose another file with --journal, or move that one away; what it held and was not sent is lost",
        )
    yield from _check_space(facts, max_bytes)
    yield from _check_sidecar(facts, host, wall_s, wanted=wanted)
    if facts.newest is not None:
        yield from _check_last_word(facts.newest, running=facts.held)


def _check_space(facts: JournalFacts, max_bytes: int) -> Iterator[Finding]:
    size = f"{facts.path} has {format_bytes(facts.size_bytes)} of at most {format_bytes(max_bytes)}"
    free_bytes = facts.free_bytes
    if free_bytes is not None and free_bytes < LITTLE_SPACE_BYTES:
        yield _problem(
            f"the disk of {facts.path} has {format_bytes(free_bytes)} left; events are soon kept in memory only",
            "free some of it, or choose a file on another disk with --journal",
        )
    elif free_bytes is not None and free_bytes < max_bytes - facts.size_bytes:
        yield Finding(
            "advice",
            SUBJECT,
            f"{size}, and its disk has {format_bytes(free_bytes)} left, so that it cannot grow as large as it may",
            "free some of it, or set journal_max_bytes lower",
        )
    elif facts.exists:
        free = f", with {format_bytes(free_bytes)} free on its disk" if free_bytes is not None else ""
        yield Finding("fine", SUBJECT, size + free)


def _check_sidecar(facts: JournalFacts, host: str, wall_s: float, *, wanted: bool) -> Iterator[Finding]:
    newest = facts.newest
    if facts.held:
        who = f" (pid {facts.pid})" if facts.pid else ""
        yield Finding("fine", SUBJECT, f"a sidecar{who} runs as host {host!r} and writes {facts.path}")
        if newest is not None and not newest.stopping and wall_s - newest.observed_ms / 1000 > SILENT_S:
            yield _problem(
                f"the sidecar{who} has written no sign of life into {facts.path} for"
                f" {wall_s - newest.observed_ms / 1000:.0f} s",
                "see its log; if it is stopped or hangs, restart it",
            )
        return
    if not wanted and not facts.exists:
        return
    unfinished = sum(state not in FINISHED_STATES for state in facts.jobs.values())
    if newest is not None and not newest.stopping:
        yield _problem(
            f"no sidecar runs as host {host!r}, and the last one did not end cleanly ({facts.path})",
            "start it: 'pulse-bridge run'; it goes on where the journal ends, and the last one's log may say why",
        )
    else:
        left = f"; it left {count(unfinished, 'unfinished job')}" if newest is not None and unfinished else ""
        yield Finding(
            "advice",
            SUBJECT,
            f"no sidecar runs as host {host!r} on this machine{left}",
            "start it: 'pulse-bridge run'; without it nothing is published",
        )


def _check_last_word(newest: HostEvent, *, running: bool) -> Iterator[Finding]:
    for name, events in sorted(newest.lag.items()):
        if events > MANY_UNSENT_EVENTS or (events and not running):
            yield Finding(
                "problem" if events > MANY_UNSENT_EVENTS else "advice",
                SUBJECT,
                f"{count(events, 'event')} not yet at {name}",
                f"see below what is wrong with {name}; they are kept and sent once it takes them",
            )
    if newest.dropped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in newest.dropped_by.items() if count)
        yield _problem(
            f"{newest.dropped} events were given up before every destination had them"
            f"{f' ({reasons})' if reasons else ''}",
            "set journal_max_bytes or journal_max_age_s higher, or leave out a destination that is down for good",
        )


def _problem(sentence: str, remedy: str) -> Finding:
    return Finding("problem", SUBJECT, sentence, remedy)
