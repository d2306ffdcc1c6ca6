"""What is so now with every job and host, folded from events; pure."""

from dataclasses import dataclass, field
from typing import Final, Literal

from pulse_bridge.event import Event, HostEvent, JobEvent

SILENT_AFTER_MS: Final = 30_000
"""A sidecar that says nothing for three of its signs of life is silent."""

Hearing = Literal["heard", "silent", "stopped"]


@dataclass(slots=True)
class Host:
    """One host as its sidecar tells of it.

    Args:
        heard_ms: Unix milliseconds of the newest sign of life, a job's event included.
        newest: Its newest host event; None before the first.
    """

    heard_ms: int
    newest: HostEvent | None = None

    def hearing(self, now_ms: int) -> Hearing:
        """Say whether the sidecar speaks. If not, what is known of its jobs is the last known, and no more."""
        if self.newest is not None and self.newest.stopping:
            return "stopped"
        return "silent" if now_ms - self.heard_ms > SILENT_AFTER_MS else "heard"


@dataclass(slots=True)
class Fleet:
    """The newest event of every job, and every host."""

    jobs: dict[tuple[str, str], JobEvent] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)

    def apply(self, event: Event, heard_ms: int) -> bool:
        """Take in an event.

        Args:
            heard_ms: Unix milliseconds at which it came; for a snapshot, at which it was observed.

        Returns:
            Whether it was new: a bus may give an event twice.
        """
        host = self.hosts.setdefault(event.host, Host(heard_ms))
        before = host.newest if isinstance(event, HostEvent) else self.jobs.get((event.host, event.job))
        if before is not None and before.id.producer == event.id.producer and event.id.seq <= before.id.seq:
            return False
        host.heard_ms = max(host.heard_ms, heard_ms)
        if isinstance(event, HostEvent):
            host.newest = event
        else:
            self.jobs[event.host, event.job] = event
        return True
