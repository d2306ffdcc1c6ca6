"""Whether every job is finished, for a sidecar that ends with its training; pure."""

from typing import Final

from pulse_bridge.event import State

FRESH_S: Final = 60.0


class FinishWatch:
    """Decides when `exit_when_done` may end.

    A result that lay there before (the last run's `done`) is no end: it counts only if the journal saw its run, or
    if it is at most `FRESH_S` old.
    """

    def __init__(self) -> None:
        self._unfinished: set[str] = set()
        self._finished: set[str] = set()

    def note(self, job: str, state: State, *, age_s: float, known: bool) -> None:
        """Take in what a job's state is now.

        Args:
            age_s: Since the training wrote it.
            known: The journal knew the job when the sidecar started.
        """
        if state == "gone":
            self._unfinished.discard(job)  # it will not finish; a result that was cleared away is still one
        elif state not in {"done", "error"}:
            self._unfinished.add(job)
            self._finished.discard(job)
        elif known or job in self._unfinished or age_s <= FRESH_S:
            self._unfinished.discard(job)
            self._finished.add(job)

    @property
    def all_finished(self) -> bool:
        """At least one job has come to its end, and none is under way."""
        return bool(self._finished) and not self._unfinished
