"""The reading of the past: bounded, shared by those who ask the same, and left where nobody waits."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from pulse_bridge.bus import Query, open_bus
from pulse_bridge.event import Event, to_json
from pulse_bridge.testing import SAMPLE_MS, make_job_event
from pulse_bridge_web import history as histories
from pulse_bridge_web import pieces
from pulse_bridge_web.history import History
from tests.support.processes import wait_until, wait_until_async
from tests.support.web import serving


class Endless:
    """A bus whose past never comes to an end, and is read without a pause, as a journal's is."""

    name = "endless"

    def __init__(self) -> None:
        self.readers = 0
        self.readings = 0
        self.given = 0

    async def history(self, query: Query) -> AsyncIterator[Event]:  # noqa: ARG002 - the port's signature
        self.readers += 1
        self.readings += 1
        try:
            while True:
                self.given += 1
                yield make_job_event(self.given, job="a")
        finally:
            self.readers -= 1


async def test_reading_the_past_holds_up_nobody_and_ends_in_time() -> None:
    bus: Any = Endless()
    history = History(read_s=0.4)
    history.bus = bus
    reading = asyncio.create_task(history.job("node1", "a", limit=10))
    await wait_until(lambda: bus.given > 1000, "it is read while we go on")
    past = await reading
    assert len(past.events) == 10
    assert past.reason is not None
    assert past.reason.startswith("the past is long and was not read to its end")
    await wait_until(lambda: bus.readers == 0, "nobody reads any more")


async def test_two_read_the_past_at_once_and_the_others_wait_their_turn() -> None:
    bus: Any = Endless()
    history = History(read_s=0.2)
    history.bus = bus
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, bus.readers)
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch())
    found = await asyncio.gather(*(history.job("node1", "a", limit=limit) for limit in range(1, 6)))
    watching.cancel()
    assert len(found) == 5
    assert 1 <= most <= 2


class Held:
    """A bus whose past is read no further than its first event before a test lets it."""

    name = "held"

    def __init__(self) -> None:
        self.readings = 0
        self.ended = 0
        self.free = threading.Event()

    async def history(self, query: Query) -> AsyncIterator[Event]:  # noqa: ARG002 - the port's signature
        self.readings += 1
        try:
            yield make_job_event(1, job="a")
            while not self.free.is_set():  # noqa: ASYNC110 - it is set by another thread's loop
                await asyncio.sleep(0.001)
            yield make_job_event(2, job="a")
        finally:
            self.ended += 1


@pytest.fixture
def held() -> Any:
    return Held()


@pytest.fixture
def history(held: Any) -> History:
    history = History()
    history.bus = held
    return history


async def test_who_asks_the_same_at_once_shares_one_reading(held: Any, history: History) -> None:
    same = [asyncio.create_task(history.job("node1", "a")) for _ in range(50)]
    other = asyncio.create_task(history.job("node1", "a", run=7))
    await wait_until(lambda: held.readings == 2, "both questions are read")
    held.free.set()
    answers = await asyncio.gather(*same, other)
    assert {len(past.events) for past in answers} == {2}
    assert held.readings == 2
    await history.job("node1", "a")
    assert held.readings == 3, "what was read before is not the answer of later"


async def test_a_reading_goes_on_for_those_who_stay(held: Any, history: History) -> None:
    asking = [asyncio.create_task(history.job("node1", "a")) for _ in range(3)]
    await wait_until(lambda: held.readings == 1, "it is read")
    asking[0].cancel()
    asking[1].cancel()
    await asyncio.gather(*asking[:2], return_exceptions=True)
    held.free.set()
    past = await asking[2]
    assert (len(past.events), past.complete, held.readings) == (2, True, 1)


async def test_a_reading_ends_where_nobody_waits_even_if_the_bus_gives_nothing(
    held: Any, history: History
) -> None:
    asking = [asyncio.create_task(history.job("node1", "a")) for _ in range(3)]
    await wait_until(lambda: held.readings == 1, "it is read")
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    again = asyncio.create_task(history.job("node1", "a"))
    await wait_until(lambda: held.ended == 1, "it is given up")
    held.free.set()
    assert len((await again).events) == 2, "who asks from then on is not given what was given up"


async def test_a_client_that_leaves_is_not_read_for(held: Any) -> None:
    async with serving(bus=held) as page:
        asking = asyncio.create_task(page.get("/api/jobs/node1/a/history"))
        await wait_until(lambda: held.readings == 2, "it is read, and so is what sparklines are drawn from")
        asking.cancel()
        with suppress(asyncio.CancelledError, httpx.HTTPError):
            await asking
        await wait_until(lambda: held.ended == 1, "it is given up")


# What the answers weigh


def wordy(path: Path, count: int) -> str:
    """Record a past with a long text in each event; gives its path."""
    text = "x" * 4000
    events = [make_job_event(n, job="a", observed_ms=SAMPLE_MS + n, message=text) for n in range(1, count + 1)]
    path.write_text("".join(f"{to_json(event)}\n" for event in events), encoding="utf-8")
    return str(path)


async def test_of_events_with_long_texts_fewer_are_given_and_the_others_can_be_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "MOST_CHARACTERS", 10_000)
    async with serving(bus=open_bus(wordy(tmp_path / "record.jsonl", 5))) as page:
        past = await page.json("/api/jobs/node1/a/history")
        assert [event["id"] for event in past["events"]] == ["contract-4", "contract-5"]
        assert (past["complete"], past["kept"]) == (False, True)
        assert past["reason"].startswith("only the last 2 events: their texts are long; ask for those before")
        before = await page.json(f"/api/jobs/node1/a/history?until={past['events'][0]['observed_at']}")
        assert [event["id"] for event in before["events"]] == ["contract-2", "contract-3"]


async def test_clients_that_are_slow_to_fetch_the_past_do_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "UNDER_WAY_BYTES", 1_000_000)
    async with serving(bus=open_bus(wordy(tmp_path / "record.jsonl", 200))) as page:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", page.port))
            slow.sendall(b"GET /api/jobs/node1/a/history HTTP/1.1\r\nHost: localhost\r\n\r\n")

            begun = await asyncio.to_thread(slow.recv, 12)
            assert begun == b"HTTP/1.1 200"
            answer = await page.get("/api/jobs/node1/a/history", accept_encoding="identity")
            assert answer.status_code == 503, "one is under way, and two would be too much"
            assert answer.headers["retry-after"] == "2"
            assert answer.json() == {"error": "others are still fetching the past; ask again in a moment"}
            short = await page.get("/api/jobs/node1/a/history?limit=10")
            assert short.status_code == 200, "there is room for it"

        async def is_answered() -> bool:
            return (await page.get("/api/jobs/node1/a/history")).status_code == 200

        await wait_until_async(is_answered, "the slow one has left")
