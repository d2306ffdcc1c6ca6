"""What is wrong with a broker, from what it said and what it retains: pure."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pulse_bridge.doctor import Examination, Finding, count
from pulse_bridge.errors import EventFormatError
from pulse_bridge.event import MAX_MESSAGE_BYTES, Event, HostEvent, JobEvent, from_json
from pulse_bridge_mqtt.endpoint import OFFLINE, ONLINE
from pulse_bridge_mqtt.snapshot import Snapshot
from pulse_bridge_mqtt.topics import Topics, is_slug

VERSION_TOPIC: Final = "$SYS/broker/version"
DROPPED_TOPIC: Final = "$SYS/broker/publish/messages/dropped"
EVENT_BYTES: Final = MAX_MESSAGE_BYTES + 2048
"""So large an event may become: its message at its longest, and what stands around it."""

TOO_LARGE: Final = "packet too large"
"""The reason where it is the size alone that is refused."""

_LEVEL_BYTES: Final = 64
"""No level of a topic of ours is longer, with much to spare."""

_ORIGIN: Final = "pulse-bridge"
_SHOWN_TOPICS: Final = 4


@dataclass(frozen=True)
class Limits:
    """What CONNACK told.

    Args:
        maximum_packet_bytes: None where the broker does not say.
        retains: It keeps retained messages.
    """

    maximum_packet_bytes: int | None = None
    retains: bool = True


@dataclass(frozen=True)
class Retained:
    """What a broker retains, as one reader got it.

    Args:
        payloads: Topic to payload, of everything that came.
    """

    payloads: Mapping[str, bytes] = field(default_factory=dict)

    def events(self) -> dict[str, Event]:
        """Give topic to event, of those that are events."""
        found = {}
        for topic, payload in self.payloads.items():
            if topic.startswith("$"):
                continue
            try:
                found[topic] = from_json(payload)
            except EventFormatError:
                continue
        return found


def check_limits(limits: Limits, examination: Examination) -> Iterator[Finding]:
    """Judge what the broker allows."""
    if not limits.retains:
        yield examination.problem(
            "the broker keeps no retained messages, so whoever connects later sees nothing until it changes",
            "switch them on (retain_available true in mosquitto.conf)",
        )
    packet_bytes = limits.maximum_packet_bytes
    if packet_bytes is not None and packet_bytes < EVENT_BYTES:
        yield examination.problem(
            f"the broker takes no packet above {packet_bytes} bytes, and an event with a long message has up to"
            f" {EVENT_BYTES}",
            f"raise it to {2 * EVENT_BYTES} or more (max_packet_size in mosquitto.conf)",
        )


def check_broker(retained: Retained, examination: Examination) -> Iterator[Finding]:
    """Judge what the broker tells of itself, where it does."""
    version = retained.payloads.get(VERSION_TOPIC)
    if version is not None:
        yield examination.fine(f"it is {version.decode(errors='replace')}")
    dropped = retained.payloads.get(DROPPED_TOPIC, b"0")
    if dropped.isdigit() and int(dropped):
        yield examination.advice(
            f"the broker has dropped {count(int(dropped), 'message')} since its start: a client's queue was full",
            "set max_queued_messages 0 in mosquitto.conf; its default, 1000, drops the rest without a word",
        )
    snapshot = Snapshot()
    for topic, event in retained.events().items():
        snapshot.add(topic, event, retained=True)
    for host, missing in snapshot.missing().items():
        yield examination.problem(
            f"the broker gave {count(missing, 'job')} less than host {host!r} tells of: its queue for a client is"
            " too small",
            "set max_queued_messages 0 in mosquitto.conf",
        )


def check_rights(
    refused_filters: Sequence[str],
    refused_topic: tuple[str, str] | None,
    user: str | None,
    examination: Examination,
) -> Iterator[Finding]:
    """Judge what was refused.

    Args:
        refused_filters: Those that may not be read.
        refused_topic: A topic that may not be written to, and the broker's reason; None where it may.
        user: As whom we logged in.
    """
    who = f"the user {user!r}" if user else "a client without a user name"
    for name in refused_filters:
        yield examination.problem(f"{who} may not read {name}", f"add 'topic read {name}' to the broker's ACL")
    if refused_topic is not None and refused_topic[1] == TOO_LARGE:
        yield examination.problem(
            f"the broker takes no message of {EVENT_BYTES} bytes, which an event with a long message may have",
            f"raise it to {2 * EVENT_BYTES} or more (message_size_limit in mosquitto.conf)",
        )
    elif refused_topic is not None:
        topic, reason = refused_topic
        prefix = topic.partition("/")[0]
        yield examination.problem(
            f"{who} may not publish to {topic}: {reason}", f"add 'topic readwrite {prefix}/#' to the broker's ACL"
        )
    elif not refused_filters:
        yield examination.fine(f"{who} may {'publish and read' if examination.publishes else 'read'}")


def check_host(retained: Retained, topics: Topics, examination: Examination) -> Iterator[Finding]:
    """Judge who speaks in the name of this host."""
    if not examination.publishes:
        return
    host = examination.host
    event = retained.events().get(topics.host(host))
    bridge = retained.payloads.get(topics.bridge(host))
    owner = event.owner if isinstance(event, HostEvent) else None
    if bridge == ONLINE and owner is not None and owner != examination.owner:
        yield examination.problem(
            f"another sidecar publishes here as host {host!r}"
            + (", and the one on this machine has left" if examination.running else ""),
            "give each sidecar a name of its own with --host",
        )
    elif examination.running and bridge in (OFFLINE, None):
        yield examination.problem(
            f"the sidecar runs on this machine and is not online here as host {host!r}",
            "see its log: it may be told another destination, or be refused",
        )
    elif examination.running:
        yield examination.fine(f"the sidecar of this machine publishes here as host {host!r}")


def find_leftovers(
    retained: Retained, topics: Topics, forget_after_s: float, examination: Examination
) -> list[str]:
    """Give the topics that are retained for jobs and hosts that are no more.

    A job is no more if this host's journal does not know it, or if nothing was said of it for so long that its own
    sidecar would have cleared it. Another host's jobs are known by their age only.
    """
    events = retained.events()
    horizon_ms = (examination.wall_s - forget_after_s) * 1000
    own = events.get(topics.host(examination.host))
    is_online = retained.payloads.get(topics.bridge(examination.host)) == ONLINE
    ours_speaks = not is_online or not isinstance(own, HostEvent) or own.owner == examination.owner
    jobs = [(topic, event) for topic, event in events.items() if isinstance(event, JobEvent)]
    found = {
        topic
        for topic, event in jobs
        if topic == topics.state(event.host, event.job)
        and _is_left(event, horizon_ms, examination, ours_speaks=ours_speaks)
    }
    alive = {event.host for topic, event in jobs if topic not in found}
    for topic, event in events.items():
        if isinstance(event, HostEvent) and event.host not in alive and event.observed_ms < horizon_ms:
            found |= {topic, topics.bridge(event.host)} & retained.payloads.keys()
    return sorted(found)


def _is_left(event: JobEvent, horizon_ms: float, examination: Examination, *, ours_speaks: bool) -> bool:
    known = examination.jobs
    if event.host == examination.host and known is not None and ours_speaks:
        return event.job not in known
    return event.observed_ms < horizon_ms


def find_orphans(retained: Retained, topics: Topics, leftovers: Collection[str]) -> dict[str, str]:
    """Give discovery topics of ours that nobody owns: topic to the state topic that it would show.

    Args:
        leftovers: Topics that are as good as gone.
    """
    found = {}
    for topic, payload in retained.payloads.items():
        state_topic = shown_topic(payload) if topic.endswith("/config") else None
        if state_topic is None or not state_topic.startswith(f"{topics.prefix}/"):
            continue
        if state_topic not in retained.payloads or state_topic in leftovers:
            found[topic] = state_topic
    return dict(sorted(found.items()))


def shown_topic(payload: bytes) -> str | None:
    """Give the state topic of a device that we announced; None if it is another program's."""
    try:
        config = json.loads(payload)
        topic = config["state_topic"] if config["origin"]["name"] == _ORIGIN else None
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    # Anybody can retain anything there: what is no topic of a kind that we make is no device of ours.
    return (
        topic
        if isinstance(topic, str) and all(is_slug(level, _LEVEL_BYTES) for level in topic.split("/"))
        else None
    )


def some(topics: Iterable[str]) -> str:
    """Name a few topics."""
    names = list(topics)
    shown = ", ".join(names[:_SHOWN_TOPICS])
    return shown if len(names) <= _SHOWN_TOPICS else f"{shown} and {len(names) - _SHOWN_TOPICS} more"
