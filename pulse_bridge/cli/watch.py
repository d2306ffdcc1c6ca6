"""`pulse-bridge watch`: every job as it is now."""

import asyncio
import sys

import click

from pulse_bridge.cli.options import default_source, from_option


@click.command(short_help="Show every job as it is now.")
@from_option
@click.option("--json", "as_json", is_flag=True, help="Print every event as a line of JSON.")
@click.option("--heartbeats", is_flag=True, help="Print signs of life too, where lines are printed.")
def watch(*, source: str | None, as_json: bool, heartbeats: bool) -> None:
    """Show every job as it is now, and what becomes of it.

    On a terminal this is a table that keeps itself up to date, to sort, filter and look into with keys; ? lists
    them. Elsewhere it is a line for each event. Ctrl-C ends it.
    """
    asyncio.run(_watch(source or default_source(), as_json=as_json, heartbeats=heartbeats))


async def _watch(source: str, *, as_json: bool, heartbeats: bool) -> None:
    # Imported here, so that --help need not wait for it.
    from pulse_bridge.bus import open_bus  # noqa: PLC0415
    from pulse_bridge.cli.follow import LineView, follow  # noqa: PLC0415
    from pulse_bridge.cli.output import is_terminal  # noqa: PLC0415
    from pulse_bridge.relay import first_of  # noqa: PLC0415
    from pulse_bridge.stop import stop_on_signals  # noqa: PLC0415

    bus = open_bus(source)
    with stop_on_signals() as stop:
        if as_json or heartbeats or not is_terminal(sys.stdout):
            lines = LineView(as_json=as_json, heartbeats=heartbeats)
            await first_of(stop.wait(), lines.run(), follow(bus, lines))
        else:
            from pulse_bridge.bus_url import hide_secret  # noqa: PLC0415
            from pulse_bridge.cli.live import LiveTable  # noqa: PLC0415

            table = LiveTable(bus=bus, title=hide_secret(source), leave=stop.set)
            await first_of(stop.wait(), table.run(), follow(bus, table, table))
