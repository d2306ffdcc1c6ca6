"""The noise budget: of all that happens, when which route is told what; a pure state machine.

One message when an incident opens and one when it closes. What opens again soon after flaps, is told so once,
and is muted until quiet. Per route, rule and phase the first is told at once, and what follows within `group_s`
in one message at the end of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final

from pulse_bridge.clock import Instant
from pulse_bridge.event import JobEvent, to_json
from pulse_bridge_alerts.incidents import Incident, Telling, name_incident, short_hash
from pulse_bridge_alerts.notice import Message, Notice, Phase
from pulse_bridge_alerts.policy import RULES, Policy, Rule
from pulse_bridge_alerts.rules import Finding

MAX_LISTED: Final = 100
"""A message lists so many incidents and counts the others."""
RECENT_S: Final = 86_400.0
"""What is closed is kept for so long, to be shown."""
MAX_RECENT: Final = 500
_LOOK_AGAIN_S: Final = 1.0

Key = tuple[Rule, str, str | None]
Group = tuple[str, Rule, Phase]
Newest = Mapping[tuple[str, str], JobEvent]


@dataclass
class Budget:
    """All incidents, and what may be told of them.

    Args:
        policy: Routes, silences and times.
        incidents: By id; those that are open or not long closed.
        changed: Ids of those that must be stored anew or, if they are not there any more, removed.
    """

    policy: Policy
    incidents: dict[str, Incident] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    _current: dict[Key, Incident] = field(default_factory=dict)
    _waiting: dict[str, float] = field(default_factory=dict)  # id to the monotonic seconds at which to look at it
    _groups: dict[Group, float] = field(default_factory=dict)  # to the monotonic seconds at which the group ends
    _last_us: int = 0  # of the last message's id: a clock that is set back changes no order

    def restore(self, incident: Incident, at: Instant) -> None:
        """Take in what was saved; what the policy does not know any more is dropped."""
        if incident.rule not in self.policy.rules:
            self.changed.add(incident.id)
            return
        routes = {route.name for route in self.policy.routes if incident.rule in route.rules}
        incident.tellings = {name: telling for name, telling in incident.tellings.items() if name in routes}
        incident.ready_at_s = self._ready_at_s(incident.at_ms, at)
        for name, telling in incident.tellings.items():
            if telling.word != "nothing":  # a restart is no reason to tell sooner
                phase: Phase = "flapping" if telling.flapping == "told" else telling.word
                group = (name, incident.rule, phase)
                end_s = telling.told_at_s + self.policy.group_s
                self._groups[group] = max(end_s, self._groups.get(group, -inf))
        self._remember(incident)

    def holds(self, rule: Rule, host: str, job: str | None) -> bool:
        """Say whether an incident is open."""
        incident = self._current.get((rule, host, job))
        return incident is not None and incident.is_open

    def open(
        self, finding: Finding, host: str, event: JobEvent | None, at_ms: int, at: Instant, *, known: bool
    ) -> None:
        """Take in that a rule holds; once it does, this is no news.

        Args:
            event: The job's event that shows it; None for a host.
            at_ms: Unix milliseconds at which it was found.
            known: It was so before the first start: it is never told.
        """
        rule, since_ms, detail = finding
        job = event.job if event else None
        last = self._current.get((rule, host, job))
        if last is not None and last.is_open:
            return
        if last is not None and not last.one_shot and self._goes_on(last, at):
            last.reopen(finding, at_ms, event, at.now_s)
            self._touch(last)
            return
        run = event.run if event else 0
        identity = name_incident(rule, host, job, run if rule == "done" else at_ms)
        incident = Incident(identity, rule, host, job, run, since_ms, at_ms, detail, event, at.now_s)
        incident.known = known
        if not known:
            incident.ready_at_s = self._ready_at_s(at_ms, at)
            incident.tellings = {
                route.name: Telling()
                for route in self.policy.routes
                if rule in route.rules and route.match.meets(host, event)
            }
        self._remember(incident)
        self._touch(incident)

    def _goes_on(self, last: Incident, at: Instant) -> bool:
        """Say whether it is the last one again: it flaps, or its closing was never told and would come late."""
        is_untold = any(telling.word == "open" for telling in last.tellings.values())
        return is_untold or at.now_s < last.changed_at_s + self.policy.quiet_s

    def close(
        self, rule: Rule, host: str, event: JobEvent | None, *, detail: str, at_ms: int, at: Instant
    ) -> None:
        """Take in that a rule does not hold any more; if it did not, this is no news."""
        incident = self._current.get((rule, host, event.job if event else None))
        if incident is None or not incident.is_open:
            return
        is_past = at.wall_s - at_ms / 1000 > self.policy.forget_s
        incident.close(at_ms, detail, event, at.now_s, excuse=is_past or self._is_silenced(incident, at))
        self._touch(incident)
        if all(telling.word == "nothing" and telling.excused for telling in incident.tellings.values()):
            self._drop(incident)

    def due(self, at: Instant, newest: Newest, *, hurry: bool = False) -> list[Message]:
        """Give what must be told now; it counts as told.

        Args:
            newest: Host and job to the newest event, for the numbers of what is open.
            hurry: Do not wait for the end of a group: there may be no later.
        """
        if hurry:
            self._groups.clear()
            self._waiting = dict.fromkeys(self._waiting, -inf)
        groups: dict[Group, list[Incident]] = {}
        for identity in [identity for identity, look_at_s in self._waiting.items() if look_at_s <= at.now_s]:
            incident = self.incidents[identity]
            if incident.calm(self.policy, at.now_s):
                self.changed.add(identity)
            look_at_s = min((self._look(incident, name, groups, at) for name in incident.tellings), default=inf)
            if look_at_s < inf:
                self._waiting[identity] = look_at_s
            else:
                del self._waiting[identity]
        return [message for group, found in groups.items() for message in self._tell(group, found, at, newest)]

    def _look(self, incident: Incident, route: str, groups: dict[Group, list[Incident]], at: Instant) -> float:
        """Put an incident into a group if the route may be told of it now.

        Returns:
            Monotonic seconds at which to look again.
        """
        phase, from_s = incident.next_for(incident.tellings[route], self.policy)
        if phase is None:
            return from_s
        group: Group = (route, incident.rule, phase)
        from_s = max(from_s, self._groups.get(group, -inf))
        if at.now_s < from_s:
            return from_s
        if not self._is_silenced(incident, at):
            groups.setdefault(group, []).append(incident)
        return at.now_s + _LOOK_AGAIN_S

    def _tell(self, group: Group, incidents: list[Incident], at: Instant, newest: Newest) -> Iterator[Message]:
        route_name, _, phase = group
        self._groups[group] = at.now_s + self.policy.group_s
        for incident in incidents:
            incident.tellings[route_name].told(phase, at.now_s)
            self._touch(incident)
        for target, meant in self._targets_of(route_name, incidents):
            # Microseconds first, so that what is stored can be sent in order after a restart.
            self._last_us = max(self._last_us + 1, int(at.wall_s * 1e6))
            identity = f"{self._last_us}-{short_hash(route_name, target, phase, [one.id for one in meant])}"
            notices = [_notice(incident, phase, newest) for incident in meant[:MAX_LISTED]]
            yield Message(identity, target, notices, max(0, len(meant) - MAX_LISTED))

    def _targets_of(self, route_name: str, incidents: list[Incident]) -> Iterator[tuple[str, list[Incident]]]:
        """Give a route's targets, each with the incidents of which no route before this one tells it."""
        places = {route.name: place for place, route in enumerate(self.policy.routes)}
        routes = self.policy.routes[: places[route_name] + 1]
        for target in routes[-1].targets:
            others = {route.name for route in routes[:-1] if target in route.targets}
            meant = [incident for incident in incidents if others.isdisjoint(incident.tellings)]
            if meant:
                yield target, meant

    def forget(self, host: str, job: str | None) -> None:
        """Drop every incident of a job or host that is not there any more."""
        for rule in RULES:
            if incident := self._current.get((rule, host, job)):
                self._drop(incident)

    def tidy(self, at: Instant) -> None:
        """Forget groups that ended, and incidents that closed long ago or are too many."""
        self._groups = {group: end_s for group, end_s in self._groups.items() if end_s > at.now_s}
        closed = [i for i in self.incidents.values() if not i.is_open and i.id not in self._waiting]
        closed.sort(key=lambda incident: incident.changed_at_s, reverse=True)
        kept_s = max(RECENT_S, self.policy.quiet_s)
        for place, incident in enumerate(closed):
            lasts_s = at.now_s - incident.changed_at_s
            if lasts_s > kept_s or (place >= MAX_RECENT and lasts_s > self.policy.quiet_s):
                self._drop(incident)

    def _remember(self, incident: Incident) -> None:
        self.incidents[incident.id] = incident
        key = (incident.rule, incident.host, incident.job)
        last = self._current.get(key)
        if last is None or incident.is_open or last.changed_at_s < incident.changed_at_s:
            self._current[key] = incident
        self._waiting[incident.id] = -inf

    def _touch(self, incident: Incident) -> None:
        self.changed.add(incident.id)
        self._waiting[incident.id] = -inf

    def _drop(self, incident: Incident) -> None:
        self.changed.add(incident.id)
        del self.incidents[incident.id]
        self._waiting.pop(incident.id, None)
        key = (incident.rule, incident.host, incident.job)
        if self._current.get(key) is incident:
            del self._current[key]

    def _ready_at_s(self, at_ms: int, at: Instant) -> float:
        """Hold back what is long past for a moment: its end may be among what is still to be read."""
        is_past = at.wall_s - at_ms / 1000 > self.policy.forget_s
        return at.now_s + self.policy.group_s if is_past else -inf

    def _is_silenced(self, incident: Incident, at: Instant) -> bool:
        return any(
            incident.rule in silence.rules
            and (silence.until_ms is None or at.wall_s * 1000 < silence.until_ms)
            and silence.match.meets(incident.host, incident.event)
            for silence in self.policy.silences
        )


def _notice(incident: Incident, phase: Phase, newest: Newest) -> Notice:
    event = incident.event
    if phase != "close" and event is not None and not incident.one_shot:
        event = newest.get((event.host, event.job), event)
    return Notice(
        incident=incident.id,
        phase=phase,
        rule=incident.rule,
        host=incident.host,
        job=incident.job,
        since_ms=incident.since_ms,
        at_ms=incident.at_ms,
        detail=incident.detail,
        event=to_json(event) if event else None,
    )
