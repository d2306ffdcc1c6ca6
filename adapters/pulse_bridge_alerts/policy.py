"""What is told, to whom, and how often at most: plain values, made by `config.py`, used by the pure rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Literal, get_args

from pulse_bridge.event import JobEvent

Rule = Literal["stale", "host-silent", "error", "diverged", "stuck", "loss-spike", "done"]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)
DEFAULT_RULES: Final[frozenset[Rule]] = frozenset(RULES) - {"loss-spike"}


@dataclass(frozen=True)
class Match:
    """Which jobs and hosts are meant, by globs that know upper from lower case; an empty field means all.

    Args:
        labels: Label to glob; a job without the label is not meant.
    """

    jobs: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def meets(self, host: str, event: JobEvent | None) -> bool:
        """Say whether a job is meant, or, without an event, a host itself, which has no job and no label."""
        if self.hosts and not any(fnmatchcase(host, glob) for glob in self.hosts):
            return False
        if event is None:
            return not self.jobs and not self.labels
        if self.jobs and not any(fnmatchcase(event.job, glob) for glob in self.jobs):
            return False
        return all(
            name in event.labels and fnmatchcase(event.labels[name], glob) for name, glob in self.labels.items()
        )


@dataclass(frozen=True)
class Route:
    """Where the incidents of some rules and jobs are told. An incident goes to every route that it meets.

    Args:
        name: Unique among the routes; stands in what is saved, so it must stay the same over restarts.
        targets: Names of targets.
    """

    name: str
    targets: tuple[str, ...]
    rules: frozenset[Rule] = frozenset(RULES)
    match: Match = Match()


@dataclass(frozen=True)
class Silence:
    """What is not told for a while.

    Args:
        until_ms: Unix milliseconds; None mutes for good.
    """

    match: Match
    rules: frozenset[Rule] = frozenset(RULES)
    until_ms: int | None = None


@dataclass(frozen=True)
class Policy:
    """All of it.

    Args:
        rules: Those that are switched on.
        host_silent_after_s: A host that says nothing for so long is silent.
        stuck_after_s: A running job whose epoch does not move for so long, though pulses come, is stuck.
        loss_spike_factor: A loss above so many times its running median is a spike.
        loss_spike_window: Over so many losses the median runs.
        group_s: Further incidents of a rule within so long after the first go into one message.
        quiet_s: What opens again within so long flaps; it is muted until it was quiet for so long.
        forget_s: What opened and closed longer ago than this while nobody looked is not told any more.
        repeat_s: Remind of what is open so often; None: never.
    """

    routes: tuple[Route, ...]
    rules: frozenset[Rule] = DEFAULT_RULES
    silences: tuple[Silence, ...] = ()
    host_silent_after_s: float = 30.0
    stuck_after_s: float = 1800.0
    loss_spike_factor: float = 3.0
    loss_spike_window: int = 50
    group_s: float = 30.0
    quiet_s: float = 600.0
    forget_s: float = 600.0
    repeat_s: float | None = None
