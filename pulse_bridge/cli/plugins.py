"""`pulse-bridge plugins`: what is installed."""

import json
from importlib.metadata import EntryPoint
from typing import Any

import click

from pulse_bridge.plugins import BUSES, SUBSCRIBERS, PluginGroup, installed
from pulse_bridge.printable import printable


@click.command(short_help="List what is installed.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array instead.")
def plugins(*, as_json: bool) -> None:
    """List the buses and subscribers that are installed, where each comes from, and whether it can be imported."""
    found = [_describe(group, point) for group in (BUSES, SUBSCRIBERS) for point in installed(group)]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for plugin in found:
        origin = f"{plugin['distribution']} {plugin['version']}"
        state = "" if plugin["importable"] else f"  cannot be imported: {plugin['reason']}"
        click.echo(printable(f"{plugin['sort']:10}  {plugin['name']:12}  {origin}{state}"))


def _describe(group: PluginGroup, point: EntryPoint) -> dict[str, Any]:
    reason = None
    try:
        point.load()
    except Exception as error:  # noqa: BLE001 - a third party's module may raise anything
        reason = f"{type(error).__name__}: {error}"
    return {
        "sort": group.noun,
        "name": point.name,
        "distribution": point.dist.name if point.dist else "unknown",
        "version": point.dist.version if point.dist else "unknown",
        "object": point.value,
        "importable": reason is None,
        "reason": reason,
    }
