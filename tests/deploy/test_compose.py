"""What compose.yaml and the Dockerfile promise, read from the files."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from deploy.make_secrets import PASSWORDS
from pulse_bridge.cli import cli
from tests.support.compose_file import COMPOSE, DOCKERFILE, OUR_IMAGE, ROOT, image_owners, load_compose

COMPOSED = load_compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSED["services"]
DOCKERFILE_TEXT = DOCKERFILE.read_text(encoding="utf-8")
each_service = pytest.mark.parametrize("name", SERVICES)


def test_it_meets_the_compose_specification() -> None:
    check = Path(sys.executable).with_name("check-jsonschema")
    subprocess.run([check, "--builtin-schema", "vendor.compose-spec", COMPOSE], check=True, capture_output=True)


def test_its_variables_all_have_a_default() -> None:
    found = re.findall(r"(?<!\$)\$(?!\$)\{?(\w+)(:-)?", COMPOSE.read_text(encoding="utf-8"))
    assert found
    assert [name for name, default in found if not default] == []


@each_service
def test_what_is_mounted_from_here_is_here_and_read_only(name: str) -> None:
    for text in SERVICES[name].get("volumes", []):
        source, target, *mode = text.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert mode == ["ro"]
        else:
            assert source in COMPOSED["volumes"]


def test_the_status_files_are_mounted_as_a_folder_that_the_sidecar_cannot_write() -> None:
    assert "runs:/runs:ro" in SERVICES["sidecar"]["volumes"]


def test_the_secrets_are_written_by_one_service_alone() -> None:
    writers = [name for name, spec in SERVICES.items() if "secrets:/secrets" in spec.get("volumes", [])]
    assert writers == ["setup"]


@each_service
def test_nothing_listens_beyond_loopback(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
    assert SERVICES[name].get("network_mode") in {None, "none"}


@each_service
def test_no_password_stands_in_the_file(name: str) -> None:
    spec = SERVICES[name]
    for text in [*spec.get("command", []), *map(str, spec.get("environment", {}).values())]:
        assert not re.search(r"://[^/@\s]*:[^/@\s]+@", text)
    for variable, value in spec.get("environment", {}).items():
        assert not re.search("PASSWORD|TOKEN|SECRET", variable) or str(value).startswith("/secrets/")


def known_variables(command: click.Command) -> set[str]:
    found = {str(parameter.envvar) for parameter in command.params if parameter.envvar}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            sub = command.get_command(context, name)
            assert sub is not None
            found |= known_variables(sub)
    return found


def test_each_variable_of_ours_is_one_that_the_commands_know() -> None:
    used = {
        variable
        for spec in SERVICES.values()
        for variable in spec.get("environment", {})
        if variable.startswith("PULSE_BRIDGE_")
    }
    assert {"PULSE_BRIDGE_TO", "PULSE_BRIDGE_PATHS", "PULSE_BRIDGE_FROM"} <= used
    assert used <= known_variables(cli)


@each_service
def test_nothing_is_root_or_gains_rights(name: str) -> None:
    spec = SERVICES[name]
    if name == "homeassistant":
        assert "user" not in spec  # its image takes no other
        return
    assert re.fullmatch(r"(\$\{PULSE_UID:-)?[1-9]\d*\}?:\d+", spec["user"])
    assert spec["cap_drop"] == ["ALL"]
    assert spec["security_opt"] == ["no-new-privileges:true"]


@each_service
def test_what_lasts_has_a_health_check_and_starts_again(name: str) -> None:
    spec = SERVICES[name]
    if spec["restart"] == "no":
        assert name == "setup"
        return
    assert spec["restart"] == "unless-stopped"
    assert spec["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


@each_service
def test_each_image_is_one_version(name: str) -> None:
    spec = SERVICES[name]
    if spec["image"] != OUR_IMAGE:
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?$", spec["image"])
        assert "build" not in spec


def test_our_image_is_built_by_one_service_and_asked_of_no_registry() -> None:
    ours = {name: spec for name, spec in SERVICES.items() if spec["image"] == OUR_IMAGE}
    assert [name for name, spec in ours.items() if "build" in spec] == ["setup"]
    for name, spec in ours.items():
        if name != "setup":
            assert spec["pull_policy"] == "never"
            assert "setup" in spec["depends_on"], "so that to start this one alone builds the image, too"


def test_each_plugin_of_grafana_is_one_version() -> None:
    plugins = SERVICES["grafana"]["environment"]["GF_PLUGINS_PREINSTALL"].split(",")
    assert [re.fullmatch(r"(.+)@\d+\.\d+\.\d+", plugin)[1] for plugin in plugins] == [  # type: ignore[index]
        "redis-datasource",
        "grafana-mqtt-datasource",
    ]


@each_service
def test_whoever_reads_the_secrets_is_in_their_group_and_waits_until_they_are_made(name: str) -> None:
    spec = SERVICES[name]
    if "secrets:/secrets:ro" in spec.get("volumes", []):
        _, gid, mode = image_owners()["/secrets"]
        assert mode == 0o750
        assert str(gid) in {spec["user"].partition(":")[2], *spec.get("group_add", [])}
        assert spec["depends_on"]["setup"] == {"condition": "service_completed_successfully"}


def test_only_home_assistant_waits_for_its_profile() -> None:
    assert [name for name, spec in SERVICES.items() if "profiles" in spec] == ["homeassistant"]
    assert SERVICES["homeassistant"]["profiles"] == ["home"]


def test_the_sidecar_has_the_time_to_flush() -> None:
    assert SERVICES["sidecar"]["stop_grace_period"] == "10s"  # it takes 5 s at most


def test_grafana_is_given_the_sources_that_its_dashboards_name_with_a_login_each() -> None:
    def sources(path: str) -> dict[str, dict[str, Any]]:
        loaded = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
        return {source["uid"]: source for source in loaded["datasources"]}

    plain = sources("adapters/grafana/provisioning/datasources/pulse-bridge.yaml")
    ours = sources("deploy/grafana-datasources.yaml")
    assert {uid: source["type"] for uid, source in ours.items()} == {
        uid: source["type"] for uid, source in plain.items()
    }
    for uid, source in ours.items():
        without_login = {"user", "username"}
        settings = {name: value for name, value in source["jsonData"].items() if name not in without_login}
        assert settings == {n: v for n, v in plain[uid]["jsonData"].items() if n not in without_login} | {
            name: value for name, value in settings.items() if name == "acl"
        }
        assert source.get("url") == plain[uid].get("url")
        if source["type"] != "prometheus":
            assert re.fullmatch(r"\$__file\{/secrets/\w+_grafana_password\}", source["secureJsonData"]["password"])


def test_prometheus_scrapes_as_often_as_grafana_takes_it_to() -> None:
    scraped = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text(encoding="utf-8"))["global"]
    sources = yaml.safe_load((ROOT / "deploy/grafana-datasources.yaml").read_text(encoding="utf-8"))["datasources"]
    intervals = {source["jsonData"].get("timeInterval") for source in sources if source["type"] == "prometheus"}
    assert intervals == {scraped["scrape_interval"]}


def test_what_home_assistant_finds_among_its_blueprints_are_automations() -> None:
    (folder,) = [
        source
        for source, target, _ in (text.split(":") for text in SERVICES["homeassistant"]["volumes"] if "./" in text)
        if re.fullmatch(r"/config/blueprints/automation/[\w-]+", target)
    ]
    files = list((ROOT / folder).glob("**/*.yaml"))
    assert files
    for file in files:
        assert re.match(
            r"(#.*\n)*blueprint:\n(  .*\n)*  domain: automation\n", file.read_text(encoding="utf-8")
        ), file


# What docs/compose.md says


def test_the_document_names_each_service_variable_volume_and_password() -> None:
    document = (ROOT / "docs/compose.md").read_text(encoding="utf-8")
    variables = re.findall(r"(?<!\$)\$\{(\w+)", COMPOSE.read_text(encoding="utf-8"))
    for name in {*SERVICES, *COMPOSED["volumes"], *variables}:
        assert f"`{name}`" in document, name
    for name in PASSWORDS:
        assert name in document, name


def test_the_document_names_no_file_or_service_that_is_not_there() -> None:
    document = (ROOT / "docs/compose.md").read_text(encoding="utf-8")
    assert set(re.findall(r"/secrets/(\w+)", document)) <= set(PASSWORDS)
    assert set(re.findall(r"(?:exec|restart|--entrypoint rm|run --rm) ([a-z]+)", document)) <= set(SERVICES)
    (saved,) = re.findall(r"for volume in ([^;]+);", document)
    assert set(saved.split()) == set(COMPOSED["volumes"]) - {"runs", "homeassistant"}


# The image


def test_the_image_ends_without_root_and_without_what_built_it() -> None:
    last = DOCKERFILE_TEXT.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == ["10001:10001"]
    assert not re.search(r"\b(apt|apt-get|gcc)\b", DOCKERFILE_TEXT)
    assert "--no-index" in last
    assert re.search(r"^ARG PYTHON=3\.\d+\.\d+-slim", DOCKERFILE_TEXT, re.MULTILINE)


def test_what_is_copied_into_the_image_is_here_and_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignore
    copied = [
        source
        for line in re.findall(r"^COPY (.*)$", DOCKERFILE_TEXT, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignore


def test_what_makes_the_passwords_needs_nothing_but_the_standard_library() -> None:
    tree = ast.parse((ROOT / "deploy/make_secrets.py").read_text(encoding="utf-8"))
    names = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }
    assert names <= sys.stdlib_module_names
