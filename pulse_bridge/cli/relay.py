"""`pulse-bridge relay`: from any bus to any other."""

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pulse_bridge.cli.options import default_source, from_option

if TYPE_CHECKING:
    from pulse_bridge.sidecar import Destination


@click.command(short_help="Pass everything on from one bus to another.")
@from_option
@click.option("--to", required=True, metavar="URL", help="Publish here: redis://HOST, mqtt://HOST, FILE.jsonl.")
def relay(source: str | None, to: str) -> None:
    """Pass on every event from one bus to another, and go on where it was left.

    How far it came is kept with the source under the destination's name, so that a second start repeats nothing
    that has arrived. It runs until Ctrl-C or SIGTERM.
    """
    # Imported here, so that --help need not wait for it.
    from pulse_bridge.errors import ConfigError  # noqa: PLC0415
    from pulse_bridge.sidecar import open_destinations  # noqa: PLC0415

    (begin,) = open_destinations([source or default_source()])
    (end,) = open_destinations([to])
    if _place(begin) == _place(end):
        raise ConfigError(f"{end.shown} is source and destination at once; name two")
    asyncio.run(_relay(begin, end))


async def _relay(begin: "Destination", end: "Destination") -> None:
    from pulse_bridge.bus import Presence  # noqa: PLC0415
    from pulse_bridge.forward import Forwarder  # noqa: PLC0415
    from pulse_bridge.jsonl import DeadLetters  # noqa: PLC0415
    from pulse_bridge.reconnect import Backoff, Progress  # noqa: PLC0415
    from pulse_bridge.relay import first_of  # noqa: PLC0415
    from pulse_bridge.stop import stop_on_signals  # noqa: PLC0415

    forwarder = Forwarder(
        begin.bus,
        end.bus,
        presence=Presence(host=None, owner=secrets.token_hex(6)),
        on_rejected=DeadLetters(_dead_letters(begin)).add,
    )
    passing_on = forwarder.run(f"relay to {_place(end)}", Progress(f"{begin.shown} to {end.shown}"), Backoff())
    with stop_on_signals() as stop:
        await first_of(stop.wait(), passing_on)


def _file(bus: "Destination", scheme: str) -> Path | None:
    """Give the file of a journal or recording, or None of what is no file."""
    found_scheme, separator, path = bus.identity.partition("://")
    if not separator:
        return Path(bus.identity).absolute() if scheme == "jsonl" else None
    return Path(path[1:].rpartition("#")[0]) if found_scheme == scheme else None


def _place(bus: "Destination") -> str:
    """Give what is the same for the same bus, however it was written, and has no secret."""
    file = _file(bus, "jsonl") or _file(bus, "journal")
    return str(file.resolve()) if file else bus.identity


def _dead_letters(source: "Destination") -> Path:
    """Choose the file for what the destination can never take: beside a journal, else in the state folder."""
    from platformdirs import user_state_path  # noqa: PLC0415

    journal = _file(source, "journal")
    if journal is not None:
        return journal.with_name(f"{journal.stem}.dead.jsonl")
    return user_state_path("pulse-bridge") / "relay.dead.jsonl"
