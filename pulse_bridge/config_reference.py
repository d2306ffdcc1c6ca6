"""Every setting explained: as a sample file, as JSON Schema, and as rows for a table; all made from the model."""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pulse_bridge.config import CONFIG_FILE, SidecarSettings

SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_COMPUTED_DEFAULTS: Final = {
    "host": "the machine's name, under SLURM with the job's number",
    "journal": "`pulse-bridge/HOST.db` in your state folder",
}
"""What stands for a default that is found out at the start."""

_TABLES: Final = ("labels", "jobs")
"""Settings that are tables, which TOML wants behind all others."""

_SAMPLE_HEAD: Final = f"""\
# Settings of pulse-bridge. 'pulse-bridge run' reads {CONFIG_FILE} in the folder in which it is started, or the
# file that --config names; 'pulse-bridge doctor --offline' says whether it is right.
#
# A line that begins with '#' is not in force; the value in it is an example, or the default where none is told.
"""


class Setting(NamedTuple):
    """One setting for a person.

    Args:
        name: As in the file.
        default: In words or as TOML; empty where there is none.
        description: What it is, without a full stop.
    """

    name: str
    default: str
    description: str


def settings() -> list[Setting]:
    """Give every setting in the order of the model."""
    return [Setting(name, _shown_default(name, field), field.description or "") for name, field in _fields()]


def sample() -> str:
    """Write a configuration file that is valid as it stands, with every setting in it."""
    parts = [_SAMPLE_HEAD]
    plain = [(name, field) for name, field in _fields() if name not in _TABLES]
    tables = [(name, field) for name, field in _fields() if name in _TABLES]
    parts += [_sample_of(name, field) for name, field in plain]
    parts += [_sample_of_table(name, field) for name, field in tables]
    return "\n".join(parts)


def schema() -> dict[str, Any]:
    """Give the JSON Schema of the file. Nothing is required in it, for a flag may give it."""
    made = SidecarSettings.model_json_schema(by_alias=True)
    made.pop("required", None)
    return {"$schema": SCHEMA_DIALECT, **made, "title": CONFIG_FILE, "description": "Settings of pulse-bridge."}


def _fields() -> Iterator[tuple[str, FieldInfo]]:
    for name, field in SidecarSettings.model_fields.items():
        yield field.alias or name, field


def _shown_default(name: str, field: FieldInfo) -> str:
    if name in _COMPUTED_DEFAULTS:
        return _COMPUTED_DEFAULTS[name]
    default = field.default
    return "" if default is PydanticUndefined or default in (None, ()) else to_toml(default)


def _sample_of(name: str, field: FieldInfo) -> str:
    example = field.examples[0] if field.examples else field.default
    line = f"{name} = {to_toml(example)}"
    if field.is_required():
        return f"# {_sentence(field)}\n{line}\n"
    default = _COMPUTED_DEFAULTS.get(name)
    if default is None and field.examples and field.default not in (None, ()):
        default = to_toml(field.default)
    note = f" Default: {default.replace('`', '')}." if default else ""
    return f"# {_sentence(field)}{note}\n# {line}\n"


def _sample_of_table(name: str, field: FieldInfo) -> str:
    (example,) = field.examples or [{}]
    lines = [f"# {_sentence(field)}"]
    if all(isinstance(value, dict) for value in example.values()):
        for key, values in example.items():
            lines += [
                f"# [{name}.{json.dumps(key)}]",
                *(f"# {inner} = {to_toml(v)}" for inner, v in values.items()),
            ]
    else:
        lines += [f"# [{name}]", *(f"# {key} = {to_toml(value)}" for key, value in example.items())]
    return "\n".join([*lines, ""])


def _sentence(field: FieldInfo) -> str:
    text = (field.description or "").replace("`", "")
    return f"{text[:1].upper()}{text[1:]}."


def to_toml(value: object) -> str:
    """Write a plain value as TOML; a whole number without its `.0`, which is a number all the same."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:.10g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(to_toml(item) for item in value)}]"
    return json.dumps(str(value), ensure_ascii=False)
