"""What is installed, and whether it works."""

import json
from importlib.metadata import EntryPoint

import pytest

from pulse_bridge import __version__, plugins
from tests.support.command import Caller

GOOD = {"journal", "jsonl", "redis", "rediss", "redis+unix", "mqtt", "mqtts"}


def test_each_bus_is_listed_with_where_it_comes_from(call: Caller) -> None:
    lines = [line.split() for line in call("plugins").out.splitlines()]
    assert {line[1] for line in lines} >= GOOD
    assert all(line[2:] == ["pulse-bridge", __version__] for line in lines if line[1] in GOOD)


def test_json_is_one_array_of_objects(call: Caller) -> None:
    found = {plugin["name"]: plugin for plugin in json.loads(call("plugins", "--json").out)}
    assert found["redis"] == {
        "sort": "bus",
        "name": "redis",
        "distribution": "pulse-bridge",
        "version": __version__,
        "object": "pulse_bridge_redis:RedisBus",
        "importable": True,
        "reason": None,
    }


def test_one_that_cannot_be_imported_is_listed_with_the_reason(
    call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = EntryPoint("broken", "no_such_module:Bus", plugins.BUSES.entry_point_group)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [broken] if group == broken.group else [])
    result = call("plugins")
    assert result.code == 0
    assert "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'" in result.out
    (found,) = json.loads(call("plugins", "--json").out)
    assert found["importable"] is False
