"""The tables of docs/configuration.md: `python -m tests.support.configuration_doc` makes them from the code."""

from collections.abc import Iterator
from pathlib import Path

import click

from pulse_bridge.cli import COMMANDS, cli
from pulse_bridge.cli.run import run
from pulse_bridge.config_reference import settings

DOC = Path(__file__).parents[2] / "docs" / "configuration.md"


def render(text: str) -> str:
    """Give the document with each marked part made anew."""
    for name, lines in (("settings", _settings()), ("commands", _commands())):
        made = "\n".join(lines)
        begin, end = f"<!-- {name}: made from the code -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{made}\n{end}{rest.partition(end)[2]}"
    return text


def _settings() -> Iterator[str]:
    options = {parameter.name: parameter for parameter in run.params}
    yield "| in the file | flag of `run` | environment | default | what |"
    yield "|---|---|---|---|---|"
    for name, default, description in settings():
        option = options.get(name)
        flag = variable = ""
        if option is not None:
            flag = f"`{option.opts[0]}`" if isinstance(option, click.Option) else "`PATH…`"
            variable = f"`{option.envvar}`"
        yield f"| `{name}` | {flag} | {variable} | {default} | {description} |"


def _commands() -> Iterator[str]:
    yield "| command | flag | environment | what |"
    yield "|---|---|---|---|"
    for command, option in _options():
        help_text = " ".join((option.help or "").split()).replace("|", "\\|")
        flag = "/".join(f"`{name}`" for name in option.opts)
        variable = f"`{option.envvar}`" if option.envvar else ""
        yield f"| {command} | {flag} | {variable} | {help_text} |"


def _options() -> Iterator[tuple[str, click.Option]]:
    context = click.Context(cli)
    of_run = {option.name for option in run.params}
    yield from (("(all)", option) for option in cli.params if isinstance(option, click.Option))
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        found = [option for option in command.params if isinstance(option, click.Option)]
        if name == "doctor":  # takes what `run` takes
            found = [option for option in found if option.name not in of_run]
        yield from ((f"`{name}`", option) for option in found)


if __name__ == "__main__":
    DOC.write_text(render(DOC.read_text(encoding="utf-8")), encoding="utf-8")
