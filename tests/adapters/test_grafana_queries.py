"""What the Grafana dashboards ask is there: each query of each panel is run against the real servers.

Some trainings are published by the real sidecar to a real Redis and a real broker; a real Prometheus scrapes the
real subscriber. Then every panel must get rows, and every column that a transformation, an override or a link
names must be one of them.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import pytest
from redis.exceptions import NoPermissionError

from deploy.make_secrets import PASSWORDS, redis_acl
from pulse_bridge.event import STATES
from tests.support.grafana import (
    DASHBOARDS,
    Dashboard,
    Panel,
    interpolate,
    interpolate_all,
    links_of,
    load,
    mappings_of,
)
from tests.support.grafana_cluster import HOST, JOB, VALUES, Cluster, train
from tests.support.grafana_sources import ask_redis
from tests.support.logged_process import LoggedProcess
from tests.support.mosquitto import Mosquitto, MqttListener
from tests.support.processes import free_port, wait_until_blocking
from tests.support.prometheus import Prometheus, get
from tests.support.redis_server import RedisServer
from tests.support.sidecar_process import SidecarProcess

STATE_OF: Final = {
    "finished": "done",
    "failed": "error",
    "hangs": "stale",
    "diverges": "running",
    "waits": "idle",
    JOB: "running",
}
DOCUMENT: Final = (Path(__file__).parents[2] / "docs" / "grafana.md").read_text(encoding="utf-8")
LOADED: Final = [load(path) for path in DASHBOARDS]
CASES: Final = [
    pytest.param(dashboard, panel, id=f"{dashboard} {panel['title']}")
    for dashboard in LOADED
    for panel in dashboard.panels
]
each_panel = pytest.mark.parametrize(("dashboard", "panel"), CASES)


@pytest.fixture(scope="module")
def cluster(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("grafana")
    with (
        Mosquitto(folder) as broker,
        MqttListener(broker.port) as listener,
        server.client() as redis,
    ):
        urls = [server.url, f"mqtt://127.0.0.1:{broker.port}"]
        with SidecarProcess(folder, urls, host=HOST) as sidecar:
            train(sidecar.jobs, lambda: json.loads(redis.hget("pulse:state", f"{HOST}/{JOB}") or "{}"))
            wait_until_blocking(lambda: redis.hlen("pulse:state") == len(STATE_OF), "Redis has every job")
            wait_until_blocking(lambda: told(listener), "the broker has told of every job and of the host")
            port = free_port()
            arguments = ["subscribe", f"prometheus?port={port}", "--from", server.url]
            with (
                LoggedProcess(arguments, folder / "subscriber.log", state_folder=folder) as subscriber,
                Prometheus(folder, [port]) as prometheus,
            ):
                subscriber.wait_for_message("serving metrics")
                wait_until_blocking(lambda: get(port, "/healthz").status == 200, "the subscriber knows what is so")
                everything = (
                    "rate(pulse_bridge_events_published_total[1m]) and pulse_host_up == 1"
                    f" and on () count(pulse_epoch) == {len(STATE_OF)}"
                )
                wait_until_blocking(lambda: bool(prometheus.query(everything)), "Prometheus has scraped it twice")
                yield Cluster(redis, prometheus, listener)


def told(listener: MqttListener) -> bool:
    received = list(listener.received)
    jobs = {message.topic: json.loads(message.payload) for message in received if message.topic.endswith("/state")}
    losses = {event.get("loss") for event in jobs.values() if event["job"] == JOB}
    return losses == {0.342} and len(jobs) == len(STATE_OF) and any(m.topic.endswith("/host") for m in received)


# Each panel


@each_panel
def test_it_gets_rows(cluster: Cluster, dashboard: Dashboard, panel: Panel) -> None:
    frames = cluster.show(dashboard, panel)
    assert frames
    assert all(len(frame) for frame in frames)
    if panel["type"] in ("timeseries", "state-timeline"):
        assert any(
            value is not None and value == value  # noqa: PLR0124 - NaN
            for frame in frames
            for name, values in frame.columns.items()
            for value in values
            if name not in ("Time", "$time")
        )


@each_panel
def test_every_column_that_it_names_is_there(cluster: Cluster, dashboard: Dashboard, panel: Panel) -> None:
    frames = cluster.show(dashboard, panel)
    columns = {name for frame in frames for name in frame.columns}
    renamed = set(columns)
    for override in panel["fieldConfig"]["overrides"]:
        name = override["matcher"]["options"]
        assert name in columns, f"{name!r} is none of {sorted(columns)}"
        renamed |= {found["value"] for found in override["properties"] if found["id"] == "displayName"}
    for by in panel["options"].get("sortBy", []):
        assert by["displayName"] in renamed
    shown = panel["options"].get("reduceOptions", {}).get("fields", "")
    assert shown in ("", "/.*/")
    for url in links_of(panel):
        assert set(re.findall(r"__data\.fields\.(\w+)", url)) <= columns
    labels = re.findall(r"__field\.labels\.(\w+)", panel["fieldConfig"]["defaults"].get("displayName", ""))
    assert all(set(labels) <= frame.labels.keys() for frame in frames)


@each_panel
def test_every_state_that_it_shows_has_a_word(cluster: Cluster, dashboard: Dashboard, panel: Panel) -> None:
    mapped = {key for mappings in mappings_of(panel) for mapping in mappings for key in mapping["options"]}
    for frame in cluster.show(dashboard, panel):
        for name, values in frame.columns.items():
            texts = {value for value in values if isinstance(value, str)}
            if texts and name.removesuffix(" (last)") == "state":
                assert texts <= mapped
                assert texts <= set(STATES)


# What they show together


def panel_of(source: str, kind: str, title: str) -> tuple[Dashboard, Panel]:
    (dashboard,) = [found for found in LOADED if (found.source, found.kind) == (source, kind)]
    (panel,) = [panel for panel in dashboard.panels if panel["title"] == title]
    return dashboard, panel


@pytest.mark.parametrize("source", ["redis", "mqtt"])
def test_the_table_of_jobs_has_one_row_for_each_with_its_state(cluster: Cluster, source: str) -> None:
    (frame,) = cluster.show(*panel_of(source, "all-jobs", "Jobs"))
    state = frame.column("state" if source == "redis" else "state (last)")
    assert dict(zip(frame.column("job"), state, strict=True)) == STATE_OF
    assert set(frame.column("host")) == {HOST}


def test_the_table_of_prometheus_says_the_same_in_numbers(cluster: Cluster) -> None:
    dashboard, panel = panel_of("prometheus", "all-jobs", "Jobs")
    (frame,) = cluster.show(dashboard, panel)
    mapping = next(mappings_of(panel))[0]
    words = [mapping["options"][f"{value:g}"]["text"] for value in frame.column("Value #A")]
    assert dict(zip(frame.column("training_job"), words, strict=True)) == STATE_OF
    diverged = dict(zip(frame.column("training_job"), frame.column("Value #H"), strict=True))
    assert {job for job, value in diverged.items() if value} == {"diverges"}


@pytest.mark.parametrize("source", ["redis", "mqtt"])
def test_the_past_of_a_job_is_shown_in_order(cluster: Cluster, source: str) -> None:
    (frame,) = cluster.show(*panel_of(source, "one-job", "Loss"))
    losses = [loss for loss, _ in zip(frame.column("loss"), range(99), strict=False)]
    assert list(dict.fromkeys(losses)) == [0.9, 0.5, 0.342]


@pytest.mark.parametrize("source", ["redis", "mqtt"])
def test_the_first_tiles_say_what_is_so_now(cluster: Cluster, source: str) -> None:
    (frame,) = cluster.show(*panel_of(source, "one-job", "Now"))
    newest = {name: values[-1] for name, values in frame.columns.items()}
    assert list(newest) == [
        "state",
        "progress",
        "loss",
        "eta_s",
        "last_update",
        "epoch",
        "total_epochs",
        "run_began",
    ]
    assert newest["state"] == "running"
    assert newest["progress"] == 50
    assert abs(newest["last_update"] / 1000 - time.time()) < 600, "milliseconds, as Grafana has it"
    assert abs(newest["run_began"] / 1000 - time.time()) < 600


@pytest.mark.parametrize(("host", "word"), [(HOST, "heard"), ("Node 2", "silent")])
def test_a_sidecar_is_heard_as_long_as_its_key_lives(cluster: Cluster, host: str, word: str) -> None:
    dashboard, panel = panel_of("redis", "one-job", "Sidecar")
    (query,) = interpolate_all(dashboard.queries(panel), VALUES | {"host": host})
    (frame,) = ask_redis(cluster.redis, query, 0, 0)
    (value,) = frame.column("Value")
    gone, alive = panel["fieldConfig"]["defaults"]["mappings"]
    if f"{value:g}" in gone["options"]:
        assert gone["options"][f"{value:g}"]["text"] == word
    else:
        assert alive["options"]["from"] <= value <= alive["options"]["to"]
        assert alive["options"]["result"]["text"] == word


# What docs/grafana.md says, and what compose.yaml sets up


def user_of_document() -> str:
    (line,) = re.findall(r"^ACL SETUSER .*", DOCUMENT, re.MULTILINE)
    return str(line)


def user_of_compose() -> str:
    passwords = dict.fromkeys(PASSWORDS, "PASSWORD")
    (line,) = [line for line in redis_acl(passwords).splitlines() if line.startswith("user grafana ")]
    return f"ACL SETUSER {line.removeprefix('user ')}"


@pytest.mark.parametrize("user", [user_of_document(), user_of_compose()], ids=["document", "compose"])
def test_the_user_may_do_all_that_the_dashboards_ask(cluster: Cluster, server: RedisServer, user: str) -> None:
    cluster.redis.execute_command("ACL", "DELUSER", "grafana")
    cluster.redis.execute_command(*user.split())
    with server.client(username="grafana", password="PASSWORD") as client:
        limited = replace(cluster, redis=client)
        for dashboard in LOADED:
            if dashboard.source == "redis":
                for panel in dashboard.panels:
                    assert limited.ask(dashboard, panel), panel["title"]
                if dashboard.kind == "one-job":
                    assert choices_of(limited, dashboard, "host", VALUES) == [HOST]
                    assert sorted(choices_of(limited, dashboard, "job", VALUES)) == sorted(STATE_OF)
        assert client.ping()
        with pytest.raises(NoPermissionError):
            client.delete("pulse:state")


def test_the_conditions_of_the_document_find_what_is_wrong(cluster: Cluster) -> None:
    (block,) = re.findall(r"```promql\n(.*?)```", DOCUMENT, re.DOTALL)
    found = [
        {labels.get("training_job") for labels, _ in cluster.prometheus.query(condition)}
        for condition in block.splitlines()
    ]
    assert found == [{"hangs"}, {"failed"}, {"diverges"}, set(), set()]


# The choices


def choices_of(cluster: Cluster, dashboard: Dashboard, name: str, values: Mapping[str, str]) -> list[str]:
    """Give what a variable offers."""
    variable = dashboard.variables[name]
    query = interpolate(variable["query"], values)
    if dashboard.source == "prometheus":
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert found is not None
        path = f"/api/v1/label/{found[2]}/values?{urlencode({'match[]': found[1]})}"
        answer: Sequence[str] = json.loads(get(cluster.prometheus.port, path).text)["data"]
        return list(answer)
    pattern = interpolate(variable["regex"], values).removeprefix("/").removesuffix("/").replace(r"\/", "/")
    (frame,) = ask_redis(cluster.redis, {"type": "cli", "query": query}, 0, 0)
    matches = [re.search(pattern, value) for value in frame.column("Value")]
    return list(dict.fromkeys(found[1] for found in matches if found))


@pytest.mark.parametrize("source", ["redis", "prometheus"])
def test_host_and_job_can_be_chosen(cluster: Cluster, source: str) -> None:
    dashboard, _ = panel_of(source, "one-job", "Loss")
    assert choices_of(cluster, dashboard, "host", VALUES) == [HOST]
    jobs = choices_of(cluster, dashboard, "job", VALUES)
    assert sorted(jobs) == sorted(STATE_OF)
    assert choices_of(cluster, dashboard, "job", VALUES | {"host": "Node"}) == [], "those of that host alone"
