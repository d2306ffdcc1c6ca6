"""One watched file: when it must be read again, and what reading it means.

Looking (`read_now`, `read_if_changed`) is I/O without state, so that a slow file system can be looked at in a
thread; `take` is state without I/O and stays in the event loop.
"""

import logging
import os
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from pulse_bridge.errors import PulseFileError
from pulse_bridge.pulse import Pulse, Signature, parse, read_file
from pulse_bridge.watch_context import Context

logger = logging.getLogger(__name__)

RACY_NS: Final = 2_000_000_000
"""A file whose times lie so close before the reading may have changed since without showing it (as in git)."""


class Sighting(NamedTuple):
    """What was seen of one job's file.

    Args:
        job: The job's name, unique in this process.
        path: The file, absolute.
        pulse: What it says; None where there is no such file now.
        labels: From the flat `training_context.json` beside it; empty without one.
    """

    job: str
    path: str
    pulse: Pulse | None
    labels: Mapping[str, str]


class Reading(NamedTuple):
    """What a look at a file gave: content and signature, a refusal, or neither where there is no such file."""

    content: bytes | None
    signature: Signature | None
    refusal: PulseFileError | None
    read_ns: int

    @property
    def settled(self) -> bool:
        """Say whether an equal signature later on proves an equal file."""
        if self.signature is None:
            return False
        return max(self.signature.mtime_ns, self.signature.ctime_ns) < self.read_ns - RACY_NS


def read_now(path: str) -> Reading:
    """Read a file, whatever it is."""
    read_ns = time.time_ns()
    try:
        found = read_file(path)
    except PulseFileError as refusal:
        return Reading(None, None, refusal, read_ns)
    if found is None:
        return Reading(None, None, None, read_ns)
    return Reading(*found, None, read_ns)


def read_if_changed(path: str, known: Signature | None) -> Reading | None:
    """Read a file unless its signature is the known one; None says that it is."""
    if known is not None:
        try:
            if Signature.of(os.stat(path)) == known:
                return None
        except OSError:
            pass  # reading says what it is
    return read_now(path)


class WatchedFile:
    """What is known of one file.

    Args:
        explicit: The user named this very file: it is looked for although it is not there.
        remote: It is on a file system that may be slow, so it is read in a thread.
        interval_s: Seconds to the next look, if nothing happens.
    """

    __slots__ = (
        "_digest",
        "_given_labels",
        "_logged",
        "_present",
        "_refused_digest",
        "context",
        "due_at",
        "explicit",
        "interval_s",
        "job",
        "known",
        "looking",
        "malformed",
        "path",
        "pulse",
        "remote",
        "suspect",
        "suspect_at",
        "takes",
    )

    def __init__(
        self, job: str, path: str, context: Context, *, explicit: bool, remote: bool, interval_s: float
    ) -> None:
        self.job = job
        self.path = path
        self.context = context
        self.explicit = explicit
        self.remote = remote
        self.interval_s = interval_s
        self.due_at = float("inf")  # seconds of the event loop's clock; infinite: not polled
        self.takes = 0  # readings taken: tells whether one that was made in a thread is older than the last
        self.looking = False  # a thread is at it
        self.known: Signature | None = None  # an equal one proves an equal file
        self.pulse: Pulse | None = None  # what it said when it was last good
        self.suspect: PulseFileError | None = None  # refused once; half-written, perhaps
        self.suspect_at = 0.0  # seconds of the event loop's clock
        self.malformed = False
        self._given_labels = context.labels
        self._present: bool | None = None
        self._digest: int | None = None  # of the content that `pulse` is from
        self._refused_digest: int | None = None  # of the content that `suspect` is about, if it has been read
        self._logged: tuple[int | None, str] | None = None

    @property
    def absent(self) -> bool:
        """Say whether there was no such file at the last look."""
        return self._present is False

    def take(self, reading: Reading) -> Sighting | None:
        """Take in a reading.

        Returns:
            A sighting where something may have changed; None where nothing has, or where the file was refused,
            which `suspect` then tells.
        """
        self.takes += 1
        self.known = reading.signature if reading.settled else None
        if reading.content is not None:
            return self._take_content(reading.content)
        if reading.refusal is not None:
            self._refuse(reading.refusal, None)
            return None
        was_absent, self._present, self._digest = self.absent, False, None
        self._clear()
        return None if was_absent else self.sighting()

    def _take_content(self, content: bytes) -> Sighting | None:
        digest = hash(content)
        if digest == self._digest:
            self._present = True
            self._clear()
            return self.relabelled()
        try:
            self.pulse = parse(content, self.path)
        except PulseFileError as refusal:
            self._refuse(refusal, digest)
            return None
        self._present, self._digest = True, digest
        self._clear()
        return self.sighting()

    def sighting(self) -> Sighting | None:
        """Give what the last look said, changed or not; None where the file cannot be used now."""
        if self.suspect is not None or self._present is None:
            return None
        self._given_labels = self.context.labels
        return Sighting(self.job, self.path, self.pulse if self._present else None, self._given_labels)

    def relabelled(self) -> Sighting | None:
        """Give the last sighting again if the labels have changed since."""
        if self._given_labels is self.context.labels or self.absent:
            return None
        return self.sighting()

    def condemn(self) -> None:
        """Hold a file that was refused, and is still, for malformed; said once for each content."""
        if self.suspect is None:
            return
        self.malformed = True
        refusal = (self._refused_digest, self.suspect.reason)
        if refusal != self._logged:
            self._logged = refusal
            logger.warning(
                "status file cannot be used, its last known state is kept",
                extra={
                    "job": self.job,
                    "path": self.path,
                    "field": self.suspect.field,
                    "reason": self.suspect.reason,
                },
            )

    def _refuse(self, refusal: PulseFileError, digest: int | None) -> None:
        self._present = True
        self._refused_digest = digest
        self.suspect = refusal
        if not self.malformed:
            self.known = None  # the second look must read it, changed or not

    def _clear(self) -> None:
        self.suspect = None
        self.malformed = False
        self._logged = None
