"""What several commands share: options, and reading what was given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="PULSE_BRIDGE_CONFIG",
    help="Read settings from this file.  [default: pulse-bridge.toml, if there is one here]",
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
