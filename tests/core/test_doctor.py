"""The port: what a bus or subscriber without it gets, and what one that fails cannot do to the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pulse_bridge import doctor_run
from pulse_bridge.bus import Batch, Query
from pulse_bridge.clock import Instant
from pulse_bridge.doctor import Examination, Finding, count, format_bytes
from pulse_bridge.doctor_config import Configured
from pulse_bridge.doctor_run import examine
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge.subscriber import NOTHING, Changes, Subscriber, SubscriberUrl


class PlainBus:
    """A bus without `examine`."""

    name = "plain"

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def publisher(self, _: object) -> None:
        raise AssertionError("looking at a bus publishes nothing")

    @asynccontextmanager
    async def consumer(self, group: str | None) -> AsyncIterator[None]:
        assert group is None, "a group's place is not to be taken"
        if self._error:
            raise self._error
        yield

    def history(self, _: Query) -> None:
        raise AssertionError


class OtherBus(PlainBus):
    """A bus that does something with `examine`."""

    async def examine(self, examination: Examination) -> AsyncIterator[Finding]:
        yield examination.advice("it is old", "renew it")
        if self._error:
            raise self._error
        await asyncio.get_running_loop().create_future()


class PlainSubscriber(Subscriber):
    """A subscriber without `examine`."""

    async def on_batch(self, batch: Batch, at: Instant) -> Changes:  # noqa: ARG002 - the port's signature
        return NOTHING


async def look(bus: object) -> list[tuple[str, str, str]]:
    configured = Configured(None, {"plain://u:s3cret@h": bus}, [], [])  # type: ignore[dict-item]
    found = await examine(configured, watch_s=0)
    return [(one.level, one.sentence, one.remedy) for one in found if one.subject == "plain://u:***@h"]


async def test_a_bus_without_examine_is_connected_to_and_no_more() -> None:
    assert await look(PlainBus()) == [("fine", "it can be connected to; it tells nothing more of itself", "")]


async def test_the_sentence_of_a_bus_that_is_down_is_parted_from_its_remedy() -> None:
    down = PlainBus(BusUnavailableError("it is full; raise its limit"))
    assert await look(down) == [("problem", "it is full", "raise its limit")]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (BusUnavailableError("it went away"), "it went away"),
        (ZeroDivisionError("oh"), "it cannot be looked at: ZeroDivisionError: oh"),
        (None, "it does not answer in 0.05 s"),
    ],
)
async def test_what_was_found_before_a_failure_counts(
    error: Exception | None, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_run, "EXAMINE_S", 0.05)
    first, second = await look(OtherBus(error))
    assert first == ("advice", "it is old", "renew it")
    assert second[:2] == ("problem", sentence)
    assert second[2]


async def test_a_subscriber_without_examine_is_fine_where_it_could_be_made() -> None:
    url = SubscriberUrl.parse("mine?name=x")
    configured = Configured(None, {}, [(url, PlainSubscriber())], [])
    found = await examine(configured, watch_s=0)
    (finding,) = (one for one in found if one.subject == "subscriber mine?name=x")
    assert (finding.level, finding.sentence) == ("fine", "it is installed, and its options are right")


def test_numbers_are_written_for_a_person() -> None:
    sizes = {0: "0 bytes", 999: "999 bytes", 2048: "2 KiB", 2**28: "256 MiB", 3 * 2**30: "3.0 GiB"}
    assert {size: format_bytes(size) for size in sizes} == sizes
    assert [count(1, "job"), count(2, "job")] == ["1 job", "2 jobs"]
