"""`pulse-bridge run`: the sidecar."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pulse_bridge.cli.options import config_option, given, journal_url

if TYPE_CHECKING:
    from pulse_bridge.config import SidecarSettings
    from pulse_bridge.subscription import Subscription

SUBSCRIBERS_STOP_S: Final = 2.5
"""How long a verb at hand may go on; the way to the last event came before, and a stop takes 5 s at most."""


@click.command(short_help="Watch status files and publish what is news.")
@click.argument("paths", nargs=-1, metavar="PATH...", envvar="PULSE_BRIDGE_PATHS")
@click.option(
    "--to",
    multiple=True,
    metavar="URL",
    envvar="PULSE_BRIDGE_TO",
    help="Publish here: redis://HOST, mqtt://HOST; repeatable.",
)
@click.option(
    "--with",
    multiple=True,
    metavar="SUBSCRIBER",
    envvar="PULSE_BRIDGE_WITH",
    help="Run this subscriber inside: NAME, or NAME?option=value; repeatable.",
)
@click.option(
    "--host", envvar="PULSE_BRIDGE_HOST", help="Publish under this host name.  [default: this machine's]"
)
@click.option(
    "--journal",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="PULSE_BRIDGE_JOURNAL",
    help="Keep the journal in this file.  [default: in your state folder]",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME=VALUE",
    envvar="PULSE_BRIDGE_LABELS",
    help="Goes with every event; repeatable.",
)
@click.option(
    "--stale-after-s",
    type=float,
    metavar="SECONDS",
    envvar="PULSE_BRIDGE_STALE_AFTER_S",
    help="A running job is stale after so long without a sign of life.  [default: 60]",
)
@click.option(
    "--coalesce-ms",
    type=float,
    metavar="MS",
    envvar="PULSE_BRIDGE_COALESCE_MS",
    help="Wait so long for further events to publish together.  [default: 0]",
)
@click.option(
    "--exit-when-done",
    is_flag=True,
    default=None,
    envvar="PULSE_BRIDGE_EXIT_WHEN_DONE",
    help="End once every job is done or has failed.",
)
@config_option
def run(config: Path | None, **flags: Any) -> None:  # noqa: ANN401 - click's values, validated by the settings
    """Watch status files and publish what is news.

    PATH is a status file, a folder (searched for training_status.json), or a glob; NAME=PATH names the job. New
    files are found while it runs.
    """
    # Imported here, so that --help and a wrong flag need not wait for it.
    from pulse_bridge.config import CONFIG_FILE, read_config, sidecar_settings  # noqa: PLC0415

    settings = sidecar_settings(read_config(config), given(flags), shown=str(config or CONFIG_FILE))
    if not asyncio.run(_run(settings)):
        raise SystemExit(1)


async def _run(settings: "SidecarSettings") -> bool:
    from pulse_bridge.stop import stop_on_signals  # noqa: PLC0415

    with stop_on_signals() as stop:  # first, so that a signal during the slow imports ends it cleanly, too
        from pulse_bridge.journal import open_journal  # noqa: PLC0415
        from pulse_bridge.journal_trim import Limits  # noqa: PLC0415
        from pulse_bridge.sidecar import Sidecar, open_destinations  # noqa: PLC0415

        destinations = open_destinations(settings.to)
        subscriptions = _open_subscriptions(settings)
        limits = Limits(settings.journal_max_bytes, settings.journal_max_age_s)
        with open_journal(settings.journal_path, limits=limits) as journal:
            return await Sidecar(settings, destinations, journal, subscriptions=subscriptions).run(stop)


def _open_subscriptions(settings: "SidecarSettings") -> "list[Subscription]":
    from pulse_bridge.bus import open_bus  # noqa: PLC0415
    from pulse_bridge.subscribe import open_subscriptions  # noqa: PLC0415

    url = journal_url(settings.journal_path)
    return open_subscriptions(
        settings.subscribers,
        open_bus(url),
        shown=url,
        dead_letters=settings.journal_path.with_name(f"{settings.journal_path.stem}.dead.jsonl"),
        stop_s=SUBSCRIBERS_STOP_S,
    )
