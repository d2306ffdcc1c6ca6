"""Figures of asking a journal for its past: 200,000 events of 200 jobs.

    uv run python benchmarks/bench_history.py
    uv run python benchmarks/bench_history.py --events 1000000

Each question is asked twice: as the journal answers it, with SQL leaving out what is not meant, and by making an
event of each row and looking at that.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from pulse_bridge.bus import Bus, Query, open_bus
from pulse_bridge.journal import open_journal
from pulse_bridge.testing import SAMPLE_MS, make_job_event

_COMMIT_EVENTS = 1000


def write(path: Path, events: int) -> None:
    """Fill a journal: an event each 100 ms, jobs and hosts in turn."""
    with open_journal(path) as journal:
        for start in range(0, events, _COMMIT_EVENTS):
            journal.append(
                [
                    make_job_event(
                        number,
                        host=f"node{number % 10}",
                        job=f"llm/run-{number % 200}",
                        run=1_790_000_000 + number // 1000,
                        observed_ms=SAMPLE_MS + number * 100,
                    )
                    for number in range(start, start + _COMMIT_EVENTS)
                ]
            )


async def count(bus: Bus, query: Query, meant: Query) -> tuple[int, float]:
    """Ask, and count what is meant; gives seconds, too."""
    begun_s = time.perf_counter()
    found = [event async for event in bus.history(query) if meant.matches(event)]
    return len(found), time.perf_counter() - begun_s


async def measure(path: Path, events: int) -> None:
    """Ask, and print."""
    bus = open_bus(f"journal://{path}")
    for name, query in {
        "one job": Query(hosts=("node7",), jobs=("llm/run-7",)),
        "one run": Query(runs=(1_790_000_100,)),
        "the last hundredth": Query(since_ms=SAMPLE_MS + events * 99),
        "a glob over jobs": Query(jobs=("llm/run-7*",)),
        "all": Query(),
    }.items():
        found, with_sql_s = await count(bus, query, query)
        same, each_s = await count(bus, Query(), query)
        if found != same:
            raise SystemExit(f"{name}: {found} and {same} events were found")
        print(f"{name:20} {found:9,} events  {with_sql_s:7.3f} s  each looked at: {each_s:7.3f} s")


def main() -> None:
    """Write a journal, and ask it."""
    parser = argparse.ArgumentParser(description="Figures of asking a journal for its past.")
    parser.add_argument("--events", type=int, default=200_000)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        write(path, events)
        print(f"{events:,} events, {path.stat().st_size / 1e6:.0f} MB")
        asyncio.run(measure(path, events))


if __name__ == "__main__":
    main()
