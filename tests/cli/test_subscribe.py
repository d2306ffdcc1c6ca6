"""Subscribers as a user runs them: in a process of their own, or inside the sidecar."""

import json
import re
import signal
from pathlib import Path

import pytest

from pulse_bridge.event import Event, HostEvent, from_json
from pulse_bridge.testing import make_job_event
from tests.support.command import Caller, Home
from tests.support.mosquitto import Mosquitto
from tests.support.processes import WAIT_S, wait_until_blocking
from tests.support.redis_server import RedisServer

TOLD = "told.jsonl"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Give a home in which the subscribers of `told.py` are installed."""
    site = tmp_path / "site"
    about = site / "told-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "told.py").write_text(
        (Path(__file__).parents[1] / "support" / "told.py").read_text(encoding="utf-8"), encoding="utf-8"
    )
    (about / "METADATA").write_text("Name: told\nVersion: 1.0\n", encoding="utf-8")
    points = "told = told:Told\nstubborn = told:Stubborn\nmistaken = told:Mistaken\nfallen = told:Fallen\n"
    (about / "entry_points.txt").write_text(f"[pulse_bridge.subscribers]\n{points}", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    return Home(tmp_path)


def told(home: Home, file: str = TOLD) -> list[str]:
    """Give what the subscriber was told, in few words."""
    path = home.folder / file
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [_in_short(from_json(line)) for line in lines if line.endswith("\n")]


def _in_short(event: Event) -> str:
    if isinstance(event, HostEvent):
        return "stopping" if event.stopping else "host"
    return event.job


def logged(err: bytes) -> list[str]:
    return [json.loads(line)["message"] for line in err.splitlines()]


def test_a_second_start_goes_on_where_the_first_was_stopped(home: Home) -> None:
    home.fill_journal([make_job_event(job="a")])
    for name in ("b", "c"):
        with home.started("subscribe", f"told?file={TOLD}") as process:
            wait_until_blocking(lambda: bool(told(home)), "it has begun")
            home.fill_journal([make_job_event(job=name)])
            wait_until_blocking(lambda name=name: told(home)[-1:] == [name], f"{name} is told")  # type: ignore[misc]
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=WAIT_S)
            assert process.returncode == 0
            assert logged(err) == ["connected"]
    assert told(home) == ["a", "b", "c"]


@pytest.mark.parametrize("broker", ["redis", "mqtt"])
def test_on_a_broker_a_second_start_goes_on_where_the_first_was_stopped(broker: str, home: Home) -> None:
    home.fill_journal([make_job_event(job="a")])
    folder = home.folder / broker
    folder.mkdir()
    with (
        RedisServer(folder) if broker == "redis" else Mosquitto(folder) as server,
        home.started("relay", "--to", f"{broker}://127.0.0.1:{server.port}"),
    ):
        url = f"{broker}://127.0.0.1:{server.port}"
        for name in ("b", "c"):
            with home.started("subscribe", f"told?file={TOLD}", "--from", url) as process:
                wait_until_blocking(lambda: bool(told(home)), "it has begun")
                home.fill_journal([make_job_event(job=name)])
                wait_until_blocking(lambda name=name: name in told(home), f"{name} is told")  # type: ignore[misc]
                process.send_signal(signal.SIGTERM)
                _, err = process.communicate(timeout=WAIT_S)
                assert process.returncode == 0, err.decode()
                assert logged(err) == ["connected"]
    assert told(home) == ["a", "b", "c"]


def test_several_run_side_by_side_each_with_its_own_place(home: Home) -> None:
    home.fill_journal([make_job_event(job="a")])
    with home.started("subscribe", "told?file=one.jsonl", "told?file=two.jsonl&name=two", "fallen"):
        wait_until_blocking(lambda: bool(told(home, "one.jsonl") and told(home, "two.jsonl")), "both have begun")
        home.fill_journal([make_job_event(job="b")])
        wait_until_blocking(
            lambda: told(home, "one.jsonl") == told(home, "two.jsonl") == ["a", "b"], "both are told all"
        )


def test_a_bus_that_is_not_there_yet_is_waited_for_and_said_once(home: Home) -> None:
    home.journal.parent.mkdir(parents=True)
    with home.started("subscribe", f"told?file={TOLD}") as process:
        assert process.stderr is not None
        first = json.loads(process.stderr.readline())
        assert (first["level"], first["message"]) == ("warning", "unavailable; trying again")
        assert "there is no journal" in first["reason"]
        home.fill_journal([make_job_event(job="a")])
        wait_until_blocking(lambda: told(home) == ["a"], "it is told")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
        assert logged(err) == ["connected"]


def test_what_a_subscriber_cannot_take_lies_beside_the_journal_for_replay(home: Home) -> None:
    home.fill_journal([make_job_event(job="a")])
    letters = home.journal.with_name("node1.dead.jsonl")
    with home.started("subscribe", "stubborn") as process:
        wait_until_blocking(letters.exists, "it is given up")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
    assert "a subscriber fails; what it cannot do is passed over" in logged(err)
    assert b"ValueError: I will not" in err
    assert "node1/a  change" in home.run("replay", "--from", str(letters)).out


def test_it_ends_with_exit_code_1_when_nobody_is_left(home: Home) -> None:
    home.fill_journal([make_job_event(job="a")])
    result = home.run("subscribe", "fallen")
    assert result.code == 1
    assert result.err.splitlines()[-1] == "pulse-bridge: no subscriber is left; the log says why"


@pytest.mark.parametrize(
    ("sentence", "arguments"),
    [
        ("Missing argument 'SUBSCRIBER...'", ["subscribe"]),
        ("nobody: there is no subscriber 'nobody'; installed are: ", ["subscribe", "nobody"]),
        ("'?x=1' names no subscriber", ["subscribe", "?x=1"]),
        (
            "told?file=x&bogus=1: unknown option 'bogus'; known are: file, name",
            ["subscribe", "told?file=x&bogus=1"],
        ),
        ("told: option 'file': Field required", ["subscribe", "told"]),
        ("a subscriber with the name 'told' is there already", ["subscribe", "told?file=x", "told?file=x"]),
        ("a subscriber with the name 'told' is there already", ["subscribe", "told?file=x", "told?file=y"]),
        ("is read with 'pulse-bridge replay'", ["subscribe", "told?file=x", "--from", "a.jsonl"]),
        ("is neither a bus URL", ["subscribe", "told?file=x", "--from", "redis"]),
        ("the port 9000 is taken", ["subscribe", "mistaken", "told?file=x"]),
        ("nobody: there is no subscriber 'nobody'", ["run", "x", "--with", "nobody"]),
        ("a subscriber with the name 'told' is there already", ["run", "x", *["--with", "told?file=x"] * 2]),
        ("the port 9000 is taken", ["run", "x", "--with", "mistaken"]),
    ],
)
def test_a_mistake_is_one_sentence(sentence: str, arguments: list[str], home: Home, call: Caller) -> None:
    Path("a.jsonl").write_text("")
    home.fill_journal([make_job_event(job="a")])
    result = call(*arguments)
    assert result.code == 2
    mistake = result.err.splitlines()[-1]
    assert mistake.startswith("pulse-bridge: ")
    assert sentence in mistake
    assert "Traceback" not in result.err


# Inside the sidecar


def write(home: Home, job: str, *arguments: str) -> None:
    path = home.folder / "runs" / job / "training_status.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    assert home.run("write", *arguments, "--path", str(path), "--total-epochs", "3").code == 0


@pytest.mark.parametrize("way", ["flag", "environment", "file"])
def test_a_subscriber_inside_the_sidecar_sees_everything_to_the_last_word(
    way: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.folder / "runs").mkdir()
    arguments = ["run", "runs"]
    if way == "flag":
        arguments += ["--with", f"told?file={TOLD}"]
    elif way == "environment":
        monkeypatch.setattr(Home, "environ", home.environ | {"PULSE_BRIDGE_WITH": f"told?file={TOLD}"})
    else:
        (home.folder / "pulse-bridge.toml").write_text(f"with = ['told?file={TOLD}']\n")
    with home.started(*arguments) as process:
        write(home, "a", "running", "--epoch", "1.5", "--loss", "0.3")
        wait_until_blocking(lambda: "a" in told(home), "the job is told")
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    assert told(home)[-1] == "stopping"


def test_a_subscriber_that_always_fails_does_not_touch_the_sidecar(home: Home) -> None:
    (home.folder / "runs").mkdir()
    subscribers = ["--with", "stubborn", "--with", "fallen", "--with", f"told?file={TOLD}"]
    with home.started("run", "runs", *subscribers) as process:
        write(home, "a", "running", "--epoch", "1.5", "--loss", "0.3")
        wait_until_blocking(lambda: "a" in told(home), "the other is told")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
    assert b'"a subscriber failed; it is called again"' in err
    assert told(home)[-1] == "stopping"


def test_a_wrong_setting_is_named_as_the_user_wrote_it(home: Home) -> None:
    (home.folder / "pulse-bridge.toml").write_text("with = 'told'\n")
    result = home.run("run", "x")
    assert result.code == 2
    assert re.search(r"pulse-bridge.toml: setting 'with': it is a list; write with = \['…'\]", result.err)
