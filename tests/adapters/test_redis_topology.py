"""Redis under sentinels, and as a cluster."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from redis.crc import key_slot

from pulse_bridge.bus import Presence, Query, open_bus
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge.event import Event, EventId
from pulse_bridge.testing import PRESENCE, make_host_event, make_job_event
from pulse_bridge_redis import RedisBus
from pulse_bridge_redis.keys import Layout
from pulse_bridge_redis.options import CLUSTER_PARTITIONS, Target
from pulse_bridge_redis.topology import find_topology
from tests.support.processes import free_port, wait_until_async
from tests.support.redis_server import RedisServer
from tests.support.redis_topology import SLOTS, cluster, is_primary, watched_by_a_sentinel

RELAY = Presence(host=None, owner="relay")


def make_bus(url: str) -> RedisBus:
    return RedisBus(BusUrl.parse(url))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[RedisServer]]:
    with cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture
def cluster_url(nodes: Sequence[RedisServer]) -> str:
    for node in nodes:
        with node.client() as client:
            client.flushall()
    return f"redis+cluster://127.0.0.1:{nodes[0].port}"


async def events_of(bus: RedisBus) -> list[Event]:
    return [event async for event in bus.history(Query())]


def keys_of(node: RedisServer) -> set[str]:
    with node.client() as client:
        return set(client.keys("*"))


async def test_a_sidecar_on_a_cluster_keeps_its_keys_in_one_slot(
    nodes: Sequence[RedisServer], cluster_url: str
) -> None:
    bus = make_bus(cluster_url)
    async with bus.publisher(PRESENCE) as publisher:
        assert not await publisher.publish([make_job_event(1), make_host_event(2)])
        assert await publisher.resume(EventId("contract", 9)) == EventId("contract", 2)
        tags = {key.split("}")[0] for node in nodes for key in keys_of(node) if "{" in key}
        assert len(tags) == 1
    assert await events_of(bus) == [make_job_event(1), make_host_event(2)]


async def test_a_relay_onto_a_cluster_reaches_every_node_and_is_answered_in_order(
    nodes: Sequence[RedisServer], cluster_url: str
) -> None:
    bus = make_bus(cluster_url)
    events = [make_job_event(seq, host=f"node{seq % 40}") for seq in range(1, 201)]
    async with bus.publisher(RELAY) as publisher:
        results = [publisher.publish(events[start : start + 50]) for start in range(0, 200, 50)]
        for result in results:
            assert not await result
        assert not await publisher.publish(events[100:])  # again: nothing is doubled
    assert all(any(key.endswith(":events") for key in keys_of(node)) for node in nodes)
    got = await events_of(bus)
    assert sorted(event.id.seq for event in got) == list(range(1, 201))
    for host in {event.host for event in got}:
        seqs = [event.id.seq for event in got if event.host == host]
        assert seqs == sorted(seqs)


async def test_a_cluster_is_found_through_any_node_that_answers(nodes: Sequence[RedisServer]) -> None:
    dead = free_port()
    target = Target.of(BusUrl.parse(f"redis+cluster://127.0.0.1:{dead}?nodes=127.0.0.1:{nodes[1].port}"))
    topology = await find_topology(target)
    assert {address.port for address in topology.nodes if address} == {node.port for node in nodes}


async def test_a_slot_that_moved_ends_the_connection_and_the_next_one_finds_it(
    nodes: Sequence[RedisServer], cluster_url: str
) -> None:
    bus = make_bus(cluster_url)
    async with bus.publisher(PRESENCE) as publisher:
        assert not await publisher.publish([make_job_event(1)])
        move_slot_of(make_job_event(1).host, nodes)
        with pytest.raises(BusUnavailableError, match="moved our keys to another node") as caught:
            await publisher.publish([make_job_event(2)])
        assert not caught.value.refused
    async with bus.publisher(PRESENCE) as publisher:
        assert not await publisher.publish([make_job_event(2)])


def move_slot_of(host: str, nodes: Sequence[RedisServer]) -> None:
    """Give the slot of a host's keys, emptied, to another node."""
    slot = key_slot(Layout("pulse", CLUSTER_PARTITIONS).of_host(host).events.encode())
    owner = slot * len(nodes) // SLOTS
    with nodes[1 - owner].client() as client:
        heir = client.execute_command("CLUSTER MYID")
    for node in (nodes[1 - owner], nodes[owner]):
        with node.client() as client:
            client.flushall()
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", heir)


async def test_sentinels_name_the_primary_and_after_its_death_the_next(tmp_path: Path) -> None:
    with watched_by_a_sentinel(tmp_path) as watched:
        bus = make_bus(f"redis+sentinel://127.0.0.1:{free_port()}/main?nodes=127.0.0.1:{watched.sentinel.port}")
        async with bus.publisher(PRESENCE) as publisher:
            assert not await publisher.publish([make_job_event(1)])
            assert watched.primary.stream()
            with watched.primary.client() as client:
                client.wait(1, 5000)  # the replica has it
            watched.primary.kill()
            with pytest.raises(BusUnavailableError):
                await publisher.wait_lost()

        async def published() -> bool:
            try:
                async with bus.publisher(PRESENCE) as publisher:
                    return not await publisher.publish([make_job_event(1), make_job_event(2)])
            except BusUnavailableError:
                return False

        await wait_until_async(published, "the replica is the primary")
        assert is_primary(watched.replica)
        assert await events_of(bus) == [make_job_event(1), make_job_event(2)]


async def test_a_name_that_no_sentinel_knows_is_said(tmp_path: Path) -> None:
    with watched_by_a_sentinel(tmp_path) as watched:
        bus = make_bus(f"redis+sentinel://127.0.0.1:{watched.sentinel.port}/other")
        with pytest.raises(BusUnavailableError, match="no sentinel names a primary for 'other'"):
            async with bus.publisher(PRESENCE):
                pass


async def test_a_server_without_a_cluster_is_said_to_be_none(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "single") as server,
        pytest.raises(BusUnavailableError, match="cluster support disabled"),
    ):
        await find_topology(Target.of(BusUrl.parse(f"redis+cluster://127.0.0.1:{server.port}")))


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis+sentinel://h", "names no service; write redis"),
        ("redis+sentinel://h/main?nodes=:1", "nodes: write HOST:PORT,HOST:PORT"),
        ("redis+cluster://h/3", "a cluster has no databases"),
        ("redis+cluster://h?db=1", "a cluster has no databases"),
        ("redis+cluster://h?tls_ca=/x", "no effect without TLS; add tls=true"),
        ("redis://h?nodes=a:1", "nodes is for redis"),
        ("redis://h?sentinel_username=a", "sentinel_username is for redis"),
        ("redis+sentinel://h/main?sentinel_password_env=PULSE_NOT_SET", "PULSE_NOT_SET is not set"),
    ],
)
def test_a_wrong_url_is_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make_bus(url)


def test_the_bus_is_found_by_its_schemes() -> None:
    for url in ("redis+sentinel://h/main", "redis+cluster://h"):
        assert isinstance(open_bus(url), RedisBus)
