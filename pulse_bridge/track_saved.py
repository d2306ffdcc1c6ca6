"""What a job's tracker keeps over a restart of the sidecar, as one line of JSON in the journal.

A JSON array, because it is written with every event. Instants are Unix seconds: a monotonic clock does not
outlive its process.
"""

from typing import Final, Literal, NamedTuple

from pydantic import ConfigDict, TypeAdapter
from pydantic_core import to_json

from pulse_bridge.eta import Pace
from pulse_bridge.event import State
from pulse_bridge.pulse import Pulse


class SavedJob(NamedTuple):
    """One job as it was when last saved. All but `version` is None or 0 before the first pulse.

    Args:
        run: Unix seconds that name the run.
        state: As last told.
        pulse: As last read, whether or not it was told.
        seen_unix_s: When the pulse's timestamp was first seen.
        alive_unix_s: When the job was last alive.
        told_unix_s: When the last event was made.
        missing_unix_s: Since when the file is missing; None while it is there.
    """

    version: Literal[1]
    run: int
    state: State | None
    pulse: Pulse | None
    pace: Pace | None
    seen_unix_s: float
    alive_unix_s: float
    told_unix_s: float
    missing_unix_s: float | None


_JSON: Final = TypeAdapter(SavedJob, config=ConfigDict(strict=True, allow_inf_nan=False))


def encode(saved: SavedJob) -> str:
    """Write it as one line."""
    return str(to_json(saved), "utf-8")  # knows tuples; the adapter's own way takes twice the time


def decode(text: str) -> SavedJob:
    """Read what `encode` wrote.

    Raises:
        ValueError: The text is something else, or of another version: begin that job anew.
    """
    saved = _JSON.validate_json(text)
    if (saved.pulse is None) != (saved.state is None):
        raise ValueError("a saved job has both a state and a pulse, or neither")
    return saved
