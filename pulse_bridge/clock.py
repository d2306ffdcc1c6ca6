"""One reading of both clocks, and the way between them."""

import time
from typing import NamedTuple


class Instant(NamedTuple):
    """The same moment on both clocks. Timers run on the first; the second is what files and journals speak.

    Args:
        now_s: Monotonic seconds; good for nothing after the process that read them.
        wall_s: Unix seconds; may be stepped at any time.
    """

    now_s: float
    wall_s: float

    def to_wall(self, instant_s: float) -> float:
        """Convert a monotonic instant into Unix seconds, to be stored."""
        return self.wall_s - (self.now_s - instant_s)

    def to_monotonic(self, unix_s: float) -> float:
        """Convert stored Unix seconds into a monotonic instant, which may lie before this process.

        What would lie in the future (the wall clock was set back meanwhile) becomes now: it has happened.
        """
        return self.now_s - max(0.0, self.wall_s - unix_s)


def read_clocks() -> Instant:
    """Read both clocks."""
    return Instant(time.monotonic(), time.time())
