"""What a broker retains of jobs and hosts, as far as a publisher knows, and what is to be forgotten; pure."""

from collections.abc import Collection

from pulse_bridge.event import FINISHED_STATES, Event, EventId, HostEvent, JobEvent


class Keeping:
    """The retained events of one connection.

    Args:
        host: Whose sidecar publishes; None for a relay or a replay.
        forget_after_s: See `MqttOptions`.
    """

    def __init__(self, host: str | None, forget_after_s: float) -> None:
        self._host = host
        self._forget_after_ms = forget_after_s * 1000
        self._found: dict[str, EventId] = {}  # by topic, as the broker had it when we connected
        self._recalled: dict[str, list[tuple[str, JobEvent]]] = {}  # by host: finished jobs that were found
        self._finished_ms: dict[str, int] = {}  # by topic: since when its job is done, error or gone

    @property
    def finished(self) -> Collection[str]:
        """The topics of jobs that are finished and retained; it changes with what is kept."""
        return self._finished_ms.keys()

    def find(self, topic: str, event: Event, *, recall: bool) -> None:
        """Note an event that the broker had retained.

        Args:
            recall: `recall` will be called for its host.
        """
        self._found[topic] = event.id
        if isinstance(event, HostEvent) or event.state not in FINISHED_STATES:
            return
        if recall:
            self._recalled.setdefault(event.host, []).append((topic, event))
        if self._host is not None:
            self._finished_ms[topic] = event.observed_ms

    def has(self, topic: str, event: Event) -> bool:
        """Say whether the broker had just this event."""
        return self._found.get(topic) == event.id

    def keep(self, topic: str, event: Event, now_ms: float) -> bool:
        """Note that the topic has this event now and say whether the broker shall retain it.

        Args:
            now_ms: Unix milliseconds, as below.
        """
        was_kept = self._found.pop(topic, None) is not None or topic in self._finished_ms
        if isinstance(event, HostEvent) or event.state not in FINISHED_STATES:
            self._finished_ms.pop(topic, None)
            return True
        if self._host is not None and not was_kept and self._is_old(event.observed_ms, now_ms):
            return False  # forgotten before: for those who listen, not to be kept again
        self._finished_ms[topic] = event.observed_ms
        return True

    def recall(self, host: str, now_ms: float) -> list[JobEvent]:
        """Give, once, the finished jobs that were found of a host, the old ones apart; see to their end, too.

        Nobody may speak of them again.
        """
        recalled = []
        for topic, event in self._recalled.pop(host, ()):
            if not self.has(topic, event):
                continue  # it has something newer by now
            self._finished_ms[topic] = event.observed_ms
            if not self._is_old(event.observed_ms, now_ms):
                recalled.append(event)
        return recalled

    def forget(self, topic: str) -> bool:
        """Note that a topic is cleared; False if nothing is known to be there."""
        was_finished = self._finished_ms.pop(topic, None) is not None
        return self._found.pop(topic, None) is not None or was_finished

    def due(self, now_ms: float) -> list[str]:
        """Give the topics of jobs that finished so long ago that they are to be forgotten."""
        return [topic for topic, since_ms in self._finished_ms.items() if self._is_old(since_ms, now_ms)]

    def _is_old(self, since_ms: float, now_ms: float) -> bool:
        return now_ms - since_ms >= self._forget_after_ms
