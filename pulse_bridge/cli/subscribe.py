"""`pulse-bridge subscribe`: subscribers away from the training host, or beside its sidecar."""

import asyncio
from pathlib import Path

import click

from pulse_bridge.cli.options import default_source, from_option


@click.command(short_help="Run subscribers on a bus.")
@click.argument("subscribers", nargs=-1, required=True, metavar="SUBSCRIBER...")
@from_option
def subscribe(subscribers: tuple[str, ...], source: str | None) -> None:
    """Run subscribers on a bus until Ctrl-C or SIGTERM.

    SUBSCRIBER is NAME or NAME?option=value&option=value; 'pulse-bridge plugins' lists those that are installed.
    How far each came, and what it knows, is kept on the bus under its name, so that a second start goes on there.
    """
    asyncio.run(_subscribe(subscribers, source or default_source()))


async def _subscribe(texts: tuple[str, ...], source: str) -> None:
    # Imported here, so that --help need not wait for it.
    from pulse_bridge.stop import stop_on_signals  # noqa: PLC0415

    with stop_on_signals() as stop:  # first, so that a signal during the slow imports ends it cleanly, too
        from pulse_bridge.bus import open_bus  # noqa: PLC0415
        from pulse_bridge.bus_url import hide_secret  # noqa: PLC0415
        from pulse_bridge.errors import PulseBridgeError  # noqa: PLC0415
        from pulse_bridge.subscribe import open_subscriptions, run_subscriptions  # noqa: PLC0415

        bus = open_bus(source)
        subscriptions = open_subscriptions(
            texts, bus, shown=hide_secret(source), dead_letters=_dead_letters(source)
        )
        await run_subscriptions(subscriptions, stop)
        if not stop.is_set():
            raise PulseBridgeError("no subscriber is left; the log says why")


def _dead_letters(source: str) -> Path:
    """Choose the file for what a subscriber cannot take: beside a journal, else in the state folder."""
    from platformdirs import user_state_path  # noqa: PLC0415

    from pulse_bridge.bus_url import BusUrl  # noqa: PLC0415

    if source.startswith("journal://"):
        journal = Path(BusUrl.parse(source).path)
        return journal.with_name(f"{journal.stem}.dead.jsonl")
    return user_state_path("pulse-bridge") / "subscribe.dead.jsonl"
