"""`pulse-bridge replay`: what was, in order."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import click

from pulse_bridge.cli.options import default_source, from_option
from pulse_bridge.cli.output import say, write_json
from pulse_bridge.event import KINDS, Event, JobEvent, parse_time

if TYPE_CHECKING:
    from pulse_bridge.bus import Bus, Query

_AGE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(s|m|h|d|w)")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
LAST: Final = "last"


def _instant_ms(text: str) -> int:
    """Read an instant with its zone, or an age, into Unix milliseconds."""
    if age := _AGE.fullmatch(text):
        return int((time.time() - float(age[1]) * _UNIT_S[age[2]]) * 1000)
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is neither an instant with its zone (2026-01-02T03:04:05Z) nor an age (15m, 2h, 2d)."
        ) from None


def _run_number(text: str) -> int | str:
    """Read the number of a run, or `last`."""
    if text == LAST:
        return text
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither the number of a run nor '{LAST}'.") from None


@dataclass(frozen=True)
class _Asked:
    """What is to be printed.

    Args:
        last_run: Of each job, the newest run within the query.
    """

    query: "Query"
    last_run: bool
    as_json: bool


@click.command(short_help="Print what was.")
@from_option
@click.option("--since", type=_instant_ms, metavar="WHEN", help="From here on: an instant, or an age such as 15m.")
@click.option("--until", type=_instant_ms, metavar="WHEN", help="Up to here, this instant left out.")
@click.option("--job", "jobs", multiple=True, metavar="GLOB", help="Only these jobs; repeatable.")
@click.option("--host", "hosts", multiple=True, metavar="GLOB", help="Only these hosts; repeatable.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only these kinds; repeatable.")
@click.option(
    "--run", "runs", multiple=True, type=_run_number, metavar="NUMBER|last", help="Only these runs; repeatable."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many, the first ones.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
def replay(*, source: str | None, as_json: bool, runs: tuple[int | str, ...], **asked: Any) -> None:  # noqa: ANN401 - click's values
    """Print past events in order, from a journal, from Redis or from a .jsonl file.

    WHEN is an instant with its zone (2026-01-02T03:04:05Z) or an age (90s, 15m, 2h, 2d). 'last' is the newest run
    of each job within what is asked for.
    """
    since_ms, until_ms = asked.pop("since"), asked.pop("until")
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise click.UsageError("--since is not before --until.")
    # Imported here, so that --help and a wrong flag need not wait for it.
    from pulse_bridge.bus import Query, open_bus  # noqa: PLC0415

    numbers = tuple(run for run in runs if isinstance(run, int))
    query = Query(since_ms=since_ms, until_ms=until_ms, runs=numbers, **asked)
    bus = open_bus(source or default_source())
    if not asyncio.run(_print(bus, _Asked(query, LAST in runs, as_json))):
        say("nothing there is what was asked for")


async def _print(bus: "Bus", asked: _Asked) -> int:
    from pulse_bridge.cli.lines import format_event  # noqa: PLC0415

    count = 0
    async with aclosing(_select(bus, asked)) as events:
        async for event in events:
            count += 1
            if asked.as_json:
                write_json(event)
            else:
                click.echo(format_event(event))
    return count


async def _select(bus: "Bus", asked: _Asked) -> AsyncGenerator[Event]:
    """Yield what is asked for; to know which run is the last, history is read twice."""
    query = asked.query
    if not asked.last_run:
        async for event in bus.history(query):
            yield event
        return
    wide = replace(query, runs=(), limit=None)
    newest: dict[tuple[str, str], int] = {}
    async for event in bus.history(wide):
        if isinstance(event, JobEvent):
            key = (event.host, event.job)
            newest[key] = max(event.run, newest.get(key, event.run))
    count = 0
    async for event in bus.history(wide):
        if not isinstance(event, JobEvent):
            continue
        if event.run in query.runs or event.run == newest.get((event.host, event.job)):
            yield event
            count += 1
            if count == query.limit:
                return
