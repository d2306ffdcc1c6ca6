"""The port of whatever can say what is wrong with itself: buses and subscribers, ours and others'.

`pulse-bridge doctor` asks every bus and subscriber that is configured. One that has a method `examine` tells what
it finds; of a bus without it only is said whether it can be connected to, of a subscriber that it can be made.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, runtime_checkable

from pulse_bridge.bus import Bus
from pulse_bridge.errors import PulseBridgeError

Level = Literal["problem", "advice", "fine"]

CHECKED: Final = ""
"""The remedy of what is fine."""

_SEE_THAT_IT_RUNS: Final = "see that it runs, and that this machine may reach it"


@dataclass(frozen=True)
class Cure:
    """What `doctor --clean` can do about a finding, once a person has agreed.

    Args:
        question: What will be done, as a question that yes or no answers.
        apply: Does it, and says in one sentence what was done. Looks anew before it removes anything, for time has
            passed since the finding.
    """

    question: str
    apply: Callable[[], Awaitable[str]]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        level: `problem`: something does not work, or will not; `advice`: it works, and could bite; `fine`.
        subject: What was looked at, for a heading: a bus as it may be shown, `status files`, `this machine`.
        sentence: What is so, with the thing and the place, without a secret.
        remedy: What to do about it; empty where all is well.
        cure: What can be done about it here and now; only ever removes what nobody owns.
    """

    level: Level
    subject: str
    sentence: str
    remedy: str = CHECKED
    cure: Cure | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Examination:
    """What a bus or subscriber may need to know to judge what it finds.

    Args:
        subject: Under which its findings are told.
        host: The host name under which this machine publishes.
        owner: Of the newest sidecar that this machine has had under that name; None where it has had none.
        running: That sidecar runs.
        sidecar_pid: Its process; None where none runs, or it is not known.
        jobs: The jobs of this host, as its journal and its files know them; None where nothing is known of them.
        publishes: This host publishes here; if not, it is only read.
        wall_s: Unix seconds now.
    """

    subject: str
    host: str
    owner: str | None
    running: bool
    sidecar_pid: int | None
    jobs: frozenset[str] | None
    publishes: bool
    wall_s: float

    def problem(self, sentence: str, remedy: str) -> Finding:
        """Make a finding about something that does not work."""
        return Finding("problem", self.subject, sentence, remedy)

    def advice(self, sentence: str, remedy: str) -> Finding:
        """Make a finding about something that could bite."""
        return Finding("advice", self.subject, sentence, remedy)

    def fine(self, sentence: str) -> Finding:
        """Make a finding about something that is as it should be."""
        return Finding("fine", self.subject, sentence)


@runtime_checkable
class Examinable(Protocol):
    """What a bus or a subscriber may have beyond its port."""

    def examine(self, examination: Examination) -> AsyncIterator[Finding]:
        """Look at oneself: log in, as one would at work, and tell what is wrong or could become so.

        Writes nothing that stays and takes nothing from anybody: no lease, no host name, no port for longer than
        a moment. Ends within some ten seconds, whatever the other side does.

        Raises:
            PulseBridgeError: There is no way in; it becomes a finding. What was told before stands.
        """


async def examine_bus(bus: Bus, examination: Examination) -> AsyncIterator[Finding]:
    """Tell what a bus finds, or whether it can be connected to."""
    try:
        if isinstance(bus, Examinable):
            async for finding in bus.examine(examination):
                yield finding
            return
        async with bus.consumer(None):
            pass
    except PulseBridgeError as error:
        yield examination.problem(*as_sentence_and_remedy(error))
    else:
        yield examination.fine("it can be connected to; it tells nothing more of itself")


def as_sentence_and_remedy(error: PulseBridgeError, otherwise: str = _SEE_THAT_IT_RUNS) -> tuple[str, str]:
    """Part an error's sentence from the remedy that stands behind its last semicolon.

    Args:
        otherwise: The remedy where the sentence has none.
    """
    sentence, semicolon, remedy = str(error).rpartition("; ")
    return (sentence, remedy) if semicolon else (remedy, otherwise)


def count(number: int, noun: str) -> str:
    """Write so many of something, e.g. `1 folder`, `2 folders`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_bytes(size_bytes: float) -> str:
    """Write a size for a person, e.g. `256 MiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if abs(size_bytes) < 1024:  # noqa: PLR2004 - of each unit in the next
            return f"{size_bytes:.3g} {unit}" if size_bytes < 1000 else f"{size_bytes:.0f} {unit}"  # noqa: PLR2004
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"
