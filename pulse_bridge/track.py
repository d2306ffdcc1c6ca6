"""What is news about one training job: pulses and a clock in, events and the next deadline out.

Pure: it reads no file and no clock. Whoever drives it calls `observe` with what the file says whenever it may
have changed, and `tick` at `deadline_s`; late or needless calls do no harm.

The points that `design.md` leaves open are settled so:

- What is told is judged when it is told. A timer that is late never tells what is over by then.
- A stale job that writes without a sign of life (the same timestamp, or an old one) stays stale: a `change`
  where a viewer would see a difference, nothing where only the hidden message differs.
- A job stays stale until its timestamp moves, whatever our clocks or settings do over a restart.
- A file that is back after `gone` makes a `change`, also if it is as before, also if it is stale at once.
- A `gone` job shows what it showed last (a PULSE v1 poller keeps its last known state); no ETA.
- A missing file within its grace changes nothing: heartbeats go on, and the job can become stale.
- Labels that change are no news by themselves; the next event carries them.

Source: `pulse-v1.md`, `design.md` ("Which kind when").
"""

import math
from collections.abc import Mapping
from typing import Final

from pulse_bridge.clock import Instant
from pulse_bridge.eta import Pace, Point, compute_progress
from pulse_bridge.event import (
    STALE_MESSAGE,
    UNNUMBERED,
    JobEvent,
    Kind,
    State,
    cut_message,
)
from pulse_bridge.pulse import Pulse
from pulse_bridge.track_liveness import Liveness
from pulse_bridge.track_saved import SavedJob, decode, encode

__all__ = ["Instant", "JobTracker"]

STALE_AFTER_S: Final = 60.0
HEARTBEAT_S: Final = 10.0
GONE_AFTER_S: Final = 30.0
_RECOVERIES_TO_ADVISE: Final = 2
_BEATING_STATES: Final[frozenset[State | None]] = frozenset({"idle", "running", "stale"})


class JobTracker:
    """Follows one job. `state` is what its last event said, None before the first pulse.

    Args:
        host: As the user wrote it, as is `job`.
        labels: Carried by the next events; may be replaced at any time.
        stale_after_s: A running job with no sign of life for more seconds than this is stale; above 0.
        heartbeat_s: Seconds from one event of an unfinished job to its heartbeat; above 0.
        gone_after_s: Seconds for which a file must be missing to be gone; 0 or more.
    """

    def __init__(
        self,
        host: str,
        job: str,
        *,
        labels: Mapping[str, str] = {},
        stale_after_s: float = STALE_AFTER_S,
        heartbeat_s: float = HEARTBEAT_S,
        gone_after_s: float = GONE_AFTER_S,
    ) -> None:
        self.host = host
        self.job = job
        self.labels = labels
        self.state: State | None = None
        self._stale_after_s = stale_after_s
        self._heartbeat_s = heartbeat_s
        self._gone_after_s = gone_after_s
        self._pulse: Pulse | None = None
        self._life = Liveness(0, 0.0, 0.0)  # means nothing before the first pulse
        self._run = 0
        self._pace: Pace | None = None
        self._told_at_s = 0.0
        self._missing_since_s: float | None = None
        self._slow_recoveries = 0
        self._longest_pause_s = 0.0
        self._advised = False

    def observe(self, pulse: Pulse | None, at: Instant) -> list[JobEvent]:
        """Take in what the file says now.

        Args:
            pulse: None: there is no such file. One that cannot be read goes to `note_unreadable`.

        Returns:
            The news: one event, or none.
        """
        if pulse is None:
            if self._missing_since_s is None and self.state not in {None, "gone"}:
                self._missing_since_s = at.now_s
            return []
        self._missing_since_s = None
        message = cut_message(pulse.message)
        if message is not pulse.message:  # nobody sees what is cut off, so it makes no difference
            pulse = pulse._replace(message=message)
        before = self._pulse
        if pulse == before and self.state != "gone":
            return []
        return self._take(pulse, before, at)

    def note_unreadable(self) -> None:
        """Take in that the file is there but says nothing now: the last known state is kept, nothing is gone."""
        self._missing_since_s = None

    def tick(self, at: Instant) -> list[JobEvent]:
        """Tell what silence tells: the timer due at `at`. Read the file once more before, see `reread_at_s`.

        Returns:
            One event, or none: any event says all that a heartbeat would.
        """
        pulse = self._pulse
        if pulse is None or self.state is None:
            return []
        if _is_due(self._gone_at_s, at):
            self._missing_since_s = None
            return [self._tell("gone", "gone", pulse, at)]
        if _is_due(self.stale_at_s, at):
            return [self._tell("stale", "stale", pulse, at)]
        if _is_due(self._heartbeat_at_s, at):
            return [self._tell("heartbeat", self.state, pulse, at)]
        return []

    def deadline_s(self) -> float | None:
        """Give the monotonic instant of the next timer, None if there is none; a tick then moves it on."""
        return _earliest(_earliest(self._heartbeat_at_s, self.stale_at_s), self._gone_at_s)

    @property
    def reread_at_s(self) -> float | None:
        """The monotonic instant from which `tick` calls the job stale or gone: read its file once more before."""
        return _earliest(self.stale_at_s, self._gone_at_s)

    @property
    def stale_at_s(self) -> float | None:
        """The monotonic instant from which `tick` calls the job stale: read the file once more before that."""
        return self._stale_from_s() if self.state == "running" else None

    def take_advice(self) -> str | None:
        """Give advice for the user's log, once for each start, after a slow writer's second recovery."""
        if self._advised or self._slow_recoveries < _RECOVERIES_TO_ADVISE:
            return None
        self._advised = True
        return f"writes every ~{self._longest_pause_s:.0f} s: set stale_after_s above it"

    def dump(self, at: Instant) -> str:
        """Write everything that a restart must not forget as one line of JSON, for `restore`."""
        missing_since_s = self._missing_since_s
        return encode(
            SavedJob(
                1,
                self._run,
                self.state,
                self._pulse,
                self._pace,
                at.to_wall(self._life.seen_at_s),
                at.to_wall(self._life.alive_at_s),
                at.to_wall(self._told_at_s),
                None if missing_since_s is None else at.to_wall(missing_since_s),
            )
        )

    @classmethod
    def restore(
        cls,
        host: str,
        job: str,
        saved: str,
        at: Instant,
        *,
        labels: Mapping[str, str] = {},
        stale_after_s: float = STALE_AFTER_S,
        heartbeat_s: float = HEARTBEAT_S,
        gone_after_s: float = GONE_AFTER_S,
    ) -> "JobTracker":
        """Go on where a tracker was when it wrote `saved`. Observe the file before the first tick.

        Raises:
            ValueError: The text is no dump: begin the job anew.
        """
        kept = decode(saved)
        tracker = cls(
            host,
            job,
            labels=labels,
            stale_after_s=stale_after_s,
            heartbeat_s=heartbeat_s,
            gone_after_s=gone_after_s,
        )
        if kept.pulse is None:
            return tracker
        tracker.state = kept.state
        tracker._pulse = kept.pulse
        tracker._run = kept.run
        tracker._pace = kept.pace
        tracker._life = Liveness(
            kept.pulse.timestamp, at.to_monotonic(kept.seen_unix_s), at.to_monotonic(kept.alive_unix_s)
        )
        tracker._told_at_s = at.to_monotonic(kept.told_unix_s)
        if kept.missing_unix_s is not None:
            tracker._missing_since_s = at.to_monotonic(kept.missing_unix_s)
        return tracker

    def _take(self, pulse: Pulse, before: Pulse | None, at: Instant) -> list[JobEvent]:
        new_run = _starts_run(pulse, before)
        if new_run or before is None:
            self._run = max(self._run + 1, _unix_ms(at) // 1000)
        if pulse.status == "running":
            pace = None if new_run else self._pace
            point = Point(pulse.timestamp, pulse.epoch)
            self._pace = pace.after(point) if pace else Pace.from_start(point)
        last = self._life
        if before is None:
            self._life = Liveness.at_first_sight(pulse.timestamp, at)
        else:
            self._life = last.after(pulse.timestamp, at, self._stale_after_s)
        self._pulse = pulse
        state = self._judge(pulse, at, moved=self._life is not last)
        if self.state == state == "stale" and not new_run and before is not None and _look_same(pulse, before):
            return []
        kind = kind_of(self.state, state)
        if kind == "recovered" and not new_run:
            self._note_pause(at.now_s - last.seen_at_s)
        return [self._tell(kind, state, pulse, at)]

    def _judge(self, pulse: Pulse, at: Instant, *, moved: bool) -> State:
        if pulse.status != "running":
            return pulse.status
        stays_stale = self.state == "stale" and not moved
        return "stale" if stays_stale or at.now_s >= self._stale_from_s() else "running"

    def _stale_from_s(self) -> float:
        """Give the first instant that lies more than the threshold behind the last sign of life."""
        return math.nextafter(self._life.alive_at_s + self._stale_after_s, math.inf)

    @property
    def _heartbeat_at_s(self) -> float | None:
        return self._told_at_s + self._heartbeat_s if self.state in _BEATING_STATES else None

    @property
    def _gone_at_s(self) -> float | None:
        return None if self._missing_since_s is None else self._missing_since_s + self._gone_after_s

    def _note_pause(self, pause_s: float) -> None:
        """Remember a recovery that a higher threshold would have spared."""
        if pause_s > self._stale_after_s:
            self._slow_recoveries += 1
            self._longest_pause_s = max(self._longest_pause_s, pause_s)

    def _tell(self, kind: Kind, state: State, pulse: Pulse, at: Instant) -> JobEvent:
        as_stale = state == "stale" or (state == "gone" and self.state == "stale")
        eta_s = None
        if state == "running" and self._pace is not None:
            eta_s = self._pace.compute_eta_s(pulse.total_epochs, at.now_s - self._life.alive_at_s)
        self.state = state
        self._told_at_s = at.now_s
        return JobEvent(
            UNNUMBERED,
            kind,
            self.host,
            self.job,
            self._run,
            state,
            "error" if as_stale else pulse.status,
            pulse.epoch,
            pulse.total_epochs,
            pulse.loss,
            STALE_MESSAGE if as_stale else pulse.message,
            pulse.timestamp,
            compute_progress(pulse.epoch, pulse.total_epochs),
            eta_s,
            pulse.diverged,
            pulse.step,
            pulse.total_steps,
            pulse.learning_rate,
            self.labels,
            _unix_ms(at),
        )


def _unix_ms(at: Instant) -> int:
    return math.floor(at.wall_s * 1000)


def _is_due(timer_s: float | None, at: Instant) -> bool:
    return timer_s is not None and at.now_s >= timer_s


def _starts_run(pulse: Pulse, before: Pulse | None) -> bool:
    if pulse.status != "running":
        return False
    return before is None or before.status != "running" or pulse.epoch < before.epoch


def kind_of(before: State | None, state: State) -> Kind:
    """Name the news that a pulse makes."""
    if before == "gone":
        return "change"
    if state == "stale":
        return "change" if before == "stale" else "stale"
    return "recovered" if (before, state) == ("stale", "running") else "change"


def _look_same(pulse: Pulse, before: Pulse) -> bool:
    """Say whether two pulses of a stale job, whose own message is not shown, look the same."""
    return pulse == before._replace(message=pulse.message)


def _earliest(first_s: float | None, second_s: float | None) -> float | None:
    if first_s is None or second_s is None:
        return first_s if second_s is None else second_s
    return min(first_s, second_s)
