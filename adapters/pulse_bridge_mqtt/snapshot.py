"""What is so when a reader begins, gathered from retained messages; pure."""

from collections import Counter

from pulse_bridge.event import FINISHED_STATES, Event, HostEvent, JobEvent


class Snapshot:
    """The newest event of each topic.

    What comes live before all retained messages are there is folded in, because a broker may read what it retains
    a while after it took the subscription: told after the snapshot by the order of numbers, it would be dropped
    where another topic's retained event has a higher number.
    """

    def __init__(self) -> None:
        self._newest: dict[str, Event] = {}

    def add(self, topic: str, event: Event, *, retained: bool) -> None:
        """Take an event in, as the broker delivered it."""
        before = self._newest.get(topic)
        if before is not None:
            same_producer = before.id.producer == event.id.producer
            # What is retained is never newer than what came live on its topic.
            if event.id.seq <= before.id.seq if same_producer else retained:
                return
        self._newest[topic] = event

    @property
    def topics(self) -> set[str]:
        """The topics that have an event."""
        return set(self._newest)

    def missing(self) -> dict[str, int]:
        """Give the hosts that tell of more unfinished jobs than there are, and how many more.

        A job that has begun has a retained event until long after its end, so something was dropped on the way.
        """
        jobs = Counter(event.host for event in self._newest.values() if isinstance(event, JobEvent))
        found = {}
        for event in self._newest.values():
            if isinstance(event, HostEvent):
                told = sum(count for state, count in event.jobs.items() if state not in FINISHED_STATES)
                if told > jobs[event.host]:
                    found[event.host] = told - jobs[event.host]
        return found

    def events(self) -> list[Event]:
        """Give the events, each producer's in the order of its numbers."""
        return sorted(self._newest.values(), key=lambda event: event.id)
