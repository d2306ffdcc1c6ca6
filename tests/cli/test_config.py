"""Every setting is explained, in the sample, the schema and the documentation, or a test fails."""

import json
import re
import tomllib
from pathlib import Path

import click
import jsonschema_rs
import pytest

from pulse_bridge.cli import COMMANDS, cli
from pulse_bridge.cli.doctor import known_variables
from pulse_bridge.cli.run import run
from pulse_bridge.config import SidecarSettings, setting_names
from tests.support.command import Caller
from tests.support.configuration_doc import DOC, render

README_TABLE = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)


def test_the_sample_is_right_as_it_stands(call: Caller) -> None:
    Path("pulse-bridge.toml").write_text(call("config", "sample").out)
    result = call("doctor", "--offline")
    assert result.code == 0
    assert "pulse-bridge.toml is right" in result.out


def test_the_sample_is_right_with_every_line_in_force(call: Caller) -> None:
    sample = call("config", "sample").out
    settings = [line.removeprefix("# ") for line in sample.splitlines() if re.match(r"(# )?(\[|\w+ = )", line)]
    values = tomllib.loads("\n".join(settings))
    assert set(values) == set(setting_names())
    assert SidecarSettings.model_validate(values).stale_after_s_of("llm/x") == 600


def test_the_schema_takes_the_sample_and_refuses_a_mistake(call: Caller) -> None:
    schema = json.loads(call("config", "schema").out)
    jsonschema_rs.meta.validate(schema)
    validator = jsonschema_rs.validator_for(schema)
    assert validator.is_valid(tomllib.loads(call("config", "sample").out))
    assert validator.is_valid({"to": ["mqtt://h"], "jobs": {"*": {"stale_after_s": 5}}})
    for wrong in ({"stale": 1}, {"stale_after_s": 0}, {"to": "mqtt://h"}, {"jobs": {"*": {"x": 1}}}):
        assert not validator.is_valid(wrong)
    assert set(schema["properties"]) == set(setting_names())


@pytest.mark.parametrize("name", setting_names())
def test_a_setting_is_described(name: str, call: Caller) -> None:
    fields = {field.alias or key: field for key, field in SidecarSettings.model_fields.items()}
    assert fields[name].description
    assert re.search(rf"^# ?\[?{name}\b|^{name} = ", call("config", "sample").out, re.MULTILINE)


def test_the_documentation_s_tables_are_those_that_are_made_from_the_code() -> None:
    text = DOC.read_text(encoding="utf-8")
    assert render(text) == text, "run: python -m tests.support.configuration_doc"


def test_every_flag_of_every_command_is_documented() -> None:
    text = DOC.read_text(encoding="utf-8")
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert f"`{parameter.opts[0]}" in text, (name, parameter.opts)


def test_every_variable_is_documented() -> None:
    text = DOC.read_text(encoding="utf-8")
    assert {parameter.envvar for parameter in run.params} <= known_variables()
    for name in known_variables():
        assert f"`{name}`" in text, name
