import logging
import os
import re
import socket
from pathlib import Path
from typing import Any

import click
import pytest

from pulse_bridge import config
from pulse_bridge.cli.run import run
from pulse_bridge.config import (
    JobSettings,
    SidecarSettings,
    default_host,
    default_journal,
    read_config,
    setting_names,
    sidecar_settings,
)
from pulse_bridge.errors import ConfigError

NAMES = ["PULSE_BRIDGE_HOST", "SLURM_JOB_ID"]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def merged(file: dict[str, Any] | None = None, **flags: Any) -> SidecarSettings:
    return sidecar_settings({"paths": ["./runs"], **(file or {})}, flags)


# Where a value comes from


def test_a_flag_wins_over_the_file_and_the_file_over_the_default() -> None:
    assert merged().stale_after_s == 60
    assert merged({"stale_after_s": 90}).stale_after_s == 90
    assert merged({"stale_after_s": 90}, stale_after_s=120.0).stale_after_s == 120


def test_labels_of_both_places_are_joined_and_the_flag_wins_one_by_one() -> None:
    file = {"labels": {"profile": "a", "dataset": "b"}}
    assert merged(file, labels={"profile": "x", "team": "y"}).labels == {
        "profile": "x",
        "dataset": "b",
        "team": "y",
    }


def test_every_flag_of_run_is_a_setting_and_has_an_environment_variable() -> None:
    for parameter in run.params:
        if parameter.name == "config":
            continue
        assert parameter.name in setting_names()
        assert isinstance(parameter.envvar, str), parameter.name
        assert parameter.envvar.startswith("PULSE_BRIDGE_")


def test_the_help_of_run_shows_the_defaults_that_hold() -> None:
    for parameter in run.params:
        shown = re.search(r"\[default: ([\d.]+)\]", getattr(parameter, "help", None) or "")
        if shown:
            assert parameter.name is not None
            assert float(shown[1]) == SidecarSettings.model_fields[parameter.name].default
    assert isinstance(run, click.Command)


def test_a_job_s_threshold_is_that_of_the_first_glob_that_sets_one() -> None:
    settings = merged(
        {
            "stale_after_s": 50,
            "jobs": {"llm/*": {"stale_after_s": 300}, "*/slow": {"stale_after_s": 900}, "vit": {}},
        }
    )
    assert [settings.stale_after_s_of(job) for job in ("llm/slow", "x/slow", "vit", "other")] == [300, 900, 50, 50]


# Refusals


@pytest.mark.parametrize(
    ("file", "flags", "sentence"),
    [
        ({"paths": None}, {}, "pulse-bridge.toml: setting 'paths': it is a list; write paths = ['…']"),
        ({"paths": []}, {}, "no PATH is given: name a status file, a folder or a glob"),
        ({"paths": "./runs"}, {}, "pulse-bridge.toml: setting 'paths': it is a list; write paths = ['…']"),
        ({"to": "redis://:hunter2@h"}, {}, "pulse-bridge.toml: setting 'to': it is a list; write to = ['…']"),
        ({"staleafter": 5}, {}, "pulse-bridge.toml: there is no setting 'staleafter'; known are: coalesce_ms, "),
        ({"stale_after_s": 0}, {}, "pulse-bridge.toml: setting 'stale_after_s': Input should be greater than 0"),
        ({}, {"stale_after_s": -1.0}, "the command line or environment: setting 'stale_after_s': Input should be"),
        (
            {"stale_after_s": 5},
            {"stale_after_s": -1.0},
            "the command line or environment: setting 'stale_after_s'",
        ),
        ({"host": "a/b"}, {}, "pulse-bridge.toml: setting 'host': a host name is one line of text without '/'"),
        ({}, {"host": ""}, "the command line or environment: setting 'host': a host name is one line"),
        ({"labels": {"a b": "x"}}, {}, "setting 'labels': the label name 'a b' is not made of letters"),
        ({}, {"labels": {"a": "x\ny"}}, "setting 'labels': the value of the label 'a' is not one line of text"),
        ({}, {"labels": {"a": "\udcff"}}, "setting 'labels': the value of the label 'a' is not one line of text"),
        ({"labels": "x"}, {"labels": {"a": "b"}}, None),
        ({"labels": "x"}, {}, "pulse-bridge.toml: setting 'labels': it is a table; write [labels]"),
        ({"jobs": {"llm": {"stale": 5}}}, {}, "there is no setting 'jobs.llm.stale'; known are: stale_after_s"),
        ({"jobs": {"llm": {"stale_after_s": "x"}}}, {}, "setting 'jobs.llm.stale_after_s': Input should be"),
        ({"jobs": 5}, {}, "pulse-bridge.toml: setting 'jobs': it is a table; write [jobs]"),
        ({"journal_max_bytes": 10}, {}, "pulse-bridge.toml: setting 'journal_max_bytes': Input should be greater"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it_and_its_place(
    file: dict[str, Any], flags: dict[str, Any], sentence: str | None
) -> None:
    if sentence is None:
        assert merged(file, **flags).labels == {"a": "b"}
        return
    with pytest.raises(ConfigError) as error:
        merged(file, **flags)
    text = str(error.value)
    assert sentence in text
    assert "\n" not in text
    assert "hunter2" not in text


def test_without_a_path_the_refusal_shows_what_to_write() -> None:
    with pytest.raises(ConfigError, match="no PATH is given: .*'pulse-bridge run ./runs'"):  # noqa: RUF043 - plain dots
        sidecar_settings({}, {})


def test_a_host_name_from_the_environment_is_checked_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULSE_BRIDGE_HOST", "a/b")
    with pytest.raises(ConfigError, match="a host name is one line of text without '/'"):
        merged()


# The file


def test_the_file_in_this_folder_is_read_if_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_config(None) == {}
    (tmp_path / "pulse-bridge.toml").write_text('to = ["redis://h"]\n')
    assert read_config(None) == {"to": ["redis://h"]}


def test_a_file_that_was_named_must_be_there_and_be_toml(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    with pytest.raises(ConfigError, match=f"the configuration file {file} is not there"):
        read_config(file)
    file.write_text("to = [")
    with pytest.raises(ConfigError, match=f"{file}: no TOML: Invalid value"):
        read_config(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(file)
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(file)


# Defaults


def test_the_host_is_what_is_set_or_the_machine_s_name_with_the_slurm_job() -> None:
    machine = socket.gethostname().replace("/", "_")
    assert default_host({}) == machine
    assert default_host({"SLURM_JOB_ID": "123"}) == f"{machine}-123"
    assert default_host({"SLURM_JOB_ID": "123", "PULSE_BRIDGE_HOST": "gpu"}) == "gpu"


def test_the_journal_lies_in_the_state_folder_under_the_host_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert merged(host="gpu").journal_path == tmp_path / "pulse-bridge" / "gpu.db"
    assert merged(host="gpu", journal=Path("x.db")).journal_path == Path("x.db")


@pytest.fixture
def state_on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(config, "remote_fs_type", lambda _: "nfs4")
    monkeypatch.setattr(config, "_LOCAL_FOLDERS", tmp_path)
    return tmp_path / f"pulse-bridge-{os.getuid()}"


def test_a_state_folder_on_a_network_is_left_for_a_local_disk_with_one_log_line(
    state_on_nfs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert default_journal("gpu") == state_on_nfs / "gpu.db"
    (record,) = caplog.records
    assert record.message == "the state folder is on a network file system; the journal is kept on a local disk"
    assert vars(record)["fs_type"] == "nfs4"
    state_on_nfs.mkdir()
    assert default_journal("gpu") == state_on_nfs / "gpu.db"


def test_a_local_folder_that_is_somebody_else_s_is_not_used(state_on_nfs: Path, tmp_path: Path) -> None:
    (tmp_path / "trap").mkdir()
    state_on_nfs.symlink_to(tmp_path / "trap")
    with pytest.raises(ConfigError, match="belongs to somebody else: choose a journal with --journal"):
        default_journal("gpu")


def test_settings_cannot_be_changed_by_those_who_use_them() -> None:
    with pytest.raises(ValueError, match="frozen"):
        merged().host = "x"
    assert JobSettings().stale_after_s is None
