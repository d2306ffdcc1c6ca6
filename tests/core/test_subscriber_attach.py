"""A subscriber is given its bus, to ask for the past."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pulse_bridge.bus import Bus, open_bus
from pulse_bridge.journal import open_journal
from pulse_bridge.jsonl import DeadLetters
from pulse_bridge.patience import Patience
from pulse_bridge.subscription import Subscription
from pulse_bridge.testing import make_job_event
from tests.support.processes import wait_until
from tests.support.recorder import Recorder


class Asking(Recorder):
    """Notes when it is given its bus, and when its life begins."""

    bus: Bus | None = None

    def attach(self, bus: Bus) -> None:
        self.bus = bus
        self.calls.append(("attach", str(bus)))

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self.calls.append(("lifespan", None))
        yield


async def test_a_subscriber_is_given_the_bus_before_its_life_begins(tmp_path: Path) -> None:
    with open_journal(tmp_path / "node1.db") as journal:
        journal.append([make_job_event(1)])
    url = f"journal://{tmp_path / 'node1.db'}"
    subscriber = Asking()
    subscription = Subscription(
        subscriber, open_bus(url), name="asking", shown=url, letters=DeadLetters(tmp_path / "dead.jsonl")
    )
    stop = asyncio.Event()
    running = asyncio.create_task(subscription.run(stop))
    await wait_until(lambda: bool(subscriber.given("snapshot")), "it was given the snapshot")
    stop.set()
    await running
    assert [verb for verb, _ in subscriber.calls[:3]] == ["attach", "lifespan", "on_connect"]
    assert subscriber.given("attach") == [url]


async def test_a_subscriber_that_cannot_take_the_bus_is_lost_alone(tmp_path: Path) -> None:
    class Refusing(Recorder):
        def attach(self, bus: Bus) -> None:
            raise ValueError(f"not {bus}")

    subscriber = Refusing()
    bus = open_bus(f"journal://{tmp_path / 'node1.db'}")
    subscription = Subscription(
        subscriber,
        bus,
        name="refusing",
        shown="journal",
        letters=DeadLetters(tmp_path / "dead.jsonl"),
        patience=Patience(attempts=1),
    )
    async with asyncio.timeout(20):
        await subscription.run(asyncio.Event())
    assert subscriber.calls == []
