"""What stands in Redis after publishing, read back with a plain client."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest

from pulse_bridge.bus import Bus, Presence, Query
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge.event import Event, EventId, from_fields, to_json, to_text_fields
from pulse_bridge.testing import PRESENCE, SAMPLE_MS, PublisherContract, make_host_event, make_job_event
from pulse_bridge_redis import RedisBus
from tests.support.processes import wait_until
from tests.support.redis_server import Proxy, RawRedis, RedisServer

JOB_KEY = "pulse:job:node1:llm/run a"


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(server) as proxy:
        yield proxy


def make_bus(url: str) -> RedisBus:
    return RedisBus(BusUrl.parse(url))


async def publish(bus: Bus, *events: Event, presence: Presence | None = PRESENCE) -> None:
    async with bus.publisher(presence) as publisher:
        assert not await publisher.publish(events)


class TestContract(PublisherContract):
    async def received(self, bus: Bus, count: int) -> Sequence[Event]:
        got = [event async for event in bus.history(Query())]
        assert len(got) >= count
        return got


async def test_every_key_of_the_layout_is_there_and_no_other(bus: RedisBus, redis: RawRedis) -> None:
    job, host = make_job_event(1), make_host_event(2)
    async with bus.publisher(PRESENCE) as publisher:
        await publisher.publish([job, host])
        assert {key: redis.type(key) for key in redis.keys("*")} == {
            "pulse:meta": "hash",
            "pulse:events": "stream",
            "pulse:state": "hash",
            JOB_KEY: "stream",
            "pulse:host:node1": "string",
            "pulse:seq:contract": "string",
        }
    assert redis.hgetall("pulse:meta") == {"layout": "1", "partitions": "0"}
    assert [fields for _, fields in redis.xrange("pulse:events")] == [to_text_fields(job), to_text_fields(host)]
    assert redis.hgetall("pulse:state") == {"node1/llm/run a": to_json(job)}
    assert redis.get("pulse:host:node1") == "owner1"
    assert redis.get("pulse:seq:contract") == "2"
    assert 8 * 86_400 - 60 < redis.ttl("pulse:seq:contract") <= 8 * 86_400
    assert 7 * 86_400 - 60 < redis.ttl(JOB_KEY) <= 7 * 86_400


async def test_a_jobs_stream_holds_what_a_chart_needs_at_the_time_it_was_seen(
    bus: RedisBus, redis: RawRedis
) -> None:
    await publish(bus, make_job_event(7, loss=0.25, eta_s=None, learning_rate=None, step=None))
    assert redis.xrange(JOB_KEY) == [
        (
            f"{SAMPLE_MS + 7}-7",
            {
                "state": "running",
                "epoch": "1.5",
                "total_epochs": "3",
                "loss": "0.25",
                "progress": "50.0",
                "eta_s": "NaN",
                "step": "NaN",
                "learning_rate": "NaN",
            },
        )
    ]


async def test_every_entry_has_every_field_of_its_sort_and_nan_for_an_absent_number(
    bus: RedisBus, redis: RawRedis
) -> None:
    absent = {"loss": None, "eta_s": None, "step": None, "total_steps": None, "learning_rate": None}
    await publish(
        bus, make_job_event(1), make_job_event(2, diverged=True, **absent), make_host_event(3), make_host_event(4)
    )
    full, bare, *hosts = [fields for _, fields in redis.xrange("pulse:events")]
    assert list(full) == list(bare)
    assert {name: bare[name] for name in absent} == dict.fromkeys(absent, "NaN")
    assert bare["diverged"] == "1"
    assert full["diverged"] == "0"
    assert list(hosts[0]) == list(hosts[1])


async def test_a_heartbeat_makes_no_chart_entry_but_renews_the_expiry_and_the_state(
    bus: RedisBus, redis: RawRedis, caplog: pytest.LogCaptureFixture
) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        await publisher.publish([make_job_event(1)])
        redis.expire(JOB_KEY, 60)
        beat = make_job_event(2, kind="heartbeat")
        await publisher.publish([beat])
    assert redis.xlen(JOB_KEY) == 1
    assert redis.ttl(JOB_KEY) > 60
    assert redis.hget("pulse:state", "node1/llm/run a") == to_json(beat)
    assert redis.xlen("pulse:events") == 2
    assert not caplog.records


async def test_the_state_holds_the_last_event_of_each_job_of_a_batch(bus: RedisBus, redis: RawRedis) -> None:
    events = [make_job_event(seq, job=f"job{seq % 3}") for seq in range(1, 10)]
    await publish(bus, *events)
    assert redis.hgetall("pulse:state") == {f"node1/{event.job}": to_json(event) for event in events[-3:]}


async def test_a_clock_that_steps_back_loses_no_entry_of_the_jobs_stream(bus: RedisBus, redis: RawRedis) -> None:
    losses = [0.5, 0.25, 0.125, 0.0625]
    seen_ms = [5_000, 1_000, 2_000, 6_000]
    await publish(
        bus,
        *(
            make_job_event(seq, loss=loss, observed_ms=ms)
            for seq, (loss, ms) in enumerate(zip(losses, seen_ms, strict=True), 1)
        ),
    )
    assert [(id_, fields["loss"]) for id_, fields in redis.xrange(JOB_KEY)] == [
        ("5000-1", "0.5"),
        ("5000-2", "0.25"),
        ("5000-3", "0.125"),
        ("6000-4", "0.0625"),
    ]


async def test_a_jobs_stream_that_was_emptied_by_hand_goes_on(bus: RedisBus, redis: RawRedis) -> None:
    await publish(bus, make_job_event(1, observed_ms=5_000))
    redis.xtrim(JOB_KEY, maxlen=0, approximate=False)
    await publish(bus, make_job_event(2, observed_ms=1_000))
    assert redis.xlen(JOB_KEY) == 1


async def test_a_relay_keeps_states_but_is_no_hosts_sidecar(bus: RedisBus, redis: RawRedis) -> None:
    async with bus.publisher(Presence(host=None, owner="relay")) as publisher:
        await publisher.publish([make_job_event(1), make_host_event(2, stopping=True)])
        assert not redis.keys("pulse:host:*")
    assert redis.hkeys("pulse:state") == ["node1/llm/run a"]


async def test_a_replay_retains_nothing(bus: RedisBus, redis: RawRedis) -> None:
    async with bus.publisher(None) as publisher:
        await publisher.publish([make_job_event(1), make_host_event(2)])
        assert sorted(redis.keys("*")) == sorted(["pulse:meta", "pulse:events", JOB_KEY, "pulse:seq:contract"])


async def test_streams_are_bounded(server: RedisServer, redis: RawRedis) -> None:
    bus = make_bus(f"{server.url}?maxlen=100&job_maxlen=100")
    async with bus.publisher(PRESENCE) as publisher:
        for start in range(1, 1001, 200):
            await publisher.publish([make_job_event(seq) for seq in range(start, start + 200)])
    # Approximate trimming drops whole nodes of 100 entries.
    assert 100 <= redis.xlen("pulse:events") <= 200
    assert 100 <= redis.xlen(JOB_KEY) <= 200


async def test_a_batch_of_several_producers_keeps_its_order_and_each_ones_seq(
    bus: RedisBus, redis: RawRedis
) -> None:
    ids = [EventId("a", 1), EventId("b", 9), EventId("b", 10), EventId("a", 2)]
    events = [make_job_event(1, id=id_) for id_ in ids]
    await publish(bus, *events)
    await publish(bus, *events)
    assert [fields["id"] for _, fields in redis.xrange("pulse:events")] == [str(id_) for id_ in ids]
    assert redis.get("pulse:seq:a") == "2"
    assert redis.get("pulse:seq:b") == "10"


async def test_a_reply_that_was_lost_and_the_repeat_leave_one_entry(proxy: Proxy, redis: RawRedis) -> None:
    bus = make_bus(proxy.url)
    async with bus.publisher(PRESENCE) as publisher:
        proxy.swallowing = True
        answer = publisher.publish([make_job_event(1)])
        await wait_until(lambda: proxy.swallowed_bytes > 0, "the reply is swallowed")
        proxy.cut()
        with pytest.raises(BusUnavailableError):
            await answer
        with pytest.raises(BusUnavailableError):
            await publisher.wait_lost()
    proxy.swallowing = False
    await publish(bus, make_job_event(1), make_job_event(2))
    assert [fields["id"] for _, fields in redis.xrange("pulse:events")] == ["contract-1", "contract-2"]
    assert redis.xlen(JOB_KEY) == 2


async def test_a_side_key_of_the_wrong_type_neither_blocks_nor_doubles_an_entry_and_is_said_once(
    bus: RedisBus, redis: RawRedis, caplog: pytest.LogCaptureFixture
) -> None:
    redis.set("pulse:state", "of somebody else")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            await publish(bus, make_job_event(1))
            await publish(bus, make_job_event(2))
    assert redis.xlen("pulse:events") == 2
    assert redis.xlen(JOB_KEY) == 2
    assert [vars(record)["key"] for record in caplog.records] == ["pulse:state"]
    assert "WRONGTYPE" in vars(caplog.records[0])["reason"]


async def test_a_jobs_stream_of_the_wrong_type_is_said_too(
    bus: RedisBus, redis: RawRedis, caplog: pytest.LogCaptureFixture
) -> None:
    redis.set(JOB_KEY, "of somebody else")
    await publish(bus, make_job_event(1))
    assert redis.xlen("pulse:events") == 1
    assert redis.hlen("pulse:state") == 1
    assert [vars(record)["key"] for record in caplog.records] == [JOB_KEY]


async def test_an_event_that_is_no_text_is_rejected_and_the_others_are_taken(
    bus: RedisBus, redis: RawRedis
) -> None:
    bad = make_job_event(2, job="run-\udcff")
    many = make_job_event(3, labels={f"name{number}": "x" for number in range(1001)})
    async with bus.publisher(PRESENCE) as publisher:
        rejections = await publisher.publish([make_job_event(1), bad, many, make_job_event(4)])
        only_bad = await publisher.publish([bad._replace(id=EventId("contract", 5))])
        assert not await publisher.publish([make_job_event(6)])
    assert [rejection.event for rejection in rejections] == [bad, many]
    assert "its job is no Unicode text" in rejections[0].reason
    assert "fields" in rejections[1].reason
    assert len(only_bad) == 1
    assert [fields["id"] for _, fields in redis.xrange("pulse:events")] == [f"contract-{n}" for n in (1, 4, 6)]


async def test_an_empty_batch_is_no_harm(bus: RedisBus) -> None:
    await publish(bus)


async def test_results_come_in_the_order_of_the_calls_even_where_nothing_was_sent(bus: RedisBus) -> None:
    order: list[int] = []

    def append(number: int, _: object) -> None:
        order.append(number)

    async with bus.publisher(PRESENCE) as publisher:
        calls = [
            asyncio.ensure_future(publisher.publish(events))
            for events in ([make_job_event(1)], [make_job_event(2, job="\udcff")], [make_job_event(3)])
        ]
        for number, call in enumerate(calls):
            call.add_done_callback(partial(append, number))
        await asyncio.gather(*calls)
    assert order == [0, 1, 2]


async def test_whoever_stops_waiting_takes_no_other_ones_reply(bus: RedisBus, redis: RawRedis) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        given_up = asyncio.ensure_future(publisher.publish([make_job_event(1)]))
        given_up.cancel()
        assert await publisher.resume(EventId("contract", 9)) == EventId("contract", 1)
        assert not await publisher.publish([make_job_event(2)])
    assert redis.xlen("pulse:events") == 2


async def test_partitions_put_a_hosts_keys_into_one_slot(server: RedisServer, redis: RawRedis) -> None:
    bus = make_bus(f"{server.url}?partitions=4")
    events = [make_job_event(seq, host=f"node{seq}") for seq in range(1, 9)]
    async with bus.publisher(Presence(host=None, owner="relay")) as publisher:
        await publisher.publish(events)
        assert await publisher.resume(EventId("nobody", 1)) is None
    streams = redis.keys("pulse:{*}:events")
    assert len(streams) > 1
    assert {key.split("}")[0] for key in redis.keys("*") if key != "pulse:meta"} == {
        key.split("}")[0] for key in streams
    }
    assert redis.hget("pulse:meta", "partitions") == "4"
    assert sorted([event async for event in bus.history(Query())]) == events


async def test_another_layout_under_the_same_prefix_is_refused(
    server: RedisServer, bus: RedisBus, redis: RawRedis
) -> None:
    await publish(bus, make_job_event(1))
    other = make_bus(f"{server.url}?partitions=4")
    sentence = "pulse:meta in Redis says partitions = 0, and this URL means 4"
    with pytest.raises(ConfigError, match=sentence):
        await publish(other)
    with pytest.raises(ConfigError, match=sentence):
        _ = [event async for event in other.history(Query())]
    redis.hset("pulse:meta", "layout", "2")
    with pytest.raises(ConfigError, match="layout = 2"):
        await publish(bus)


async def test_another_prefix_is_another_world(server: RedisServer, redis: RawRedis) -> None:
    other = make_bus(f"{server.url}/3?prefix=lab-2.x_")
    await publish(other, make_job_event(1))
    assert not redis.keys("*")
    with server.client(db=3) as third:
        assert all(key.startswith("lab-2.x_:") for key in third.keys("*"))
        assert third.exists("lab-2.x_:events")
        third.flushdb()


async def test_history_filters_and_limits_and_skips_what_is_no_event(
    bus: RedisBus, redis: RawRedis, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = [
        make_host_event(1),
        *(make_job_event(seq, job="even" if seq % 2 == 0 else "odd", run=seq // 4) for seq in range(2, 12)),
    ]
    await publish(bus, *events[:5])
    redis.xadd("pulse:events", {"by": "somebody else", "raw": b"\xff\xfe"})
    redis.xadd("pulse:events", {"kind": "host", "id": "x-1"})
    await publish(bus, *events[5:])

    async def found(query: Query) -> list[Event]:
        return [event async for event in bus.history(query)]

    assert await found(Query()) == events
    assert [vars(record)["entries"] for record in caplog.records] == [2]
    assert await found(Query(jobs=["ev*"])) == [e for e in events[1:] if e.id.seq % 2 == 0]
    assert await found(Query(kinds=["host"])) == events[:1]
    assert await found(Query(hosts=["other"])) == []
    assert await found(Query(runs=[1])) == events[3:7]
    assert await found(Query(since_ms=SAMPLE_MS + 3, until_ms=SAMPLE_MS + 6)) == events[2:5]
    assert await found(Query(limit=3)) == events[:3]
    assert await found(Query(limit=0)) == []


async def test_history_reads_page_after_page_in_order(server: RedisServer, redis: RawRedis) -> None:
    bus = make_bus(f"{server.url}?partitions=3")
    async with bus.publisher(None) as publisher:
        for start in range(1, 2501, 250):
            await publisher.publish(
                [make_job_event(seq, host=f"node{seq % 7}") for seq in range(start, start + 250)]
            )
    got = [event async for event in bus.history(Query())]
    assert sorted(event.id.seq for event in got) == list(range(1, 2501))
    ids = sorted(
        (tuple(map(int, id_.split("-"))), fields["id"])
        for key in redis.keys("pulse:{*}:events")
        for id_, fields in redis.xrange(key)
    )
    times = {id_: when for when, id_ in ids}
    assert [times[str(event.id)] for event in got] == [when for when, _ in ids]


async def test_history_ends_its_connection_when_the_reader_breaks_off(server: RedisServer, bus: RedisBus) -> None:
    await publish(bus, *(make_job_event(seq) for seq in range(1, 10)))
    async for _ in bus.history(Query()):
        assert len(server.clients()) == 2  # this and the fixture's
        break
    await wait_until(lambda: len(server.clients()) == 1, "the connection is gone")


async def test_what_history_decodes_is_what_the_event_module_reads(bus: RedisBus, redis: RawRedis) -> None:
    await publish(bus, make_job_event(1))
    ((_, fields),) = redis.xrange("pulse:events")
    assert [from_fields(fields)] == [event async for event in bus.history(Query())]
    assert json.loads(redis.hget("pulse:state", "node1/llm/run a"))["loss"] == 0.125
