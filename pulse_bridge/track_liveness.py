"""When a training job was last alive, judged by the timestamps that it writes.

No clock offset is learnt. A timestamp that advances in step with our clock is life, whatever its offset; one
that does not is judged by itself.

Source: `pulse-v1.md`, "When a job is stale, exactly".
"""

from typing import NamedTuple

from pulse_bridge.clock import Instant


class Liveness(NamedTuple):
    """What is kept per job to judge its next timestamp.

    Args:
        timestamp: Unix seconds of the writer's clock, as last read.
        seen_at_s: Monotonic instant at which that timestamp was first seen.
        alive_at_s: Monotonic instant of the last sign of life.
    """

    timestamp: int
    seen_at_s: float
    alive_at_s: float

    @classmethod
    def at_first_sight(cls, timestamp: int, at: Instant) -> "Liveness":
        """Judge a timestamp by itself (rule 1)."""
        return cls(timestamp, at.now_s, _written_at_s(timestamp, at))

    def after(self, timestamp: int, at: Instant, stale_after_s: float) -> "Liveness":
        """Judge a timestamp by the one before it (rules 2 and 3).

        Args:
            timestamp: Unix seconds, as read at `at`.
            stale_after_s: How far it may fall behind our clock and still count as advancing with it.
        """
        advance_s = timestamp - self.timestamp
        if advance_s == 0:
            return self
        lag_s = (at.now_s - self.seen_at_s) - advance_s
        in_step = advance_s > 0 and lag_s <= stale_after_s
        return Liveness(timestamp, at.now_s, at.now_s if in_step else _written_at_s(timestamp, at))


def _written_at_s(timestamp: int, at: Instant) -> float:
    """Believe the writer's clock, save that a timestamp in the future has age 0."""
    return at.now_s - max(0.0, at.wall_s - timestamp)
