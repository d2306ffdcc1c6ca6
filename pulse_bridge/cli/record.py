"""`pulse-bridge record`: a bus into a file, for a replay."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pulse_bridge.cli.options import default_source, from_option
from pulse_bridge.cli.output import say
from pulse_bridge.cli.selection import filter_options, instant_ms

if TYPE_CHECKING:
    from pulse_bridge.bus import Bus, Publisher, Query
    from pulse_bridge.event import Event


@click.command(short_help="Write everything that comes into a file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.jsonl")
@from_option
@click.option("--since", type=instant_ms, metavar="WHEN", help="From here on, and not from now on.")
@filter_options
def record(*, file: Path, source: str | None, since: int | None, **asked: Any) -> None:  # noqa: ANN401 - click's values
    """Write every event of a bus into a file from now on, one a line, until Ctrl-C or SIGTERM.

    'pulse-bridge replay --from FILE.jsonl' gives them again. A file that is there already is gone on with, and
    gets nothing twice. WHEN is an instant with its zone (2026-01-02T03:04:05Z) or an age (90s, 15m, 2h, 2d).
    """
    # Imported here, so that --help need not wait for it.
    from pulse_bridge.bus import Query  # noqa: PLC0415
    from pulse_bridge.errors import ConfigError  # noqa: PLC0415
    from pulse_bridge.sidecar import open_destinations  # noqa: PLC0415

    if file.suffix != ".jsonl":
        raise ConfigError(f"{file}: a recording's name ends in .jsonl, so that 'replay' knows it")
    (begin,) = open_destinations([source or default_source()])
    query = Query(since_ms=since, **asked)
    with _held(file):
        asyncio.run(_record(begin.bus, begin.shown, query, file))


@contextmanager
def _held(file: Path) -> Iterator[None]:
    """Keep a second recording out of the file."""
    from pulse_bridge.errors import ConfigError  # noqa: PLC0415
    from pulse_bridge.locks import HeldError, hold_lock  # noqa: PLC0415

    with ExitStack() as stack:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold_lock(file.with_name(file.name + ".lock")))
        except HeldError as error:
            holder = f"pid {error.pid}" if error.pid else "another process"
            raise ConfigError(f"{file} is being recorded by {holder}: stop that, or name another file") from None
        except OSError as error:
            raise ConfigError(f"{file} cannot be made: {error.strerror}; name another file") from None
        yield


async def _record(bus: "Bus", shown: str, query: "Query", file: Path) -> None:
    from pulse_bridge.bus import open_bus  # noqa: PLC0415
    from pulse_bridge.errors import BusUnavailableError, PulseBridgeError  # noqa: PLC0415
    from pulse_bridge.reconnect import Backoff, Progress  # noqa: PLC0415
    from pulse_bridge.record import Tail  # noqa: PLC0415
    from pulse_bridge.relay import first_of  # noqa: PLC0415
    from pulse_bridge.stop import stop_on_signals  # noqa: PLC0415

    count = 0
    with stop_on_signals() as stop:
        try:
            async with open_bus(str(file)).publisher(None) as publisher:

                async def take(events: "Sequence[Event]") -> None:
                    nonlocal count
                    await _write(publisher, events)
                    count += len(events)

                tail = Tail(bus, query, take, on_lost=_say_lost)
                await first_of(stop.wait(), tail.run(Progress(shown), Backoff()))
        except BusUnavailableError as error:
            raise PulseBridgeError(str(error)) from error
    say(f"{count} events came and are in {file}")


async def _write(publisher: "Publisher", events: "Sequence[Event]") -> None:
    from pulse_bridge.errors import BusUnavailableError, PulseBridgeError  # noqa: PLC0415

    try:
        await publisher.publish(events)
    except BusUnavailableError as error:
        # Not the source's loss, which is waited for.
        raise PulseBridgeError(str(error)) from error


def _say_lost(events: int) -> None:
    say(f"{events} events are lost: the bus gave them up before they were read")
