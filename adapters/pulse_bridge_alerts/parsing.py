"""Reads the small texts of a configuration: tables, rules, durations, silences. Each mistake is one sentence."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pulse_bridge.errors import ConfigError
from pulse_bridge.event import parse_time
from pulse_bridge.mistakes import near_name
from pulse_bridge_alerts.policy import RULES, Match, Rule, Silence

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(s|min|m|h|d)")
_UNITS_S: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_MIN_REPEAT_S: Final = 60.0
_HOST: Final = "host:"

TableT = TypeVar("TableT", bound=BaseModel)


def parse_table(model: type[TableT], values: object, place: str) -> TableT:
    """Validate one table of the file.

    Args:
        place: The file and the table, e.g. `alerts.toml: [targets.phone]`.

    Raises:
        ConfigError: It is no table, keys are unknown (the known ones are listed), or values are wrong.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place}: that is no table but a {type(values).__name__}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        sentences = [f"{place}: {_word(found, model)}" for found in error.errors(include_input=False)]
        raise ConfigError(sentences[0], also=sentences[1:]) from None


def _word(found: ErrorDetails, model: type[BaseModel]) -> str:
    """Word one thing that is wrong with a table; nothing of its values, which may be secrets."""
    key = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        known = sorted(model.model_fields)
        return f"there is no key {key!r}; known are: {', '.join(known)}{near_name(key, known)}"
    if found["type"] == "missing":
        return f"the key {key!r} is missing"
    if found["type"] in {"tuple_type", "list_type"}:
        return f"key {key!r}: it is a list; write {key} = ['…'], or [[{key}]] for a list of tables"
    if found["type"] == "dict_type":
        return f"key {key!r}: it is a table; write [{key}] and its lines below"
    return f"key {key!r}: {found['msg']}"


def parse_rules(names: Iterable[str], place: str) -> frozenset[Rule]:
    """Read names of rules.

    Raises:
        ConfigError: One is unknown, or there is none.
    """
    found = [name.strip() for name in names]
    for name in found:
        if name not in RULES:
            raise ConfigError(f"{place}: there is no rule {name!r}; known are: {', '.join(RULES)}")
    if not found:
        raise ConfigError(f"{place}: names no rule; known are: {', '.join(RULES)}")
    return frozenset(cast("list[Rule]", found))


def parse_repeat_s(text: str, place: str) -> float | None:
    """Read an interval such as `4h`; None for `off`.

    Raises:
        ConfigError: It is none, or shorter than a minute.
    """
    if text == "off":
        return None
    found = _DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if seconds < _MIN_REPEAT_S:
        raise ConfigError(f"{place}: {text!r} is no interval of a minute or more; write 30m, 4h, 1d or off")
    return seconds


def parse_silence(text: str, place: str) -> Silence:
    """Read `GLOB`, `host:GLOB`, or either with `@INSTANT` behind it.

    Raises:
        ConfigError: The glob is empty, or what follows the last `@` looks like an instant and has no zone.
    """
    glob, until_ms = text, None
    before, at, after = text.rpartition("@")
    if at and after[:4].isdigit():
        glob = before
        try:
            until_ms = parse_time(after)
        except ValueError:
            raise ConfigError(
                f"{place}: {after!r} is no instant with a zone; write 2026-01-31T06:00:00Z or …+01:00"
            ) from None
    hosts = glob.removeprefix(_HOST)
    if not hosts:
        raise ConfigError(f"{place}: {text!r} names nothing; write a glob over jobs, or host:GLOB")
    match = Match(hosts=(hosts,)) if glob.startswith(_HOST) else Match(jobs=(glob,))
    return Silence(match, until_ms=until_ms)


def to_unix_ms(instant: datetime, place: str) -> int:
    """Give a TOML datetime as Unix milliseconds.

    Raises:
        ConfigError: It has no zone.
    """
    if instant.tzinfo is None:
        raise ConfigError(f"{place}: the instant has no zone; write 2026-01-31T06:00:00Z or …+01:00")
    return int(instant.timestamp() * 1000)
