"""Figures of a replay: how exactly it keeps time, and how fast it goes where it need not.

    uv run python benchmarks/bench_replay.py pace              # ten minutes at speed 1; --minutes for fewer
    uv run python benchmarks/bench_replay.py max               # 200,000 events from a journal to a pipe

It makes its journal itself, in a temporary folder.
"""

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from pulse_bridge.bus import Query, open_bus
from pulse_bridge.event import Event
from pulse_bridge.journal import open_journal
from pulse_bridge.replay import Replay
from pulse_bridge.replay_pace import Pace
from pulse_bridge.replay_select import Selection, Survey
from pulse_bridge.testing import make_job_event

T0_MS = 1_790_000_000_000
PAGE = 1000
GOOD_MS = 20.0


def fill(path: Path, times_ms: Sequence[int]) -> None:
    """Make a journal with a change at each of the times."""
    with open_journal(path) as journal:
        for start in range(0, len(times_ms), PAGE):
            journal.append(
                [
                    make_job_event(
                        job=f"llm/{index % 20}", observed_ms=at_ms, message=f"step {index}/{len(times_ms)}"
                    )
                    for index, at_ms in enumerate(times_ms[start : start + PAGE], start)
                ]
            )


class Punctual:
    """Notes how late each event is."""

    tick_s: float | None = None

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self._begun = (0, 0.0)

    async def begin(self, before: Sequence[Event], at_ms: int) -> None:  # noqa: ARG002 - the port's signature
        """Note when the first instant is."""
        self._begun = (at_ms, time.monotonic())

    async def give(self, events: Sequence[Event], at_ms: int) -> None:  # noqa: ARG002 - the port's signature
        """Note how late they are; early is less than nothing."""
        now_s = time.monotonic()
        from_ms, from_s = self._begun
        self.late_ms += [(now_s - from_s) * 1000 - (event.observed_ms - from_ms) for event in events]

    async def tick(self, at_ms: int) -> None:
        """Do nothing."""

    async def finish(self, at_ms: int) -> None:
        """Do nothing."""


def pace(minutes: float, folder: Path) -> None:
    chance = random.Random(7)
    at_ms, times_ms = 0.0, []
    while at_ms < minutes * 60_000:
        times_ms.append(T0_MS + int(at_ms))
        at_ms += chance.expovariate(1 / 50)  # twenty a second, in bursts and gaps
    fill(folder / "pace.db", times_ms)
    punctual = Punctual()
    replay = Replay(
        open_bus(f"journal://{folder}/pace.db"),
        Selection(Query()),
        Survey(),
        pace=Pace(1.0),
        sinks=[punctual],
        wall_ms=lambda: T0_MS,
    )
    asyncio.run(replay.run())
    off_ms = sorted(map(abs, punctual.late_ms))
    print(f"{len(off_ms)} events in {minutes:g} min at speed 1")
    print(f"within {GOOD_MS:g} ms: {100 * sum(off <= GOOD_MS for off in off_ms) / len(off_ms):.2f} %")
    print(f"median {statistics.median(off_ms):.2f} ms, 99 %: {off_ms[int(len(off_ms) * 0.99)]:.2f} ms", end="")
    tenth = max(1, len(off_ms) // 10)
    drift_ms = statistics.median(punctual.late_ms[-tenth:]) - statistics.median(punctual.late_ms[:tenth])
    print(f", worst {off_ms[-1]:.2f} ms, drift {drift_ms:+.2f} ms")


def fastest(events: int, folder: Path) -> None:
    fill(folder / "max.db", [T0_MS + index * 10 for index in range(events)])
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pulse_bridge", "--version"], check=True, stdout=subprocess.DEVNULL)
    base_s = time.perf_counter() - start
    for flags in (["--json"], []):
        command = [sys.executable, "-m", "pulse_bridge", "replay", "--from", f"journal://{folder}/max.db", *flags]
        start, cpu = time.perf_counter(), os.times()
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.count(b"\n")
        took_s, after = time.perf_counter() - start, os.times()
        cpu_s = after.children_user + after.children_system - cpu.children_user - cpu.children_system
        print(
            f"{' '.join(flags) or 'lines':6}  {lines} events in {took_s:.2f} s: {lines / took_s:,.0f} a second"
            f" with the start ({base_s:.2f} s), {lines / max(0.001, took_s - base_s):,.0f} without;"
            f" {lines / cpu_s:,.0f} in a second of processor time"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pace", "max"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--events", type=int, default=200_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.what == "pace":
            pace(arguments.minutes, Path(folder))
        else:
            fastest(arguments.events, Path(folder))


if __name__ == "__main__":
    main()
