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

from pulse_bridge.cli import cli
from tests.support.containers import COMPOSE, ROOT, load_compose

COMPOSED = load_compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSED["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
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
    if "build" in spec:
        assert spec["image"] == "pulse-bridge:local"
    else:
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?$", spec["image"])


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


# The image


def test_the_image_ends_without_root_and_without_what_built_it() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == ["10001:10001"]
    assert not re.search(r"\b(apt|apt-get|gcc)\b", DOCKERFILE)
    assert "--no-index" in last
    assert re.search(r"^ARG PYTHON=3\.\d+\.\d+-slim", DOCKERFILE, re.MULTILINE)


def test_what_is_copied_into_the_image_is_here_and_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignore
    copied = [
        source for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE) for source in line.split()[:-1]
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
