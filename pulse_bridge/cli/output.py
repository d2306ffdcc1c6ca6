"""Writing to standard output: text made harmless for a terminal, and JSON as it is."""

import os
import select
import stat
import sys
from typing import TextIO

import click

from pulse_bridge.event import Event, to_json
from pulse_bridge.printable import printable, printable_json


def say(sentence: str) -> None:
    """Tell a person something on standard error."""
    click.echo(f"pulse-bridge: {printable(sentence)}", err=True)


def write_json(event: Event) -> None:
    """Write an event as one line of JSON in UTF-8, whatever the locale.

    On a terminal what it would obey as an escape is written in JSON's own way; elsewhere it is exactly `to_json`.
    """
    text = to_json(event)
    if sys.stdout.isatty():
        text = printable_json(text)
    sys.stdout.buffer.write(text.encode() + b"\n")


def is_terminal(stream: TextIO) -> bool:
    """Say whether a person looks at a stream that can be painted on."""
    return stream.isatty() and os.environ.get("TERM", "") not in {"", "dumb", "unknown"}


def is_reader_gone() -> bool:
    """Say whether standard output is a pipe that nobody reads any more; writing would be the other way to know."""
    try:
        fd = sys.stdout.fileno()
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return False
        poll = select.poll()
        poll.register(fd, 0)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
    except (OSError, ValueError):
        return False  # no file behind it
