"""The text of what is saved with the cursor: small JSON objects, one a key.

begun                  the group has had its first snapshot
stamp                  which process stored last, and its how-manieth time that was
job:<host>/<job>       the event that last made a difference, and what the rules remember
host:<host>            its newest sign of life, now and then
incident:<id>          an incident, and what each route was told
out:<message id>       a message that a target has not taken yet
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import to_json as encode_json

from pulse_bridge.clock import Instant
from pulse_bridge.errors import EventFormatError
from pulse_bridge.event import HostEvent, JobEvent, from_json, to_json
from pulse_bridge_alerts.incidents import Incident, Telling
from pulse_bridge_alerts.notice import Message, Notice
from pulse_bridge_alerts.rules import JobMemory

BEGUN: Final = "begun"
STAMP: Final = "stamp"
JOB: Final = "job:"
HOST: Final = "host:"
INCIDENT: Final = "incident:"
OUT: Final = "out:"
_UNREADABLE: Final = (KeyError, TypeError, AttributeError, EventFormatError, RecursionError)


@dataclass(frozen=True)
class SavedHost:
    """What is kept of a host.

    Args:
        newest: Its newest host event; None before the first.
        last_ms: Unix milliseconds of its last word, on its clock.
        was_heard: It has spoken since the group's first start.
    """

    name: str
    newest: HostEvent | None
    last_ms: int
    was_heard: bool


def encode_job(event: JobEvent, memory: JobMemory) -> str:
    """Write a job; when it moved last is not kept, for that is counted from each connect."""
    kept: dict[str, Any] = {"event": to_json(event), "moved_ms": memory.moved_ms}
    if memory.stuck:
        kept["stuck"] = True
    if memory.spiking:
        kept["spiking"] = True
    if memory.losses:
        kept["losses"] = list(memory.losses)
    if memory.done_run is not None:
        kept["done_run"] = memory.done_run
    return _write(kept)


def decode_job(text: str, at: Instant) -> tuple[JobEvent, JobMemory]:
    """Read a job.

    Raises:
        ValueError: The text is none: do without it.
    """
    try:
        kept = json.loads(text)
        memory = JobMemory(
            moved_at_s=at.now_s,
            moved_ms=kept["moved_ms"],
            heard_at_s=at.now_s,
            stuck=kept.get("stuck", False),
            spiking=kept.get("spiking", False),
            losses=deque(kept.get("losses", ())),
            done_run=kept.get("done_run"),
        )
        return _job_event(kept["event"]), memory
    except _UNREADABLE as error:
        raise ValueError(f"no saved job: {error}") from error


def encode_host(host: SavedHost) -> str:
    """Write a host."""
    newest = to_json(host.newest) if host.newest else None
    return _write({"event": newest, "last_ms": host.last_ms, "was_heard": host.was_heard})


def decode_host(name: str, text: str) -> SavedHost:
    """Read a host.

    Raises:
        ValueError: The text is none: do without it.
    """
    try:
        kept = json.loads(text)
        newest = from_json(kept["event"]) if kept["event"] else None
        if isinstance(newest, JobEvent):
            raise TypeError("the event is a job's")
        return SavedHost(name, newest, kept["last_ms"], kept["was_heard"])
    except _UNREADABLE as error:
        raise ValueError(f"no saved host: {error}") from error


def encode_incident(incident: Incident, at: Instant) -> str:
    """Write an incident; instants of this process become Unix seconds."""
    return _write(
        {
            "rule": incident.rule,
            "host": incident.host,
            "job": incident.job,
            "run": incident.run,
            "since_ms": incident.since_ms,
            "at_ms": incident.at_ms,
            "detail": incident.detail,
            "event": to_json(incident.event) if incident.event else None,
            "changed_s": at.to_wall(incident.changed_at_s),
            "is_open": incident.is_open,
            "known": incident.known,
            "routes": {name: _encode_telling(telling, at) for name, telling in incident.tellings.items()},
        }
    )


def _encode_telling(telling: Telling, at: Instant) -> dict[str, Any]:
    return {
        "word": telling.word,
        "told_s": at.to_wall(telling.told_at_s),
        "flapping": telling.flapping,
        "excused": telling.excused,
    }


def decode_incident(identity: str, text: str, at: Instant) -> Incident:
    """Read an incident.

    Raises:
        ValueError: The text is none: do without it.
    """
    try:
        kept = json.loads(text)
        tellings = {
            name: Telling(
                telling["word"], at.to_monotonic(telling["told_s"]), telling["flapping"], telling["excused"]
            )
            for name, telling in kept["routes"].items()
        }
        return Incident(
            id=identity,
            rule=kept["rule"],
            host=kept["host"],
            job=kept["job"],
            run=kept["run"],
            since_ms=kept["since_ms"],
            at_ms=kept["at_ms"],
            detail=kept["detail"],
            event=_job_event(kept["event"]) if kept["event"] else None,
            changed_at_s=at.to_monotonic(kept["changed_s"]),
            is_open=kept["is_open"],
            known=kept["known"],
            tellings=tellings,
        )
    except _UNREADABLE as error:
        raise ValueError(f"no saved incident: {error}") from error


def read_incidents(saved: Mapping[str, str], at: Instant) -> list[Incident]:
    """Give the incidents that a group has saved, by their beginning; what cannot be read is left out."""
    found = []
    for key, text in saved.items():
        if key.startswith(INCIDENT):
            try:
                found.append(decode_incident(key.removeprefix(INCIDENT), text, at))
            except ValueError:
                continue
    return sorted(found, key=lambda incident: incident.since_ms)


def encode_message(message: Message) -> str:
    """Write a message; its id is its key."""
    notices = [notice._asdict() for notice in message.notices]
    return _write({"target": message.target, "notices": notices, "more": message.more})


def decode_message(identity: str, text: str) -> Message:
    """Read a message.

    Raises:
        ValueError: The text is none: it cannot be told.
    """
    try:
        kept = json.loads(text)
        return Message(
            identity, kept["target"], [Notice(**notice) for notice in kept["notices"]], kept.get("more", 0)
        )
    except _UNREADABLE as error:
        raise ValueError(f"no saved message: {error}") from error


def _write(value: object) -> str:
    return str(encode_json(value), "utf-8")  # a quarter of the time of the standard library's


def _job_event(text: str) -> JobEvent:
    event = from_json(text)
    if isinstance(event, HostEvent):
        raise TypeError("the event is a host's")
    return event
