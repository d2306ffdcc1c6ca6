"""The sidecar as a user runs it: a process of its own, that can be stopped cleanly or killed."""

import json
import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from pulse_bridge.event import JobEvent
from pulse_bridge.journal_rows import EVENT_COLUMNS, from_row
from tests.support.logged_process import LoggedProcess


class SidecarProcess(LoggedProcess):
    """`pulse-bridge run` on a folder of status files.

    Args:
        folder: Holds `jobs/` (watched), the journal and the log; outlives the process.
        urls: Destinations.
        host: The host's name.
        options: Further flags.
        settings: Lines of a configuration file.
    """

    def __init__(
        self,
        folder: Path,
        urls: Sequence[str] = (),
        *,
        host: str = "node1",
        options: Sequence[str] = (),
        settings: str = "",
    ) -> None:
        self.jobs = folder / "jobs"
        self.jobs.mkdir(parents=True, exist_ok=True)
        self.journal = folder / "journal.db"
        config = folder / "pulse-bridge.toml"
        config.write_text(f"reconnect_max_s = 1\n{settings}\n", encoding="utf-8")
        arguments = ["run", str(self.jobs), "--host", host, "--journal", str(self.journal)]
        arguments += ["--config", str(config), *options]
        for url in urls:
            arguments += ["--to", url]
        super().__init__(arguments, folder / "sidecar.log")

    def __enter__(self) -> Self:
        return self.start()

    def start(self) -> Self:
        """Start, and wait until everything there has been read."""
        before = len(self.messages("watching"))
        self.launch()
        self.wait_for_message("watching", before + 1)
        return self

    def peak_memory_bytes(self) -> int:
        """Give the most memory that it has had."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError

    def journalled(self) -> list[JobEvent]:
        """Give the job events in the journal, in order."""
        with closing(sqlite3.connect(self.journal)) as connection:
            found = connection.execute(
                f"SELECT {EVENT_COLUMNS} FROM events WHERE kind != 'host' ORDER BY row"
            ).fetchall()
        return [event for event in map(from_row, found) if isinstance(event, JobEvent)]


def write_pulse(path: Path, **changes: Any) -> None:
    """Replace a status file; the fields not named are those of a run half way through."""
    pulse = {"status": "running", "epoch": 1.5, "total_epochs": 3.0, "loss": 0.342, "message": "", "timestamp": 0}
    pulse |= changes
    if not pulse["timestamp"]:
        pulse["timestamp"] = int(time.time())
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(pulse), encoding="utf-8")
    os.replace(temporary, path)
