"""What the sidecar joins, in this process, on buses that do as the test says."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pulse_bridge import sidecar as sidecar_module
from pulse_bridge.bus import Presence, Publisher
from pulse_bridge.config import SidecarSettings
from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge.event import Event, HostEvent, JobEvent
from pulse_bridge.journal import Journal, open_journal
from pulse_bridge.sidecar import Destination, Sidecar, open_destinations
from pulse_bridge.writer import write_done_status, write_running_status
from tests.support.processes import wait_until
from tests.support.scripted_bus import ScriptedBus

DOWN = BusUnavailableError("nobody listens")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with open_journal(tmp_path / "journal.db") as journal:
        yield journal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def status_file(folder: Path, job: str = "a") -> str:
    (folder / job).mkdir(parents=True, exist_ok=True)
    return str(folder / job / "training_status.json")


def make_sidecar(journal: Journal, folder: Path, *buses: ScriptedBus, **fields: Any) -> Sidecar:
    settings = SidecarSettings(paths=(str(folder),), host="node1", poll_s=0.05, reconnect_max_s=0.01, **fields)
    destinations = [
        Destination(bus, f"scripted_{number}", f"scripted://{number}", f"scripted://{number}")
        for number, bus in enumerate(buses, start=1)
    ]
    return Sidecar(settings, destinations, journal)


@asynccontextmanager
async def running(sidecar: Sidecar) -> AsyncIterator[tuple[asyncio.Event, "asyncio.Task[bool]"]]:
    stop = asyncio.Event()
    task = asyncio.ensure_future(sidecar.run(stop))
    try:
        yield stop, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def jobs_in(events: Sequence[Event]) -> list[str]:
    return [event.job for event in events if isinstance(event, JobEvent)]


async def test_the_last_word_of_a_clean_stop_is_the_host_s_stopping(journal: Journal, folder: Path) -> None:
    bus = ScriptedBus(holds=True)
    write_running_status(status_file(folder), 1.0, 3.0, 0.5)
    sidecar = make_sidecar(journal, folder, bus, host_event_s=0.01, heartbeat_s=0.01)
    async with running(sidecar) as (stop, task):
        await wait_until(lambda: bool(bus.publishers and bus.latest.calls), "something is sent")
        stop.set()
        # A destination that is slow to answer, while timers would go on.
        last_row = journal.last_row
        await wait_until(lambda: journal.last_row > last_row, "the stop is in the journal")
        for _ in range(5):
            await asyncio.sleep(0.02)
        bus.holds = False
        while bus.latest.unanswered:
            bus.latest.answer()
            await asyncio.sleep(0)
        assert await asyncio.wait_for(task, 10)
    last = bus.stored[-1]
    assert isinstance(last, HostEvent)
    assert last.stopping
    assert bus.goodbyes == 1
    assert journal.read(journal.last_row - 1, 1).events == [last]


async def test_the_host_event_tells_what_was_published_lost_and_given_up(journal: Journal, folder: Path) -> None:
    up, down = ScriptedBus(), ScriptedBus()
    down.connect_errors = [BusUnavailableError("not yet") for _ in range(3)]
    journal.health.drop("journal_full", 5)
    async with running(make_sidecar(journal, folder, up, down, host_event_s=0.01)):
        for count in (2, 3):
            write_running_status(status_file(folder), count / 2, 3.0, 0.5)

        def told() -> bool:
            last = up.stored[-1] if up.stored else None
            return isinstance(last, HostEvent) and last.reconnects == 3 and last.published > 4

        await wait_until(told, "the host event has it")
    last = up.stored[-1]
    assert isinstance(last, HostEvent)
    assert last.dropped == 5
    assert last.dropped_by == {"journal_full": 5, "too_old": 0, "no_space": 0}


async def test_a_stop_while_connecting_for_the_first_time_is_clean_and_soon(
    journal: Journal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidecar_module, "GOODBYE_S", 0.01)
    entered = asyncio.Event()

    class Hanging(ScriptedBus):
        @asynccontextmanager
        async def publisher(self, presence: Presence | None) -> AsyncIterator[Publisher]:
            entered.set()
            await asyncio.get_running_loop().create_future()
            async with super().publisher(presence) as publisher:
                yield publisher

    write_running_status(status_file(folder), 1.0, 3.0, 0.5)
    sidecar = make_sidecar(journal, folder, Hanging())
    async with running(sidecar) as (stop, task):
        await entered.wait()
        stop.set()
        assert await asyncio.wait_for(task, 10)
    assert isinstance(journal.newest(journal.last_row)[-1], HostEvent)


async def test_what_a_destination_lacked_at_a_stop_is_in_the_journal_for_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    write_running_status(status_file(folder), 1.0, 3.0, 0.5)
    bus = ScriptedBus()
    bus.connect_errors += [DOWN] * 10_000
    with open_journal(tmp_path / "journal.db") as journal:
        async with running(make_sidecar(journal, folder, bus)) as (stop, task):
            await wait_until(lambda: journal.last_row >= 2, "the job is seen")
            stop.set()
            assert await asyncio.wait_for(task, 10), "no failure"
    bus.connect_errors.clear()
    with open_journal(tmp_path / "journal.db") as journal:
        async with running(make_sidecar(journal, folder, bus)):
            await wait_until(lambda: jobs_in(bus.stored) == ["a"], "it arrives")


async def test_a_destination_that_is_down_harms_no_other(journal: Journal, folder: Path) -> None:
    down, up = ScriptedBus(), ScriptedBus()
    down.connect_errors += [DOWN] * 10_000
    write_running_status(status_file(folder), 1.0, 3.0, 0.5)
    sidecar = make_sidecar(journal, folder, down, up, host_event_s=0.05)
    async with running(sidecar):
        await wait_until(lambda: jobs_in(up.stored) == ["a"], "the other has it")

        def lag_is_told() -> bool:
            hosts = [event for event in up.stored if isinstance(event, HostEvent)]
            return any(event.lag["scripted_1"] >= 2 for event in hosts)

        await wait_until(lag_is_told, "the host event shows what the first lacks")


async def test_a_destination_that_needs_a_person_is_one_error(journal: Journal, folder: Path) -> None:
    bus = ScriptedBus()
    bus.connect_errors.append(ConfigError("scripted://1 has another layout"))
    with pytest.raises(ConfigError, match="another layout"):
        await make_sidecar(journal, folder, bus).run(asyncio.Event())


@pytest.mark.parametrize("where", ["watcher", "timer"])
async def test_a_fault_of_our_own_ends_the_sidecar_and_is_not_passed_over(
    journal: Journal, folder: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    write_running_status(status_file(folder), 1.0, 3.0, 0.5)
    bus = ScriptedBus()
    sidecar = make_sidecar(journal, folder, bus, heartbeat_s=0.02)

    async def break_down() -> None:
        raise RuntimeError("boom")

    def fall_over(_: object) -> None:
        raise RuntimeError("boom")

    if where == "watcher":
        monkeypatch.setattr(sidecar._watcher, "run", break_down)
    else:
        monkeypatch.setattr(sidecar._jobs, "tick", fall_over)
    with pytest.raises(ExceptionGroup) as error:
        await asyncio.wait_for(sidecar.run(asyncio.Event()), 10)
    assert error.value.subgroup(RuntimeError) is not None


# Ending with the training


async def test_it_ends_when_every_job_is_done_and_sent(journal: Journal, folder: Path) -> None:
    bus = ScriptedBus()
    files = [status_file(folder, job) for job in ("a", "b")]
    for file in files:
        write_running_status(file, 1.0, 3.0, 0.5)
    sidecar = make_sidecar(journal, folder, bus, exit_when_done=True)
    async with running(sidecar) as (_, task):
        await wait_until(lambda: sorted(jobs_in(bus.stored)) == ["a", "b"], "both are seen")
        write_done_status(files[0], 3.0, 0.1)
        await wait_until(lambda: len(jobs_in(bus.stored)) == 3, "the first result is seen")
        assert not task.done()
        write_done_status(files[1], 3.0, 0.1)
        assert await asyncio.wait_for(task, 10)
    states = [event.state for event in bus.stored if isinstance(event, JobEvent)]
    assert sorted(states) == ["done", "done", "running", "running"]


async def test_it_says_no_when_it_ends_with_something_unsent(
    journal: Journal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidecar_module, "FINISH_WAIT_S", 0.05)
    bus = ScriptedBus()
    bus.connect_errors += [DOWN] * 10_000
    write_done_status(status_file(folder), 3.0, 0.1)
    sidecar = make_sidecar(journal, folder, bus, exit_when_done=True)
    assert not await asyncio.wait_for(sidecar.run(asyncio.Event()), 10)


async def test_the_result_of_the_first_file_found_is_not_the_end_of_all(
    journal: Journal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_done_status(status_file(folder), 3.0, 0.1)
    sidecar = make_sidecar(journal, folder, exit_when_done=True)
    monkeypatch.setattr(sidecar._watcher.ready, "set", lambda: None)  # a search that never ends
    async with running(sidecar) as (_, task):
        await wait_until(lambda: journal.last_row >= 2, "the result is seen")
        assert not sidecar._finished.is_set()
        assert not task.done()


# Destinations


def test_two_destinations_of_one_sort_have_names_of_their_own() -> None:
    urls = ["redis://h/1", "redis://h/2", "mqtt://h", "/tmp/x.jsonl", "rediss://h"]
    assert [destination.name for destination in open_destinations(urls)] == [
        "redis",
        "redis_2",
        "mqtt",
        "jsonl",
        "redis_3",
    ]


@pytest.mark.parametrize(
    "urls", [["redis://h", "redis://me:hunter2@h"], ["x.jsonl", "x.jsonl"], ["mqtt://h", "mqtt://h?version=5"]]
)
def test_one_destination_named_twice_is_refused_without_a_secret(urls: list[str]) -> None:
    with pytest.raises(ConfigError, match="this destination is named twice") as error:
        open_destinations(urls)
    assert "hunter2" not in str(error.value)


async def test_a_lost_connection_says_the_destination_and_no_secret(
    journal: Journal, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bus = ScriptedBus()
    bus.connect_errors.append(DOWN)
    caplog.set_level(logging.WARNING)
    async with running(make_sidecar(journal, folder, bus)):
        await wait_until(lambda: bool(bus.publishers), "it comes through at last")
    assert [(record.message, vars(record)["destination"]) for record in caplog.records] == [
        ("unavailable; trying again", "scripted://1")
    ]


@pytest.mark.parametrize("remote", [False, True], ids=["local", "network"])
async def test_what_polling_has_not_shown_yet_is_read_before_the_goodbye(
    journal: Journal, folder: Path, monkeypatch: pytest.MonkeyPatch, *, remote: bool
) -> None:
    monkeypatch.setattr("pulse_bridge.watch.open_hints", lambda: None)
    monkeypatch.setattr("pulse_bridge.watch_folders.is_remote", lambda _: remote)
    write_running_status(status_file(folder), 1.0, 3.0, 0.5)
    bus = ScriptedBus()
    sidecar = Sidecar(
        SidecarSettings(paths=(str(folder),), host="node1", poll_s=3600, quiet_poll_s=3600),
        [Destination(bus, "scripted", "scripted://1", "scripted://1")],
        journal,
    )
    async with running(sidecar) as (stop, task):
        await wait_until(lambda: any(isinstance(event, JobEvent) for event in bus.stored), "the job is seen")
        write_done_status(status_file(folder), 3.0, 0.1)
        stop.set()
        assert await task
    assert [event.state for event in bus.stored if isinstance(event, JobEvent)] == ["running", "done"]
    assert isinstance(bus.stored[-1], HostEvent)
