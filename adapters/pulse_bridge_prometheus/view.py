"""What is shown at one moment: a copy of what the subscriber knows, and what of it is current. Pure.

The event loop makes the copy, which takes it a few microseconds a host; everything else is done with it in the
thread that answers the scrape.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pulse_bridge.clock import Instant
from pulse_bridge.event import FINISHED_STATES, HostEvent, JobEvent
from pulse_bridge.fleet import SILENT_AFTER_S, Fleet, Hearing


@dataclass(frozen=True)
class HostView:
    """One host.

    Args:
        overdue: It has said nothing for so long that it should have, whether it said goodbye or not.
        last_ms: Unix milliseconds of its last word, on its own clock.
        newest: Its newest host event; None before the first.
    """

    name: str
    hearing: Hearing
    overdue: bool
    last_ms: int
    newest: HostEvent | None

    def speaks(self, at: Instant) -> bool:
        """Say whether it is there now: it is heard, or was when the bus kept its last word a moment ago.

        The second is for the seconds between a connect and its next word. It goes by the clocks of two machines;
        where they differ, those seconds are a gap.
        """
        if self.hearing == "unheard":
            return _age_s(self.last_ms, at) <= SILENT_AFTER_S
        return self.hearing == "heard"


@dataclass(frozen=True)
class View:
    """What the subscriber knows at one moment.

    Args:
        unready: Why nothing is known of the present, in words; None if it is known.
        received: Kind to number of events received live.
        missed: Events that the bus gave up before we read them.
    """

    at: Instant
    unready: str | None
    received: Mapping[str, int]
    missed: int
    hosts: Sequence[HostView]
    jobs: Sequence[JobEvent]
    keep_finished_s: float
    keep_silent_s: float

    def current_hosts(self) -> Iterator[tuple[HostView, bool]]:
        """Yield each host of which something can be said, and whether it is up.

        Not one whose word is old and that was not heard yet since the connect; nor one that ended cleanly, unless
        it left unfinished jobs and is not back within `SILENT_AFTER_S`; nor one that is silent for longer than
        `keep_silent_s`.
        """
        if self.unready is not None:
            return
        unfinished = Counter(job.host for job in self.jobs if job.state not in FINISHED_STATES)
        for host in self.hosts:
            if host.speaks(self.at):
                yield host, True
            elif (
                host.overdue
                and (host.hearing == "silent" or unfinished[host.name])
                and not is_forgotten(host, self.at, self.keep_silent_s)
            ):
                yield host, False

    def current_jobs(self) -> Iterator[JobEvent]:
        """Yield each job of which is known what is so now.

        A finished one stays what it is, whoever falls silent, and is shown for `keep_finished_s`. Any other is
        known only as long as its host speaks.
        """
        if self.unready is not None:
            return
        speaking = {host.name for host in self.hosts if host.speaks(self.at)}
        for job in self.jobs:
            if job.state in FINISHED_STATES:
                if not is_over(job, self.at, self.keep_finished_s):
                    yield job
            elif job.host in speaking:
                yield job


def view_hosts(fleet: Fleet, now_s: float) -> tuple[HostView, ...]:
    """Copy the hosts as they are at a moment.

    Args:
        now_s: Monotonic seconds of the reader's own clock.
    """
    return tuple(
        HostView(
            name,
            host.hearing(now_s),
            overdue=now_s - host.listening_since_s > SILENT_AFTER_S,
            last_ms=host.last_ms,
            newest=host.newest,
        )
        for name, host in fleet.hosts.items()
    )


def is_over(job: JobEvent, at: Instant, keep_finished_s: float) -> bool:
    """Say whether a job is finished for so long that nothing is shown of it.

    Counted from when its sidecar saw it, so that neither a restart here nor a bus that gives it again brings it
    back. Clocks that are wrong by minutes do no harm.
    """
    return job.state in FINISHED_STATES and _age_s(job.observed_ms, at) > keep_finished_s


def is_forgotten(host: HostView, at: Instant, keep_silent_s: float) -> bool:
    """Say whether a host's last word is so long ago that nothing is shown of it."""
    return host.hearing != "heard" and _age_s(host.last_ms, at) > keep_silent_s


def _age_s(unix_ms: int, at: Instant) -> float:
    return at.wall_s - unix_ms / 1000
