"""`pulse-bridge alerts`: try the targets, list the incidents."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from pulse_bridge.cli.options import default_source, from_option

if TYPE_CHECKING:
    from pulse_bridge_alerts.config import Alerts
    from pulse_bridge_alerts.incidents import Incident
    from pulse_bridge_alerts.probe import Answer


@click.group(short_help="Try the targets of alerts, and list incidents.")
def alerts() -> None:
    """Try the targets of alerts, and list incidents."""


@alerts.command("test", short_help="Send one test message to each target.")
@click.argument("subscriber", required=False, metavar="'alerts?…'")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Read targets from this alerts file.",
)
def send_tests(subscriber: str | None, config: Path | None) -> None:
    """Send one clearly marked test message to each target, and say what came of it.

    The targets are those of 'alerts?…', written as for 'pulse-bridge subscribe', or of a file. Nothing is tried
    again. Exit code 1 if a target did not take it.
    """
    # Imported here, so that --help need not wait for it.
    from pulse_bridge.errors import ConfigError  # noqa: PLC0415
    from pulse_bridge.printable import printable  # noqa: PLC0415
    from pulse_bridge.subscriber import SubscriberUrl  # noqa: PLC0415
    from pulse_bridge_alerts.config import read_alerts  # noqa: PLC0415

    if (subscriber is None) == (config is None):
        raise ConfigError("name the targets once: by 'alerts?notify=URL' or by --config FILE.toml")
    text = subscriber if subscriber is not None else f"alerts?config={quote(str(config), safe='')}"
    url = SubscriberUrl.parse(text)
    if url.name != "alerts":
        raise ConfigError(f"{url}: only alerts have targets to be tried: write 'alerts?notify=URL'")
    answers = asyncio.run(_probe(read_alerts(url)))
    for answer in answers:
        state = "delivered" if answer.reason is None else f"not delivered: {answer.reason}"
        click.echo(printable(f"{answer.target}: {state}"))
    if any(answer.reason is not None for answer in answers):
        sys.exit(1)


async def _probe(found: "Alerts") -> "list[Answer]":
    from pulse_bridge_alerts.probe import probe  # noqa: PLC0415

    return await probe(found.targets, found.timeout_s)


@alerts.command("list", short_help="List open and recent incidents.")
@from_option
@click.option("--name", default="alerts", show_default=True, help="The subscriber's name.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array instead.")
def list_incidents(source: str | None, name: str, *, as_json: bool) -> None:
    """List the incidents that are open, and those that closed within a day.

    They are read from what the subscriber has saved on its bus, whether it runs or not.
    """
    from pulse_bridge.bus import open_bus  # noqa: PLC0415
    from pulse_bridge.cli.output import say  # noqa: PLC0415
    from pulse_bridge.clock import read_clocks  # noqa: PLC0415
    from pulse_bridge.printable import printable  # noqa: PLC0415
    from pulse_bridge.saved import read_saved  # noqa: PLC0415
    from pulse_bridge_alerts.saved import read_incidents  # noqa: PLC0415

    saved = asyncio.run(read_saved(open_bus(source or default_source()), name))
    now = read_clocks()
    found = read_incidents(saved, now)
    if as_json:
        click.echo(_to_json(found))
        return
    if not saved:
        say(f"nothing is saved under the name {name!r}: has an alerts subscriber run on this bus?")
    for incident in sorted(found, key=lambda incident: not incident.is_open):
        click.echo(printable(_line(incident, now.wall_s)))


def _line(incident: "Incident", wall_s: float) -> str:
    from pulse_bridge_alerts.text import instant, span  # noqa: PLC0415

    who = incident.host if incident.job is None else f"{incident.job} on {incident.host}"
    state = "open" if incident.is_open else "closed"
    since = f"since {instant(incident.since_ms, None)} ({span(wall_s - incident.since_ms / 1000)} ago)"
    over = "" if incident.is_open else f", over at {instant(incident.at_ms, None)}"
    return f"{state:6}  {incident.rule:11}  {who}: {incident.detail}, {since}{over}  [{incident.id}]"


def _to_json(incidents: "list[Incident]") -> str:
    import json  # noqa: PLC0415

    return json.dumps([_fields(incident) for incident in incidents], indent=2)


def _fields(incident: "Incident") -> dict[str, Any]:
    from pulse_bridge.event import format_time, to_fields  # noqa: PLC0415

    return {
        "incident": incident.id,
        "open": incident.is_open,
        "rule": incident.rule,
        "host": incident.host,
        "job": incident.job,
        "since": format_time(incident.since_ms),
        "at": format_time(incident.at_ms),
        "detail": incident.detail,
        "known": incident.known,
        "told": {name: telling.word for name, telling in incident.tellings.items()},
        "event": to_fields(incident.event) if incident.event else None,
    }
