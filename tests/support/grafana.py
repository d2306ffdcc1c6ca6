"""The dashboards of `adapters/grafana`, and what Grafana makes of a variable in a text."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

GRAFANA: Final = Path(__file__).parents[2] / "adapters" / "grafana"
DASHBOARDS: Final = sorted((GRAFANA / "dashboards").glob("*/*.json"))
SCHEMA: Final[dict[str, Any]] = json.loads((Path(__file__).parent / "grafana_schema.json").read_text())
REUSE: Final = "-- Dashboard --"
"""The uid of Grafana's own data source that gives what another panel of the dashboard was given."""

_VARIABLE: Final = re.compile(r"\$\{(\w+)(?:\.([^:}]+))?(?::(\w+))?\}|\$(\w+)")

Panel = dict[str, Any]


class Dashboard(NamedTuple):
    """One dashboard.

    Args:
        source: `redis`, `mqtt` or `prometheus`.
        kind: `all-jobs` or `one-job`.
    """

    source: str
    kind: str
    document: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.source}/{self.kind}"

    @property
    def panels(self) -> list[Panel]:
        """Give the panels that show data."""
        return [panel for panel in self.document["panels"] if panel["type"] != "row"]

    @property
    def variables(self) -> dict[str, dict[str, Any]]:
        """Give the variables by name."""
        return {variable["name"]: variable for variable in self.document["templating"]["list"]}

    def queries(self, panel: Panel) -> list[dict[str, Any]]:
        """Give a panel's queries, or those of the panel whose data it uses."""
        (first, *_) = panel["targets"]
        if panel["datasource"]["uid"] == REUSE:
            (other,) = [other for other in self.panels if other["id"] == first["panelId"]]
            return self.queries(other)
        return list(panel["targets"])


def load(path: Path) -> Dashboard:
    """Read a dashboard's file."""
    return Dashboard(path.parent.name, path.stem, json.loads(path.read_text(encoding="utf-8")))


def mappings_of(panel: Panel) -> Iterator[list[dict[str, Any]]]:
    """Yield the value mappings of a panel: its own, and those of its overrides."""
    if "mappings" in panel["fieldConfig"]["defaults"]:
        yield panel["fieldConfig"]["defaults"]["mappings"]
    for override in panel["fieldConfig"]["overrides"]:
        yield from (found["value"] for found in override["properties"] if found["id"] == "mappings")


def links_of(panel: Panel) -> Iterator[str]:
    """Yield the URLs that the cells of a panel lead to."""
    for override in panel["fieldConfig"]["overrides"]:
        for found in override["properties"]:
            if found["id"] == "links":
                yield from (link["url"] for link in found["value"])


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Replace variables by their values; what is no variable stays as it is.

    Source: https://grafana.com/docs/grafana/latest/dashboards/variables/variable-syntax/
    """

    def value_of(found: re.Match[str]) -> str:
        name, path, form, short = found.groups()
        name = name or short
        if name not in values or path is not None:
            return found[0]
        return _format(name, values[name], form)

    return _VARIABLE.sub(value_of, text)


def interpolate_all(value: Any, values: Mapping[str, str]) -> Any:
    """Replace variables in every text of a JSON value, as Grafana does in queries and transformations."""
    if isinstance(value, str):
        return interpolate(value, values)
    if isinstance(value, list):
        return [interpolate_all(item, values) for item in value]
    if isinstance(value, dict):
        return {name: interpolate_all(item, values) for name, item in value.items()}
    return value


def _format(name: str, value: str, form: str | None) -> str:
    match form:
        case None | "raw":
            return value
        case "doublequote":
            quoted = value.replace('"', '\\"')
            return f'"{quoted}"'
        case "regex":
            return re.sub(r"[-\\^$*+?.()|[\]{}/]", r"\\\g<0>", value)
        case "percentencode":
            return quote(value, safe="")
        case "queryparam":
            return urlencode({f"var-{name}": value}, quote_via=quote)
        case _:
            raise AssertionError(f"an unknown format in ${{{name}:{form}}}")
