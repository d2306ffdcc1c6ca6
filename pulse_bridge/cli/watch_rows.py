"""Which jobs are shown, and in which order; pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pulse_bridge.cli.watch_words import Link, Voice, voice_of
from pulse_bridge.clock import Instant
from pulse_bridge.event import FINISHED_STATES, JobEvent, Number, State
from pulse_bridge.fleet import Fleet, Host

JobKey = tuple[str, str]
"""Host and job."""


class Job(NamedTuple):
    """One job, and whether its sidecar speaks."""

    event: JobEvent
    voice: Voice

    @property
    def key(self) -> JobKey:
        """Name it."""
        return self.event.host, self.event.job

    @property
    def live(self) -> bool:
        """What is shown is so now; what is finished stays so without a sidecar."""
        return self.voice == "heard" or self.event.state in FINISHED_STATES


class Group(NamedTuple):
    """The jobs under one heading.

    Args:
        host: Its name; None for jobs of all hosts.
        jobs: Those that are shown.
        states: How many of the host's jobs are in each state, those not shown included.
    """

    host: str | None
    jobs: Sequence[Job]
    states: Mapping[State, int]


@dataclass(frozen=True)
class Order:
    """A way to sort.

    Args:
        key: The key that asks for it.
        value: Gives what is compared; None comes last, whichever way.
        descending: What people look for first is the highest.
    """

    key: str
    words: str
    value: Callable[[JobEvent], Number | str | None]
    descending: bool = False


_TROUBLE_FIRST: Final[dict[State, int]] = {"stale": 0, "error": 1, "running": 2, "idle": 3, "done": 4, "gone": 5}

ORDERS: Final[dict[str, Order]] = {
    "job": Order("N", "name", lambda event: event.job.casefold()),
    "state": Order("S", "state, trouble first", lambda event: _TROUBLE_FIRST[event.state] - event.diverged / 2),
    "progress": Order("P", "progress", lambda event: event.progress, descending=True),
    "epoch": Order("E", "epoch", lambda event: event.epoch, descending=True),
    "loss": Order("L", "loss", lambda event: event.loss),
    "ETA": Order("T", "time left", lambda event: event.eta_s if event.state == "running" else None),
    "updated": Order("U", "last update", lambda event: event.timestamp, descending=True),
}
"""By the title of the column. Without any, a job keeps its place while it goes on, and what is over comes last."""


def voices(fleet: Fleet, at: Instant, link: Link) -> dict[str, Voice]:
    """Say of every host whether it speaks."""
    return {name: voice_of(host, at, link) for name, host in fleet.hosts.items()}


def choose(fleet: Fleet, heard: Mapping[str, Voice], words: str) -> list[Job]:
    """Give the jobs that a filter asks for."""
    tests = [(word.startswith("!"), word.removeprefix("!")) for word in words.casefold().split()]
    tests = [(negated, word) for negated, word in tests if word]
    jobs = (Job(event, heard[event.host]) for event in fleet.jobs.values())
    return [job for job in jobs if _matches(job, tests)] if tests else list(jobs)


def _matches(job: Job, tests: Sequence[tuple[bool, str]]) -> bool:
    """Say whether a job's text has every word, and none of those after a `!`."""
    event = job.event
    parts = [f"{event.host}/{event.job}", event.state, *(f"{name}={text}" for name, text in event.labels.items())]
    parts += ["diverged"] if event.diverged else []
    parts += [] if job.live else ["last known"]
    text = "\n".join(parts).casefold()
    return all((word in text) is not negated for negated, word in tests)


def sort(jobs: Iterable[Job], order: str, *, backwards: bool = False) -> list[Job]:
    """Put jobs in order.

    Args:
        order: One of `ORDERS`; else the one without any.
        backwards: The other way round; what has no value stays last.
    """
    chosen = ORDERS.get(order)
    named = sorted(jobs, key=_place)
    if chosen is None:
        return named[::-1] if backwards else named
    valued = [(chosen.value(job.event), job) for job in named]
    known = [item for item in valued if item[0] is not None]
    known.sort(key=lambda item: item[0], reverse=chosen.descending != backwards)  # type: ignore[arg-type,return-value]  # one order's values are of one type
    return [job for _, job in known] + [job for value, job in valued if value is None]


def _place(job: Job) -> tuple[int, str, str]:
    event = job.event
    over = 2 if event.state == "gone" else int(event.state in FINISHED_STATES)
    return over, event.host, event.job


def group(jobs: Sequence[Job], fleet: Fleet, *, filtered: bool) -> list[Group]:
    """Put jobs under their hosts; those whose jobs are all over come last.

    Args:
        jobs: In the order in which they stand within a host.
        filtered: Hosts without a job among them are left out.
    """
    states: dict[str, dict[State, int]] = {name: {} for name in fleet.hosts}
    for event in fleet.jobs.values():
        of_host = states[event.host]
        of_host[event.state] = of_host.get(event.state, 0) + 1
    by_host: dict[str, list[Job]] = {name: [] for name in fleet.hosts}
    for job in jobs:
        by_host[job.event.host].append(job)
    found = [Group(name, by_host[name], states[name]) for name in by_host if by_host[name] or not filtered]
    return sorted(found, key=lambda item: (states_are_over(item.states), item.host or ""))


def states_are_over(states: Mapping[State, int]) -> bool:
    """Say whether nothing is to be expected of any of the jobs counted."""
    return not states.keys() - FINISHED_STATES


def needs_words(host: Host, voice: Voice, *, over: bool) -> bool:
    """Say whether there is something to be said of a host where it has no heading of its own."""
    newest = host.newest
    unwell = newest is not None and bool(any(newest.lag.values()) or newest.malformed or newest.dropped)
    return unwell or (voice not in {"heard", "away"} and not over)
