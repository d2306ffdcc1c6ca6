"""Every command explains itself, and quickly."""

import subprocess
import sys

import click
import pytest

from pulse_bridge.cli import COMMANDS, cli
from tests.support.command import Caller


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_each_option_in_whole_sentences(name: str, call: Caller) -> None:
    result = call(name, "--help")
    assert result.code == 0
    assert not result.err
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter
            sentence = parameter.help.split("  [")[0]
            assert sentence[0].isupper(), sentence
            assert sentence.endswith("."), sentence
            assert parameter.opts[-1] in result.out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str, call: Caller) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.get_short_help_str(200) == COMMANDS[name]
    assert COMMANDS[name] in call("--help").out


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_no_library_that_it_does_not_need(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from pulse_bridge.cli import main\n"
        f"sys.argv = ['pulse-bridge', *{arguments!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert ended.code == 0\n"
        "print(sorted({'redis', 'paho', 'sqlite3', 'rich', 'pydantic'} & set(sys.modules)))\n"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert lines.splitlines()[-1] == "[]"


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2(call: Caller) -> None:
    result = call()
    assert result.code == 2
    assert "Commands:" in result.err
