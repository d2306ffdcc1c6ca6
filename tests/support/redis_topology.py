"""Redis in more than one process: a cluster, and a primary with its replica under a sentinel."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from redis import Redis

from tests.support.processes import Server, free_port, require_binary, wait_until_blocking
from tests.support.redis_server import RedisServer, running

SLOTS = 16384


@contextmanager
def cluster(folder: Path, nodes: int = 2) -> Iterator[Sequence[RedisServer]]:
    """Run a cluster of primaries that have the slots in equal parts, in order."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                running(
                    RedisServer(
                        folder / f"node{number}",
                        config=[("cluster-enabled", "yes"), ("cluster-port", str(free_port()))],
                    )
                )
            )
            for number in range(nodes)
        ]
        for number, server in enumerate(servers):
            with server.client() as client:
                first, last = number * SLOTS // nodes, (number + 1) * SLOTS // nodes - 1
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
                client.execute_command("CLUSTER MEET", "127.0.0.1", servers[0].port, bus_port(servers[0]))
        wait_until_blocking(lambda: all(map(is_whole, servers)), "the cluster has formed")
        yield servers


def bus_port(server: RedisServer) -> int:
    with server.client() as client:
        return int(client.config_get("cluster-port")["cluster-port"])


def is_whole(server: RedisServer) -> bool:
    with server.client() as client:
        info = client.execute_command("CLUSTER INFO")
        text = info if isinstance(info, str) else "\r\n".join(f"{name}:{value}" for name, value in info.items())
        return "cluster_state:ok" in text and f"cluster_slots_ok:{SLOTS}" in text


class Watched(NamedTuple):
    """A primary, its replica, and the sentinel that watches them under the name `main`."""

    primary: RedisServer
    replica: RedisServer
    sentinel: Server


@contextmanager
def watched_by_a_sentinel(folder: Path) -> Iterator[Watched]:
    """Run the three; the sentinel promotes the replica soon after the primary is gone."""
    with ExitStack() as stack:
        primary = stack.enter_context(
            running(RedisServer(folder / "primary", config=[("repl-diskless-sync-delay", "0")]))
        )
        replica = RedisServer(folder / "replica", config=[("replicaof", "127.0.0.1", str(primary.port))])
        stack.enter_context(running(replica))
        wait_until_blocking(lambda: is_in_sync(replica), "the replica is in sync")
        port = free_port()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
        )
        sentinel = Server(
            [require_binary("redis-server"), str(config), "--sentinel"], port, folder / "sentinel.log"
        )
        stack.enter_context(sentinel)
        wait_until_blocking(lambda: knows_replica(port), "the sentinel knows the replica")
        yield Watched(primary, replica, sentinel)


def is_in_sync(replica: RedisServer) -> bool:
    with replica.client() as client:
        return bool(client.info("replication").get("master_link_status") == "up")


def is_primary(server: RedisServer) -> bool:
    with server.client() as client:
        return bool(client.info("replication")["role"] == "master")


def knows_replica(port: int) -> bool:
    client = Redis(port=port, decode_responses=True)
    try:
        return len(client.sentinel_slaves("main")) == 1
    finally:
        client.close()
