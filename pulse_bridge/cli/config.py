"""`pulse-bridge config`: every setting explained."""

import click


@click.group(short_help="Show every setting: a sample file, or its schema.")
def config() -> None:
    """Show every setting: a sample file, or its schema.

    Whether a file of yours is right, 'pulse-bridge doctor --offline' says.
    """


@config.command(short_help="Print a commented pulse-bridge.toml.")
def sample() -> None:
    """Print a commented pulse-bridge.toml, with every setting, its meaning and its default."""
    # Imported here, so that --help need not wait for it.
    from pulse_bridge.config_reference import sample as write_sample  # noqa: PLC0415

    click.echo(write_sample(), nl=False)


@config.command(short_help="Print the JSON Schema of pulse-bridge.toml.")
def schema() -> None:
    """Print the JSON Schema of pulse-bridge.toml, for an editor that completes and checks."""
    import json  # noqa: PLC0415

    from pulse_bridge.config_reference import schema as make_schema  # noqa: PLC0415

    click.echo(json.dumps(make_schema(), indent=2))
