"""The command line: one file per command group. A user's mistake is one sentence and exit code 2."""

import sys

import click

from pulse_bridge import __version__
from pulse_bridge.cli.demo import demo
from pulse_bridge.cli.plugins import plugins
from pulse_bridge.cli.relay import relay
from pulse_bridge.cli.replay import replay
from pulse_bridge.cli.run import run
from pulse_bridge.cli.watch import watch
from pulse_bridge.cli.write import write
from pulse_bridge.errors import ConfigError, PulseBridgeError
from pulse_bridge.log import set_up_logging


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pulse-bridge")
@click.option(
    "-v", "--verbose", is_flag=True, envvar="PULSE_BRIDGE_VERBOSE", help="Log what is of use to a developer too."
)
def cli(*, verbose: bool) -> None:
    """Put the PULSE status files of training jobs on Redis streams and MQTT."""
    set_up_logging(verbose=verbose)


for command in (run, watch, replay, relay, write, demo, plugins):
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit: 0 fine, 1 failed at work, 2 a mistake in what was asked for."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        code = 1
    except click.ClickException as error:
        error.show()
        code = 2
    except PulseBridgeError as error:
        click.echo(f"pulse-bridge: {error}", err=True)
        code = 2 if isinstance(error, ConfigError) else 1
    except BrokenPipeError:
        # Whoever reads our output has seen enough; Python would complain once more while closing it.
        sys.stdout = None  # type: ignore[assignment]  # keeps the interpreter from flushing it
        code = 0
    sys.exit(code)
