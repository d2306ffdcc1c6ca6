"""How far a run is, and how long it still takes.

Source: `pulse-v1.md`, "Runs, progress, ETA, exactly".
"""

import math
from typing import Final, NamedTuple

from pulse_bridge.pulse import Number

MIN_SPAN_S: Final = 10
"""The shortest stretch of training from which a speed is told, in seconds."""


def compute_progress(epoch: Number, total_epochs: Number) -> float:
    """Give percent, 0 to 100, to one decimal: 100 only at the end, 0 where there is no total."""
    if total_epochs <= 0:
        return 0.0
    if epoch >= total_epochs:
        return 100.0
    percent = 100 * epoch / total_epochs
    if not math.isfinite(percent):  # 100 times an epoch near the largest float
        percent = 100 * (epoch / total_epochs)
    return min(99.9, max(0.0, round(percent, 1)))


class Point(NamedTuple):
    """Where a run was when it wrote.

    Args:
        timestamp: Unix seconds of the writer's clock.
        epoch: Epochs, fractional.
    """

    timestamp: int
    epoch: Number


class Pace(NamedTuple):
    """The speed of one run, measured from `older`, which follows at between a half and all of the distance.

    Two anchors are all the memory there is: when the newer lies as far back as the two are apart, it takes
    the older's place. So a slow start is forgotten, and the stretch measured grows with the run. (Simulated:
    1.5 % median error after a 10 min start-up, 2.6 % after the speed halves; the whole run's mean: 17, 37 %.)
    """

    older: Point
    newer: Point
    latest: Point

    @classmethod
    def from_start(cls, point: Point) -> "Pace":
        """Begin anew: a run's first point, or its first after the writer's clock went back."""
        return cls(point, point, point)

    def after(self, point: Point) -> "Pace":
        """Add the run's next point."""
        if point.timestamp < self.latest.timestamp:
            return Pace.from_start(point)
        if point.timestamp - self.newer.timestamp > self.newer.timestamp - self.older.timestamp:
            return Pace(self.newer, point, point)
        return Pace(self.older, self.newer, point)

    def compute_eta_s(self, total_epochs: Number, age_s: float) -> float | None:
        """Estimate the time to the end of the run.

        Args:
            total_epochs: Epochs; none (0 or less) means that the end is not known.
            age_s: Seconds since the latest point was written.

        Returns:
            Seconds from now on, at least 0, to one decimal; None until known.
        """
        span_s = self.latest.timestamp - self.older.timestamp
        if total_epochs <= 0 or span_s < MIN_SPAN_S:
            return None
        rate = (self.latest.epoch - self.older.epoch) / span_s
        if not 0 < rate < math.inf:
            return None
        eta_s = (total_epochs - self.latest.epoch) / rate - age_s
        return max(0.0, round(eta_s, 1)) if math.isfinite(eta_s) else None
