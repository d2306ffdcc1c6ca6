"""What discovery is to be on the broker, and which messages make it so; pure: events in, messages out."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from pulse_bridge.event import Event, HostEvent
from pulse_bridge_mqtt.homeassistant_devices import ORIGIN, Config, host_config, host_id, job_config, job_id
from pulse_bridge_mqtt.topics import Topics

CLEARED: Final = b""


class Retained(NamedTuple):
    """A message for the broker to retain; `CLEARED` makes it forget the topic."""

    topic: str
    payload: bytes


class Discovery:
    """The configurations of some hosts' devices, on one broker.

    Nothing is sent that the broker has already. A configuration is known for ours by its origin and its state
    topic, whatever its id; that of another host, prefix or program is never touched.

    Args:
        prefix: Home Assistant's, the first levels of every discovery topic.
    """

    def __init__(self, topics: Topics, prefix: str) -> None:
        self._topics = topics
        self._prefix = prefix
        self._there: dict[str, Config] = {}  # ours, by topic, as the broker has it
        self._ids: dict[str, set[str]] = {}  # state topic to the topics of those in `_there` that show it
        self._fresh: set[str] = set()  # topics that were read or sent since the last reading began
        self._wanted: dict[str, Config] = {}
        self._labels: dict[str, Mapping[str, str]] = {}  # of each job that is announced, by state topic
        self._versions: dict[str, str | None] = {}  # of each host that is announced

    @property
    def filter(self) -> str:
        """The filter that matches the configuration of every device, of other programs too."""
        return f"{self._prefix}/device/+/config"

    def begin_reading(self) -> None:
        """Expect what the broker has, by `read`, up to `end_reading`."""
        self._fresh = set()

    def read(self, topic: str, payload: bytes) -> None:
        """Take what the broker has on a topic."""
        if topic in self._fresh:
            return  # what we have sent since is newer
        config = _parse(payload)
        if config is not None and config["state_topic"].startswith(f"{self._topics.prefix}/"):
            self._note(topic, config)

    def end_reading(self) -> None:
        """Take what was not read for lost."""
        for topic in self._there.keys() - self._fresh:
            self._drop(topic)

    def announce_host(self, host: str, version: str | None) -> list[Retained]:
        """Describe a host, if that is news."""
        if host in self._versions and version in (None, self._versions[host]):
            return []
        self._versions[host] = version
        return self._want(host_id(self._topics, host), host_config(self._topics, host, version))

    def announce(self, event: Event) -> list[Retained]:
        """Describe what an event is of, its host first, if that is news. To be called after the event is sent."""
        if isinstance(event, HostEvent):
            return self.announce_host(event.host, event.version)
        state_topic = self._topics.state(event.host, event.job)
        if self._labels.get(state_topic) == event.labels:
            return []
        self._labels[state_topic] = event.labels
        messages = self.announce_host(event.host, None)  # what it is reached through must be known before
        config = job_config(self._topics, event.host, event.job, event.labels)
        return messages + self._want(job_id(self._topics, event.host, event.job), config)

    def forget(self, state_topic: str) -> list[Retained]:
        """Remove a job's device. To be called before its state is cleared."""
        self._labels.pop(state_topic, None)
        return [self._clear(topic) for topic in sorted(self._ids.get(state_topic, ()))]

    def restore(self) -> list[Retained]:
        """Send what the broker turned out not to have, or to have otherwise, when it was read again."""
        return [message for topic, config in self._wanted.items() for message in self._put(topic, config)]

    def leftovers(self, host: str, staying: Collection[str]) -> list[str]:
        """Give the state topics of jobs that have a device and that this host's sidecar does not know.

        Args:
            staying: State topics of jobs that it need not speak of: they are finished.
        """
        own = self._topics.states(host).partition("+")[0]
        return sorted(
            topic
            for topic, ids in self._ids.items()
            if ids and topic.startswith(own) and topic.endswith("/state")
            if topic not in self._labels and topic not in staying
        )

    def _want(self, identifier: str, config: Config) -> list[Retained]:
        topic = f"{self._prefix}/device/{identifier}/config"
        # One that an earlier version left under another id would show the same entities a second time.
        others = sorted(self._ids.get(config["state_topic"], set()) - {topic})
        self._wanted[topic] = config
        return [*(self._clear(other) for other in others), *self._put(topic, config)]

    def _put(self, topic: str, config: Config) -> list[Retained]:
        there = self._there.get(topic, {})
        if _without_removed(there) == config:
            return []
        config = _removing(there, config)
        self._note(topic, config)
        return [Retained(topic, json.dumps(config, ensure_ascii=False, separators=(",", ":")).encode())]

    def _clear(self, topic: str) -> Retained:
        self._drop(topic)
        self._wanted.pop(topic, None)
        self._fresh.add(topic)
        return Retained(topic, CLEARED)

    def _drop(self, topic: str) -> None:
        config = self._there.pop(topic)
        self._ids[config["state_topic"]].discard(topic)

    def _note(self, topic: str, config: Config) -> None:
        if topic in self._there:
            self._drop(topic)
        self._fresh.add(topic)
        self._there[topic] = config
        self._ids.setdefault(config["state_topic"], set()).add(topic)


def _parse(payload: bytes) -> Config | None:
    """Read a configuration; None if it is none of pulse-bridge."""
    try:
        config = json.loads(payload)
        ours = config["origin"]["name"] == ORIGIN and isinstance(config["state_topic"], str)
        ours = ours and all(isinstance(part, dict) for part in config["components"].values())
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    return config if ours else None


def _removing(before: Config, config: Config) -> Config:
    """Name the components that are no more: Home Assistant keeps one that is only left out.

    They stay named: a second message without them would gain nothing, and Home Assistant handles messages in tasks
    and could pass over the first.
    """
    gone = {
        name: {"platform": part["platform"]}
        for name, part in before.get("components", {}).items()
        if name not in config["components"] and "platform" in part
    }
    return {**config, "components": {**config["components"], **gone}} if gone else config


def _without_removed(config: Config) -> Config:
    parts: Iterable[tuple[str, Config]] = config.get("components", {}).items()
    return {**config, "components": {name: part for name, part in parts if part.keys() != {"platform"}}}
