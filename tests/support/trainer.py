"""A training run of its own process, which can be stopped where it is and go on."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

_SCRIPT = """\
import sys, time
from pulse_bridge.writer import write_done_status, write_running_status
path, epochs = sys.argv[1], int(sys.argv[2])
for step in range(10 * epochs):
    write_running_status(path, step / 10, epochs, 1 / (step + 1), f"step {step}")
    time.sleep(0.2)
write_done_status(path, epochs, 0.01)
"""


class Trainer:
    """Writes five pulses a second until its epochs are over, and `done` then.

    Args:
        epochs: Of ten steps each.
    """

    def __init__(self, file: Path, *, epochs: int = 100_000) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        self._epochs = epochs

    def __enter__(self) -> Self:
        self.process = subprocess.Popen([sys.executable, "-c", _SCRIPT, str(self.file), str(self._epochs)])
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Stop it where it is, as a swapping or suspended machine does."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.process.pid, signal.SIGCONT)
