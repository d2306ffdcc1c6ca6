"""The passwords of a new installation: made once, never lost by halves, and always those that the brokers know."""

import hashlib
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.make_secrets import MQTT_USERS, PASSWORDS, REDIS_USERS, make_secrets, mosquitto_passwords, redis_acl
from tests.support.compose_file import ROOT

DERIVED = ("redis.acl", "mosquitto.passwd", "alerts_notify")
SCRIPT = ROOT / "deploy/make_secrets.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_secrets(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="ascii").strip() for path in folder.iterdir()}


def assert_the_brokers_know(found: dict[str, str]) -> None:
    assert set(found) == {*PASSWORDS, *DERIVED}
    rules = dict(line.removeprefix("user ").split(" ", 1) for line in found["redis.acl"].splitlines())
    assert set(rules) == set(REDIS_USERS)
    for user, rule in rules.items():
        (name,) = re.findall(r"\{(\w+)\}", REDIS_USERS[user]) or [None]
        if name is not None:
            assert f"#{hashlib.sha256(found[name].encode()).hexdigest()} " in rule
    known = {name: found[name] for name in PASSWORDS}
    assert mosquitto_passwords(known, before=found["mosquitto.passwd"]) == found["mosquitto.passwd"]
    assert len(found["mosquitto.passwd"].splitlines()) == len(MQTT_USERS)
    assert f":{found['mqtt_alerts_password']}@" in found["alerts_notify"]


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_a_second_run_changes_nothing(folder: Path) -> None:
    before = contents(folder)
    assert_the_brokers_know(before)
    assert make_secrets(folder) == []
    assert contents(folder) == before


@pytest.mark.parametrize("lost", [*PASSWORDS, *DERIVED])
@pytest.mark.parametrize("how", ["deleted", "empty"])
def test_what_was_lost_is_made_again_and_no_other_password_changes(folder: Path, lost: str, how: str) -> None:
    before = contents(folder)
    (folder / lost).unlink()
    if how == "empty":  # what a power cut may leave
        (folder / lost).touch()
    assert lost in make_secrets(folder)
    after = contents(folder)
    assert_the_brokers_know(after)
    assert {name for name in PASSWORDS if after[name] != before[name]} == {lost} & set(PASSWORDS)


def test_a_first_run_that_was_cut_off_after_any_file_is_finished(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    order = make_secrets(whole)
    for count in range(len(order)):
        cut = tmp_path / str(count)
        cut.mkdir()
        for name in order[:count]:
            (cut / name).write_text((whole / name).read_text())
        (cut / f".{order[count]}.new").write_text("half a passw")
        make_secrets(cut)
        found = contents(cut)
        assert_the_brokers_know(found)
        assert all(
            found[name] == (whole / name).read_text().strip() for name in order[:count] if name in PASSWORDS
        )


def test_the_rules_of_a_newer_version_replace_those_of_an_older_one(folder: Path) -> None:
    before = contents(folder)
    (folder / "redis.acl").write_text(before["redis.acl"].replace(" +xrange", ""))
    assert make_secrets(folder) == ["redis.acl"]
    assert contents(folder) == before


def test_a_password_of_one_s_own_is_kept_and_told_to_the_brokers(folder: Path) -> None:
    own = "p@ss/word:%&?#'\""
    for name in ("redis_password", "mqtt_password", "mqtt_alerts_password"):
        (folder / name).write_text(f"{own}\n")
    assert make_secrets(folder) == list(DERIVED)
    found = contents(folder)
    assert found["redis_password"] == own
    assert hashlib.sha256(own.encode()).hexdigest() in found["redis.acl"]
    assert (
        found["alerts_notify"]
        == "mqtt://alerts:p%40ss%2Fword%3A%25%26%3F%23%27%22@mosquitto/pulse-alerts/all?qos=1"
    )
    assert redis_acl(found) == found["redis.acl"]
    assert mosquitto_passwords(found, before=found["mosquitto.passwd"]) == found["mosquitto.passwd"]


@pytest.mark.parametrize("unusable", ["pässword", "two words", "two\nlines", "pa$$word", "\0\1"])
def test_a_password_that_cannot_be_used_is_named_in_one_sentence(folder: Path, unusable: str) -> None:
    (folder / "web_token").write_text(unusable, encoding="utf-8")
    before = contents_as_bytes(folder)
    result = run(str(folder))
    assert result.returncode == 2
    assert result.stderr.startswith(f"{folder / 'web_token'}: a password is one word")
    assert result.stderr.count("\n") == 1
    assert contents_as_bytes(folder) == before


def contents_as_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-I", SCRIPT, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_folder_that_is_not_there_and_none_at_all_are_named(tmp_path: Path) -> None:
    result = run(str(tmp_path / "nowhere"))
    assert result.returncode == 1
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.stderr
    assert run().returncode == 2


def test_what_was_made_anew_is_said_without_the_passwords(folder: Path) -> None:
    (folder / "mqtt_password").unlink()
    result = run(str(folder))
    assert result.returncode == 0
    assert "made anew: mqtt_password, mosquitto.passwd; " in result.stdout
    found = contents(folder)
    assert not any(found[name] in result.stdout for name in PASSWORDS)


@pytest.mark.parametrize("mask", [0o000, 0o777])
def test_owner_and_group_may_read_them_and_nobody_else_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        make_secrets(tmp_path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}
