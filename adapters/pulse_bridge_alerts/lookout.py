"""Folds events into jobs, hosts and what the rules find of them, and reports that to the budget; pure.

What was so before a group's first start is known, and no news. What a later snapshot tells (after a loss, or from
a bus that keeps no cursor) is compared like any event.
"""

from dataclasses import dataclass, field
from math import inf
from typing import Final

from pulse_bridge.clock import Instant
from pulse_bridge.event import Event, JobEvent
from pulse_bridge.fleet import Fleet, Host
from pulse_bridge_alerts.budget import Budget
from pulse_bridge_alerts.policy import Policy, Rule
from pulse_bridge_alerts.rules import JOB_RULES, Finding, JobMemory, describe_end, describe_silence
from pulse_bridge_alerts.saved import HOST, JOB, SavedHost, encode_host, encode_job

FORGET_S: Final = 8 * 86_400.0
"""What was not heard of for longer is forgotten. A day above what buses keep, so that none comes back as new."""
WRONG_CLOCK_S: Final = 3600.0
"""What was heard of within so long is never forgotten, whatever the clock of its host says."""
SAVE_AGAIN_S: Final = 60.0
"""What moves all the time (a host's last word, a running median) is stored this often."""

JobKey = tuple[str, str]


@dataclass
class Lookout:
    """All jobs and hosts.

    Args:
        budget: Told what begins and what ends.
        memories: Host and job to what the rules remember.
        heard: Hosts that have spoken since the group's first start; only they can fall silent.
    """

    policy: Policy
    budget: Budget
    fleet: Fleet = field(default_factory=Fleet)
    memories: dict[JobKey, JobMemory] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)
    _changed_jobs: set[JobKey] = field(default_factory=set)
    _changed_hosts: set[str] = field(default_factory=set)
    _stored_job_at_s: dict[JobKey, float] = field(default_factory=dict)
    _stored_host_at_s: dict[str, float] = field(default_factory=dict)
    _quiet: set[str] = field(default_factory=set)

    def restore_job(self, event: JobEvent, memory: JobMemory, at: Instant) -> None:
        """Take in a saved job, before the first event."""
        self.fleet.apply(event, at, snapshot=True)
        self.memories[event.host, event.job] = memory

    def restore_host(self, saved: SavedHost, at: Instant) -> None:
        """Take in a saved host, before the first event and after its jobs."""
        if saved.newest is not None:
            self.fleet.apply(saved.newest, at, snapshot=True)
        if saved.name in self.fleet.hosts:
            host = self.fleet.hosts[saved.name]
            host.last_ms = max(host.last_ms, saved.last_ms)
        if saved.was_heard:
            self.heard.add(saved.name)

    def connect(self, now_s: float) -> None:
        """Begin to listen (anew): silence and standstill are judged from now on."""
        self.fleet.connect(now_s)
        for memory in self.memories.values():
            memory.connect(now_s)
        self._quiet = set()

    def store_all(self) -> None:
        """Store everything again: the bus forgot it."""
        self._changed_jobs.update(self.memories)
        self._changed_hosts.update(self.fleet.hosts)
        self.budget.changed.update(self.budget.incidents)

    def take(self, event: Event, at: Instant, *, snapshot: bool, baseline: bool) -> None:
        """Take in an event.

        Args:
            snapshot: The bus kept it; nobody spoke just now.
            baseline: It is so since before the group's first start.
        """
        host = self.fleet.hosts.get(event.host)
        before = self.fleet.jobs.get((event.host, event.job)) if isinstance(event, JobEvent) else None
        last_ms = host.last_ms if host else None
        was_stopping = _is_stopping(host)
        if not self.fleet.apply(event, at, snapshot=snapshot):
            return
        host = self.fleet.hosts[event.host]
        is_relic = snapshot and at.wall_s - event.observed_ms / 1000 > FORGET_S
        is_later_word = not (baseline or is_relic) and (last_ms is None or event.observed_ms > last_ms)
        if not snapshot or is_later_word:
            self._hear(event, at)
        is_overdue = at.now_s - self._stored_host_at_s.get(event.host, -inf) >= SAVE_AGAIN_S
        if last_ms is None or is_overdue or was_stopping != _is_stopping(host):
            self._changed_hosts.add(event.host)
        if isinstance(event, JobEvent):
            self._judge(event, before, at, known=baseline or (is_relic and before is None))

    def _hear(self, event: Event, at: Instant) -> None:
        host = event.host
        self._quiet.discard(host)
        if host not in self.heard:
            self.heard.add(host)
            self._changed_hosts.add(host)
        if self.budget.holds("host-silent", host, None):
            detail, at_ms = "heard again", event.observed_ms
            self.budget.close("host-silent", host, None, detail=detail, at_ms=at_ms, at=at)

    def _judge(self, event: JobEvent, before: JobEvent | None, at: Instant, *, known: bool) -> None:
        key = (event.host, event.job)
        memory = self.memories.get(key)
        if memory is None:
            memory = self.memories[key] = JobMemory(at.now_s, event.observed_ms, at.now_s)
        was = memory.gist
        # A sidecar that lost its journal sees the same end for the first time, and gives it another run.
        is_repeated = before is not None and _ending(before) == _ending(event)
        found = {finding.rule: finding for finding in memory.judge(event, before, self.policy, at)}
        for rule in JOB_RULES:
            self._report(rule, found.get(rule), event, memory, at, known=known, is_repeated=is_repeated)
        if event.state == "done":
            memory.done_run = event.run
        is_overdue = bool(memory.losses) and at.now_s - self._stored_job_at_s.get(key, -inf) >= SAVE_AGAIN_S
        if before is None or is_overdue or was != memory.gist or _gist(before) != _gist(event):
            self._changed_jobs.add(key)

    def _report(
        self,
        rule: Rule,
        finding: Finding | None,
        event: JobEvent,
        memory: JobMemory,
        at: Instant,
        *,
        known: bool,
        is_repeated: bool,
    ) -> None:
        """Tell the budget what a rule says. The end of a run is found once, however often it is repeated."""
        is_end = rule == "done"
        is_new_end = is_end and memory.done_run != event.run and not is_repeated
        if finding is None or is_new_end:
            detail, at_ms = describe_end(rule, event), event.observed_ms
            self.budget.close(rule, event.host, event, detail=detail, at_ms=at_ms, at=at)
        if finding is not None and (is_new_end and not known if is_end else True):
            self.budget.open(finding, event.host, event, event.observed_ms, at, known=known)

    def tick(self, at: Instant) -> None:
        """Notice which hosts became silent. They are asked for only when there is one more of them."""
        limit_s = self.policy.host_silent_after_s
        quiet = {name for name, host in self.fleet.hosts.items() if at.now_s - host.listening_since_s > limit_s}
        if quiet <= self._quiet or "host-silent" not in self.policy.rules:
            return
        self._quiet = quiet
        now_ms = int(at.wall_s * 1000)
        for silence in self.fleet.silences(at.now_s, limit_s):
            if silence.host in self.heard and not self.budget.holds("host-silent", silence.host, None):
                finding = describe_silence(silence, now_ms)
                self.budget.open(finding, silence.host, None, now_ms, at, known=False)
                self._changed_hosts.add(silence.host)

    def tidy(self, at: Instant) -> None:
        """Forget jobs and hosts that were not heard of for long. Nobody is told: the last word still stands."""
        limit_ms = (at.wall_s - FORGET_S) * 1000
        for key, memory in list(self.memories.items()):
            if self.fleet.jobs[key].observed_ms < limit_ms and at.now_s - memory.heard_at_s > WRONG_CLOCK_S:
                del self.memories[key], self.fleet.jobs[key]
                self._stored_job_at_s.pop(key, None)
                self._changed_jobs.add(key)
                self.budget.forget(*key)
        populated = {host for host, _ in self.fleet.jobs}
        for name, host in list(self.fleet.hosts.items()):
            is_long_gone = host.last_ms < limit_ms and at.now_s - host.listening_since_s > WRONG_CLOCK_S
            if is_long_gone and name not in populated:
                del self.fleet.hosts[name]
                self.heard.discard(name)
                self._stored_host_at_s.pop(name, None)
                self._changed_hosts.add(name)
                self.budget.forget(name, None)

    def take_changes(self, at: Instant) -> dict[str, str | None]:
        """Give what must be stored since the last call."""
        changes: dict[str, str | None] = {}
        for key in self._changed_jobs:
            memory = self.memories.get(key)
            changes[f"{JOB}{key[0]}/{key[1]}"] = encode_job(self.fleet.jobs[key], memory) if memory else None
            if memory:
                self._stored_job_at_s[key] = at.now_s
        for name in self._changed_hosts:
            host = self.fleet.hosts.get(name)
            saved = SavedHost(name, host.newest, host.last_ms, name in self.heard) if host else None
            changes[f"{HOST}{name}"] = encode_host(saved) if saved else None
            if host:
                self._stored_host_at_s[name] = at.now_s
        self._changed_jobs.clear()
        self._changed_hosts.clear()
        return changes


def _is_stopping(host: Host | None) -> bool:
    return host is not None and host.newest is not None and host.newest.stopping


def _ending(event: JobEvent) -> tuple[object, ...]:
    return event.state, event.timestamp, event.epoch


def _gist(event: JobEvent) -> tuple[object, ...]:
    """What makes a difference that must outlive a restart."""
    return event.state, event.run, event.diverged, event.labels
