"""What is so now, and what of it changed since when; pure.

Every change gets a number. "What changed since number n" is then the newest state of each job that changed,
however often it did: a viewer that was away for an hour is told no more than the present.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pulse_bridge.bus import Batch
from pulse_bridge.clock import Instant
from pulse_bridge.event import FINISHED_STATES, HostEvent, JobEvent
from pulse_bridge.fleet import Fleet, Hearing
from pulse_bridge_web import views
from pulse_bridge_web.views import Spark

JobKey = tuple[str, str]

FORGET_AFTER_S: Final = 7 * 86_400.0
"""A job leaves so long after it was done, error or gone, and so long after the last word of its host: as from
Redis and MQTT, so that a page that runs for a year does not remember every job of it."""

_REMOVALS_KEPT: Final = 10_000


@dataclass(slots=True)
class _Job:
    """What the page has of a job beside its newest event.

    Args:
        opened: Its newest event's JSON; None until somebody asks for it.
    """

    change: int
    spark: Spark
    opened: bytes | None = None


class Board:
    """The fleet as the page shows it.

    Args:
        boot: Random for each start: the numbers of another start mean nothing here.
    """

    def __init__(self, boot: str) -> None:
        self.boot = boot
        self.change = 0
        self.fleet = Fleet()
        self.connected = False
        self.reason: str | None = "not connected to the bus yet"
        self.snapshot_change = 0
        self.connection_change = 0
        # The latest change last: looking from the end, one stops at the first that is known already.
        self._jobs: dict[JobKey, _Job] = {}
        self._hosts: dict[str, int] = {}
        self._hearing: dict[str, Hearing] = {}
        # A job, or a host alone.
        self._removed: deque[tuple[int, JobKey | str]] = deque(maxlen=_REMOVALS_KEPT)
        self._removals_known_since = 0

    def connect(self, at: Instant) -> None:
        """Begin to listen; what is so is not known before the snapshot."""
        self.fleet.connect(at.now_s)
        self._say_connection(connected=False, reason="connected to the bus, which has not told yet what is so")

    def disconnect(self, reason: str) -> None:
        """Keep what was known, as the last known."""
        self._say_connection(connected=False, reason=f"not connected to the bus: {reason}")

    def _say_connection(self, *, connected: bool, reason: str | None) -> None:
        if (connected, reason) != (self.connected, self.reason):
            self.connected, self.reason = connected, reason
            self.connection_change = self._next()

    def take(self, batch: Batch, at: Instant, *, more: bool = False) -> None:
        """Take events in. The first snapshot of a connection makes everybody begin anew, and so does a loss.

        A viewer asks for the past at each beginning: what was lost here, the bus may still have for it.

        Args:
            more: They are a part of what the bus told at once, and more follows: nobody begins anew before that.
        """
        hosts = set()
        for event in batch.events:
            if self.fleet.apply(event, at, snapshot=batch.snapshot):
                hosts.add(event.host)
                if isinstance(event, HostEvent):
                    self._touch_host(event.host)
                else:
                    self._take_job(event)
        self._listen(hosts, at.now_s)
        if batch.snapshot and not self.connected and not more:
            self._say_connection(connected=True, reason=None)
            self.snapshot_change = self.change
        if batch.lost:
            self.snapshot_change = self._next()

    def _take_job(self, event: JobEvent) -> None:
        key = (event.host, event.job)
        job = self._jobs.pop(key, None)
        if job is None or job.spark.run != event.run:
            job = _Job(0, Spark(event.run))
        job.change, job.opened = self._next(), None
        job.spark.add(event)
        self._jobs[key] = job

    def _touch_host(self, name: str) -> None:
        self._hosts.pop(name, None)
        self._hosts[name] = self._next()

    def tick(self, at: Instant) -> None:
        """Notice what only the clock tells: who fell silent."""
        self._listen(self.fleet.hosts, at.now_s)

    def _listen(self, hosts: Iterable[str], now_s: float) -> None:
        turned = set()
        for name in hosts:
            hearing = self.fleet.hosts[name].hearing(now_s)
            if self._hearing.get(name) != hearing:
                if name in self._hearing:
                    turned.add(name)
                self._hearing[name] = hearing
                self._touch_host(name)
        if turned:
            for key in [key for key in self._jobs if key[0] in turned]:
                job = self._jobs.pop(key)
                job.change = self._next()
                self._jobs[key] = job

    def forget(self, wall_s: float) -> None:
        """Let go of what is long over.

        Args:
            wall_s: Unix seconds.
        """
        before_ms = (wall_s - FORGET_AFTER_S) * 1000
        lost = {
            name
            for name, host in self.fleet.hosts.items()
            if host.last_ms < before_ms and self._hearing.get(name) != "heard"
        }
        for key, event in list(self.fleet.jobs.items()):
            if key[0] in lost or (event.state in FINISHED_STATES and event.observed_ms < before_ms):
                del self.fleet.jobs[key]
                del self._jobs[key]
                self._note_removal(key)
        for name in lost:
            del self.fleet.hosts[name]
            self._hosts.pop(name, None)
            self._hearing.pop(name, None)
            self._note_removal(name)

    def _note_removal(self, what: JobKey | str) -> None:
        if len(self._removed) == _REMOVALS_KEPT:
            self._removals_known_since = self._removed[0][0]
        self._removed.append((self._next(), what))

    def put_past(self, sparks: Mapping[JobKey, Spark]) -> None:
        """Put what was before this start in front of the sparklines of the same runs."""
        filled = False
        for key, spark in sparks.items():
            job = self._jobs.get(key)
            if job is not None and job.spark.run == spark.run:
                job.spark.put_before(spark)
                filled = True
        if filled:
            self.snapshot_change = self._next()  # sparklines travel in snapshots only

    def _next(self) -> int:
        self.change += 1
        return self.change

    # What a viewer is told

    @property
    def told_from(self) -> int:
        """Give the change up to which a viewer must have come to be told only what changed since."""
        return max(self.snapshot_change, self._removals_known_since)

    def version(self, change: int) -> str:
        """Name the state behind a change."""
        return f"{self.boot}-{change}"

    def position(self, version: str) -> int | None:
        """Read a version back; None where it is not of this start, or too long ago to go on from."""
        boot, _, change = version.rpartition("-")
        if boot != self.boot or not (change.isascii() and change.isdigit() and len(change) <= len(str(2**63))):
            return None
        return number if self._removals_known_since <= (number := int(change)) <= self.change else None

    def jobs_since(self, change: int) -> list[JobKey]:
        """Name the jobs that changed, the latest first."""
        found = []
        for key in reversed(self._jobs):
            if self._jobs[key].change <= change:
                break
            found.append(key)
        return found

    def hosts_since(self, change: int) -> list[str]:
        """Name the hosts that changed, the latest first."""
        found = []
        for name in reversed(self._hosts):
            if self._hosts[name] <= change:
                break
            found.append(name)
        return found

    def removed_since(self, change: int) -> list[JobKey]:
        """Name the jobs that were let go of, and are not back."""
        return [
            what
            for at, what in self._removed
            if at > change and not isinstance(what, str) and what not in self._jobs
        ]

    def hosts_removed_since(self, change: int) -> list[str]:
        """Name the hosts that were let go of, and are not back."""
        return [
            what for at, what in self._removed if at > change and isinstance(what, str) and what not in self._hosts
        ]

    def view_job(self, key: JobKey, *, spark: bool) -> bytes | None:
        """Give a job as JSON; None where it is not known (any more)."""
        job = self._jobs.get(key)
        if job is None:
            return None
        if job.opened is None:
            job.opened = views.open_view(self.fleet.jobs[key])
        return views.close_view(job.opened, self._hearing[key[0]], job.spark if spark else None)

    def view_host(self, name: str) -> bytes | None:
        """Give a host as JSON; None where it is not known (any more)."""
        host = self.fleet.hosts.get(name)
        return None if host is None else views.host_view(name, host, self._hearing[name])
