"""`pulse-bridge alerts`: trying targets and listing incidents."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from urllib.parse import quote

import click
import pytest

from pulse_bridge import plugins
from pulse_bridge.bus import open_bus
from pulse_bridge.cli import PLUGIN_COMMANDS, cli
from pulse_bridge.cli.options import journal_url
from pulse_bridge.clock import read_clocks
from pulse_bridge.testing import SAMPLE_MS, make_job_event
from pulse_bridge_alerts.incidents import Incident, Telling
from pulse_bridge_alerts.saved import encode_incident
from tests.support.command import Caller, Home
from tests.support.processes import free_port
from tests.support.sink import Sink, running_sink

SECRET = "s3cr3t-T0KEN"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def call(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(home, monkeypatch, capsys)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as sink:
        yield sink


def option(url: str) -> str:
    return quote(url, safe="")


def test_each_target_gets_one_message_that_says_that_it_is_a_test(call: Caller, sink: Sink) -> None:
    hook, service = sink.url(path=f"/{SECRET}"), sink.url("json", f"/{SECRET}")
    result = call("alerts", "test", f"alerts?webhook={option(hook)}&notify={option(service)}")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "notify-1 (json://***): delivered",
        "webhook-1 (http://***): delivered",
    ]
    assert {body["title"] for body in sink.bodies()} == {"TEST pulse-bridge: this is a test"}
    assert len(sink.requests) == 2


def test_what_is_refused_is_said_with_its_reason_and_the_exit_code_is_1(call: Caller, sink: Sink) -> None:
    sink.statuses = [403]
    gone = free_port()
    urls = [sink.url("json", f"/{SECRET}"), f"json://127.0.0.1:{gone}/{SECRET}"]
    hooks = [sink.url(path=f"/{SECRET}"), f"http://user:{SECRET}@127.0.0.1:{gone}/"]
    text = "&".join([f"notify={option(url)}" for url in urls] + [f"webhook={option(url)}" for url in hooks])
    result = call("-v", "alerts", "test", f"alerts?{text}")
    assert result.code == 1
    assert result.out.splitlines() == [
        "notify-1 (json://***): not delivered: it answered HTTP 403",
        "notify-2 (json://***): not delivered: it cannot be reached",
        "webhook-1 (http://***): not delivered: it answered HTTP 403",
        "webhook-2 (http://***): not delivered: it cannot be reached (ConnectError)",
    ]
    assert SECRET not in result.out + result.err


def test_one_that_hangs_is_waited_for_no_longer_than_its_time_limit(call: Caller, sink: Sink) -> None:
    sink.hangs = True
    text = f"alerts?webhook={option(sink.url())}&notify={option(sink.url('json'))}&timeout_s=0.1"
    result = call("alerts", "test", text)
    assert result.code == 1
    assert [line.split(": ", 1)[1] for line in result.out.splitlines()] == [
        "not delivered: no answer within 0.1 s"
    ] * 2


def test_the_process_ends_though_a_service_hangs(home: Home, sink: Sink) -> None:
    sink.hangs = True
    text = f"alerts?notify={option(sink.url('json', '/x?rto=60'))}&timeout_s=0.1"
    assert home.run("alerts", "test", text).code == 1
    assert sink.requests


def test_targets_of_a_file_are_tried_under_their_names(call: Caller, sink: Sink, tmp_path: Path) -> None:
    file = tmp_path / "my alerts&more.toml"
    file.write_text(f'[targets.phone]\nwebhook = "{sink.url()}"\n', encoding="utf-8")
    result = call("alerts", "test", "--config", str(file))
    assert (result.code, result.out) == (0, "phone (http://***): delivered\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name the targets once: by 'alerts?notify=URL' or by --config FILE.toml"),
        (["alerts?notify=json://h", "--config", "x.toml"], "name the targets once"),
        (["prometheus?port=1"], "only alerts have targets to be tried"),
        (["alerts"], "there is no target"),
        ([f"alerts?notify=nosuch://{SECRET}"], "Apprise knows no service for nosuch://***"),
        (["--config", "none.toml"], "the alerts file none.toml is not there"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(call: Caller, arguments: list[str], sentence: str) -> None:
    result = call("alerts", "test", *arguments)
    assert result.code == 2
    assert sentence in result.err
    assert SECRET not in result.err
    assert len(result.err.splitlines()) == 1


def incident(identity: str, **changes: object) -> Incident:
    values: dict[str, object] = {
        "rule": "stale",
        "host": "node1",
        "job": "llm/run a",
        "run": 1_790_000_000,
        "since_ms": SAMPLE_MS,
        "at_ms": SAMPLE_MS + 65_000,
        "detail": "no sign of life for 65 s",
        "event": make_job_event(),
        "changed_at_s": read_clocks().now_s,
        "tellings": {"all": Telling("open")},
    }
    return Incident(id=identity, **{**values, **changes})  # type: ignore[arg-type]  # fields by name


def save(home: Home, group: str, saved: Mapping[str, str]) -> None:
    async def commit() -> None:
        async with open_bus(journal_url(home.journal)).consumer(group) as consumer:
            async for _ in consumer.batches():
                await consumer.commit(saved)
                return

    home.fill_journal([make_job_event()])
    asyncio.run(commit())


def saved_incidents() -> dict[str, str]:
    at = read_clocks()
    found = [
        incident("stale-1", is_open=False, detail="running again"),
        incident("host-silent-2", rule="host-silent", job=None, event=None, detail="no word\n\x1b[31m for 31 s"),
    ]
    return {f"incident:{each.id}": encode_incident(each, at) for each in found} | {"begun": "1"}


def test_open_incidents_are_listed_before_closed_ones(call: Caller) -> None:
    save(call.home, "alerts", saved_incidents())
    result = call("alerts", "list")
    assert (result.code, result.err) == (0, "")
    first, second = result.out.splitlines()
    assert first.startswith("open    host-silent  node1: no word\\n\\x1b[31m for 31 s, since ")
    assert first.endswith("[host-silent-2]")
    assert second.startswith("closed  stale        llm/run a on node1: running again, since ")
    assert ", over at " in second


def test_json_is_one_array_of_objects(call: Caller) -> None:
    save(call.home, "night", saved_incidents())
    result = call("alerts", "list", "--from", journal_url(call.home.journal), "--name", "night", "--json")
    found = {each["incident"]: each for each in json.loads(result.out)}
    assert found["stale-1"]["open"] is False
    assert found["stale-1"]["since"] == "2026-09-21T14:13:20.123Z"
    assert found["stale-1"]["told"] == {"all": "open"}
    assert found["stale-1"]["event"]["loss"] == 0.125
    assert found["host-silent-2"]["job"] is None
    assert found["host-silent-2"]["event"] is None


def test_the_list_is_read_while_somebody_holds_the_group(call: Caller) -> None:
    save(call.home, "alerts", saved_incidents())
    url = journal_url(call.home.journal)

    async def hold() -> str:
        async with open_bus(url).consumer("alerts"):
            return (await asyncio.to_thread(call.home.run, "alerts", "list", "--from", url)).out

    assert len(asyncio.run(hold()).splitlines()) == 2


def test_a_group_that_never_ran_is_said_to_be_so(call: Caller) -> None:
    call.home.fill_journal([make_job_event()])
    result = call("alerts", "list", "--name", "other")
    assert (result.code, result.out) == (0, "")
    assert "nothing is saved under the name 'other'" in result.err
    assert call("alerts", "list", "--name", "other", "--json").out == "[]\n"


def test_a_bus_that_cannot_show_what_is_saved_says_so(call: Caller, tmp_path: Path) -> None:
    result = call("alerts", "list", "--from", str(tmp_path / "x.jsonl"))
    assert result.code == 2
    assert "x.jsonl: what a subscriber has saved cannot be read from this bus" in result.err


def test_the_command_is_listed_with_what_it_says_of_itself(call: Caller) -> None:
    command = cli.get_command(click.Context(cli), "alerts")
    assert command is not None
    assert command.get_short_help_str(200) == PLUGIN_COMMANDS["alerts"]
    assert PLUGIN_COMMANDS["alerts"] in call("--help").out
    for name in ("test", "list"):
        result = call("alerts", name, "--help")
        assert (result.code, result.err) == (0, "")


def test_help_loads_no_library_that_sends() -> None:
    code = (
        "import sys\n"
        "from pulse_bridge.cli import main\n"
        "sys.argv = ['pulse-bridge', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'apprise', 'httpx', 'pydantic', 'pulse_bridge_alerts'} & set(sys.modules)))\n"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert lines.splitlines()[-1] == "[]"


@pytest.mark.parametrize("library", ["apprise", "httpx"])
def test_a_missing_extra_is_one_sentence(
    call: Caller, monkeypatch: pytest.MonkeyPatch, library: str, sink: Sink
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    url = sink.url("json") if library == "apprise" else sink.url()
    kind = "notify" if library == "apprise" else "webhook"
    result = call("alerts", "test", f"alerts?{kind}={option(url)}")
    assert result.code == 2
    assert "alerts: needs the extra [alerts]: pip install 'pulse-bridge[alerts]'" in result.err


def test_a_plugin_that_is_no_command_is_refused(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("odd", "builtins:str", plugins.COMMANDS.entry_point_group)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == point.group else [])
    result = call("odd")
    assert result.code == 2
    assert "the plugin 'odd' is no command" in result.err
    assert "Comes with a plugin." in call("--help").out
