"""What is installed: buses and subscribers announce themselves by entry points, ours as a third party's do."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from pulse_bridge.errors import PluginError


@dataclass(frozen=True)
class PluginGroup:
    """A sort of plugin: the entry point group, and its word for a person."""

    entry_point_group: str
    noun: str


BUSES: Final = PluginGroup("pulse_bridge.buses", "bus")
SUBSCRIBERS: Final = PluginGroup("pulse_bridge.subscribers", "subscriber")
COMMANDS: Final = PluginGroup("pulse_bridge.commands", "command")

# What a plugin of ours needs beyond the plain installation.
_EXTRAS: Final = {"alerts": "alerts", "web": "web", "prometheus": "prometheus"}


def installed(group: PluginGroup) -> list[EntryPoint]:
    """List the plugins of one sort by name."""
    return sorted(entry_points(group=group.entry_point_group), key=lambda point: point.name)


def load_plugin(group: PluginGroup, name: str, *, shown: str) -> Callable[..., Any]:
    """Import the plugin called `name`.

    Args:
        shown: What the user wrote, without a secret, for the sentence of a refusal.

    Raises:
        PluginError: It is not installed (the sentence names the extra or what is known), or not importable.
    """
    points = {point.name: point for point in installed(group)}
    point = points.get(name)
    if point is None:
        if name in _EXTRAS:
            raise PluginError(
                f"{shown}: needs the extra [{_EXTRAS[name]}]: pip install 'pulse-bridge[{_EXTRAS[name]}]'"
            )
        known = ", ".join(points) or "none"
        raise PluginError(f"{shown}: there is no {group.noun} {name!r}; installed are: {known}")
    try:
        loaded = point.load()
    except AttributeError as error:
        raise PluginError(f"{shown}: the {group.noun} {name!r} points to nothing: {error}") from error
    except Exception as error:  # its modules run as they are imported, and may raise anything
        extra = f"; pip install 'pulse-bridge[{_EXTRAS[name]}]'" if name in _EXTRAS else ""
        raise PluginError(f"{shown}: the {group.noun} {name!r} cannot be imported: {error}{extra}") from error
    if not callable(loaded):
        raise PluginError(f"{shown}: the {group.noun} {name!r} is of the wrong kind: {loaded!r}")
    return loaded  # type: ignore[no-any-return]
