"""The past from the jobs' own streams, which go further back than the stream of every event."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pulse_bridge.bus import Presence, Query, open_bus
from pulse_bridge.event import STALE_MESSAGE, Event, JobEvent
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event
from tests.support.command import Home
from tests.support.redis_server import RedisServer

SECOND = SAMPLE_MS // 1000


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), config=[("stream-node-max-entries", "1")]) as server:
        yield server


def job(seq: int, second: float, name: str = "a", **changes: object) -> JobEvent:
    observed_ms = SECOND * 1000 + int(second * 1000)
    changes = {"status": changes.get("state", "running"), "timestamp": observed_ms // 1000, **changes}
    return make_job_event(seq, job=name, observed_ms=observed_ms, run=SECOND, **changes)


STALE = {"kind": "stale", "state": "stale", "status": "error", "message": STALE_MESSAGE}
STORY: Sequence[JobEvent] = [
    job(1, 0, state="idle", epoch=0, progress=0),
    job(2, 5, epoch=1),
    job(3, 6, epoch=2, loss=None, diverged=True, eta_s=None, step=None, learning_rate=None),
    job(4, 7, epoch=2, **STALE),
    job(5, 8, epoch=2, kind="recovered"),
    job(6, 9, epoch=1),
    job(7, 9, epoch=3, state="done"),
    job(8, 9.5, epoch=3, state="gone", kind="gone", status="done"),
    job(9, 60, epoch=3, state="done"),
    job(10, 61.25, epoch=3, loss=1e-300),
    job(11, 62, epoch=3, state="error"),
]
RUNS = [0, 5, 5, 5, 5, 9, 9, 9, 9, 61, 61]
"""Seconds behind the first one, as `pulse-v1.md` numbers them."""


async def put(url: str, *events: Event) -> None:
    async with open_bus(url).publisher(Presence("node1", "owner1")) as publisher:
        for event in events:
            assert not await publisher.publish([event])


async def past(url: str, query: Query | None = None) -> list[JobEvent]:
    found = [event async for event in open_bus(f"{url}&stream=jobs").history(query or Query())]
    return [event for event in found if isinstance(event, JobEvent)]


def bare(event: JobEvent) -> JobEvent:
    """Take off what the stream has not."""
    message = STALE_MESSAGE if event.state == "stale" else ""
    return event._replace(message=message, labels={}, total_steps=None, id=STORY[0].id, run=0)


async def test_it_says_of_each_change_what_a_chart_needs_and_reckons_the_rest(redis: RedisServer) -> None:
    url = f"{redis.url}?prefix=story&maxlen=1"
    await put(url, *STORY, job(12, 70, kind="heartbeat", state="error", epoch=3), make_host_event(13))
    found = await past(url)
    assert len(redis.stream("story:events")) < len(STORY), "the other stream has forgotten"
    assert [bare(event) for event in found] == [bare(event) for event in STORY]
    assert [event.run - SECOND for event in found] == RUNS


async def test_jobs_and_hosts_are_merged_by_time_and_each_has_a_producer_of_its_own(redis: RedisServer) -> None:
    url = f"{redis.url}?prefix=many&partitions=3"
    events = [
        job(1, 1, "a:b", host="h"),
        job(2, 2, "b", host="h:a"),
        job(3, 3, "b", host="h"),
        job(4, 4, "a:b", host="h"),
        job(5, 4, "a:b", host="h"),
    ]
    await put(url, *events)
    found = await past(url)
    assert [(event.host, event.job, event.observed_ms) for event in found] == [
        (event.host, event.job, event.observed_ms) for event in events
    ]
    assert len({event.id.producer for event in found}) == 3
    assert len({event.id for event in found}) == 5
    assert found[0].id.seq < found[3].id.seq < found[4].id.seq
    assert await past(url) == found, "the ids are the same each time"


async def test_only_what_is_asked_for_is_given(redis: RedisServer) -> None:
    url = f"{redis.url}?prefix=asked"
    await put(url, *STORY, job(20, 1, "b"))
    for query, seconds in (
        (Query(jobs=["b"]), [1]),
        (Query(jobs=["a"], since_ms=(SECOND + 60) * 1000), [60, 61.25, 62]),
        (Query(runs=[SECOND + 61]), [61.25, 62]),
        (Query(kinds=["stale", "gone"]), [7, 9.5]),
        (Query(limit=3), [0, 1, 5]),
        (Query(hosts=["none"]), []),
    ):
        assert [event.observed_ms / 1000 - SECOND for event in await past(url, query)] == seconds


async def test_a_replay_of_it_says_what_is_absent(redis: RedisServer, tmp_path: Path) -> None:
    await put(f"{redis.url}?prefix=cli", *STORY)
    result = Home(tmp_path).run("replay", "--from", f"{redis.url}?prefix=cli&stream=jobs", "--run", "last")
    assert result.code == 0
    assert [line.split()[2:4] for line in result.out.splitlines()] == [["change", "running"], ["change", "error"]]
    assert "message, labels, total_steps and id are not in it" in result.err
