"""The Grafana dashboards as files: each is what Grafana accepts, and all say the same in the same way.

`test_grafana_queries.py` asks what they ask of the real servers.
"""

import colorsys
import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import jsonschema_rs
import pytest
import yaml

from pulse_bridge.event import STATES
from tests.support.grafana import (
    DASHBOARDS,
    GRAFANA,
    REUSE,
    SCHEMA,
    Dashboard,
    interpolate,
    links_of,
    load,
    mappings_of,
)

LOADED: Final = [load(path) for path in DASHBOARDS]
PLUGINS: Final = {"redis": "redis-datasource", "mqtt": "grafana-mqtt-datasource", "prometheus": "prometheus"}
VALIDATOR: Final = jsonschema_rs.validator_for(SCHEMA)
MAPPED: Final = ("running", "stale", "error", "done", "idle", "gone")
TOKENS: Final = (GRAFANA.parent / "pulse_bridge_web" / "static" / "tokens.css").read_text(encoding="utf-8")

each_dashboard = pytest.mark.parametrize("dashboard", LOADED, ids=str)


def complaints(document: dict[str, Any]) -> list[str]:
    return [f"{list(error.instance_path)}: {error.message:.200}" for error in VALIDATOR.iter_errors(document)]


def provisioned(what: str) -> dict[str, Any]:
    (file,) = (GRAFANA / "provisioning" / what).glob("*.yaml")
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


def test_there_are_two_dashboards_for_each_way_in() -> None:
    found = [(dashboard.source, dashboard.kind) for dashboard in LOADED]
    assert found == [(source, kind) for source in sorted(PLUGINS) for kind in ("all-jobs", "one-job")]


@each_dashboard
def test_grafana_s_own_types_accept_it(dashboard: Dashboard) -> None:
    assert complaints(dashboard.document) == []


@each_dashboard
def test_they_accept_what_each_override_sets(dashboard: Dashboard) -> None:
    for number, panel in enumerate(dashboard.document["panels"]):
        if panel["type"] == "row":
            continue
        for override in panel["fieldConfig"]["overrides"]:
            tried = copy.deepcopy(dashboard.document)
            defaults = tried["panels"][number]["fieldConfig"]["defaults"]
            for found in override["properties"]:
                place, _, name = found["id"].rpartition(".")
                target = defaults.setdefault(place, {}) if place else defaults
                target[name] = found["value"]
            assert complaints(tried) == [], f"{panel['title']}: {override}"


def test_a_word_that_grafana_does_not_know_is_found() -> None:
    document = copy.deepcopy(LOADED[0].document)
    document["panels"][0]["options"]["showHeadr"] = True
    assert complaints(document)


@each_dashboard
def test_it_is_named_for_good(dashboard: Dashboard) -> None:
    document = dashboard.document
    assert document["uid"] == f"pulse-bridge-{dashboard.source}-{dashboard.kind}"
    assert document["tags"] == ["pulse-bridge", f"pulse-bridge-{dashboard.source}"]
    assert "id" not in document, "the number is the installation's"
    assert "version" not in document
    assert document["description"]
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])


@each_dashboard
def test_its_panels_neither_overlap_nor_leave_the_page(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard.document["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@each_dashboard
def test_it_shows_what_a_person_wants_to_know(dashboard: Dashboard) -> None:
    titles = {panel["title"] for panel in dashboard.panels}
    both = {"Loss", "Loss, logarithmic", "Progress", "Time left"}
    if dashboard.kind == "all-jobs":
        assert titles > both | {"Jobs", "Jobs by state", "States", "Hosts", "Lag"}
    else:
        assert titles > both | {"Now", "State", "Learning rate", "Epoch and step"}
        assert titles & {"Sidecar", "Its sidecar"}
    timelines = [panel for panel in dashboard.panels if panel["type"] == "state-timeline"]
    assert len(timelines) == 1


# The same everywhere


def state_codes() -> dict[str, str]:
    """Give the number of each state in the Prometheus dashboards."""
    (timeline,) = [panel for panel in LOADED[2].panels if panel["type"] == "state-timeline"]
    found = re.findall(r'pulse_state\{state="(\w+)", [^}]*\} \* (\d)', timeline["targets"][0]["expr"])
    return dict(found)


def state_mappings() -> Iterator[tuple[str, dict[str, Any]]]:
    for dashboard in LOADED:
        for panel in dashboard.panels:
            for mappings in mappings_of(panel):
                options = mappings[0]["options"]
                if any(result.get("text") in STATES for result in options.values()):
                    yield f"{dashboard}: {panel['title']}", options


def test_a_state_has_its_own_word_and_one_colour_everywhere() -> None:
    codes = state_codes()
    assert sorted(codes) == sorted(STATES)
    colours: dict[str, set[str]] = {state: set() for state in STATES}
    assert sorted(MAPPED) == sorted(STATES)
    seen = list(state_mappings())
    assert len(seen) > 2 * len(LOADED)
    for place, options in seen:
        key_of = codes if "1" in options else {state: state for state in STATES}
        assert {key: result["text"] for key, result in options.items()} == {
            key_of[state]: state for state in STATES
        }, place
        for result in options.values():
            colours[result["text"]].add(result["color"])
    assert all(len(found) == 1 for found in colours.values()), colours
    for override in LOADED[2].panels[0]["fieldConfig"]["overrides"]:
        (colour,) = override["properties"]
        assert {colour["value"]["fixedColor"]} == colours[override["matcher"]["options"]]
    for state, (name,) in colours.items():
        assert name == page_colour(state) or (name.startswith("#") and page_colour(state) == "grey"), state


def page_colour(state: str) -> str:
    """Name the hue that the web page has for a state."""
    found = re.search(rf"--{state}: light-dark\((#\w{{6}}), ", TOKENS)
    assert found is not None
    red, green, blue = (int(found[1][place : place + 2], 16) / 255 for place in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    assert 0.1 < lightness < 0.9
    if saturation < 0.2 and state == "idle":
        return "grey"
    names = {"red": 350, "orange": 35, "green": 140, "blue": 218, "purple": 262}
    return min(names, key=lambda name: min(abs(names[name] - hue * 360), 360 - abs(names[name] - hue * 360)))


@each_dashboard
def test_every_query_of_the_state_uses_the_same_numbers(dashboard: Dashboard) -> None:
    for panel in dashboard.panels:
        for query in panel["targets"]:
            found = dict(re.findall(r'pulse_state\{state="(\w+)", [^}]*\} \* (\d)', query.get("expr", "")))
            assert found in ({}, state_codes()), panel["title"]


@each_dashboard
def test_a_number_is_shown_in_its_unit(dashboard: Dashboard) -> None:
    ratio = "percentunit" if dashboard.source == "prometheus" else "percent"
    wanted = {
        "Loss": ("decimals", 4),
        "Progress": ("unit", ratio),
        "Time left": ("unit", "s"),
        "Last write": ("unit", "dateTimeFromNow"),
        "Since last write": ("unit", "s"),
    }
    seen = set()
    for panel in dashboard.panels:
        named = {panel["title"]: panel["fieldConfig"]["defaults"]} if panel["type"] == "timeseries" else {}
        for override in panel["fieldConfig"]["overrides"]:
            properties = {found["id"]: found["value"] for found in override["properties"]}
            if panel["type"] != "timeseries":
                named[properties.get("displayName", override["matcher"]["options"])] = properties
        for title, settings in named.items():
            name, value = wanted.get(title.removesuffix(", logarithmic"), (None, None))
            if name is not None:
                assert settings[name] == value, f"{panel['title']}: {title}"
                seen.add(title)
    assert {"Loss", "Progress", "Time left"} < seen


@each_dashboard
def test_the_logarithmic_loss_differs_by_its_scale_alone(dashboard: Dashboard) -> None:
    plain, log = (
        next(copy.deepcopy(panel) for panel in dashboard.panels if panel["title"] == title)
        for title in ("Loss", "Loss, logarithmic")
    )
    scale = log["fieldConfig"]["defaults"]["custom"].pop("scaleDistribution")
    assert scale == {"type": "log", "log": 10}
    for name in ("id", "title", "gridPos"):
        del plain[name], log[name]
    assert plain == log


@each_dashboard
def test_an_empty_panel_says_what_to_do(dashboard: Dashboard) -> None:
    for panel in dashboard.panels:
        told = panel["fieldConfig"]["defaults"]["noValue"]
        assert "pulse-bridge" in told or "All jobs" in told, panel["title"]


def test_the_time_range_is_what_the_way_in_can_show() -> None:
    for dashboard in LOADED:
        live = dashboard.source == "mqtt"
        assert dashboard.document["time"] == {"from": "now-15m" if live else "now-6h", "to": "now"}
        assert dashboard.document["refresh"] == {"mqtt": "", "redis": "10s", "prometheus": "30s"}[dashboard.source]


# From one to the other


@each_dashboard
def test_it_asks_the_source_that_the_reader_chooses(dashboard: Dashboard) -> None:
    plugin = PLUGINS[dashboard.source]
    assert dashboard.variables["datasource"]["query"] == plugin
    assert dashboard.variables["datasource"]["current"]["value"] == f"pulse-bridge-{dashboard.source}"
    for panel in dashboard.panels:
        for asked in (panel, *panel["targets"]):
            if asked["datasource"]["uid"] != REUSE:
                assert asked["datasource"] == {"type": plugin, "uid": "${datasource}"}, panel["title"]


def variables_of(url: str) -> tuple[str, set[str]]:
    """Give the uid that a link leads to, and the variables that it sets."""
    filled = interpolate(url, {"datasource": "a", "prefix": "b"}).replace("&${__url_time_range}", "")
    parts = urlsplit(filled)
    assert parts.path.startswith("/d/")
    return parts.path.removeprefix("/d/"), {name for name, _ in parse_qsl(parts.query, strict_parsing=True)}


@each_dashboard
def test_its_links_lead_to_a_dashboard_and_set_only_variables_that_it_has(dashboard: Dashboard) -> None:
    known = {other.document["uid"]: {f"var-{name}" for name in other.variables} for other in LOADED}
    urls = [link["url"] for link in dashboard.document["links"]]
    urls += [url for panel in dashboard.panels for url in links_of(panel)]
    assert len(urls) == (2 if dashboard.kind == "all-jobs" else 1)
    for url in urls:
        uid, named = variables_of(url)
        assert named <= known[uid]
        assert uid != dashboard.document["uid"]


@each_dashboard
def test_a_click_on_a_job_shows_that_job(dashboard: Dashboard) -> None:
    if dashboard.kind == "one-job":
        return
    (url,) = [url for panel in dashboard.panels for url in links_of(panel)]
    uid, named = variables_of(url)
    assert uid == f"pulse-bridge-{dashboard.source}-one-job"
    assert {"var-host", "var-job"} < named


@each_dashboard
def test_every_variable_that_it_names_is_there(dashboard: Dashboard) -> None:
    text = json.dumps(dashboard.document)
    named = set(re.findall(r"\$\{(\w+)[:}]", text)) | set(re.findall(r'=~?\\"\$(\w+)\\"', text))
    assert {name for name in named if not name.startswith("__")} <= set(dashboard.variables)


# Provisioning


def test_the_sources_have_the_names_that_the_dashboards_begin_with() -> None:
    sources = provisioned("datasources")["datasources"]
    assert {source["uid"]: source["type"] for source in sources} == {
        f"pulse-bridge-{name}": plugin for name, plugin in PLUGINS.items()
    }
    names = {source["uid"]: source["name"] for source in sources}
    for dashboard in LOADED:
        current = dashboard.variables["datasource"]["current"]
        assert names[current["value"]] == current["text"]


def test_the_dashboards_are_looked_for_where_they_are_mounted() -> None:
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards/pulse-bridge"
    assert all(Path(path).suffix == ".json" for path in DASHBOARDS)


def test_the_document_tells_where_the_folders_go() -> None:
    document = (GRAFANA.parents[1] / "docs" / "grafana.md").read_text(encoding="utf-8")
    (provider,) = provisioned("dashboards")["providers"]
    assert f"| `adapters/grafana/dashboards` | `{provider['options']['path']}` |" in document
    assert all(plugin in document for plugin in PLUGINS.values())


def test_the_document_tells_the_colours_and_numbers_of_the_states() -> None:
    document = " ".join((GRAFANA.parents[1] / "docs" / "grafana.md").read_text(encoding="utf-8").split())
    colours = ", ".join(f"{state} {page_colour(state)}" for state in MAPPED)
    assert colours in document
    codes = state_codes()
    assert f"1 to 6 stand for {', '.join(sorted(codes, key=codes.__getitem__))}" in document
