"""What `replay` shows: events, what differs between two of them, how far it is, and what it would do."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import click

from pulse_bridge.cli.lines import format_event, format_span
from pulse_bridge.cli.output import say
from pulse_bridge.event import Event, JobEvent, format_time, to_fields, to_json
from pulse_bridge.printable import printable, printable_json
from pulse_bridge.replay import Replay
from pulse_bridge.replay_select import Survey
from pulse_bridge.threads import run_in_daemon_thread

PAINT_S: Final = 0.2
_ALWAYS_OTHER: Final = frozenset({"id", "observed_at", "replay_of", "replay_observed_at"})


def write_events(events: Sequence[Event], *, as_json: bool) -> None:
    """Write events to standard output in one go."""
    if not as_json:
        click.echo("\n".join(map(format_event, events)))
    else:
        lines = [to_json(event) for event in events]
        if sys.stdout.isatty():
            lines = [printable_json(line) for line in lines]
        sys.stdout.buffer.write("".join(line + "\n" for line in lines).encode())
    sys.stdout.flush()


class PrintSink:
    """Prints what a replay gives."""

    tick_s: float | None = None

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    async def begin(self, before: Sequence[Event], at_ms: int) -> None:
        """Print what stood before."""
        if before:
            await self.give(before, at_ms)

    async def give(self, events: Sequence[Event], at_ms: int) -> None:  # noqa: ARG002 - the port's signature
        """Print events."""
        write_events(events, as_json=self._as_json)

    async def tick(self, at_ms: int) -> None:
        """Do nothing."""

    async def finish(self, at_ms: int) -> None:
        """Do nothing."""


def difference(before: Event | None, event: Event) -> list[str]:
    """Say what is other than in the event before of the same job or host, a line for each field."""
    if before is None:
        return []
    old, new = to_fields(before), to_fields(event)
    names = [name for name in {**new, **old} if name not in _ALWAYS_OTHER and old.get(name) != new.get(name)]
    width = max(map(len, names), default=0)
    return [f"    {name:{width}}  {_shown(old.get(name))} -> {_shown(new.get(name))}" for name in names]


def _shown(value: object) -> str:
    return "none" if value is None else printable(str(value))


class Steps:
    """Prints one event after the other, with what differs.

    Args:
        wait: Waits for a line; gives False where there is to be no next.
    """

    tick_s: float | None = None

    def __init__(self, wait: Callable[[], Awaitable[bool]], *, as_json: bool) -> None:
        self.ended = asyncio.Event()
        self._wait = wait
        self._as_json = as_json
        self._known: dict[tuple[str, str], Event] = {}
        self._is_first = True

    async def begin(self, before: Sequence[Event], at_ms: int) -> None:
        """Show what stood before, each alone, too."""
        await self.give(before, at_ms)

    async def give(self, events: Sequence[Event], at_ms: int) -> None:  # noqa: ARG002 - the port's signature
        """Show each, once the one before has been looked at."""
        for event in events:
            if not self._is_first and not await self._wait():
                self.ended.set()
                await asyncio.get_running_loop().create_future()  # whoever waits for the end cancels it
            self._is_first = False
            key = (event.host, event.job if isinstance(event, JobEvent) else "")
            write_events([event], as_json=self._as_json)
            if not self._as_json:
                for line in difference(self._known.get(key), event):
                    click.echo(line)
                sys.stdout.flush()
            self._known[key] = event

    async def tick(self, at_ms: int) -> None:
        """Do nothing."""

    async def finish(self, at_ms: int) -> None:
        """Do nothing."""


class Keys:
    """Enter and q on standard input.

    Read without Python's own buffer, whose lock the thread that waits would hold at the end of the program.
    """

    def __init__(self) -> None:
        self._read = b""

    async def wait(self) -> bool:
        """Wait for Enter; False at a q, or at the end of the input."""
        while b"\n" not in self._read:
            chunk = await run_in_daemon_thread(lambda: os.read(0, 1024))
            if not chunk:
                return False
            self._read += chunk
        line, _, self._read = self._read.partition(b"\n")
        return line.strip().lower() != b"q"


def say_plan(known: Survey, *, destination: str, speed: float | None, max_gap_s: float | None = None) -> None:
    """Print how much it would be, and how long it would take."""
    if known.first_ms is None or known.last_ms is None:
        say("nothing there is what was asked for")
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in known.kinds.most_common())
    span_s = (known.last_ms - known.first_ms) / 1000
    takes = "as long as it needs" if speed is None else format_span(span_s / speed)
    lines = [
        f"events  {known.events} ({kinds})",
        f"before  {len(known.before)} (the state of jobs as the range begins)",
        f"jobs    {len(known.jobs)} on {len(known.hosts)} hosts",
        f"from    {format_time(known.first_ms)}",
        f"to      {format_time(known.last_ms)} ({format_span(span_s)} later)",
        f"into    {destination}",
        f"takes   {takes}{' at most' if max_gap_s is not None else ''}",
    ]
    click.echo("\n".join(lines))


@asynccontextmanager
async def progress_bar(replay: Replay, known: Survey, speed: float | None) -> AsyncIterator[None]:
    """Paint on standard error how far a replay is."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    first_ms, last_ms = known.first_ms or 0, known.last_ms or 0
    bar = Progress(
        TextColumn("{task.fields[at]}"),
        BarColumn(),
        TextColumn("{task.fields[given]} of {task.fields[events]} events, " + _speed_text(speed)),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("", total=max(1, last_ms - first_ms), at="", given=0, events=known.events)

    def paint() -> None:
        at_ms = replay.position_ms or first_ms
        bar.update(task, completed=at_ms - first_ms, at=format_time(at_ms), given=replay.given)

    async def keep_painting() -> None:
        while True:
            paint()
            await asyncio.sleep(PAINT_S)

    with bar:
        painting = asyncio.create_task(keep_painting())
        try:
            yield
        finally:
            painting.cancel()
            await asyncio.wait({painting})
            paint()


def _speed_text(speed: float | None) -> str:
    return "as fast as it goes" if speed is None else f"{speed:g}x"
