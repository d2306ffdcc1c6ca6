"""What is remembered of a job for its own page: the loss of its run, and what happened; pure."""

import math
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pulse_bridge.cli.watch_rows import JobKey
from pulse_bridge.event import JobEvent, State

MAX_POINTS: Final = 2048
"""Of a curve; more than a wide terminal has dots. Sixteen bytes each: a thousand jobs are 32 MB at most."""

MAX_MOMENTS: Final = 100
_MAX_MESSAGE_CHARS: Final = 300


class Moment(NamedTuple):
    """Something that happened to a job.

    Args:
        at_ms: Unix milliseconds at which the sidecar saw it.
        what: In words.
    """

    at_ms: int
    state: State
    what: str


class Curve:
    """The loss over epochs of one run; when it is full, every second point goes, and of those to come too."""

    def __init__(self) -> None:
        self._epochs = array("d")
        self._losses = array("d")
        self._each = 1
        self._seen = 0

    def add(self, epoch: float, loss: float) -> None:
        """Take in a point; a loss that is no number is a gap.

        Args:
            epoch: Epochs, fractional.
        """
        self._seen += 1
        if self._seen % self._each and math.isfinite(loss):
            return
        self._epochs.append(epoch)
        self._losses.append(loss)
        if len(self._epochs) >= MAX_POINTS:
            self._epochs, self._losses = self._epochs[::2], self._losses[::2]
            self._each *= 2

    @property
    def points(self) -> Sequence[tuple[float, float]]:
        """Epoch and loss, in the order in which they came."""
        return list(zip(self._epochs, self._losses, strict=True))


@dataclass
class Past:
    """What is known of one job's past.

    Args:
        since_ms: Unix milliseconds of the first event.
        whole: All of it is here that the bus keeps.
        why: If not, why, in words; while the bus is being asked, that.
    """

    run: int | None = None
    curve: Curve = field(default_factory=Curve)
    moments: deque[Moment] = field(default_factory=lambda: deque(maxlen=MAX_MOMENTS))
    lowest: tuple[float, float] | None = None
    since_ms: int = 0
    whole: bool = False
    why: str = ""
    _newest: JobEvent | None = None

    def add(self, event: JobEvent) -> None:
        """Take in an event; one that is not newer is known already."""
        before = self._newest
        if before is not None and event.observed_ms <= before.observed_ms and event.id.seq <= before.id.seq:
            return
        self._newest = event
        self.since_ms = self.since_ms or event.observed_ms
        if event.run != self.run:
            self.run, self.curve, self.lowest = event.run, Curve(), None
        if what := _describe(before, event):
            self.moments.append(Moment(event.observed_ms, event.state, what))
        if before is None or _point_of(before) != _point_of(event):
            self._add_point(event)

    def _add_point(self, event: JobEvent) -> None:
        if event.state == "error" and not event.diverged:
            return  # a writer that fails sets all numbers to 0
        loss = math.nan if event.loss is None else float(event.loss)
        self.curve.add(float(event.epoch), loss)
        if event.loss is not None and (self.lowest is None or event.loss < self.lowest[1]):
            self.lowest = (float(event.epoch), float(event.loss))


def _point_of(event: JobEvent) -> tuple[object, ...]:
    return event.run, event.epoch, event.loss, event.diverged


def _describe(before: JobEvent | None, event: JobEvent) -> str:
    """Say what happened; empty where a training only went on."""
    message = f": {event.message[:_MAX_MESSAGE_CHARS]}" if event.message else ""
    if before is None:
        return f"{event.state} when first seen{message}"
    if event.state == "gone" != before.state:
        return "its file is gone"
    if event.run != before.run and event.state == "running":
        return f"a run began{message}"
    if event.state != before.state:
        verb = "alive again" if event.kind == "recovered" else event.state
        return verb if event.state == "stale" else f"{verb}{message}"
    if event.diverged and not before.diverged:
        return f"the loss is NaN or infinite{message}"
    return ""


class Pasts:
    """The past of every job, as far as it was seen or asked for."""

    def __init__(self) -> None:
        self._pasts: dict[JobKey, Past] = {}

    def add(self, event: JobEvent) -> None:
        """Take in an event of any job."""
        self.of((event.host, event.job)).add(event)

    def of(self, key: JobKey) -> Past:
        """Give what is known of a job."""
        past = self._pasts.get(key)
        if past is None:
            past = self._pasts[key] = Past()
        return past

    def put(self, key: JobKey, history: Iterable[JobEvent], since: Iterable[JobEvent], why: str = "") -> None:
        """Put what the bus had kept in the place of what was seen.

        Args:
            history: In the order of the bus.
            since: What came while it was read.
            why: It is not all that the bus has; says why.
        """
        past = Past(whole=not why, why=why)
        for event in (*history, *since):
            past.add(event)
        self._pasts[key] = past

    def forget_whole(self) -> None:
        """Take no past for whole any more: something was missed."""
        for past in self._pasts.values():
            past.whole = False
