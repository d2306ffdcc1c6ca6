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
_GAP: Final = (0.0, math.nan)


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
        asked: The bus was asked for it, and nothing was missed since.
        lowest: Epoch and loss.
        why: It is not all that the bus keeps, and why, in words; while the bus is being asked, that.
    """

    run: int | None = None
    curve: Curve = field(default_factory=Curve)
    moments: deque[Moment] = field(default_factory=lambda: deque(maxlen=MAX_MOMENTS))
    lowest: tuple[float, float] | None = None
    since_ms: int = 0
    asked: bool = False
    why: str = ""
    newest: JobEvent | None = None

    def add(self, event: JobEvent) -> None:
        """Take in an event; one that is not newer is known already."""
        before = self.newest
        if before is not None and event.observed_ms <= before.observed_ms and event.id.seq <= before.id.seq:
            return
        self.newest = event
        self.since_ms = self.since_ms or event.observed_ms
        if event.run != self.run:
            self.run, self.curve, self.lowest = event.run, Curve(), None
        if what := _describe(before, event):
            self.moments.append(Moment(event.observed_ms, event.state, what))
        if before is None or _point_of(before) != _point_of(event):
            self._add_point(event)

    def go_on(self, later: "Past") -> None:
        """Take in what was seen after this, with something unknown between them."""
        if later.run != self.run:
            self.run, self.curve, self.lowest = later.run, later.curve, later.lowest
        else:
            for point in (_GAP, *later.curve.points):
                self.curve.add(*point)
            both = [point for point in (self.lowest, later.lowest) if point]
            self.lowest = min(both, key=lambda point: point[1], default=None)
        self.moments.extend(later.moments)
        self.newest = later.newest

    @property
    def until_ms(self) -> int:
        """Unix milliseconds of the newest event; 0 where there is none."""
        return self.newest.observed_ms if self.newest else 0

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

    def put(self, key: JobKey, read: Past, meanwhile: Iterable[JobEvent]) -> None:
        """Put what the bus had in the place of what was seen; where it gave out before that, add what was seen.

        Args:
            meanwhile: What came while it was read.
        """
        seen = self.of(key)
        if read.until_ms == 0:
            seen.why, read = read.why, seen
        elif read.why and read.until_ms < seen.since_ms:
            read.go_on(seen)
        else:
            for event in meanwhile:
                read.add(event)
        read.asked = True
        self._pasts[key] = read

    def forget_asked(self) -> None:
        """Have the bus asked again for every past: something was missed."""
        for past in self._pasts.values():
            past.asked = False
