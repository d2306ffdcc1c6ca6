"""The view of a bus that goes away and comes back, and of a job's past."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pulse_bridge.bus import Bus, open_bus
from pulse_bridge.cli import live
from pulse_bridge.cli.follow import follow
from pulse_bridge.cli.live import LiveTable
from pulse_bridge.cli.watch_screen import Size, as_text
from pulse_bridge.clock import Instant, read_clocks
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge.event import EventId
from pulse_bridge.journal import open_journal
from pulse_bridge.testing import make_host_event, make_job_event
from tests.support.processes import wait_until
from tests.support.scripted_source import ScriptedSource


class Clock:
    """Both clocks, as the test sets them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(live, "read_clocks", self.read)

    def read(self) -> Instant:
        return Instant(self.now_s, 1_790_000_000 + self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def observed_ms(clock: Clock) -> int:
    return int(clock.read().wall_s * 1000)


def screen(view: LiveTable) -> str:
    view._ask_for_past()
    return "\n".join(as_text(view._draw(Size(120, 30), keys=True)))


@asynccontextmanager
async def following(bus: Bus, view: LiveTable) -> AsyncIterator[None]:
    task = asyncio.ensure_future(follow(bus, view, view))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_while_the_bus_is_away_nobody_is_called_silent_and_silence_is_counted_from_its_return(
    clock: Clock,
) -> None:
    bus, view = ScriptedSource(), LiveTable()
    bus.put(make_job_event(1, job="a", observed_ms=observed_ms(clock)))
    async with following(bus, view):
        await wait_until(lambda: "a " in screen(view), "the job is there")
        bus.put(make_host_event(2, observed_ms=observed_ms(clock)))
        await wait_until(lambda: "the sidecar spoke 0 s ago" in screen(view), "its host is heard")
        bus.connect_errors += [BusUnavailableError("nobody listens")] * 1000
        bus.lose("the connection was closed")
        await wait_until(lambda: "not connected" in screen(view), "the loss is said")
        clock.now_s += 600
        shown = screen(view)
        assert "everything is last known" in shown
        assert "running?" in shown
        assert "silent" not in shown
        bus.connect_errors.clear()
        await wait_until(lambda: "not connected" not in screen(view), "it is back")
        assert "not heard yet since we are connected again" in screen(view)
        assert "silent" not in screen(view)
        clock.now_s += 29
        assert "silent" not in screen(view)
        clock.now_s += 2
        assert "the sidecar is silent, for 10 min 31 s now" in screen(view)
        bus.put(make_host_event(3, observed_ms=observed_ms(clock)))
        await wait_until(lambda: "the sidecar spoke 0 s ago" in screen(view), "it is heard")
        assert "running?" not in screen(view)


async def test_a_reason_that_changes_is_shown_and_the_time_goes_on(clock: Clock) -> None:
    view = LiveTable()
    view.connected()
    view.disconnected("one thing")
    since_s = view._link.since_s if view._link else None
    view.disconnected("another thing")
    assert "another thing" in screen(view)
    assert view._link is not None
    assert view._link.since_s == since_s
    assert clock.now_s == 1000.0


def test_who_was_suspended_did_not_listen(clock: Clock) -> None:
    view = LiveTable()
    view.connected()
    bus_events = [make_job_event(1, job="a", observed_ms=observed_ms(clock))]
    for event in bus_events:
        view.fleet.apply(event, clock.read())
    clock.now_s += 300
    view._resumed()
    assert "silent" not in screen(view)
    assert "not heard yet" in screen(view)


async def test_the_past_of_a_job_comes_from_the_bus_when_it_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_journal(path) as journal:
        journal.append([make_job_event(job="a", epoch=n / 10, loss=3.0 - n / 10) for n in range(1, 21)])
        journal.append([make_job_event(job="b[1]", loss=9.0)])
        bus = open_bus(f"journal://{path}")
        view = LiveTable(bus=bus)
        async with following(bus, view):
            await wait_until(lambda: "2 jobs" in screen(view), "both are there")
            assert len(view._pasts.of(("node1", "a")).curve.points) == 1
            view._press("enter")
            await wait_until(lambda: "as far as the bus keeps it" in screen(view), "the past is read")
            assert len(view._pasts.of(("node1", "a")).curve.points) == 20
            assert "lowest 1.0000 at epoch 2" in screen(view)
            journal.append([make_job_event(job="a", epoch=2.1, loss=0.5)])
            await wait_until(lambda: "lowest 0.5000 at epoch 2.1" in screen(view), "it goes on")
            assert len(view._pasts.of(("node1", "a")).curve.points) == 21
            view._press("n")
            await wait_until(lambda: "b[1]" in screen(view).splitlines()[0], "the next job is shown")
            await wait_until(lambda: "as far as the bus keeps it" in screen(view), "its past is read, too")


async def test_a_bus_without_a_past_says_so_and_what_was_seen_is_shown() -> None:
    bus = open_bus("mqtt://127.0.0.1")
    view = LiveTable(bus=bus)
    at = read_clocks()
    for n in range(1, 4):
        event = make_job_event(n, job="a", epoch=n, loss=1.0 / n, id=EventId("p", n))
        view.fleet.apply(event, at)
        view._pasts.add(event)
    screen(view)
    view._press("enter")
    await wait_until(lambda: "this bus keeps no past" in screen(view), "it is said")
    assert len(view._pasts.of(("node1", "a")).curve.points) == 3


async def test_a_past_that_cannot_be_read_is_no_end(tmp_path: Path) -> None:
    view = LiveTable(bus=open_bus(f"journal://{tmp_path}/none.db"))
    event = make_job_event(1, job="a")
    view.fleet.apply(event, read_clocks())
    view._pasts.add(event)
    screen(view)
    view._press("enter")
    await wait_until(lambda: "the past cannot be read now: there is no journal" in screen(view), "it is said")


async def test_what_was_missed_makes_it_ask_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_journal(path) as journal:
        journal.append([make_job_event(job="a", epoch=1.0, loss=3.0)])
    view = LiveTable(bus=open_bus(f"journal://{path}"))
    async with following(open_bus(f"journal://{path}"), view):
        await wait_until(lambda: "1 job" in screen(view), "it is there")
        view._press("enter")
        await wait_until(lambda: "as far as the bus keeps it" in screen(view), "the past is read")
        view.missed()
        assert "the bus is being asked for what was before" in screen(view)
        await wait_until(lambda: "as far as the bus keeps it" in screen(view), "it is read again")


@pytest.mark.parametrize(
    ("keys", "job"),
    [
        (["/", "b", "e", "t", "enter", "enter"], "beta"),
        (["L", "enter"], "gamma"),
        (["L", "r", "down", "enter"], "beta"),
        (["/", "a", "down", "enter", "enter"], "beta"),
        (["L", "enter", "n"], "beta"),
    ],
)
async def test_keys_that_come_faster_than_frames_mean_the_list_that_those_before_them_made(
    keys: list[str], job: str
) -> None:
    view = LiveTable()
    for seq, name in enumerate(["alpha", "beta", "gamma"], 1):
        view.fleet.apply(make_job_event(seq, job=name, loss=9.0 - seq), read_clocks())
    screen(view)
    for key in keys:
        view._press(key)
    assert screen(view).startswith(f"node1/{job} ")


def test_q_leaves() -> None:
    left: list[str] = []
    view = LiveTable(leave=lambda: left.append("left"))
    view._press("q")
    assert left == ["left"]
