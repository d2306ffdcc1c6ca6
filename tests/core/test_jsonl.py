import errno
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from pulse_bridge.bus import Bus, Query, Rejection, open_bus
from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge.event import Event, EventId, to_json
from pulse_bridge.jsonl import DeadLetters, read_events
from pulse_bridge.testing import PublisherContract, make_host_event, make_job_event


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recording.jsonl"


@pytest.fixture
def bus(path: Path) -> Bus:
    return open_bus(str(path))


def write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def text_of(path: Path) -> str:
    return path.read_text()


def make_folder(path: Path) -> None:
    path.mkdir()


class FullDisk:
    """Takes nothing."""

    def write(self, text: str) -> None: ...

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def history(bus: Bus, query: Query | None = None) -> list[Event]:
    return [event async for event in bus.history(query or Query())]


class TestJsonlPublisher(PublisherContract):
    async def received(self, bus: Bus, count: int) -> Sequence[Event]:  # noqa: ARG002 - they are there at once
        return await history(bus)


async def test_each_line_is_exactly_the_event_s_json(bus: Bus, path: Path) -> None:
    events: list[Event] = [make_job_event(1), make_host_event(2)]
    async with bus.publisher(None) as publisher:
        await publisher.publish(events)
        assert text_of(path) == "".join(to_json(event) + "\n" for event in events)


async def test_a_line_that_a_crash_cut_is_ended_and_its_event_written_again(bus: Bus, path: Path) -> None:
    write_bytes(path, (to_json(make_job_event(1)) + "\n" + to_json(make_job_event(2))[:40]).encode())
    async with bus.publisher(None) as publisher:
        assert await publisher.resume(EventId("contract", 2)) == EventId("contract", 1)
        await publisher.publish([make_job_event(2), make_job_event(3)])
    assert [event.id.seq for event in await history(bus)] == [1, 2, 3]


async def test_a_repeat_after_a_new_connection_adds_nothing(bus: Bus) -> None:
    for _ in range(2):
        async with bus.publisher(None) as publisher:
            await publisher.publish([make_job_event(1), make_job_event(1, id=EventId("other", 1))])
    assert [str(event.id) for event in await history(bus)] == ["contract-1", "other-1"]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b" \n"])
@pytest.mark.parametrize("producer", ["p", "a-b", 'é"\\'])
async def test_what_a_file_has_is_known_however_its_lines_are_written(
    producer: str, ending: bytes, bus: Bus, path: Path
) -> None:
    events = [make_job_event(seq, id=EventId(producer, seq)) for seq in (1, 2)]
    write_bytes(path, b"[1]\n" + b"".join(to_json(event).encode() + ending for event in events))
    async with bus.publisher(None) as publisher:
        assert await publisher.resume(EventId(producer, 9)) == EventId(producer, 2)
        await publisher.publish(events)
    assert list(read_events(path)) == events


async def test_lines_that_are_no_events_are_passed_over_and_said_once(
    bus: Bus, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hostile = [b"{", b"[" * 50_000, b"\xff\xfe", b"null", b'{"kind":"host"}', b"", b"   ", b"1e999"]
    lines = [to_json(make_job_event(1)).encode(), *hostile, to_json(make_job_event(2)).encode()]
    write_bytes(path, b"\n".join(lines))
    assert [event.id.seq for event in await history(bus)] == [1, 2]
    (record,) = caplog.records
    assert record.message == "lines that are no events were passed over"
    assert vars(record)["lines"] == 6


async def test_history_takes_every_filter(bus: Bus) -> None:
    async with bus.publisher(None) as publisher:
        await publisher.publish(
            [make_job_event(1, job="a"), make_job_event(2, job="b"), make_job_event(3, job="a")]
        )
    assert [event.id.seq for event in await history(bus, Query(jobs=["a"], limit=1))] == [1]
    assert await history(bus, Query(limit=0)) == []


async def test_a_recording_that_is_not_there_or_cannot_be_read_is_unavailable(bus: Bus, path: Path) -> None:
    with pytest.raises(BusUnavailableError, match=f"cannot be read: {os.strerror(errno.ENOENT)}"):
        await history(bus)
    make_folder(path)
    with pytest.raises(BusUnavailableError, match="cannot be read"):
        await history(bus)
    with pytest.raises(BusUnavailableError, match="cannot be written"):
        async with bus.publisher(None):
            pass


async def test_a_full_disk_is_unavailable(bus: Bus) -> None:
    async with bus.publisher(None) as publisher:
        publisher._file = FullDisk()  # type: ignore[attr-defined]  # of this one publisher
        with pytest.raises(BusUnavailableError, match=os.strerror(errno.ENOSPC)):
            await publisher.publish([make_job_event(1)])


async def test_a_file_that_is_removed_meanwhile_is_unavailable_and_a_new_connection_makes_it_anew(
    bus: Bus, path: Path
) -> None:
    async with bus.publisher(None) as publisher:
        await publisher.publish([make_job_event(1)])
        os.unlink(path)
        with pytest.raises(BusUnavailableError, match="has been removed"):
            await publisher.publish([make_job_event(2)])
    async with bus.publisher(None) as publisher:
        await publisher.publish([make_job_event(2)])
    assert [event.id.seq for event in read_events(path)] == [2]


async def test_a_pipe_is_refused_and_not_waited_for(bus: Bus, path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="is a pipe or a device"):
        await anext(aiter(bus.history(Query())))
    with pytest.raises(ConfigError, match="is a pipe or a device"):
        async with bus.publisher(None):
            pass


def test_a_recording_is_not_followed(bus: Bus) -> None:
    with pytest.raises(ConfigError, match="is read with 'pulse-bridge replay', not followed"):
        bus.consumer(None)


def test_another_file_name_is_no_bus() -> None:
    with pytest.raises(ConfigError, match=r"neither a bus URL .* nor a \.jsonl file"):
        open_bus("recording.json")


# Dead letters


def test_dead_letters_are_events_with_a_destination_and_a_reason(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    letters = DeadLetters(path)
    assert not path.exists()
    letters.add("mqtt", [Rejection(make_job_event(1), "payload too large")])
    letters.add("mqtt", [Rejection(make_host_event(2), "topic"), Rejection(make_job_event(3), "topic")])
    assert list(read_events(path)) == [make_job_event(1), make_host_event(2), make_job_event(3)]
    fields = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(entry["rejected_by"], entry["reason"]) for entry in fields] == [
        ("mqtt", "payload too large"),
        ("mqtt", "topic"),
        ("mqtt", "topic"),
    ]
    assert letters.count == 3
    (record,) = caplog.records
    assert (record.levelno, record.message) == (
        logging.ERROR,
        "a destination can never take an event; it is kept as a dead letter",
    )


def test_a_dead_letter_that_cannot_be_kept_is_said_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    letters = DeadLetters(tmp_path / "file" / "x.dead.jsonl")
    letters.add("mqtt", [Rejection(make_job_event(1), "no")])
    assert letters.count == 1
    assert caplog.records[-1].message == "the dead letter cannot be kept"
