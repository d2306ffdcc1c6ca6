"""Every service of compose.yaml whose program is on this machine, run as it is written: its command, its mounts,
its user, its health check, its end."""

import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pulse_bridge.writer import write_error_status
from tests.support.compose_file import ROOT
from tests.support.containers import Stack, build_environment
from tests.support.grafana import DASHBOARDS, interpolate, load
from tests.support.grafana_cluster import VALUES
from tests.support.processes import require_binary, wait_until_blocking

LASTING = ("redis", "mosquitto", "trainer", "sidecar", "alerts", "web", "metrics", "prometheus")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for binary in ("redis-server", "mosquitto", "mosquitto_sub", "prometheus", "wget"):
        require_binary(binary)
    if os.getuid() != 0:
        pytest.skip("only root may give a service a root and a network of its own")
    return build_environment(open_folder(tmp_path_factory, "environment"))


def open_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    folder = factory.mktemp(name)
    for above in (folder, *folder.parents[:2]):
        above.chmod(0o755)  # the services are other users
    return folder


@pytest.fixture(scope="module")
def stack(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(open_folder(tmp_path_factory, "stack"), environment) as stack:
        result = stack.run("setup")
        assert result.returncode == 0, result.stderr
        assert "new passwords were made" in result.stdout
        for name in LASTING:
            stack.start(name)
        yield stack


def secret(stack: Stack, name: str) -> str:
    return (stack.volume("secrets") / name).read_text().strip()


def test_every_service_becomes_healthy_by_its_own_check(stack: Stack) -> None:
    for name in LASTING:
        stack.wait_healthy(name)


def test_the_passwords_are_made_once_and_differ_and_others_cannot_read_them(stack: Stack) -> None:
    folder = stack.volume("secrets")
    before = {path.name: path.read_text() for path in folder.iterdir()}
    again = stack.run("setup")
    assert (again.returncode, "there already" in again.stdout) == (0, True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    passwords = [text.strip() for name, text in before.items() if name.endswith(("_password", "_token"))]
    assert len(set(passwords)) == len(passwords) >= 9
    assert not any(password in again.stdout + again.stderr for password in passwords)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o640}


def test_the_page_has_the_demos_job_and_wants_its_token(stack: Stack) -> None:
    assert "HTTP Error 401" in ask(stack, "http://web:8321/api/jobs").stderr
    wait_until_blocking(lambda: jobs(stack) == [("demo", "two-spirals", "running")], "the page has the job")


def ask(stack: Stack, url: str, token: str = "") -> "subprocess.CompletedProcess[str]":
    code = (
        "import sys, urllib.request as r;"
        "q = r.Request(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2], 'Host': 'localhost:8321'});"
        "print(r.urlopen(q, timeout=10).read().decode())"
    )
    return stack.run("web", ["python", "-c", code, url, token])


def jobs(stack: Stack) -> list[tuple[str, str, str]]:
    result = ask(stack, "http://web:8321/api/jobs", secret(stack, "web_token"))
    return [(job["host"], job["job"], job["state"]) for job in json.loads(result.stdout)["jobs"]]


def test_prometheus_has_the_jobs_loss_and_the_rules(stack: Stack) -> None:
    def series() -> list[dict[str, object]]:
        result = ask(stack, "http://prometheus:9090/api/v1/query?query=pulse_loss")
        found: list[dict[str, object]] = json.loads(result.stdout)["data"]["result"]
        return found

    wait_until_blocking(lambda: len(series()) == 1, "the loss has been scraped", timeout_s=60)
    rules = json.loads(ask(stack, "http://prometheus:9090/api/v1/rules").stdout)["data"]["groups"]
    assert sum(len(group["rules"]) for group in rules) >= 5


def listening(user: str, password: str, topic: str, *, wait_s: int = 15) -> list[str]:
    return [
        "stdbuf",
        "-oL",
        "mosquitto_sub",
        "-h",
        "mosquitto",
        "-u",
        user,
        "-P",
        password,
        "-t",
        topic,
        "-C",
        "1",
        "-W",
        str(wait_s),
        "-d",
    ]


def heard(
    stack: Stack, user: str, password: str, topic: str, *, wait_s: int = 15
) -> "subprocess.CompletedProcess[str]":
    command = listening(user, password, topic, wait_s=wait_s)
    return stack.run("mosquitto", [part for part in command if part != "-d"])


def test_home_assistant_is_let_in_and_finds_the_discovery(stack: Stack) -> None:
    result = heard(
        stack, "homeassistant", secret(stack, "mqtt_homeassistant_password"), "homeassistant/device/+/config"
    )
    assert result.returncode == 0, result.stderr + stack.log("sidecar")
    assert json.loads(result.stdout)["origin"]["name"] == "pulse-bridge"
    refused = heard(stack, "homeassistant", "guessed", "homeassistant/device/+/config")
    assert refused.returncode != 0
    assert "not authori" in (refused.stdout + refused.stderr).lower()


def test_redis_tells_a_stranger_nothing(stack: Stack) -> None:
    for command in (["ping"], ["hgetall", "pulse:state"]):
        assert "NOAUTH" in stack.run("redis", ["redis-cli", "-h", "redis", *command]).stdout
    reader = ["redis-cli", "-h", "redis", "--user", "grafana", "-a", secret(stack, "redis_grafana_password")]
    assert "two-spirals" in stack.run("redis", [*reader, "hgetall", "pulse:state"]).stdout
    assert "NOPERM" in stack.run("redis", [*reader, "del", "pulse:state"]).stdout


@pytest.mark.parametrize("command", [("del", "pulse:state"), ("hset", "pulse:state", "a", "b"), ("acl", "list")])
def test_who_reads_redis_writes_nothing_but_where_it_is(stack: Stack, command: tuple[str, ...]) -> None:
    reader = ["redis-cli", "-h", "redis", "--user", "pulse-reader", "-a", secret(stack, "redis_reader_password")]
    assert "NOPERM" in stack.run("redis", [*reader, *command]).stdout
    assert "two-spirals" in stack.run("redis", [*reader, "hgetall", "pulse:state"]).stdout
    assert stack.run("redis", [*reader, "hset", "pulse:group:tried", "a", "b"]).stdout.strip() == "1"
    assert stack.run("redis", [*reader, "del", "pulse:group:tried"]).stdout.strip() == "1"


def test_grafana_is_let_in_to_each_topic_of_its_dashboards_and_to_no_other(stack: Stack) -> None:
    password = secret(stack, "mqtt_grafana_password")
    topics = {
        interpolate(query["topic"], VALUES)
        for dashboard in map(load, DASHBOARDS)
        if dashboard.source == "mqtt"
        for panel in dashboard.panels
        for query in dashboard.queries(panel)
    }
    assert topics >= {"pulse/+/+/state", "pulse/+/host"}
    for topic in topics:
        result = heard(stack, "grafana", password, topic)
        assert json.loads(result.stdout)["host"] == "demo", result.stderr
    assert heard(stack, "grafana", password, "homeassistant/#", wait_s=2).stdout == ""


def test_a_job_that_fails_is_told_on_the_topic_of_alerts(stack: Stack) -> None:
    folder = stack.volume("runs") / "unlucky"
    folder.mkdir()
    with stack.listener(
        "alerts-heard",
        "mosquitto",
        listening("homeassistant", secret(stack, "mqtt_homeassistant_password"), "pulse-alerts/#"),
    ) as listener:
        wait_until_blocking(lambda: "Subscribed" in stack.log("alerts-heard"), "somebody listens")
        write_error_status(str(folder / "training_status.json"), "out of memory", strict=True)
        assert listener.wait(90) == 0, stack.log("alerts") + stack.log("mosquitto") + stack.log("sidecar")
    assert "unlucky" in stack.log("alerts-heard")


def test_the_targets_of_alerts_can_be_tried_as_the_document_says(stack: Stack) -> None:
    (line,) = re.findall(r"docker compose run --rm alerts (.+)", (ROOT / "docs/compose.md").read_text())
    result = stack.run("alerts", ["pulse-bridge", *line.split()])
    assert (result.returncode, result.stdout) == (0, "mqtt (mqtt://***): delivered\n"), result.stderr


def test_no_log_has_a_secret_in_it(stack: Stack) -> None:
    secrets = [path.read_text().strip() for path in stack.volume("secrets").glob("*_password")]
    for name in LASTING:
        assert not any(password in stack.log(name) for password in secrets), name


def test_each_ends_when_it_is_told_to_within_its_grace_and_its_health_check_notices(stack: Stack) -> None:
    codes, missed = {}, []
    for name in reversed(LASTING):
        codes[name] = stack.stop(name)
        if stack.run(name, stack.services[name].health_command).returncode == 0:
            missed.append(name)
    assert codes.pop("trainer") == -signal.SIGTERM  # it is killed in the midst of its work, as a training is
    assert codes == dict.fromkeys(codes, 0)
    # These two look at when they last wrote.
    assert set(missed) <= {"sidecar", "trainer"}


def test_what_redis_and_the_broker_know_outlives_them(stack: Stack) -> None:
    for name in ("redis", "mosquitto"):
        stack.start(name)
        stack.wait_healthy(name)
    reader = ["redis-cli", "-h", "redis", "--user", "grafana", "-a", secret(stack, "redis_grafana_password")]
    assert "two-spirals" in stack.run("redis", [*reader, "hgetall", "pulse:state"]).stdout
    kept = heard(stack, "grafana", secret(stack, "mqtt_grafana_password"), "pulse/+/bridge")
    assert kept.stdout.strip() == "offline"


def test_the_sidecar_may_be_the_user_whose_files_they_are(
    environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = open_folder(tmp_path_factory, "owned")
    with Stack(folder, environment, PULSE_UID="12345") as stack:
        assert stack.run("setup").returncode == 0
        for name in ("trainer", "sidecar"):
            stack.start(name)
        for name in ("trainer", "sidecar"):
            stack.wait_healthy(name)
        status = stack.volume("runs") / "two-spirals" / "training_status.json"
        assert status.stat().st_uid == 12345
        status.parent.chmod(0o700)
        command = "pulse-bridge replay --from journal:///journal/journal.db --kind change --since 1h --json"
        wait_until_blocking(lambda: "two-spirals" in stack.run("sidecar", command.split()).stdout, "it is read")
