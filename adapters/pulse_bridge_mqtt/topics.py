"""Topic names: pure, so that the same names give the same topics on every start, with no state kept.

Source: `design.md`, "MQTT". No topic exceeds 70 bytes and all are ASCII, because Grafana's source needs both.
"""

import hashlib
import re
from functools import lru_cache
from typing import Final

MAX_PREFIX_BYTES: Final = 12
MAX_HOST_BYTES: Final = 20
MAX_JOB_BYTES: Final = 28
MAX_TOPIC_BYTES: Final = 70
MAX_READER_ID_BYTES: Final = 23
"""Every broker takes a client id of this length. Source: MQTT 3.1.1 and 5, §3.1.3.1."""
_HASH_DIGITS: Final = 8
_SLUG: Final = re.compile(r"[a-z0-9_-]+")
_OTHER: Final = re.compile(r"[^a-z0-9_-]+")


def is_slug(name: str, max_bytes: int) -> bool:
    """Say whether a name can stand in a topic as it is."""
    return len(name) <= max_bytes and _SLUG.fullmatch(name) is not None


@lru_cache(maxsize=16_384)
def make_slug(name: str, max_bytes: int) -> str:
    """Give the level of a topic that stands for a name.

    A name that is a slug already stays as it is. Any other keeps what can be kept of it and gets a short hash of
    the whole, so that two names never share a topic and nothing need be remembered to know that.

    Args:
        name: Any text, a file name's undecodable bytes (lone surrogates) included.
        max_bytes: The longest level allowed, at least 9.

    Returns:
        1 to `max_bytes` characters of `[a-z0-9_-]`.
    """
    if is_slug(name, max_bytes):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    kept = _OTHER.sub("-", name.lower()).strip("-")[: max_bytes - _HASH_DIGITS - 1].rstrip("-")
    return f"{kept}-{digest}" if kept else digest


class Topics:
    """The topics under one prefix.

    Args:
        prefix: A slug of at most `MAX_PREFIX_BYTES`.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def state(self, host: str, job: str) -> str:
        """Name the topic of a job's events; it ends in `/state`."""
        return f"{self.prefix}/{make_slug(host, MAX_HOST_BYTES)}/{make_slug(job, MAX_JOB_BYTES)}/state"

    def states(self, host: str) -> str:
        """Give the filter that matches the state topics of all jobs of a host."""
        return f"{self.prefix}/{make_slug(host, MAX_HOST_BYTES)}/+/state"

    def host(self, host: str) -> str:
        """Name the topic of a sidecar's host events."""
        return f"{self.prefix}/{make_slug(host, MAX_HOST_BYTES)}/host"

    def bridge(self, host: str) -> str:
        """Name the topic that says `online` or `offline` of a sidecar."""
        return f"{self.prefix}/{make_slug(host, MAX_HOST_BYTES)}/bridge"

    @property
    def everything(self) -> tuple[str, str]:
        """Give the filters that match every event: of all hosts, of all jobs.

        The hosts first: of what a broker drops because its queue is full, they tell how much there should be.
        """
        return (f"{self.prefix}/+/host", f"{self.prefix}/+/+/state")

    def mark(self, reader: str) -> str:
        """Name the topic of the mark of one reader; `reader` is a slug."""
        return f"{self.prefix}/{reader}/mark"

    def holder(self, group: str) -> str:
        """Name the topic that says who holds a group; `group` is its slug."""
        return f"{self.prefix}/{group}/holder"

    def group(self, group: str) -> str:
        """Give the slug of a group's name, short enough for `reader_client_id`."""
        return make_slug(group, MAX_READER_ID_BYTES - len(self.prefix) - 1)

    def reader_client_id(self, reader: str) -> str:
        """Give the client id of a reader: a group's slug, or a random one."""
        return f"{self.prefix}-{reader}"

    def client_id(self, host: str, owner: str) -> str:
        """Give the client id of one start of a host's sidecar.

        The owner is in it, because a broker ends an older connection of the same id: a sidecar that returned from
        a network cut would end the newer one that has its name by now, before it learns that it should not. And
        two would end each other in turn, for the one that is ended is not told why by 3.1.1, nor by mosquitto
        2.0.11 with MQTT 5 (measured; §3.1.4 would have it say 0x8E).
        """
        return f"{self.prefix}-{make_slug(host, MAX_HOST_BYTES)}-{make_slug(owner, _HASH_DIGITS + 1)}"
