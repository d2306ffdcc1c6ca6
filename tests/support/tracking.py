"""Drives a job tracker as the sidecar does, on clocks that a test sets."""

import math

from pulse_bridge.event import JobEvent
from pulse_bridge.pulse import Pulse
from pulse_bridge.track import Instant, JobTracker

START_S = 1_790_000_000.0
"""A round Unix second; quarters of a second from it on are exact as floats, so that no test meets rounding."""


def make_pulse(status: str = "running", timestamp: float = START_S, **changes: object) -> Pulse:
    """Give a plausible pulse, with any field changed."""
    pulse = Pulse(
        status=status,  # type: ignore[arg-type]  # a table of tests says it as plain text
        epoch=1.5,
        total_epochs=3.0,
        loss=0.342,
        diverged=False,
        message="test epoch 1.5/3",
        timestamp=int(timestamp),
    )
    return pulse._replace(**changes)  # type: ignore[arg-type]  # any field


class Drive:
    """One job, its file, two clocks, and the sidecar around the tracker.

    Args:
        now_s: Monotonic seconds at the start.
        wall_s: Unix seconds at the start.
    """

    def __init__(self, now_s: float = 1000.0, wall_s: float = START_S) -> None:
        self.now_s = now_s
        self.wall_s = wall_s
        self.file: Pulse | None = None
        self.events: list[JobEvent] = []
        self.tracker = JobTracker("node1", "job")

    @property
    def at(self) -> Instant:
        return Instant(self.now_s, self.wall_s)

    def write(
        self, status: str = "running", *, age_s: float = 0.0, timestamp: float | None = None, **changes: object
    ) -> list[JobEvent]:
        """Let the training write now (its clock is ours, unless `timestamp` or `age_s` says otherwise)."""
        self.file = make_pulse(status, self.wall_s - age_s if timestamp is None else timestamp, **changes)
        return self.look()

    def remove(self) -> list[JobEvent]:
        """Let the file go."""
        self.file = None
        return self.look()

    def look(self) -> list[JobEvent]:
        """Read the file, as after a hint of the kernel or at a poll."""
        return self._keep(self.tracker.observe(self.file, self.at))

    def tick(self) -> list[JobEvent]:
        """Read the file, then fire the timer that is due."""
        before = self.look()
        return before + self._keep(self.tracker.tick(self.at))

    def pass_time(self, seconds: float) -> list[JobEvent]:
        """Let time pass, waking at the first quarter of a second that is not before each deadline."""
        events: list[JobEvent] = []
        end_s = self.now_s + seconds
        while (deadline_s := self.tracker.deadline_s()) is not None:
            wake_at_s = max(self.now_s, math.ceil(4 * deadline_s) / 4)
            if wake_at_s > end_s:
                break
            self.skip(wake_at_s - self.now_s)
            events += self.tick()
            moved_to_s = self.tracker.deadline_s()
            assert moved_to_s is None or moved_to_s > deadline_s, "a tick moves the deadline on"
        self.skip(end_s - self.now_s)
        return events

    def skip(self, seconds: float) -> None:
        """Let time pass with the sidecar asleep."""
        self.now_s += seconds
        self.wall_s += seconds

    def restart(self, down_s: float = 0.0, now_s: float = 5.0, **settings: float) -> list[JobEvent]:
        """End the sidecar, let time pass, start it with another monotonic clock, and read the file."""
        saved = self.tracker.dump(self.at)
        self.skip(down_s)
        self.now_s = now_s
        self.start(saved, **settings)
        return self.look()

    def start(self, saved: str, **settings: float) -> None:
        """Start a sidecar that finds `saved` in its journal."""
        labels = self.tracker.labels
        self.tracker = JobTracker.restore("node1", "job", saved, self.at, labels=labels, **settings)

    def _keep(self, events: list[JobEvent]) -> list[JobEvent]:
        self.events += events
        return events


def kinds(events: list[JobEvent]) -> list[str]:
    """Give the kinds, in order."""
    return [event.kind for event in events]
