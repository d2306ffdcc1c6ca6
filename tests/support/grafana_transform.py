"""Grafana's transformations of a panel's data, as far as the dashboards use them.

Each refuses a column that is not there, which Grafana would pass over in silence.

Those that are in npm's @grafana/data 13.2.3 (all but extractFields and partitionByValues) were compared with it.

Source: https://grafana.com/docs/grafana/latest/panels-visualizations/query-transform-data/transform-data/.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Frame:
    """A table of columns of one length, as a data source gives it.

    Args:
        labels: What the values of a series belong to.
    """

    columns: Mapping[str, Sequence[Any]]
    labels: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return max(map(len, self.columns.values()), default=0)

    def column(self, name: str) -> Sequence[Any]:
        """Give a column, which must be there."""
        assert name in self.columns, f"there is no column {name!r}; there are {list(self.columns)}"
        return self.columns[name]

    def rows(self, picked: Iterable[int]) -> "Frame":
        """Give some rows, in the order asked for."""
        kept = list(picked)
        return Frame({name: [values[row] for row in kept] for name, values in self.columns.items()}, self.labels)


def transform(frames: Sequence[Frame], steps: Iterable[Mapping[str, Any]]) -> list[Frame]:
    """Apply a panel's transformations in order."""
    found = list(frames)
    for step in steps:
        found = _merge(found) if step["id"] == "merge" else _each(found, _STEPS[step["id"]], step["options"])
    return found


def _each(frames: Iterable[Frame], step: Callable[[Frame, Options], list[Frame]], options: Options) -> list[Frame]:
    return [made for frame in frames for made in step(frame, options)]


def _extract(frame: Frame, options: Options) -> list[Frame]:
    assert options["replace"]
    assert options["format"] == "json"
    objects = [json.loads(text) for text in frame.column(options["source"])]
    names = dict.fromkeys(name for found in objects for name in found)
    return [Frame({name: [found.get(name) for found in objects] for name in names})]


def _calculate(frame: Frame, options: Options) -> list[Frame]:
    binary = options["binary"]
    assert binary["operator"] == "*"
    factor = float(binary["right"]["fixed"])
    values = frame.column(binary["left"]["matcher"]["options"])
    return [Frame({**frame.columns, options["alias"]: [value * factor for value in values]})]


def _keep(frame: Frame, options: Options) -> list[Frame]:
    include = options["include"]
    wanted = {name for name in include["names"] if frame.column(name) is not None}
    if pattern := include.get("pattern"):
        matching = {name for name in frame.columns if re.search(pattern, name)}
        assert matching, f"no column matches {pattern}; there are {list(frame.columns)}"
        wanted |= matching
    return [Frame({name: values for name, values in frame.columns.items() if name in wanted}, frame.labels)]


def _organize(frame: Frame, options: Options) -> list[Frame]:
    assert not options["renameByName"], "columns are renamed by overrides, so that links find them"
    for name in (*options["indexByName"], *options["excludeByName"]):
        frame.column(name)
    place = options["indexByName"]
    names = sorted(frame.columns, key=lambda name: place.get(name, len(place)))
    return [Frame({name: frame.columns[name] for name in names if name not in options["excludeByName"]})]


def _group(frame: Frame, options: Options) -> list[Frame]:
    fields = options["fields"]
    keys = [name for name, what in fields.items() if what["operation"] == "groupby"]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(zip(*(frame.column(name) for name in keys), strict=True)):
        groups.setdefault(key, []).append(row)
    columns: dict[str, list[Any]] = {name: [key[place] for key in groups] for place, name in enumerate(keys)}
    for name, what in fields.items():
        for how in what["aggregations"]:
            values = frame.column(name)
            made = [_REDUCERS[how]([values[row] for row in rows]) for rows in groups.values()]
            columns[f"{name} ({how})"] = made
    return [Frame(columns)]


_REDUCERS: Final[dict[str, Callable[[Sequence[Any]], Any]]] = {
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
    "count": len,
}


def _filter(frame: Frame, options: Options) -> list[Frame]:
    filters = options["filters"]
    assert options["match"] == "all"
    assert all(found["config"]["id"] == "equal" for found in filters)
    wanted = [(frame.column(found["fieldName"]), found["config"]["options"]["value"]) for found in filters]
    including = options["type"] == "include"
    return [
        frame.rows(
            row for row in range(len(frame)) if all(values[row] == value for values, value in wanted) is including
        )
    ]


def _partition(frame: Frame, options: Options) -> list[Frame]:
    assert not options["keepFields"]
    names = options["fields"]
    parts: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(zip(*(frame.column(name) for name in names), strict=True)):
        parts.setdefault(key, []).append(row)
    rest = Frame({name: values for name, values in frame.columns.items() if name not in names})
    return [
        Frame(rest.rows(rows).columns, dict(zip(names, map(str, key), strict=True))) for key, rows in parts.items()
    ]


def _sort(frame: Frame, options: Options) -> list[Frame]:
    (by,) = options["sort"]
    values = frame.column(by["field"])
    return [frame.rows(sorted(range(len(frame)), key=lambda row: values[row], reverse=by["desc"]))]


def _merge(frames: Sequence[Frame]) -> list[Frame]:
    """Make one row of those that are equal in the columns that all frames have."""
    shared = [name for name in frames[0].columns if all(name in frame.columns for frame in frames)]
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for frame in frames:
        for row in range(len(frame)):
            merged = rows.setdefault(tuple(frame.columns[name][row] for name in shared), {})
            merged |= {name: values[row] for name, values in frame.columns.items()}
    names = dict.fromkeys(name for frame in frames for name in frame.columns)
    return [Frame({name: [row.get(name) for row in rows.values()] for name in names})]


_STEPS: Final[dict[str, Callable[[Frame, Options], list[Frame]]]] = {
    "extractFields": _extract,
    "calculateField": _calculate,
    "filterFieldsByName": _keep,
    "organize": _organize,
    "groupBy": _group,
    "filterByValue": _filter,
    "partitionByValues": _partition,
    "sortBy": _sort,
}
