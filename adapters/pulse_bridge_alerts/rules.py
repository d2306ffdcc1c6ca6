"""When something is worth telling: what each rule says of a job, from its events; pure.

Times are compared on one clock only. How long an epoch has not moved is counted on the reader's own clock, from
each connect anew: what comes in one burst after an outage proves nothing about now.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Final, NamedTuple

from pulse_bridge.clock import Instant
from pulse_bridge.event import JobEvent, Number, State
from pulse_bridge.fleet import Silence
from pulse_bridge_alerts.policy import Policy, Rule

JOB_RULES: Final[tuple[Rule, ...]] = ("stale", "error", "diverged", "stuck", "loss-spike", "done")
MIN_LOSSES: Final = 10
"""A running median over fewer losses says nothing."""
GAP_S: Final = 60.0
"""A job that was not heard of for so long proves no standstill: nobody saw whether it moved."""
_MAX_NAMED_JOBS: Final = 5
_STATES_IN_WORDS: Final[dict[State, str]] = {
    "idle": "idle",
    "running": "running again",
    "stale": "no sign of life",
    "done": "finished",
    "error": "stopped with an error",
    "gone": "its file is gone",
}
_BETTER_IN_WORDS: Final[dict[Rule, str]] = {
    "diverged": "the loss is finite again",
    "stuck": "it moves again",
    "loss-spike": "the loss is back",
}


class Finding(NamedTuple):
    """What a rule says of a job or host now.

    Args:
        since_ms: Unix milliseconds at which it began, as far as that can be known.
        detail: In words, without a full stop.
    """

    rule: Rule
    since_ms: int
    detail: str


@dataclass(slots=True)
class JobMemory:
    """What the rules remember of one job beyond its newest event.

    Args:
        moved_at_s: Monotonic seconds of the reader's clock at which the position in training was last seen to
            move, or from which on it could be seen at all.
        moved_ms: Unix milliseconds of `observed_at` at which the job was first seen at its position.
        heard_at_s: Monotonic seconds of its last event.
        stuck: As last judged, for events that bring no pulse.
        spiking: As last judged, for events that bring no loss.
        losses: The last of this run, bounded; kept only where the rule is on.
        done_run: The run whose end is known.
    """

    moved_at_s: float
    moved_ms: int
    heard_at_s: float
    stuck: bool = False
    spiking: bool = False
    losses: deque[float] = field(default_factory=deque)
    done_run: int | None = None

    @property
    def gist(self) -> tuple[bool, bool, int | None]:
        """What must outlive a restart at once."""
        return self.stuck, self.spiking, self.done_run

    def connect(self, now_s: float) -> None:
        """Count from now on: nobody listened before."""
        self.moved_at_s = self.heard_at_s = now_s

    def judge(self, event: JobEvent, before: JobEvent | None, policy: Policy, at: Instant) -> Iterator[Finding]:
        """Say what is so with the job; each event must be judged once, in order.

        Args:
            before: The event before it; None for the first.
            at: When it came.

        Yields:
            A finding of each rule that holds. What does not stand there does not hold, or not any more.
        """
        rules = policy.rules
        if event.state == "stale" and "stale" in rules:
            yield _find_stale(event)
        if event.state == "error" and "error" in rules:
            yield Finding("error", event.observed_ms, "stopped with an error")
        if event.diverged and event.state != "gone" and "diverged" in rules:
            yield Finding("diverged", event.observed_ms, "the loss is NaN or infinite")
        self._watch_position(event, before, policy, at)
        if self.stuck and "stuck" in rules:
            lasts_s = (event.observed_ms - self.moved_ms) / 1000
            detail = f"the epoch has not moved for {in_words(lasts_s)} though pulses come"
            yield Finding("stuck", self.moved_ms, detail)
        if "loss-spike" in rules:
            yield from self._watch_loss(event, before, policy)
        if event.state == "done" and "done" in rules:
            yield Finding("done", event.observed_ms, "finished")

    def _watch_position(self, event: JobEvent, before: JobEvent | None, policy: Policy, at: Instant) -> None:
        """Judge at pulses only: a heartbeat repeats the last one, and a job that writes seldom is not stuck."""
        moved = before is None or before.run != event.run or _position(before) != _position(event)
        if moved or event.state != "running":
            self.moved_at_s, self.moved_ms, self.stuck = at.now_s, event.observed_ms, False
        elif at.now_s - self.heard_at_s > GAP_S:
            self.moved_at_s = at.now_s
        elif before is not None and before.timestamp != event.timestamp:
            self.stuck = self.stuck or at.now_s - self.moved_at_s >= policy.stuck_after_s
        self.heard_at_s = at.now_s

    def _watch_loss(self, event: JobEvent, before: JobEvent | None, policy: Policy) -> Iterator[Finding]:
        """Compare a new loss with those before it, and only then count it among them."""
        if before is None or before.run != event.run:
            self.losses.clear()
            self.spiking = False
        if event.state == "stale":  # as last known
            if self.spiking:
                yield self._find_spike(event)
            return
        if event.state != "running":
            self.spiking = False
            return
        if event.loss is not None and (before is None or _reading(before) != _reading(event)):
            usual = median(self.losses) if len(self.losses) >= MIN_LOSSES else 0
            self.spiking = 0 < policy.loss_spike_factor * usual < event.loss
            if self.losses.maxlen != policy.loss_spike_window:
                self.losses = deque(self.losses, maxlen=policy.loss_spike_window)
            self.losses.append(event.loss)
        if self.spiking:
            yield self._find_spike(event)

    def _find_spike(self, event: JobEvent) -> Finding:
        detail = f"the loss is {_short(event.loss)}, its running median {_short(median(self.losses))}"
        return Finding("loss-spike", event.observed_ms, detail)


def describe_end(rule: Rule, event: JobEvent) -> str:
    """Say why a rule does not hold any more, in words without a full stop."""
    if event.state == "running" and rule in _BETTER_IN_WORDS:
        return _BETTER_IN_WORDS[rule]
    return _STATES_IN_WORDS[event.state]


def describe_silence(silence: Silence, now_ms: int) -> Finding:
    """Say that a host is silent; what its jobs do is not known, only what they did last.

    Args:
        now_ms: Unix milliseconds.
    """
    names = ", ".join(silence.unfinished[:_MAX_NAMED_JOBS])
    more = len(silence.unfinished) - _MAX_NAMED_JOBS
    jobs = f"{names} and {more} more" if more > 0 else names
    if silence.stopped:
        detail = f"the sidecar was stopped and left jobs unfinished: {jobs}"
    else:
        detail = f"the sidecar has said nothing for {in_words(max(0, now_ms - silence.last_ms) / 1000)}"
        if jobs:
            detail += f"; not known since then: {jobs}"
    return Finding("host-silent", silence.last_ms, detail)


def in_words(seconds: float) -> str:
    """Give a duration for a person, e.g. `65 s`, `30 min`, `5 h`, `3 d`: two digits of it matter."""
    for unit, size_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def _find_stale(event: JobEvent) -> Finding:
    """Count from the training's own timestamp, unless its clock is ahead of the sidecar's."""
    since_ms = min(event.timestamp * 1000, event.observed_ms)
    age_s = (event.observed_ms - since_ms) / 1000
    detail = f"no sign of life for {in_words(age_s)}" if age_s >= 1 else "no sign of life"
    return Finding("stale", since_ms, detail)


def _position(event: JobEvent) -> tuple[Number, int | None]:
    """Where training stands: a writer that counts whole epochs may tell its steps, too."""
    return event.epoch, event.step


def _reading(event: JobEvent) -> tuple[Number | None, int, Number]:
    return event.loss, event.timestamp, event.epoch


def _short(number: Number | None) -> str:
    return "absent" if number is None else f"{number:.4g}"
