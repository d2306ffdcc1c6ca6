"""All jobs of one sidecar: sightings and due timers in, events and what to remember of each job out; no I/O."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pulse_bridge.config import SidecarSettings
from pulse_bridge.deadlines import Deadlines
from pulse_bridge.event import FINISHED_STATES, JobEvent, State
from pulse_bridge.finish import FinishWatch
from pulse_bridge.journal_unstored import JobKey
from pulse_bridge.track import Instant, JobTracker
from pulse_bridge.watch import Sighting

logger = logging.getLogger(__name__)


class News(NamedTuple):
    """Events in order, and the state of the trackers that made them."""

    events: Sequence[JobEvent]
    tracks: Mapping[JobKey, str]


class _Unsettled(NamedTuple):
    """A tracker that was moved, what it told, and when, in Unix seconds."""

    tracker: JobTracker
    events: Sequence[JobEvent]
    wall_s: float


class Jobs:
    """The trackers of one host's jobs.

    Args:
        saved: Job to what its tracker knew at the end of the last start.
        look: Reads a job's file now; None if that cannot be used.
    """

    def __init__(
        self, settings: SidecarSettings, saved: Mapping[str, str], look: Callable[[str], Sighting | None]
    ) -> None:
        self._settings = settings
        self._saved = dict(saved)
        self._known = frozenset(saved)
        self._look = look
        self._trackers: dict[str, JobTracker] = {}
        self._deadlines = Deadlines(lambda job: self._trackers[job].deadline_s())
        self._finish = FinishWatch()
        self._unsettled: list[_Unsettled] = []

    @property
    def next_deadline_s(self) -> float | None:
        """The monotonic instant at which `tick` is to be called."""
        return self._deadlines.next_s

    @property
    def all_finished(self) -> bool:
        """Every job has come to its end, and at least one has."""
        return self._finish.all_finished

    def count_states(self) -> dict[State, int]:
        """Give state to number of jobs in it."""
        return Counter(tracker.state for tracker in self._trackers.values() if tracker.state is not None)

    def observe(self, sightings: Sequence[Sighting], at: Instant) -> News:
        """Take in what files say now; call `settle` once the news is on its way."""
        events: list[JobEvent] = []
        for sighting in sightings:
            events += self._observe(sighting, at)
        return self._news(events, at)

    def look_at_all(self, at: Instant) -> News:
        """Read every file once more, for what a polled file system has not shown yet."""
        found = (self._look(job) for job in list(self._trackers))
        return self.observe([sighting for sighting in found if sighting is not None], at)

    def tick(self, at: Instant) -> News:
        """Tell what silence tells. A file is read once more before its job is called stale or gone."""
        events: list[JobEvent] = []
        for job in self._deadlines.due(at.now_s):
            tracker = self._trackers[job]
            if tracker.reread_at_s is not None and tracker.reread_at_s <= at.now_s:
                events += self._reread(tracker, at)
            events += self._unsettle(tracker, tracker.tick(at), at)
        return self._news(events, at)

    def settle(self) -> None:
        """Do what can wait until the news is sent: set deadlines, note what is finished, give advice."""
        for tracker, events, wall_s in self._unsettled:
            self._deadlines.update(tracker.job)
            for event in events:
                known = event.job in self._known
                self._finish.note(event.job, event.state, age_s=wall_s - event.timestamp, known=known)
            if events and (advice := tracker.take_advice()) is not None:
                logger.warning(
                    "a job keeps becoming stale and recovering", extra={"job": tracker.job, "advice": advice}
                )
        self._unsettled.clear()

    def miss_unseen(self, at: Instant) -> None:
        """Treat unfinished jobs of the last start that no file was found for as missing; their grace begins."""
        for job in list(self._saved):
            tracker = self._restore(job, at)
            if tracker.state not in FINISHED_STATES:
                self._trackers[job] = tracker
                tracker.observe(None, at)
                self._deadlines.update(job)

    def _observe(self, sighting: Sighting, at: Instant) -> list[JobEvent]:
        job = sighting.job
        tracker = self._trackers.get(job)
        if tracker is None:
            tracker = self._trackers[job] = self._restore(job, at)
        own = self._settings.labels
        tracker.labels = {**sighting.labels, **own} if own else sighting.labels
        return self._unsettle(tracker, tracker.observe(sighting.pulse, at), at)

    def _reread(self, tracker: JobTracker, at: Instant) -> list[JobEvent]:
        sighting = self._look(tracker.job)
        if sighting is not None:
            return self._observe(sighting, at)
        tracker.note_unreadable()
        return []

    def _unsettle(self, tracker: JobTracker, events: list[JobEvent], at: Instant) -> list[JobEvent]:
        self._unsettled.append(_Unsettled(tracker, events, at.wall_s))
        return events

    def _restore(self, job: str, at: Instant) -> JobTracker:
        settings = self._settings
        tracker = JobTracker(
            settings.host,
            job,
            stale_after_s=settings.stale_after_s_of(job),
            heartbeat_s=settings.heartbeat_s,
            gone_after_s=settings.gone_after_s,
        )
        saved = self._saved.pop(job, None)
        if saved is not None:
            try:
                tracker = JobTracker.restore(
                    settings.host,
                    job,
                    saved,
                    at,
                    stale_after_s=settings.stale_after_s_of(job),
                    heartbeat_s=settings.heartbeat_s,
                    gone_after_s=settings.gone_after_s,
                )
            except ValueError:
                logger.warning("what the journal remembers of a job cannot be read", extra={"job": job})
            if tracker.state is not None:
                self._finish.note(job, tracker.state, age_s=0.0, known=True)
        return tracker

    def _news(self, events: Sequence[JobEvent], at: Instant) -> News:
        jobs = {event.job for event in events}
        host = self._settings.host
        return News(events, {(host, job): self._trackers[job].dump(at) for job in jobs})
