"""Reading live from a cluster, and through sentinels."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from pulse_bridge.bus import Batch, Bus
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge.event import Event
from pulse_bridge.testing import PRESENCE, ConsumerContract, make_job_event
from pulse_bridge_redis import RedisBus
from tests.support.processes import wait_until, wait_until_async
from tests.support.redis_server import RedisServer
from tests.support.redis_topology import cluster, watched_by_a_sentinel


async def publish(bus: Bus, *events: Event) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        assert not await publisher.publish(events)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[RedisServer]]:
    with cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


class TestContractOnACluster(ConsumerContract):
    keeps_history = False  # it does, but what two hosts said within a millisecond may come in either order

    @pytest.fixture
    def bus(self, nodes: Sequence[RedisServer]) -> RedisBus:
        for node in nodes:
            with node.client() as client:
                client.flushall()
        return RedisBus(BusUrl.parse(f"redis+cluster://127.0.0.1:{nodes[0].port}"))

    async def put(self, bus: Bus, events: Sequence[Event]) -> None:
        await publish(bus, *events)

    async def test_a_group_reads_from_every_node_and_goes_on_on_every_node(self, bus: RedisBus) -> None:
        hosts = [f"node{number}" for number in range(40)]
        first = [make_job_event(seq, host=host) for seq, host in enumerate(hosts, start=1)]
        second = [make_job_event(seq, host=host) for seq, host in enumerate(hosts, start=41)]
        await publish(bus, *first)
        async with bus.consumer("alerts") as consumer:
            snapshot = await anext(consumer.batches())
            assert list(snapshot.events) == first
            await consumer.commit({"told": "40"})
        await publish(bus, *second)
        async with bus.consumer("alerts") as consumer:
            assert dict(consumer.saved) == {"told": "40"}
            got: list[Event] = []
            async for batch in consumer.batches():
                assert not batch.snapshot
                got += batch.events
                if len(got) == len(second):
                    break
        assert sorted(got, key=lambda event: event.id) == second


async def test_a_group_goes_on_at_the_primary_that_sentinels_promote(tmp_path: Path) -> None:
    with watched_by_a_sentinel(tmp_path) as watched:
        bus = RedisBus(BusUrl.parse(f"redis+sentinel://127.0.0.1:{watched.sentinel.port}/main"))
        await publish(bus, make_job_event(1))
        async with bus.consumer("alerts") as consumer:
            batches = consumer.batches()
            assert list((await anext(batches)).events) == [make_job_event(1)]
            await consumer.commit({"told": "1"})
            with watched.replica.client() as replica:
                await wait_until(lambda: bool(replica.hexists("pulse:group:alerts", "saved:told")), "it is copied")
            watched.primary.kill()
            with pytest.raises(BusUnavailableError):
                await read_on(batches)

        async def published() -> bool:
            try:
                await publish(bus, make_job_event(2))
            except BusUnavailableError:
                return False
            return True

        await wait_until_async(published, "the replica is the primary")
        async with bus.consumer("alerts") as consumer:
            assert dict(consumer.saved) == {"told": "1"}
            assert await read_on(consumer.batches()) == [make_job_event(2)]


async def read_on(batches: AsyncIterator[Batch]) -> list[Event]:
    async with asyncio.timeout(20):
        while not (batch := await anext(batches)).events:
            assert not batch.snapshot
    return list(batch.events)
