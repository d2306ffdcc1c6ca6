"""Reads the TOML file of alerts into plain values."""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pulse_bridge.errors import ConfigError
from pulse_bridge.mistakes import Mistakes
from pulse_bridge_alerts.options import (
    FileTable,
    LossSpikeTable,
    MatchTable,
    RouteTable,
    RuleTable,
    SilenceTable,
    TargetTable,
    TimedRuleTable,
)
from pulse_bridge_alerts.parsing import parse_rules, parse_table, to_unix_ms
from pulse_bridge_alerts.policy import DEFAULT_RULES, RULES, Match, Route, Rule, Silence
from pulse_bridge_alerts.targets import Target, TargetKind, UrlSource, make_target

_TABLES: Final[Mapping[str, type[RuleTable]]] = {
    "stuck": TimedRuleTable,
    "host-silent": TimedRuleTable,
    "loss-spike": LossSpikeTable,
}


@dataclass(frozen=True)
class AlertsFile:
    """What the file says.

    Args:
        place: The file's name, for a refusal.
        top: The keys that stand above its tables.
        rules: Those that are switched on.
        thresholds: Fields of `Policy` to what the file sets them to.
    """

    place: str
    top: FileTable = field(default_factory=FileTable)
    rules: frozenset[Rule] = DEFAULT_RULES
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    routes: tuple[Route, ...] = ()
    silences: tuple[Silence, ...] = ()


def read_file(path: Path) -> AlertsFile:
    """Read and check the file.

    Raises:
        ConfigError: It cannot be read, is no TOML, or something in it is wrong; names file, key and remedy.
    """
    place = str(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"the alerts file {path} is not there") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: no TOML: {error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the alerts file {path} is no UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"the alerts file {path} cannot be read: {error.strerror}") from None
    return _read_tables(values, place)


def _read_tables(values: Mapping[str, object], place: str) -> AlertsFile:
    """Check all of it, and only then refuse it.

    Raises:
        ConfigError: Something is wrong; all of it is told.
    """
    mistakes = Mistakes()
    top = FileTable(**_tables_alone(values))
    with mistakes.noted():
        top = parse_table(FileTable, values, place)
    rules, thresholds = set(DEFAULT_RULES), dict[str, Any]()
    for name, table in top.rules.items():
        with mistakes.noted():
            thresholds |= _rule(name, table, rules, place)
    targets: list[Target] = []
    for name, table in top.targets.items():
        with mistakes.noted():
            targets.append(_target(name, table, f"{place}: [targets.{name}]"))
    routes: list[Route] = []
    for number, table in enumerate(top.routes, start=1):
        with mistakes.noted():
            routes.append(_route(table, top.targets.keys(), routes, f"{place}: [[routes]] {number}"))
    silences: list[Silence] = []
    for number, table in enumerate(top.silences, start=1):
        with mistakes.noted():
            silences.append(_silence(table, f"{place}: [[silences]] {number}"))
    mistakes.raise_if_any()
    return AlertsFile(place, top, frozenset(rules), thresholds, tuple(targets), tuple(routes), tuple(silences))


def _tables_alone(values: Mapping[str, object]) -> dict[str, Any]:
    """Give what can be read on though something else at the top is wrong."""
    sorts: dict[str, type] = {"rules": dict, "targets": dict, "routes": list, "silences": list}
    return {name: values[name] for name, sort in sorts.items() if isinstance(values.get(name), sort)}


def _rule(name: str, values: object, enabled: set[Rule], place: str) -> dict[str, Any]:
    """Switch a rule on or off in `enabled`, and give its thresholds as fields of `Policy`."""
    (rule,) = parse_rules([name], f"{place}: [rules]")
    table = parse_table(_TABLES.get(rule, RuleTable), values, f"{place}: [rules.{rule}]")
    # A threshold that is set says that the rule is wanted.
    if table.enabled is not None:
        (enabled.add if table.enabled else enabled.discard)(rule)
    elif table.model_fields_set:
        enabled.add(rule)
    stem = rule.replace("-", "_")
    found = table.model_dump(exclude={"enabled"}, exclude_none=True)
    return {f"{stem}_{key}": value for key, value in found.items()}


def _target(name: str, values: object, place: str) -> Target:
    table = parse_table(TargetTable, values, place)
    if len(table.model_fields_set) != 1:
        known = ", ".join(TargetTable.model_fields)
        raise ConfigError(f"{place}: a target has exactly one of: {known}")
    found = [(kind, url, where) for kind in _KINDS for url, where in _source(table, kind, place).read()]
    if len(found) != 1:
        raise ConfigError(f"{place}: a target with a name has one URL, and there are {len(found)}: name each")
    return make_target(name, *found[0])


_KINDS: Final[tuple[TargetKind, ...]] = ("notify", "webhook")


def _source(table: TargetTable, kind: TargetKind, place: str) -> UrlSource:
    url, env, file = (
        (table.notify, table.notify_env, table.notify_file)
        if kind == "notify"
        else (table.webhook, table.webhook_env, table.webhook_file)
    )
    return UrlSource(kind, [url.get_secret_value()] if url else [], env, file, place)


def _route(values: object, targets: Collection[str], others: list[Route], place: str) -> Route:
    table = parse_table(RouteTable, values, place)
    for name in table.targets:
        if name not in targets:
            known = ", ".join(sorted(targets)) or "none"
            raise ConfigError(f"{place}: there is no target {name!r}; known are: {known}")
    name = table.name or "+".join(table.targets)
    if any(other.name == name for other in others):
        raise ConfigError(
            f"{place}: there is another route called {name!r}: give this one a name = '…' of its own"
        )
    return Route(name, table.targets, _rules_of(table, place), _match(table))


def _silence(values: object, place: str) -> Silence:
    table = parse_table(SilenceTable, values, place)
    until_ms = None if table.until is None else to_unix_ms(table.until, f"{place}: until")
    return Silence(_match(table), _rules_of(table, place), until_ms)


def _rules_of(table: MatchTable, place: str) -> frozenset[Rule]:
    return frozenset(RULES) if table.rules is None else parse_rules(table.rules, f"{place}: rules")


def _match(table: MatchTable) -> Match:
    return Match(table.jobs, table.hosts, table.labels)
