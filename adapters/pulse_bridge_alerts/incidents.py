"""Incidents, and what each route was last told of them: values that move by pure steps.

A route is told the difference between what is so and what it was last told, so what opened and closed while a
message waited is one short word and nobody is left with a wrong last one. `budget.py` says when it may be told.
"""

import json
from dataclasses import dataclass, field
from hashlib import blake2b
from math import inf
from typing import Literal

from pulse_bridge.event import JobEvent
from pulse_bridge_alerts.notice import Phase
from pulse_bridge_alerts.policy import Policy, Rule
from pulse_bridge_alerts.rules import Finding

Word = Literal["nothing", "open", "close"]
Flapping = Literal["no", "untold", "told"]
_ID_BYTES = 6


@dataclass(slots=True)
class Telling:
    """What one route was told of one incident.

    Args:
        word: The last.
        told_at_s: Monotonic seconds; when it was told.
        flapping: The incident opened again soon after a closing was told: muted until it was quiet.
        excused: It closed untold, and need not be told: it was silenced, or is long past.
    """

    word: Word = "nothing"
    told_at_s: float = 0.0
    flapping: Flapping = "no"
    excused: bool = False

    def told(self, phase: Phase, now_s: float) -> None:
        """Note that a message of this phase is on its way."""
        self.told_at_s = now_s
        self.word = "close" if phase == "close" else "open"
        if phase == "flapping":
            self.flapping = "told"


@dataclass(slots=True)
class Incident:
    """One rule that holds for one job or host, from its opening to its closing and a while beyond.

    Args:
        id: The same over its closing, its repeats, restarts and replicas.
        job: None where the host itself is meant.
        run: Of the job, Unix seconds; 0 for a host.
        since_ms: Unix milliseconds at which it began.
        at_ms: Unix milliseconds at which it was found to be so as it is now: open, or closed.
        detail: Of the opening or closing, in words.
        event: The job's event that opened or closed it; None for a host.
        is_open: The rule holds.
        changed_at_s: Monotonic seconds; it opened or closed then.
        ready_at_s: Monotonic seconds; not told before: it is long past, and may be over as is still to be read.
        known: It was so before the first start and is no news, nor is its end.
        tellings: Route to what it was told; a route that is not meant is not there.
    """

    id: str
    rule: Rule
    host: str
    job: str | None
    run: int
    since_ms: int
    at_ms: int
    detail: str
    event: JobEvent | None
    changed_at_s: float
    ready_at_s: float = -inf
    is_open: bool = True
    known: bool = False
    tellings: dict[str, Telling] = field(default_factory=dict)

    @property
    def one_shot(self) -> bool:
        """An end of a run has no end of its own."""
        return self.rule == "done"

    def reopen(self, finding: Finding, at_ms: int, event: JobEvent | None, now_s: float) -> None:
        """Go on after a closing that was not long ago: for those who were told of it, it flaps."""
        self._change(at_ms, finding.detail, event, now_s)
        self.since_ms = finding.since_ms
        self.is_open = True
        for telling in self.tellings.values():
            telling.excused = False
            if telling.word == "close" and telling.flapping == "no":
                telling.flapping = "untold"

    def close(self, at_ms: int, detail: str, event: JobEvent | None, now_s: float, *, excuse: bool) -> None:
        """Note that the rule does not hold any more.

        Args:
            excuse: Who was not told of the opening need not be told that it was.
        """
        self.is_open = False
        if self.one_shot:  # what is to be told stays the end of that run
            self.changed_at_s = now_s
        else:
            self._change(at_ms, detail, event, now_s)
        for telling in self.tellings.values():
            telling.excused = excuse

    def _change(self, at_ms: int, detail: str, event: JobEvent | None, now_s: float) -> None:
        self.at_ms, self.detail, self.event, self.changed_at_s = at_ms, detail, event, now_s

    def calm(self, policy: Policy, now_s: float) -> bool:
        """End the muting of what was quiet for long enough.

        Returns:
            Whether any was muted till now.
        """
        if now_s < self.changed_at_s + policy.quiet_s:
            return False
        muted = [telling for telling in self.tellings.values() if telling.flapping != "no"]
        for telling in muted:
            telling.flapping = "no"
        return bool(muted)

    def next_for(self, telling: Telling, policy: Policy) -> tuple[Phase | None, float]:
        """Say what a route is to be told next, as things are.

        Returns:
            The phase, None for nothing; and the monotonic seconds from which on it may be told, or from which on
            this must be asked again.
        """
        if telling.flapping != "no":
            quiet_at_s = self.changed_at_s + policy.quiet_s
            return ("flapping", -inf) if telling.flapping == "untold" and self.is_open else (None, quiet_at_s)
        if self.one_shot:
            due = telling.word == "nothing" and not telling.excused
            return ("open", self.ready_at_s if self.is_open else -inf) if due else (None, inf)
        if self.is_open:
            if telling.word != "open":
                return "open", self.ready_at_s
            return ("reminder", telling.told_at_s + policy.repeat_s) if policy.repeat_s else (None, inf)
        if telling.word == "open" or (telling.word == "nothing" and not telling.excused):
            return "close", -inf
        return None, inf


def name_incident(rule: Rule, host: str, job: str | None, onset: int) -> str:
    """Give an incident's id, the same wherever it is found.

    Args:
        onset: What tells it from others of the same rule and job: Unix milliseconds, or the run.
    """
    return f"{rule}-{short_hash(rule, host, job, onset)}"


def short_hash(*parts: object) -> str:
    """Give twelve hexadecimal digits that stand for all the parts."""
    return blake2b(json.dumps(parts).encode(), digest_size=_ID_BYTES).hexdigest()
