"""What is to be said of hosts, jobs and the connection, in sentences; pure."""

from typing import Final, Literal, NamedTuple

from pulse_bridge.cli.lines import format_span
from pulse_bridge.clock import Instant
from pulse_bridge.event import FINISHED_STATES, HostEvent, JobEvent
from pulse_bridge.fleet import SILENT_AFTER_S, Host
from pulse_bridge.printable import printable

LAST_KNOWN: Final = "last known"

Voice = Literal["heard", "unheard", "silent", "stopped", "away"]
"""Of a host. `away`: we are not connected to the bus, and hear nobody. `unheard`: the connection is new, and the
host has not spoken since."""

VOICE_STYLES: Final[dict[Voice, str]] = {
    "heard": "",
    "unheard": "yellow",
    "silent": "bold yellow",
    "stopped": "yellow",
    "away": "yellow",
}


class Link(NamedTuple):
    """Our own connection to the bus.

    Args:
        connected: It gives what is so.
        reason: Why it does not.
        since_s: Unix seconds since when it is so.
        again: There was a connection before this one.
    """

    connected: bool = True
    reason: str = ""
    since_s: float = 0.0
    again: bool = False


def voice_of(host: Host, at: Instant, link: Link) -> Voice:
    """Say whether a host speaks. Silence is counted only while we listen.

    Before a host's first word on a first connection what the bus kept of it tells, by that host's own clock; on a
    later one it may only be that the host, too, has just come back.
    """
    if not link.connected:
        return "away"
    hearing = host.hearing(at.now_s)
    if hearing != "unheard":
        return hearing
    if at.wall_s - host.last_ms / 1000 <= SILENT_AFTER_S:
        return "heard"
    return "unheard" if link.again else "silent"


def describe_link(link: Link, at: Instant) -> str:
    """Say that there is no connection; empty where there is one."""
    if link.connected:
        return ""
    if not link.again:
        return f"waiting: {printable(link.reason)}"  # nothing is known yet
    span = format_span(at.wall_s - link.since_s)
    return f"not connected, for {span} now; everything is {LAST_KNOWN}: {printable(link.reason)}"


def describe_host(name: str, host: Host, voice: Voice, at: Instant, *, unfinished: bool) -> str:
    """Say how a host's sidecar is, in one sentence.

    Args:
        unfinished: A job of this host may be otherwise by now than its sidecar last said.
    """
    ago = format_span(max(0.0, at.wall_s - host.last_ms / 1000))
    last_known = f"; states are {LAST_KNOWN}" if unfinished else ""
    sentences: dict[Voice, str] = {
        "heard": f"the sidecar spoke {ago} ago",
        "unheard": f"not heard yet since we are connected again; before that {ago} ago{last_known}",
        "silent": f"the sidecar is silent, for {ago} now{last_known}",
        "stopped": f"the sidecar was stopped {ago} ago{last_known}",
        "away": f"the sidecar spoke {ago} ago{last_known}",
    }
    health = describe_health(host.newest) if host.newest else []
    return "; ".join([f"{printable(name)}: {sentences[voice]}", *health])


def describe_health(newest: HostEvent) -> list[str]:
    """Say what is not well with a sidecar."""
    parts = [f"{count} events not yet at {printable(bus)}" for bus, count in newest.lag.items() if count]
    parts += [f"{newest.malformed} files are no PULSE"] if newest.malformed else []
    parts += [f"{newest.dropped} events dropped"] if newest.dropped else []
    return parts


def describe_trouble(event: JobEvent, voice: Voice, at: Instant) -> list[str]:
    """Say what is wrong with a job, in sentences; none where nothing is."""
    written = format_span(at.wall_s - event.timestamp)
    sentences = []
    if event.state == "stale":
        sentences.append(
            f"No sign of life from the training for {written}: it hangs, was killed, or writes too rarely."
        )
    elif event.state == "error":
        sentences.append(f"It failed: {printable(event.message) or 'it left no message'}")
    elif event.state == "gone":
        sentences.append("Its status file is gone.")
    if event.diverged:
        sentences.append("The loss is NaN or infinite: the training has diverged.")
    if event.state not in FINISHED_STATES and voice != "heard":
        sentences.append(_WHY_LAST_KNOWN[voice])
    return sentences


_WHY_LAST_KNOWN: Final[dict[Voice, str]] = {
    "heard": "",
    "unheard": f"Its sidecar was not heard yet since we are connected again: this is the {LAST_KNOWN}.",
    "silent": f"Its sidecar is silent: this is the {LAST_KNOWN}, and the training may be well.",
    "stopped": f"Its sidecar was stopped: this is the {LAST_KNOWN}.",
    "away": f"We are not connected to the bus: this is the {LAST_KNOWN}.",
}
