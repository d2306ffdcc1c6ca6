"""The command line: one file per command. A user's mistake is one sentence and exit code 2."""

import errno
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

import click

from pulse_bridge import __version__
from pulse_bridge.cli.output import say
from pulse_bridge.errors import ConfigError, PluginError, PulseBridgeError
from pulse_bridge.log import set_up_logging
from pulse_bridge.plugins import COMMANDS as COMMAND_PLUGINS
from pulse_bridge.plugins import installed, load_plugin

COMMANDS: Final = {
    "demo": "Train a small model and watch it: nothing to set up.",
    "run": "Watch status files and publish what is news.",
    "subscribe": "Run subscribers on a bus.",
    "watch": "Show every job as it is now.",
    "replay": "Give what was once more, printed or published.",
    "record": "Write everything that comes into a file.",
    "relay": "Pass everything on from one bus to another.",
    "write": "Write a PULSE status file.",
    "doctor": "Say what is wrong here and on the buses, and what to do.",
    "config": "Show every setting: a sample file, or its schema.",
    "plugins": "List what is installed.",
}
"""Name to summary, so that `--help` imports none of them. Each is `pulse_bridge.cli.NAME`."""

PLUGIN_COMMANDS: Final = {
    "alerts": "Try the targets of alerts, and list incidents.",
}
"""The same for those of our adapters, which announce them by entry points as a third party would."""


_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


class _Commands(click.Group):
    """Imports a command when it is called, and takes a reader's closed pipe for an end like any other."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [*COMMANDS, *_plugin_commands()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name in COMMANDS:
            command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        elif cmd_name in _plugin_commands():
            command = load_plugin(COMMAND_PLUGINS, cmd_name, shown=f"pulse-bridge {cmd_name}")
        else:
            return None
        if not isinstance(command, click.Command):
            raise PluginError(f"the plugin {cmd_name!r} is no command but a {type(command).__name__}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items(), *_plugin_commands().items()])

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - whatever the command gives
        # Here, because click itself would make it exit code 1.
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _forget_output()
            return None
        return result


def _plugin_commands() -> dict[str, str]:
    """Give the commands of plugins with a summary each; a third party's says whose it is."""
    found = {point.name: point.dist.name if point.dist else "a plugin" for point in installed(COMMAND_PLUGINS)}
    others = {name: f"Comes with {origin}." for name, origin in found.items() if name not in COMMANDS}
    return {**others, **PLUGIN_COMMANDS}


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pulse-bridge")
@click.option(
    "-v", "--verbose", is_flag=True, envvar="PULSE_BRIDGE_VERBOSE", help="Log what is of use to a developer too."
)
def cli(*, verbose: bool) -> None:
    """Put the PULSE status files of training jobs on Redis streams and MQTT."""
    set_up_logging(verbose=verbose)


def main() -> None:
    """Run the command line and exit: 0 fine, 1 failed at work, 2 a mistake in what was asked for."""
    if sys.stdout is None:  # started with it closed
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as long as the process
    # A terminal or pipe that knows fewer characters than we do shows an escape, and no traceback.
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a real stream has it
    try:
        code = cli.main(prog_name="pulse-bridge", standalone_mode=False)
    except click.exceptions.Abort:
        code = 1
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = 2
    except click.ClickException as error:
        say(_usage_sentence(error))
        code = 2
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        _forget_output()
        say(f"standard output cannot be written: {error.strerror}")
        code = 1
    except PulseBridgeError as error:
        say(str(error))
        code = 2 if isinstance(error, ConfigError) else 1
    sys.exit(code)


def _usage_sentence(error: click.ClickException) -> str:
    sentence = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{sentence}; see '{context.command_path} --help'" if context else sentence


def _forget_output() -> None:
    """Send what is still to be written nowhere; the interpreter would complain of it while closing.

    Source: Python's library reference, "Note on SIGPIPE" in `signal`.
    """
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
