"""`pulse-bridge doctor`: each condition is made for real, and the sentence names thing, place and remedy."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import publish

from pulse_bridge.config import default_host
from pulse_bridge.event import to_json
from pulse_bridge.testing import make_host_event, make_job_event
from tests.support.command import Caller, Home
from tests.support.mosquitto import Mosquitto, retained
from tests.support.processes import WAIT_S, free_port, wait_until_blocking
from tests.support.sidecar_process import write_pulse
from tests.support.sink import running_sink
from tests.support.terminal import Terminal, plain

STATUS = "training_status.json"


def found(call: Caller, *arguments: str, code: int | None = None) -> list[dict[str, Any]]:
    result = call("doctor", "--watch-s", "0", "--json", *arguments)
    findings: list[dict[str, Any]] = json.loads(result.out)
    assert not result.err
    assert result.code == any(finding["level"] == "problem" for finding in findings)
    assert code in {None, result.code}
    for finding in findings:
        assert bool(finding["remedy"]) == (finding["level"] != "fine"), finding
    return findings


def the(findings: list[dict[str, Any]], part: str) -> dict[str, Any]:
    matching = [finding for finding in findings if part in finding["sentence"]]
    assert len(matching) == 1, (part, findings)
    return matching[0]


def in_namespace(home: Home, script: str, *flags: str, doctor: str = "doctor ./runs") -> list[dict[str, Any]]:
    """Run a script as root of namespaces of its own, and `doctor` at its end."""
    if subprocess.run(["unshare", *flags, "true"], capture_output=True, check=False).returncode:
        if os.environ.get("CI") == "true":
            pytest.fail(f"this machine cannot 'unshare {' '.join(flags)}'")
        pytest.skip(f"this user cannot 'unshare {' '.join(flags)}'")
    command = f"{sys.executable} -m pulse_bridge {doctor} --json --watch-s 0"
    result = subprocess.run(
        ["unshare", *flags, "bash", "-ec", f"{script}\n{command} || [ $? = 1 ]"],
        cwd=home.folder,
        env=home.environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    )
    findings: list[dict[str, Any]] = json.loads(result.stdout)
    return findings


# A new user


def test_with_nothing_configured_it_says_what_to_do_next(call: Caller) -> None:
    findings = found(call, code=0)
    advice = the(findings, "no PATH is configured")
    assert "pulse-bridge run ./runs" in advice["remedy"]
    assert "pulse-bridge config sample" in advice["remedy"]
    the(findings, "jobs are published under the host name 'node1'")


def test_all_is_fine_where_all_is_well(call: Caller) -> None:
    write_pulse(call.home.folder / "runs" / "a" / STATUS)
    findings = found(call, "runs", "--to", f"{call.home.folder}/out.jsonl", code=0)
    assert the(findings, "1 found: a")["level"] == "fine"
    the(findings, "the kernel tells of changes in 2 folders")
    assert not (call.home.folder / "out.jsonl").exists()
    assert not call.home.journal.exists()


def test_text_is_grouped_by_subject_and_ends_with_a_count(call: Caller) -> None:
    result = call("doctor", "--offline", "runs", "--to", "redis://h?bogus=1")
    assert result.code == 1
    lines = result.out.splitlines()
    assert lines[0] == "configuration"
    assert lines[1].startswith("  problem  ")
    assert "unknown option 'bogus'" in lines[1]
    assert lines[2].startswith("           -> known are: db,")
    assert lines[-1] == "1 problem"


def test_on_a_terminal_it_is_painted(home: Home) -> None:
    with Terminal(["doctor", "--offline", "runs"], environ=home.environ, cwd=home.folder) as terminal:
        terminal.wait_for("nothing is wrong")
        assert "→ add --to redis://HOST" in plain(terminal.raw)


# The configuration


def test_everything_wrong_with_a_configuration_is_told_at_once(
    call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULSE_BRIDGE_STALE_AFTR_S", "5")
    monkeypatch.setenv("PULSE_BRIDGE_COALESCE_MS", "soon")
    monkeypatch.setenv("PULSE_BRIDGE_EXIT_WHEN_DONE", "maybe")
    rules = call.home.folder / "alerts.toml"
    rules.write_text("[targets.a]\nnotfy = 'json://h'\n")
    Path("own.toml").write_text(
        f"""
        paths = ["=x", "./runs"]
        heartbet_s = 5
        poll_s = 0
        to = ["redis://h?bogus=1", "mqtt://u:s3cret@", "foo://h", "redis://h", "redis://h",
              "redis://i?password_env=NOT_SET"]
        with = ["webb", "web?token_env=NO_TOKEN", "alerts?config={rules}", "prometheus", "prometheus"]
        """
    )
    result = call("doctor", "--offline", "--json", "own.toml")
    findings = json.loads(result.out)
    assert result.code == 1
    assert "s3cret" not in result.out
    for part in (
        "own.toml: there is no setting 'heartbet_s'",
        "own.toml: setting 'poll_s'",
        "setting 'coalesce_ms'",
        "setting 'exit_when_done'",
        "the environment variable PULSE_BRIDGE_STALE_AFTR_S is set, and no command reads it; did you mean 'PULSE",
        "own.toml: paths: PATH '=x'",
        "own.toml: to: redis://h?bogus=1: unknown option 'bogus'",
        "own.toml: to: mqtt://u:***@: names no broker",
        "own.toml: to: foo://h: there is no bus 'foo'",
        "own.toml: to: redis://h: this destination is named twice",
        "the environment variable NOT_SET is not set",
        "own.toml: with: webb: there is no subscriber 'webb'",
        "the environment variable NO_TOKEN is not set",
        "alerts.toml: [targets.a]: there is no key 'notfy'",
        "a subscriber with the name 'prometheus' is there already",
    ):
        assert the(findings, part)["level"] == "problem"
    assert the(findings, "no setting 'heartbet_s'")["remedy"] == "did you mean 'heartbeat_s'?"
    assert len([finding for finding in findings if finding["level"] == "problem"]) == 15


def test_everything_wrong_within_one_url_one_subscriber_and_one_file_is_told(call: Caller) -> None:
    Path("alerts.toml").write_text(
        """
        group_s = "soon"
        rulez = 1
        [rules.stuck]
        after = 5
        [targets.a]
        notfy = "json://h"
        [targets.b]
        notify = "json://h/b"
        [[routes]]
        targets = ["b", "a", "c"]
        [[silences]]
        job = ["x"]
        until = "soon"
        """
    )
    findings = found(
        call,
        "--offline",
        "runs",
        *("--to", "redis://h?maxln=5&prefix=much-too-long&db=x"),
        *("--with", "web?prot=1&port=99999"),
        *("--with", "alerts?config=alerts.toml"),
        code=1,
    )
    assert the(findings, "unknown option 'maxln'")["remedy"] == "did you mean 'maxlen'?"
    for part in (
        "option 'prefix'",
        "option 'db'",
        "unknown option 'prot'",
        "option 'port'",
        "alerts.toml: key 'group_s'",
        "alerts.toml: there is no key 'rulez'",
        "[rules.stuck]: there is no key 'after'",
        "[targets.a]: there is no key 'notfy'",
        "[[routes]] 1: there is no target 'c'",
        "[[silences]] 1: there is no key 'job'",
        "[[silences]] 1: key 'until'",
    ):
        assert the(findings, part)["level"] == "problem"
    assert len([finding for finding in findings if finding["level"] == "problem"]) == 12


def test_what_is_right_beside_a_mistake_is_looked_at_all_the_same(call: Caller) -> None:
    write_pulse(call.home.folder / "runs" / "a" / STATUS)
    Path("own.toml").write_text('paths = ["runs", "=x"]\npol_s = 5\nstale_after_s = "x"\n')
    findings = found(call, "own.toml", "--host", "gpu1", code=1)
    assert len([finding for finding in findings if finding["level"] == "problem"]) == 3
    the(findings, "1 found: a")
    the(findings, "jobs are published under the host name 'gpu1'")


def test_under_a_host_name_that_is_wrong_nothing_is_said_to_be_published(call: Caller) -> None:
    findings = found(call, "runs", "--host", "a/b", code=1)
    the(findings, "setting 'host'")
    assert not [finding for finding in findings if finding["subject"] != "configuration"]


def test_a_variable_of_the_user_s_own_is_no_mistake(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULSE_BRIDGE_REDIS_PASSWORD", "x")
    monkeypatch.setenv("PULSE_BRIDGE_OTHER", "x")
    findings = found(
        call, "--offline", "runs", "--to", "redis://h?password_env=PULSE_BRIDGE_REDIS_PASSWORD", code=0
    )
    assert the(findings, "PULSE_BRIDGE_")["sentence"].startswith("the environment variable PULSE_BRIDGE_OTHER")


def test_a_file_that_is_no_toml_or_not_there_is_a_problem(call: Caller) -> None:
    Path("pulse-bridge.toml").write_text("to = [")
    assert "no TOML" in the(found(call, "--offline", code=1), "pulse-bridge.toml")["sentence"]
    the(found(call, "--offline", "no.toml", code=1), "the configuration file no.toml is not there")


def test_contradicting_flags_are_one_sentence(call: Caller) -> None:
    for flags in (["--clean"], ["--clean", "--yes", "--offline"], ["a.toml", "b.toml"]):
        result = call("doctor", *flags)
        assert (result.code, result.err.count("\n")) == (2, 1)


# Status files


def test_a_search_that_finds_nothing_says_where_it_looked(call: Caller) -> None:
    (call.home.folder / "runs" / "a").mkdir(parents=True)
    finding = the(found(call, "runs"), "no status file found; looked in")
    assert f"{call.home.folder}/runs (for runs), 2 folders in all" in finding["sentence"]
    assert STATUS in finding["remedy"]


def test_a_file_under_another_name_is_found(call: Caller) -> None:
    path = call.home.folder / "runs" / "a" / "pulse.json"
    write_pulse(path)
    assert the(found(call, "runs"), "no status file found")["remedy"].startswith(f"{path} reads as one")


def test_a_file_that_is_no_pulse_is_named_with_the_field(call: Caller) -> None:
    write_pulse(call.home.folder / "runs" / "a" / STATUS, status="finished")
    assert "status" in the(found(call, "runs", code=1), f"runs/a/{STATUS}")["sentence"]


@pytest.mark.parametrize(
    ("ahead_s", "level", "part"),
    [
        (-3600, "problem", "the writer's clock is 3600 s behind"),
        (-20, "advice", "the writer's clock is 20 s behind"),
        (3600, "advice", "the writer's clock is 3600 s ahead"),
    ],
)
def test_a_writer_s_clock_that_is_off_is_told(call: Caller, ahead_s: int, level: str, part: str) -> None:
    path = call.home.folder / "runs" / STATUS
    write_pulse(path, timestamp=1_790_000_000 + ahead_s)
    os.utime(path, (1_790_000_000, 1_790_000_000))
    assert the(found(call, "runs"), part)["level"] == level


def test_a_timestamp_in_milliseconds_is_told(call: Caller) -> None:
    write_pulse(call.home.folder / "runs" / STATUS, timestamp=int(time.time() * 1000))
    assert "int(time.time())" in the(found(call, "runs", code=1), "is not in seconds")["remedy"]


@pytest.mark.parametrize("how", ["in place", "replaced"])
def test_how_a_file_is_written_is_seen(home: Home, how: str) -> None:
    in_place = how == "in place"
    path = home.folder / "runs" / STATUS
    write_pulse(path)
    with home.started("doctor", "--json", "--watch-s", "2", "runs") as process:
        while process.poll() is None:
            if in_place:
                path.write_text(path.read_text())
            else:
                write_pulse(path)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)  # as a training does: again and again
        assert process.stdout is not None
        findings = json.loads(process.stdout.read())
    part = "is rewritten where it stands" if in_place else "is replaced in one step"
    assert the(findings, part)["level"] == ("problem" if in_place else "fine")


def test_a_file_that_is_mounted_alone_is_told(home: Home) -> None:
    write_pulse(home.folder / "runs" / STATUS)
    write_pulse(home.folder / "host" / STATUS)
    findings = in_namespace(home, f"mount --bind host/{STATUS} runs/{STATUS}", "-m")
    finding = the(findings, "is mounted as a single file, so it never shows that it was replaced (moby#22627)")
    assert finding["level"] == "problem"
    assert f"mount its folder instead: {home.folder}/runs" in finding["remedy"]


def test_a_folder_that_may_not_be_searched_is_told(home: Home) -> None:
    write_pulse(home.folder / "runs" / "a" / STATUS)
    (home.folder / "runs" / "b").mkdir(mode=0)
    # Root of a user namespace of its own has no power over what is root's outside of it.
    findings = in_namespace(home, "true", "-U")
    finding = the(findings, f"the folder {home.folder}/runs/b cannot be searched: permission denied")
    assert finding["level"] == "problem"


@pytest.mark.parametrize(
    ("limit", "part", "remedy"),
    [
        ("max_inotify_watches", "the kernel watches 1 of 3 folders for this user", "fs.inotify.max_user_watches="),
        (
            "max_inotify_instances",
            "the kernel gives this user no inotify instance",
            "fs.inotify.max_user_instances=",
        ),
    ],
)
def test_a_limit_of_inotify_is_told(home: Home, limit: str, part: str, remedy: str) -> None:
    for name in ("a", "b"):
        write_pulse(home.folder / "runs" / name / STATUS)
    count = 1 if limit.endswith("watches") else 0
    findings = in_namespace(home, f"echo {count} >/proc/sys/user/{limit}", "-Ur")
    finding = the(findings, part)
    assert finding["level"] == "problem"
    assert remedy in finding["remedy"]


@pytest.fixture
def dead_mount(home: Home) -> str:
    """Give the lines that mount a file system at `dead` whose server never says a word."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("this machine lends no /dev/fuse")
    (home.folder / "runs" / "dead").mkdir(parents=True)
    options = "fd=9,rootmode=40000,user_id=0,group_id=0"
    return f"exec 9<>/dev/fuse; mount -i -t fuse.sshfs -o {options} none runs/dead"


def test_a_file_server_that_does_not_answer_is_named_and_holds_nothing_up(home: Home, dead_mount: str) -> None:
    write_pulse(home.folder / "other" / STATUS)
    findings = in_namespace(home, dead_mount, "-m", doctor="doctor ./runs other")
    finding = the(findings, f"{home.folder}/runs/dead is fuse.sshfs and does not answer")
    assert (finding["level"], "unmount it" in finding["remedy"]) == ("problem", True)
    the(findings, "1 found: other")
    the(findings, "no sidecar runs as host 'node1'")


def test_a_path_on_a_file_server_that_does_not_answer_is_named(home: Home, dead_mount: str) -> None:
    write_pulse(home.folder / "other" / STATUS)
    findings = in_namespace(home, dead_mount, "-m", doctor=f"doctor runs/dead/{STATUS} other")
    assert the(findings, f"the file system of runs/dead/{STATUS} does not answer")["level"] == "problem"
    the(findings, "1 found: other")


def test_a_journal_on_a_file_server_that_does_not_answer_is_named(home: Home, dead_mount: str) -> None:
    findings = in_namespace(home, dead_mount, "-m", doctor="doctor --journal runs/dead/x.db other")
    assert "--journal" in the(findings, "the file system of runs/dead/x.db does not answer")["remedy"]


# Journal and sidecar


def test_a_sidecar_that_runs_is_seen_and_one_that_died_is_told(home: Home) -> None:
    write_pulse(home.folder / "runs" / "a" / STATUS)
    port = free_port()
    arguments = ("doctor", "--json", "--watch-s", "0", "runs", "--with", f"prometheus?port={port}")
    with home.started("run", "runs", "--with", f"prometheus?port={port}") as process:

        def served() -> bool:
            return any("serves /metrics" in one["sentence"] for one in json.loads(home.run(*arguments).out))

        wait_until_blocking(served, "the sidecar serves, and the doctor knows that it is the sidecar")
        findings = json.loads(home.run(*arguments).out)
        the(findings, f"a sidecar (pid {process.pid}) runs as host 'node1'")
        assert not [finding for finding in findings if finding["level"] == "problem"]
        process.kill()
        process.wait(WAIT_S)
        assert the(json.loads(home.run(*arguments).out), "did not end cleanly")["level"] == "problem"
    with home.started("run", "runs") as process:
        wait_until_blocking(lambda: "runs as host" in home.run(*arguments).out, "it runs")
        process.send_signal(signal.SIGTERM)
        process.wait(WAIT_S)
    finding = the(json.loads(home.run(*arguments).out), "no sidecar runs as host 'node1'")
    assert (finding["level"], "it left 1 unfinished job" in finding["sentence"]) == ("advice", True)


def test_what_a_destination_lacks_and_what_was_given_up_is_told(call: Caller) -> None:
    event = make_host_event(stopping=True, lag={"redis": 5000, "mqtt": 3}, dropped=7, dropped_by={"too_old": 7})
    call.home.fill_journal([make_job_event(), event])
    findings = found(call, "runs", code=1)
    assert the(findings, "5000 events not yet at redis")["level"] == "problem"
    assert the(findings, "3 events not yet at mqtt")["level"] == "advice"
    assert "(7 too_old)" in the(findings, "7 events were given up")["sentence"]


def test_a_journal_that_is_none_is_told(call: Caller) -> None:
    Path("garbage.db").write_text("garbage" * 100)
    assert "--journal" in the(found(call, "runs", "--journal", "garbage.db", code=1), "is no journal")["remedy"]


def test_a_disk_that_is_full_is_told(home: Home) -> None:
    (home.folder / "state").mkdir()
    write_pulse(home.folder / "runs" / STATUS)
    findings = in_namespace(home, "mount -t tmpfs -o size=1m none state", "-m")
    assert the(findings, "has 1 MiB left")["level"] == "problem"


def test_the_name_of_a_container_is_no_good_host_name(home: Home) -> None:
    write_pulse(home.folder / "runs" / STATUS)
    script = "hostname 0123456789ab; unset PULSE_BRIDGE_HOST; export container=docker"
    finding = the(in_namespace(home, script, "-u"), "the host name '0123456789ab' is that of a container")
    assert (finding["level"], "--host NAME" in finding["remedy"]) == ("advice", True)
    assert default_host({}) != "0123456789ab"


# Buses and subscribers


def test_buses_that_are_down_are_each_told(call: Caller) -> None:
    port = free_port()
    findings = found(call, "runs", "--to", f"redis://127.0.0.1:{port}", "--to", f"mqtt://127.0.0.1:{port}", code=1)
    assert {one["subject"] for one in findings if one["level"] == "problem"} == {
        f"redis://127.0.0.1:{port}",
        f"mqtt://127.0.0.1:{port}",
    }


def test_a_port_in_use_is_told_with_the_option_that_chooses_another(call: Caller) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for name in ("web", "prometheus"):
            finding = the(
                found(call, "runs", "--with", f"{name}?port={port}", code=1), f"port {port} of 127.0.0.1"
            )
            assert finding["remedy"] == "choose another with port=NUMBER"


def test_a_page_that_everybody_could_read_is_told(call: Caller) -> None:
    finding = the(found(call, "runs", "--with", "web?port=0&bind=0.0.0.0", code=1), "lets other machines read")
    assert "token_env" in finding["sentence"] + finding["remedy"]


def test_a_target_of_alerts_that_no_service_knows_is_told_and_nothing_is_sent(call: Caller) -> None:
    with running_sink() as sink:
        findings = found(
            call,
            "runs",
            "--with",
            f"alerts?webhook={sink.url()}&notify=bogus://h&notify={sink.url('json')}",
            code=1,
        )
        assert "appriseit.com" in the(findings, "Apprise knows no service for bogus://***")["remedy"]
        the(findings, "the URL of the target notify-2 (json://***) is well formed")
        the(findings, "the URL of the target webhook-1 (http://***) is well formed")
        assert not sink.requests


@pytest.mark.parametrize("answer", ["n", "y"])
def test_clean_asks_at_a_terminal_and_does_as_it_is_told(home: Home, answer: str) -> None:
    left = make_job_event(host="node9", job="old", observed_ms=int(time.time() * 1000) - 8 * 86_400_000)
    topic = "pulse/node9/old/state"
    with Mosquitto(home.folder) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        publish.single(topic, to_json(left), qos=1, retain=True, hostname="127.0.0.1", port=broker.port)
        arguments = ["doctor", "--watch-s", "0", "--to", url, "--clean"]
        with Terminal(arguments, environ=home.environ, cwd=home.folder) as terminal:
            terminal.wait_for("[y/N]")
            terminal.press(f"{answer}\r")
            assert terminal.wait() == 0
            text = " ".join(plain(terminal.raw).split())
        assert f"Remove 1 retained topic from {url}: {topic}?" in text
        assert (topic in retained(broker.port)) == (answer == "n")


def test_clean_removes_what_is_left_and_says_so(home: Home) -> None:
    with Mosquitto(home.folder) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        write_pulse(home.folder / "runs" / "old" / STATUS)
        with home.started("run", "runs", "--to", url) as process:
            wait_until_blocking(lambda: "pulse/node1/old/state" in retained(broker.port), "it is published")
            process.send_signal(signal.SIGTERM)
            process.wait(WAIT_S)
        (home.folder / "runs" / "old" / STATUS).rename(home.folder / "runs" / STATUS)
        home.journal.unlink()
        home.fill_journal([make_job_event(host="node1", job="runs")])
        seen = home.run("doctor", "--watch-s", "0", "runs", "--to", url)
        assert "1 topic retained for jobs or hosts that are no more: pulse/node1/old/state" in seen.out
        assert "pulse/node1/old/state" in retained(broker.port)
        cleaned = home.run("doctor", "--watch-s", "0", "runs", "--to", url, "--clean", "--yes")
        assert f"1 retained topic removed from {url}" in cleaned.err
        assert "pulse/node1/old/state" not in retained(broker.port)
