"""`pulse-bridge replay`: what was, in order, printed or given to others at its own pace."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from pulse_bridge.cli.options import default_source, from_option
from pulse_bridge.cli.selection import filter_options, instant_ms

if TYPE_CHECKING:
    from pulse_bridge.replay_select import Selection

LAST: Final = "last"
MAX: Final = "max"
_FASTEST: Final = 1e6
_SLOWEST: Final = 1e-3


def _run_number(text: str) -> int | str:
    """Read the number of a run, or `last`."""
    if text == LAST:
        return text
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither the number of a run nor '{LAST}'.") from None


def _speed(text: str) -> float | str:
    """Read how much faster than the past, or `max`."""
    if text == MAX:
        return text
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not _SLOWEST <= speed <= _FASTEST:
        raise click.BadParameter(
            f"{text!r} is no speed: write how many seconds of the past pass in one (0.5, 1, 60), or '{MAX}'."
        )
    return speed


@dataclass(frozen=True)
class Asked:
    """What the command line says, checked.

    Args:
        source, to: URLs.
        subscribers: As the user wrote them.
        speed: None for as fast as it goes.
        max_gap_s: The longest wait between two events; None for any.
        moves_times: So that it looks live.
    """

    source: str
    selection: "Selection"
    to: str | None
    subscribers: tuple[str, ...]
    speed: float | None
    max_gap_s: float | None
    as_json: bool
    moves_times: bool
    loop: bool
    step: bool
    follow: bool
    dry_run: bool
    really_send: bool

    @property
    def prints(self) -> bool:
        """Nobody else is given the events."""
        return not (self.to or self.subscribers)


@click.command(short_help="Give what was once more, printed or published.")
@from_option
@click.option("--since", type=instant_ms, metavar="WHEN", help="From here on: an instant, or an age such as 15m.")
@click.option("--until", type=instant_ms, metavar="WHEN", help="Up to here, this instant left out.")
@filter_options
@click.option(
    "--run", "runs", multiple=True, type=_run_number, metavar="NUMBER|last", help="Only these runs; repeatable."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many, the first ones.")
@click.option(
    "--speed",
    type=_speed,
    metavar="X|max",
    help="So many seconds of the past pass in one.  [default: 1 with --to, --with or --now, else max]",
)
@click.option(
    "--max-gap",
    "max_gap_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait at most so long between two events, however long nothing was.",
)
@click.option("--to", metavar="URL", help="Publish them here, under a prefix of their own.")
@click.option(
    "--with",
    "subscribers",
    multiple=True,
    metavar="SUBSCRIBER",
    help="Run this subscriber on them, by their clock; repeatable.",
)
@click.option("--really-send", is_flag=True, help="Let subscribers act, and not only say what they would do.")
@click.option(
    "--now/--keep-timestamps", "moves_times", help="Move all times so that it looks live.  [default: keep]"
)
@click.option("--loop", is_flag=True, help="Begin anew at the end, until Ctrl-C.")
@click.option("--step", is_flag=True, help="Show one after the other, at Enter, with what is other; q ends it.")
@click.option("--follow", is_flag=True, help="Go on with what comes, when what was is over.")
@click.option("--dry-run", is_flag=True, help="Say how much it is and how long it takes, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
def replay(
    *,
    source: str | None,
    runs: tuple[int | str, ...],
    speed: float | str | None,
    **flags: Any,  # noqa: ANN401 - click's values
) -> None:
    """Give past events once more, from a journal, from Redis or from a .jsonl file.

    Without --to and --with they are printed. With --since, the state in which each job stood then comes first.
    WHEN is an instant with its zone (2026-01-02T03:04:05Z) or an age (90s, 15m, 2h, 2d). 'last' is the newest run
    of each job within what is asked for. Ctrl-C ends it and says how to go on.
    """
    # Imported here, so that --help and a wrong flag need not wait for it.
    from pulse_bridge.bus import Query  # noqa: PLC0415
    from pulse_bridge.cli.replay_run import run_replay  # noqa: PLC0415
    from pulse_bridge.replay_select import Selection  # noqa: PLC0415

    since_ms, until_ms = flags.pop("since"), flags.pop("until")
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise click.UsageError("--since is not before --until.")
    filters = {name: flags.pop(name) for name in ("jobs", "hosts", "kinds", "limit")}
    numbers = tuple(run for run in runs if isinstance(run, int))
    query = Query(since_ms=since_ms, until_ms=until_ms, runs=numbers, **filters)
    paced = bool(flags["to"] or flags["subscribers"] or flags["moves_times"])
    chosen = speed if speed is not None else (1.0 if paced else MAX)
    asked = Asked(
        source=source or default_source(),
        selection=Selection(query, LAST in runs),
        speed=chosen if isinstance(chosen, float) else None,
        **flags,
    )
    _check(asked, speed_given=speed is not None)
    asyncio.run(run_replay(asked))


def _check(asked: Asked, *, speed_given: bool) -> None:
    """Refuse what cannot go together.

    Raises:
        UsageError: With the remedy.
    """
    if asked.moves_times and asked.speed is None:
        raise click.UsageError("--now wants a speed of time: give --speed 1 or 60, say, and not max.")
    if asked.step and (speed_given or asked.loop or asked.follow or not asked.prints):
        raise click.UsageError(
            "--step waits for Enter and prints: leave out --speed, --loop, --follow, --to, --with."
        )
    if asked.max_gap_s is not None and asked.speed is None:
        raise click.UsageError("--max-gap shortens waits, and at this speed there are none: give --speed 1, say.")
    query = asked.selection.query
    if asked.follow and (asked.loop or asked.moves_times or query.until_ms is not None or query.limit is not None):
        raise click.UsageError("--follow has no end: leave out --loop, --now, --until and --limit.")
    if asked.follow and asked.subscribers:
        raise click.UsageError("--with runs on the past; what comes is for 'pulse-bridge subscribe'.")
    if asked.really_send and not asked.subscribers:
        raise click.UsageError("--really-send goes with --with.")
    if asked.as_json and not asked.prints:
        raise click.UsageError("--json prints: leave out --to and --with.")
