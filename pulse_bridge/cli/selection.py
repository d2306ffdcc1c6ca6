"""What `replay` and `record` share: which events are meant."""

import re
import time
from collections.abc import Callable
from typing import Any, Final

import click

from pulse_bridge.event import KINDS, parse_time

_AGE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(s|m|h|d|w)")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def instant_ms(text: str) -> int:
    """Read an instant with its zone, or an age, into Unix milliseconds."""
    if age := _AGE.fullmatch(text):
        return int((time.time() - float(age[1]) * _UNIT_S[age[2]]) * 1000)
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is neither an instant with its zone (2026-01-02T03:04:05Z) nor an age (15m, 2h, 2d)."
        ) from None


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--job`, `--host` and `--kind`."""
    for option in reversed(
        (
            click.option("--job", "jobs", multiple=True, metavar="GLOB", help="Only these jobs; repeatable."),
            click.option("--host", "hosts", multiple=True, metavar="GLOB", help="Only these hosts; repeatable."),
            click.option(
                "--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only these kinds; repeatable."
            ),
        )
    ):
        command = option(command)
    return command
