"""What is so now with every job and host, folded from events; pure.

The one place that says which host is silent. Silence is counted on the reader's own clock, only while it is
connected, and from the start at each connect: two machines' clocks differ, and a reader that was away has heard
nothing because it did not listen.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from pulse_bridge.clock import Instant
from pulse_bridge.event import FINISHED_STATES, Event, HostEvent, JobEvent

SILENT_AFTER_S: Final = 30.0
"""A sidecar that says nothing for three of its signs of life is silent."""

Hearing = Literal["heard", "unheard", "silent", "stopped"]
"""`unheard`: known from what the bus kept, but it has not spoken since the reader connected."""


class Silence(NamedTuple):
    """A host that is not heard.

    Args:
        host: Its name.
        last_ms: Unix milliseconds of its last word, on the clock of that host.
        stopped: Its sidecar ended cleanly, and left jobs behind.
        unfinished: The jobs that are not done, error or gone, as last known; in order.
    """

    host: str
    last_ms: int
    stopped: bool
    unfinished: tuple[str, ...]


@dataclass(slots=True)
class Host:
    """One host as its sidecar tells of it.

    Args:
        listening_since_s: Monotonic seconds of the reader's own clock: the last word, or the last connect.
        last_ms: Unix milliseconds of `observed_at` of its newest event.
        spoke: It has said something since the last connect.
        newest: Its newest host event; None before the first.
    """

    listening_since_s: float
    last_ms: int
    spoke: bool = False
    newest: HostEvent | None = None

    def hearing(self, now_s: float, after_s: float = SILENT_AFTER_S) -> Hearing:
        """Say whether the sidecar speaks. If not, what is known of its jobs is the last known, and no more."""
        if self.newest is not None and self.newest.stopping:
            return "stopped"
        if now_s - self.listening_since_s > after_s:
            return "silent"
        return "heard" if self.spoke else "unheard"


@dataclass(slots=True)
class Fleet:
    """The newest event of every job, and every host."""

    jobs: dict[tuple[str, str], JobEvent] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)

    def connect(self, now_s: float) -> None:
        """Begin to listen (anew): every host has until then to speak.

        Args:
            now_s: Monotonic seconds of the reader's own clock.
        """
        for host in self.hosts.values():
            host.listening_since_s = now_s
            host.spoke = False

    def apply(self, event: Event, at: Instant, *, snapshot: bool = False) -> bool:
        """Take in an event that came at `at`.

        Args:
            snapshot: The bus kept it: it tells what is so, but nobody spoke just now.

        Returns:
            Whether it was new: a bus may give an event twice.
        """
        host = self.hosts.get(event.host)
        if host is None:
            host = self.hosts[event.host] = Host(at.now_s, event.observed_ms)
        before = host.newest if isinstance(event, HostEvent) else self.jobs.get((event.host, event.job))
        if before is not None and before.id.producer == event.id.producer and event.id.seq <= before.id.seq:
            return False
        host.last_ms = max(host.last_ms, event.observed_ms)
        if not snapshot:
            host.listening_since_s = at.now_s
            host.spoke = True
        if isinstance(event, HostEvent):
            host.newest = event
        else:
            self.jobs[event.host, event.job] = event
        return True

    def unfinished(self, host: str) -> tuple[str, ...]:
        """Name a host's jobs that are not done, error or gone, as last known; in order."""
        return tuple(
            sorted(
                job for (at, job), event in self.jobs.items() if at == host and event.state not in FINISHED_STATES
            )
        )

    def silences(self, now_s: float, after_s: float = SILENT_AFTER_S) -> Iterator[Silence]:
        """Yield the hosts that are silent. A clean stop counts only if it left unfinished jobs behind.

        Args:
            now_s: Monotonic seconds of the reader's own clock.
            after_s: So long a host may say nothing.
        """
        quiet = [item for item in self.hosts.items() if now_s - item[1].listening_since_s > after_s]
        # All of them in one pass: many hosts of many jobs each may be asked for in one turn of the loop.
        jobs: dict[str, list[str]] = {name: [] for name, _ in quiet}
        for (at, job), event in self.jobs.items():
            if at in jobs and event.state not in FINISHED_STATES:
                jobs[at].append(job)
        for name, host in quiet:
            stopped = host.newest is not None and host.newest.stopping
            unfinished = tuple(sorted(jobs[name]))
            if not stopped or unfinished:
                yield Silence(name, host.last_ms, stopped, unfinished)


def _is_finished(event: JobEvent) -> bool:
    return event.state in FINISHED_STATES
