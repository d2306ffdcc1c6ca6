"""What the README says is so."""

import re
import tomllib
from pathlib import Path

import click
import pytest

import pulse_bridge_redis
from pulse_bridge import __version__
from pulse_bridge.bus import open_bus
from pulse_bridge.bus_url import BusOptions
from pulse_bridge.cli import COMMANDS, cli
from pulse_bridge.config import SidecarSettings, setting_names
from pulse_bridge.event import KINDS, STATES, to_fields
from pulse_bridge.pulse import parse
from pulse_bridge.testing import make_host_event, make_job_event
from pulse_bridge_mqtt.options import MqttOptions
from pulse_bridge_redis.options import RedisOptions
from tests.support.command import Caller

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def command_named(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_table(name: str) -> None:
    assert f"| `pulse-bridge {name}" in README


def test_every_setting_has_a_row_with_its_flag_its_variable_and_its_default() -> None:
    rows = {
        row[0].strip("`"): row for row in (line.strip("| ").split(" | ") for line in README.splitlines()) if row
    }
    options = {parameter.name: parameter for parameter in command_named("run").params}
    for name, field in zip(setting_names(), SidecarSettings.model_fields.values(), strict=True):
        assert name in rows, name
        row = README[README.index(f"| `{name}` |") :].splitlines()[0]
        _, _, flag, variable, default, _, _ = (cell.strip() for cell in row.split("|"))
        option = options.get(name)
        assert bool(flag) == bool(option)
        if option is not None:
            assert option.envvar == variable.strip("`")
            assert option.opts[0] in {flag.strip("`").split()[0], "paths"}
        if isinstance(field.default, int | float):
            assert default == ("false" if field.default is False else f"{field.default:.10g}")


def test_every_variable_of_every_command_is_named() -> None:
    for name in ("", *COMMANDS):
        for parameter in (command_named(name) if name else cli).params:
            for variable in [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or []:
                assert variable in README


def test_the_python_blocks_run_and_write_pulse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("python")
    exec(compile(block, "README.md", "exec"), {})
    pulse = parse(Path("training_status.json").read_bytes(), "training_status.json")
    assert (pulse.status, pulse.epoch, pulse.total_epochs) == ("done", 3, 3)


def test_the_toml_block_is_a_valid_configuration() -> None:
    (block,) = blocks("toml")
    settings = SidecarSettings.model_validate(tomllib.loads(block))
    assert settings.stale_after_s_of("llm/x") == 600


def commands_in_shell_blocks() -> list[list[str]]:
    lines = [line.split("#")[0].strip(" &") for block in blocks("sh") for line in block.splitlines()]
    return [
        re.findall(r'"[^"]*"|\S+', line.split("pulse-bridge ")[1]) for line in lines if "pulse-bridge " in line
    ]


@pytest.mark.parametrize("words", commands_in_shell_blocks(), ids=" ".join)
def test_the_commands_in_the_shell_blocks_are_understood(words: list[str]) -> None:
    command = command_named(words[0])
    command.make_context(words[0], [word.strip('"') for word in words[1:]])
    for word in words:
        if "://" in word:
            open_bus(word.strip('"'))


@pytest.mark.parametrize(
    "words", [words for words in commands_in_shell_blocks() if words[0] == "write"], ids=" ".join
)
def test_the_commands_that_write_do_so(words: list[str], call: Caller) -> None:
    Path("runs").mkdir()
    assert call(*(word.strip('"') for word in words)).code == 0


def test_every_field_kind_and_state_is_named() -> None:
    for field in to_fields(make_job_event(labels={})):
        assert f"`{field}`" in README, field
    for field in to_fields(make_host_event(jobs={}, lag={})):
        assert f"`{'jobs_STATE' if field.startswith('jobs_') else field}`" in README, field
    for name in (*KINDS, *STATES):
        assert f"`{name}`" in README


def test_every_option_of_a_bus_is_named() -> None:
    for options in (BusOptions, RedisOptions, MqttOptions):
        for name, field in options.model_fields.items():
            assert f"`{name}`" in README, name
            if isinstance(field.default, int) and field.default and name != "tls_insecure":
                assert f"`{name}` ({field.default}" in README


def test_the_acl_line_is_the_one_that_is_tested() -> None:
    pattern = re.compile(r"ACL SETUSER (pulse .*?\+hscan)", re.DOTALL)
    documented, tested = pattern.search(README), pattern.search(str(pulse_bridge_redis.__doc__))
    assert documented
    assert tested
    assert documented[1].split() == tested[1].split()


def test_the_changelog_has_this_version() -> None:
    assert f"## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
