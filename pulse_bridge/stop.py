"""How a long-running command is told to end: SIGTERM or Ctrl-C cleanly, a second one at once."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
ONE_PRESS_S: Final = 0.3
"""One press of Ctrl-C can arrive twice: from the terminal, and passed on by whoever started us."""


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """Give an event that SIGINT and SIGTERM set; a second Ctrl-C ends the process at once with exit code 1.

    A second SIGTERM does not: `timeout`, say, sends it to the process and again to its group.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    stopped_at_s = 0.0

    def on_signal(number: signal.Signals) -> None:
        nonlocal stopped_at_s
        if not stop.is_set():
            stopped_at_s = loop.time()
            stop.set()
        elif number == signal.SIGINT and loop.time() - stopped_at_s >= ONE_PRESS_S:
            os._exit(1)

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
