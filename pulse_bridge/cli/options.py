"""What several commands share: options, and reading what was given."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from pulse_bridge.errors import ConfigError

config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="PULSE_BRIDGE_CONFIG",
    help="Read settings from this file.  [default: pulse-bridge.toml, if there is one here]",
)

from_option = click.option(
    "--from",
    "source",
    metavar="URL",
    envvar="PULSE_BRIDGE_FROM",
    help="Read this bus.  [default: the journal of the sidecar on this machine]",
)


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what was given on the command line or in the environment; labels become a mapping."""
    found = {name: value for name, value in flags.items() if value not in {None, ()}}
    if "labels" in found:
        found["labels"] = dict(_parse_label(text) for text in found["labels"])
    return found


def _parse_label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint="'--label'")
    return name, value


def default_source() -> str:
    """Give the URL of the journal that `pulse-bridge run` would write, started here.

    Raises:
        ConfigError: The configuration file cannot be read.
    """
    # Imported here, so that a command's --help need not wait for it.
    from pulse_bridge.config import default_host, default_journal, read_config  # noqa: PLC0415

    file = read_config(None)
    named = os.environ.get("PULSE_BRIDGE_JOURNAL") or _text_setting(file, "journal")
    if named:
        return journal_url(Path(named))
    host = os.environ.get("PULSE_BRIDGE_HOST") or _text_setting(file, "host") or default_host(os.environ)
    return journal_url(default_journal(host))


def _text_setting(file: Mapping[str, Any], name: str) -> str | None:
    from pulse_bridge.config import CONFIG_FILE  # noqa: PLC0415

    value = file.get(name)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{CONFIG_FILE}: setting {name!r} is no text")
    return value


def journal_url(path: Path) -> str:
    """Give the URL of a journal's file."""
    return f"journal://{quote(str(path.absolute()))}"
