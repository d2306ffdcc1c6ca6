"""Templates as Home Assistant renders those of its MQTT entities: sandboxed, and telling of what is not there."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

Complain = Callable[[str], None]
REQUIRED = object()


def parse_time(text: str) -> datetime | None:
    """Read what Home Assistant takes for a date and time; with or without an offset."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _as_timestamp(value: Any, default: Any = REQUIRED) -> Any:
    found = parse_time(value) if isinstance(value, str) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if found is not None:
        return found.timestamp()
    if default is REQUIRED:
        raise jinja2.TemplateError(f"as_timestamp got invalid input {value!r} and no default")
    return default


def _timestamp_utc(value: Any, default: Any = REQUIRED) -> Any:
    try:
        return datetime.fromtimestamp(value, UTC).isoformat()
    except (ValueError, TypeError, OverflowError, OSError) as error:
        if default is REQUIRED:
            raise jinja2.TemplateError(f"timestamp_utc got invalid input {value!r} and no default") from error
        return default


class Templates:
    """Compiles and renders; each complaint is a line that Home Assistant would log as a warning or an error."""

    def __init__(self, complain: Complain) -> None:
        self._complain = complain

        class Missing(jinja2.Undefined):
            def __str__(self) -> str:
                complain(f"template variable warning: {self._undefined_message}")
                return ""

            def __iter__(self) -> Iterator[Any]:
                complain(f"template variable warning: {self._undefined_message}")
                return iter(())

            def __bool__(self) -> bool:
                complain(f"template variable warning: {self._undefined_message}")
                return False

            def _fail_with_undefined_error(self, *args: Any, **kwargs: Any) -> Any:
                complain(f"template variable error: {self._undefined_message}")
                return super()._fail_with_undefined_error(*args, **kwargs)

        self._environment = ImmutableSandboxedEnvironment(undefined=Missing)
        self._environment.globals["as_timestamp"] = _as_timestamp
        self._environment.filters["timestamp_utc"] = _timestamp_utc
        self._compiled: dict[str, jinja2.Template] = {}

    def check(self, source: str) -> str | None:
        """Say what is wrong with a template, None if it can be compiled."""
        try:
            self._compile(source)
        except jinja2.TemplateError as error:
            return str(error)
        return None

    def render(self, source: str | None, payload: str) -> str | None:
        """Render with `value`, and `value_json` if there is any; None if that failed, which is complained of."""
        if source is None:
            return payload
        variables: dict[str, Any] = {"value": payload}
        try:
            variables["value_json"] = json.loads(payload, parse_constant=_refuse)
        except ValueError as error:
            if payload:
                self._complain(f"payload is no JSON ({error}): {payload:.80}")
        try:
            return self._compile(source).render(variables).strip()
        except Exception as error:  # noqa: BLE001 - whatever a template raises is logged there
            self._complain(
                f"{type(error).__name__}: {error} rendering template {source!r}, payload: {payload:.200}"
            )
            return None

    def _compile(self, source: str) -> jinja2.Template:
        if source not in self._compiled:
            self._compiled[source] = self._environment.from_string(source)
        return self._compiled[source]


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no JSON")
