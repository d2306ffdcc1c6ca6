from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest

from pulse_bridge import plugins
from pulse_bridge.bus import Bus, open_bus
from pulse_bridge.errors import ConfigError, PluginError
from pulse_bridge.plugins import BUSES, SUBSCRIBERS, installed, load_plugin

Announce = Callable[..., None]


@pytest.fixture
def announce(monkeypatch: pytest.MonkeyPatch) -> Announce:
    """Let entry points be what the test says, as if packages that have them were installed."""

    def replace(**values: str) -> None:
        points = [EntryPoint(name, value, BUSES.entry_point_group) for name, value in values.items()]
        monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == points[0].group else [])

    return replace


def test_our_own_buses_are_announced_as_a_third_party_s_are() -> None:
    names = [point.name for point in installed(BUSES)]
    assert names == sorted(names)
    assert {"journal", "jsonl", "redis", "rediss", "redis+unix", "mqtt", "mqtts"} <= set(names)


def test_every_announced_bus_can_be_imported() -> None:
    for point in installed(BUSES):
        assert callable(load_plugin(BUSES, point.name, shown=point.name))


def test_an_unknown_bus_is_refused_with_the_list_of_what_is_there() -> None:
    with pytest.raises(PluginError, match=r"^kafka://h: there is no bus 'kafka'; installed are: .*journal.*redis"):
        open_bus("kafka://h")


@pytest.mark.parametrize("name", ["alerts", "web", "prometheus"])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda group: [])  # noqa: ARG005 - its signature
    with pytest.raises(
        PluginError, match=rf"^{name}: needs the extra \[{name}\]: pip install 'pulse-bridge\[{name}\]'"
    ):
        load_plugin(SUBSCRIBERS, name, shown=name)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("no_such_module:Bus", "cannot be imported: No module named 'no_such_module'"),
        ("pulse_bridge.bus:NoSuchThing", "points to nothing"),
        ("pulse_bridge:__version__", "is of the wrong kind"),
        ("tests.support.broken_plugin:Bus", "cannot be imported: it fell over"),
    ],
)
def test_a_plugin_that_does_not_work_is_one_sentence(announce: Announce, value: str, sentence: str) -> None:
    announce(broken=value)
    with pytest.raises(PluginError, match=sentence) as error:
        open_bus("broken://user:hunter2@h")
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_plugin_that_makes_no_bus_is_refused(announce: Announce) -> None:
    announce(odd="builtins:str")
    with pytest.raises(ConfigError, match="the plugin for odd:// made no bus but a str"):
        open_bus("odd://h")


def test_a_third_party_s_bus_is_opened_like_ours(announce: Announce) -> None:
    announce(other="pulse_bridge.journal_bus:JournalBus")
    assert isinstance(open_bus("other:///tmp/x.db"), Bus)
