"""Runs a watcher for a test, and keeps what it saw."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from pulse_bridge.pulse import Pulse
from pulse_bridge.watch import Sighting, Watcher
from pulse_bridge.writer import write_running_status
from tests.support.processes import wait_until

NEVER_S = 10_000.0
HINTS_ONLY: dict[str, Any] = {"poll_s": NEVER_S, "quiet_poll_s": NEVER_S, "search_s": NEVER_S}
POLLS_ONLY: dict[str, Any] = {"poll_s": 0.03, "quiet_poll_s": 0.06, "search_s": 0.05, "use_inotify": False}


class Seen:
    """A sink that keeps every sighting."""

    def __init__(self) -> None:
        self.sightings: list[Sighting] = []
        self.watcher: Watcher

    def __call__(self, sightings: Sequence[Sighting]) -> None:
        assert sightings, "a sink is never called for nothing"
        self.sightings += sightings

    def of(self, job: str) -> list[Pulse | None]:
        return [sighting.pulse for sighting in self.sightings if sighting.job == job]

    def last(self, job: str) -> Sighting | None:
        return next((sighting for sighting in reversed(self.sightings) if sighting.job == job), None)

    def message(self, job: str) -> str | None:
        """Give what the job last said; None where it has said nothing, or its file is gone."""
        last = self.last(job)
        return last.pulse.message if last is not None and last.pulse is not None else None

    def is_gone(self, job: str) -> bool:
        last = self.last(job)
        return last is not None and last.pulse is None

    async def until(self, job: str, message: str) -> None:
        await wait_until(lambda: self.message(job) == message, f"{job} says {message!r}")

    async def until_gone(self, job: str) -> None:
        await wait_until(lambda: self.is_gone(job), f"{job} is gone")

    async def until_malformed(self, count: int) -> None:
        await wait_until(lambda: self.watcher.malformed == count, f"{count} malformed")


@asynccontextmanager
async def watching(*paths: str | Path, **options: Any) -> AsyncIterator[Seen]:
    """Run a watcher on paths until the block ends."""
    seen = Seen()
    seen.watcher = Watcher([os.fspath(path) for path in paths], seen, **options)
    task = asyncio.create_task(seen.watcher.run())
    ready = asyncio.create_task(seen.watcher.ready.wait())
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield seen
    finally:
        ready.cancel()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def write(path: Path, message: str = "") -> Path:
    """Write a running status, with its folders; a file's name is the standard one where only a folder is given."""
    file = path if path.suffix == ".json" else path / "training_status.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_running_status(file, 1.5, 3.0, 0.342, message, strict=True)
    return file
