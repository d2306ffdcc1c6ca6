"""The sidecar as a user runs it: a process of its own, that can be stopped cleanly or killed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from pulse_bridge.event import JobEvent
from pulse_bridge.journal_rows import EVENT_COLUMNS, from_row
from tests.support.processes import WAIT_S, wait_until_blocking


class SidecarProcess:
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
        self.log = folder / "sidecar.log"
        config = folder / "pulse-bridge.toml"
        config.write_text(f"reconnect_max_s = 1\n{settings}\n", encoding="utf-8")
        self.command = [sys.executable, "-m", "pulse_bridge", "run", str(self.jobs), "--host", host]
        self.command += ["--journal", str(self.journal), "--config", str(config), *options]
        for url in urls:
            self.command += ["--to", url]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    def launch(self) -> Self:
        """Start the process and wait for nothing."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def start(self) -> Self:
        """Start, and wait until everything there has been read."""
        before = len(self.messages("watching"))
        self.launch()
        self.wait_for_message("watching", before + 1)
        return self

    def wait_for_message(self, message: str, count: int = 1) -> dict[str, Any]:
        """Wait until a message stands in the log `count` times; gives the last."""

        def said() -> bool:
            ended = self.process.poll()
            assert ended is None or len(self.messages(message)) >= count, f"ended {ended}: {self.log.read_text()}"
            return len(self.messages(message)) >= count

        wait_until_blocking(said, f"the sidecar logs {message!r} {count} times")
        return self.messages(message)[-1]

    def messages(self, message: str) -> list[dict[str, Any]]:
        """Give the log's lines with a message."""
        if not self.log.exists():
            return []
        lines = [line for line in self.log.read_text().splitlines(keepends=True) if line.endswith("}\n")]
        return [found for found in map(json.loads, lines) if found["message"] == message]

    def stop(self) -> int:
        """End cleanly with SIGTERM; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; gives the exit code."""
        code = self.process.wait(WAIT_S)
        self._process = None
        return code

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait(WAIT_S)
        self._process = None

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
