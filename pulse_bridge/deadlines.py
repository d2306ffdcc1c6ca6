"""Which job's timer is due next; pure, and cheap where deadlines mostly move later."""

import heapq
from collections.abc import Callable


class Deadlines:
    """The next due instant of each of many jobs.

    A job has one entry in the heap. When its deadline moves later the entry stays, and is put back once it is up.

    Args:
        deadline_of: Gives a job's deadline as it is now, in monotonic seconds; None while it has none.
    """

    def __init__(self, deadline_of: Callable[[str], float | None]) -> None:
        self._deadline_of = deadline_of
        self._heap: list[tuple[float, str]] = []
        self._entered_s: dict[str, float] = {}

    def update(self, job: str) -> None:
        """Take note that the job's deadline may have changed."""
        deadline_s = self._deadline_of(job)
        if deadline_s is None:
            return
        entered_s = self._entered_s.get(job)
        if entered_s is None or deadline_s < entered_s:
            self._entered_s[job] = deadline_s
            heapq.heappush(self._heap, (deadline_s, job))

    @property
    def next_s(self) -> float | None:
        """The earliest instant, in monotonic seconds, at which `due` may give a job."""
        return self._heap[0][0] if self._heap else None

    def due(self, now_s: float) -> list[str]:
        """Take out the jobs whose deadline has come; `update` each once its timer has run."""
        found = []
        while self._heap and self._heap[0][0] <= now_s:
            entered_s, job = heapq.heappop(self._heap)
            if self._entered_s.get(job) != entered_s:
                continue  # an earlier entry of the job has been taken already
            del self._entered_s[job]
            deadline_s = self._deadline_of(job)
            if deadline_s is not None and deadline_s <= now_s:
                found.append(job)
            else:
                self.update(job)
        return found
