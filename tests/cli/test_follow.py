"""Following any bus in lines, over losses of the connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pulse_bridge.cli.follow import LineView, follow
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge.event import EventId
from pulse_bridge.testing import make_host_event, make_job_event
from tests.support.processes import wait_until
from tests.support.scripted_source import ScriptedSource


class Shown:
    """What was printed so far, line by line in few words."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []
        self._capsys = capsys

    def look(self) -> int:
        captured = self._capsys.readouterr()
        self.lines += [" ".join(line.split()[1:4]) for line in captured.out.splitlines()]
        self.notes += captured.err.splitlines()
        return len(self.lines)


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    return Shown(capsys)


@asynccontextmanager
async def following(bus: ScriptedSource, view: LineView) -> AsyncIterator[None]:
    task = asyncio.ensure_future(follow(bus, view))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_after_a_reconnect_only_what_changed_meanwhile_is_shown(shown: Shown) -> None:
    bus = ScriptedSource()
    bus.put(make_job_event(1, job="a", loss=0.5), make_job_event(2, job="b", loss=0.5))
    async with following(bus, LineView()):
        await wait_until(lambda: shown.look() == 2, "the snapshot is shown")
        bus.lose("the connection was closed")
        # Behind its back: a heartbeat of the one, and of the other a change with a heartbeat after it.
        bus.batches.clear()
        bus.put(
            make_job_event(3, job="a", kind="heartbeat", loss=0.5, eta_s=1.0),
            make_job_event(5, job="b", kind="heartbeat", loss=0.25),
            make_host_event(6),
        )
        await wait_until(lambda: bus.given >= 2 and shown.look() == 3, "what is new is shown")
        bus.put(make_job_event(7, job="c"))
        await wait_until(lambda: shown.look() >= 4, "it goes on")
    assert shown.lines[:2] == ["node1/a change running", "node1/b change running"]
    assert shown.lines[2:] == ["node1/b heartbeat running", "node1/c change running"]
    assert shown.notes == ["pulse-bridge: waiting: the connection was closed"]


async def test_a_snapshot_of_heartbeats_shows_every_job_the_first_time(shown: Shown) -> None:
    bus = ScriptedSource()
    bus.put(make_job_event(1, job="a", kind="heartbeat"), make_job_event(2, job="b", kind="heartbeat"))
    async with following(bus, LineView()):
        await wait_until(lambda: shown.look() == 2, "both are shown")


async def test_a_heartbeat_of_a_sidecar_that_was_restarted_is_no_news(shown: Shown) -> None:
    bus = ScriptedSource()
    bus.put(make_job_event(1, job="a"))
    async with following(bus, LineView()):
        await wait_until(lambda: shown.look() == 1, "the snapshot is shown")
        bus.put(make_job_event(1, job="a", kind="heartbeat", id=EventId("later", 2)))
        bus.put(make_job_event(3, job="b"))
        await wait_until(lambda: shown.look() >= 2, "what follows is shown")
    assert shown.lines[1:] == ["node1/b change running"]


async def test_lost_events_are_said(shown: Shown) -> None:
    bus = ScriptedSource()
    async with following(bus, LineView()):
        await wait_until(lambda: bus.given == 1, "it follows")
        bus.put(make_job_event(1, job="a"), lost=3)
        await wait_until(lambda: shown.look() == 1, "what is left is shown")
    assert shown.notes == ["pulse-bridge: 3 events are lost: the bus gave them up before they were read"]


async def test_a_bus_that_is_down_is_said_once(shown: Shown) -> None:
    bus = ScriptedSource()
    bus.connect_errors += [BusUnavailableError("nobody listens")] * 2
    bus.put(make_job_event(1, job="a"))
    async with following(bus, LineView()):
        await wait_until(lambda: shown.look() == 1, "it is there at last")
    assert shown.notes == ["pulse-bridge: waiting: nobody listens"]


class Link:
    """What was told of the connection."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def connected(self) -> None:
        self.told.append("connected")

    def disconnected(self, reason: str) -> None:
        self.told.append(reason)

    def missed(self) -> None:
        self.told.append("missed")


async def test_who_shows_more_of_a_connection_is_told_of_it_and_no_sentence_is_printed(shown: Shown) -> None:
    bus, link = ScriptedSource(), Link()
    bus.connect_errors += [BusUnavailableError("nobody listens")] * 2
    task = asyncio.ensure_future(follow(bus, LineView(), link))
    bus.put(make_job_event(1, job="a"))
    await wait_until(lambda: shown.look() == 1, "the snapshot is shown")
    bus.put(make_job_event(2, job="b"), lost=3)
    await wait_until(lambda: shown.look() == 2, "it goes on")
    bus.lose("the connection was closed")
    await wait_until(lambda: link.told.count("connected") == 2, "it is back")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert link.told == [
        "nobody listens",
        "nobody listens",
        "connected",
        "missed",
        "the connection was closed",
        "connected",
    ]
    assert not any("waiting" in note for note in shown.notes)
