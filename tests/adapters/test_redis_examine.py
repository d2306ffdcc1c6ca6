"""What the doctor says of a Redis, each made so for real."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from pulse_bridge.bus import Presence
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.event import EventId
from pulse_bridge.testing import make_job_event
from pulse_bridge_redis import RedisBus
from tests.support.examining import examine, problems, the
from tests.support.processes import free_port, wait_until
from tests.support.redis_server import RawRedis, RedisServer, running

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path / "redis")) as server:
        yield server


@pytest.fixture
def redis(server: RedisServer) -> Iterator[RawRedis]:
    with server.client() as client:
        yield client


def acl(name: str) -> list[str]:
    found = re.search(rf"ACL SETUSER {name} (on .*?)```", README, re.DOTALL)
    assert found
    return found[1].split()


async def test_an_ordinary_server_is_fine_and_nothing_is_left_in_it(server: RedisServer, redis: RawRedis) -> None:
    for publishes in (True, False):
        findings = await examine(server.url, publishes=publishes)
        assert {finding.level for finding in findings} == {"fine"}
    the(findings, "it is Redis 7")
    assert redis.keys() == []


async def test_one_that_is_down_is_one_problem() -> None:
    (found,) = await examine(f"redis://127.0.0.1:{free_port()}")
    assert found.level == "problem"
    assert "cannot be reached" in found.sentence
    assert "see that it runs" in found.remedy


async def test_a_wrong_password_is_one_problem_without_the_password(server: RedisServer, redis: RawRedis) -> None:
    redis.config_set("requirepass", "right")
    (found,) = await examine(f"redis://:wr0ng@127.0.0.1:{server.port}")
    assert "refused the login" in found.sentence
    assert found.remedy == "check the user name and the password"
    assert "wr0ng" not in str(found)


async def test_a_password_that_is_wanted_and_not_given_is_one_problem(
    server: RedisServer, redis: RawRedis
) -> None:
    redis.config_set("requirepass", "right")
    for publishes in (True, False):
        (found,) = await examine(server.url, publishes=publishes)
        assert (found.level, "refused the login" in found.sentence) == ("problem", True)


@pytest.mark.parametrize("publishes", [True, False])
async def test_a_port_where_something_else_hangs_up_is_one_problem(publishes: bool) -> None:  # noqa: FBT001
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        (found,) = await examine(f"redis://127.0.0.1:{port}", publishes=publishes)
    assert (found.level, "cannot be reached" in found.sentence) == ("problem", True)


async def test_a_replica_is_told_and_not_taken_for_lacking_rights(tmp_path: Path, server: RedisServer) -> None:
    config = [("replicaof", f"127.0.0.1 {server.port}")]
    with running(RedisServer(tmp_path / "replica", config=config)) as replica:
        findings = await examine(replica.url)
        assert "name the primary" in the(findings, "is a read-only replica (READONLY)").remedy
        the(findings, "it is a replica, which takes no writes")
        assert not [finding for finding in findings if "may not do all" in finding.sentence]


async def test_a_certificate_of_nobody_known_is_one_problem(tmp_path: Path) -> None:
    pem, ca, port = tmp_path / "server.pem", tmp_path / "ca.pem", free_port()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    config = [("tls-port", str(port)), ("tls-cert-file", str(pem)), ("tls-key-file", str(pem))]
    config += [("tls-ca-cert-file", str(ca)), ("tls-auth-clients", "no")]
    with running(RedisServer(tmp_path / "redis", config=config)):
        (found,) = await examine(f"rediss://localhost:{port}")
        assert found.level == "problem"
        assert "certificate" in found.sentence
        assert not problems(await examine(f"rediss://localhost:{port}?tls_ca={ca}"))


@pytest.mark.parametrize(
    ("policy", "level", "part"),
    [
        ("allkeys-lru", "problem", "it evicts any key once 512 MiB are used (maxmemory-policy allkeys-lru)"),
        ("volatile-ttl", "advice", "it evicts keys that expire once 512 MiB are used"),
        ("noeviction", "fine", "of 512 MiB (maxmemory), policy noeviction"),
    ],
)
async def test_what_becomes_of_keys_when_memory_is_full_is_judged(
    server: RedisServer, redis: RawRedis, policy: str, level: str, part: str
) -> None:
    redis.config_set("maxmemory", "512mb")
    redis.config_set("maxmemory-policy", policy)
    assert the(await examine(server.url), part).level == level


async def test_too_little_memory_is_told_before_and_when_it_is_used_up(
    server: RedisServer, redis: RawRedis
) -> None:
    redis.config_set("maxmemory", "16mb")
    found = the(await examine(server.url), "its memory is limited to 16 MiB")
    assert found.level == "advice"
    assert "?maxlen=" in found.remedy
    redis.set("other", "x" * 4_000_000)
    redis.config_set("maxmemory", "2mb")
    findings = await examine(server.url)
    assert the(findings, "it takes no writes").level == "problem"
    assert the(findings, "its memory is nearly used up").level == "problem"
    assert redis.keys() == ["other"]


async def test_the_users_of_the_readme_may_do_all_they_need(server: RedisServer, redis: RawRedis) -> None:
    for name, publishes in (("pulse", True), ("pulse-reader", False)):
        redis.execute_command("ACL", "SETUSER", name, *acl(name))
        findings = await examine(f"redis://{name}:SECRET@127.0.0.1:{server.port}", publishes=publishes)
        assert not problems(findings)
        the(findings, f"the user '{name}' may")
        the(findings, "may not ask for INFO")


@pytest.mark.parametrize(
    "right", ["xadd", "expire", "hset", "hsetnx", "hscan", "set", "eval", "evalsha", "xrevrange"]
)
async def test_a_right_that_is_lacking_is_named_with_the_line_that_gives_it(
    server: RedisServer, redis: RawRedis, right: str
) -> None:
    redis.execute_command("ACL", "SETUSER", "pulse", *acl("pulse"), f"-{right}")
    findings = await examine(f"redis://pulse:SECRET@127.0.0.1:{server.port}")
    found = the(findings, "may not do all that it takes to publish")
    assert found.sentence.endswith(f": {right}")
    assert found.remedy == f"ACL SETUSER pulse +{right}"
    redis.execute_command(*found.remedy.split())
    assert not problems(await examine(f"redis://pulse:SECRET@127.0.0.1:{server.port}"))
    assert redis.keys() == []


async def test_keys_that_a_user_may_not_touch_are_named(server: RedisServer, redis: RawRedis) -> None:
    redis.execute_command("ACL", "SETUSER", "pulse", *acl("pulse"))
    findings = await examine(f"redis://pulse:SECRET@127.0.0.1:{server.port}?prefix=other")
    (found,) = problems(findings)
    assert found.sentence == "the user 'pulse' may not use keys that begin with 'other'"
    assert found.remedy == "ACL SETUSER pulse ~other:*"


async def test_a_replica_takes_no_writes(tmp_path: Path, server: RedisServer) -> None:
    config = [("replicaof", "127.0.0.1", str(server.port))]
    with running(RedisServer(tmp_path / "replica", config=config)) as replica:
        assert the(await examine(replica.url), "it is a replica").level == "problem"


async def test_another_sidecar_under_this_host_s_name_is_found(server: RedisServer, redis: RawRedis) -> None:
    redis.set("pulse:host:node1", "somebody")
    found = the(await examine(server.url), "another sidecar publishes here as host 'node1'")
    assert found.level == "problem"
    assert "--host" in found.remedy
    findings = await examine(server.url, owner="somebody", running=True)
    the(findings, "the sidecar of this machine publishes here")
    assert not problems(findings)
    assert not problems(await examine(server.url, owner="somebody"))  # it ended a moment ago


async def test_a_sidecar_that_does_not_publish_here_is_found(server: RedisServer) -> None:
    found = the(await examine(server.url, owner="us", running=True), "gives no sign of life here as host 'node1'")
    assert found.level == "problem"


async def test_a_subscriber_that_trimming_overtook_is_found(server: RedisServer, redis: RawRedis) -> None:
    bus_url = f"{server.url}?maxlen=100"
    bus = RedisBus(BusUrl.parse(bus_url))

    async def publish(first: int, last: int) -> None:
        async with bus.publisher(Presence("node1", "owner")) as publisher:
            await publisher.resume(EventId("0123456789ab", first - 1) if first > 1 else None)
            await publisher.publish([make_job_event(seq) for seq in range(first, last + 1)])

    await publish(1, 10)
    async with bus.consumer("slow") as consumer:
        async for _ in consumer.batches():
            await consumer.commit()
            break
        the(await examine(bus_url, owner="owner"), "the subscriber 'slow' has read everything; its lease is held")
    the(await examine(bus_url, owner="owner"), "the subscriber 'slow' has read everything; nobody holds its lease")
    await publish(11, 71)
    found = the(await examine(bus_url, owner="owner"), "the subscriber 'slow' is")
    assert (found.level, "61 events behind" in found.sentence) == ("advice", True)
    await publish(72, 1000)
    found = the(await examine(bus_url, owner="owner"), "the subscriber 'slow' is")
    assert found.level == "problem"
    assert "were trimmed before it read them" in found.sentence
    assert "?maxlen=" in found.remedy
    assert redis.get("pulse:lease:slow") is None


async def test_a_default_user_that_cannot_read_the_log_back_is_a_problem(
    server: RedisServer, redis: RawRedis
) -> None:
    assert not any("append-only" in found.sentence for found in await examine(server.url))
    redis.config_set("appendonly", "yes")
    await wait_until(lambda: redis.info("persistence")["aof_rewrite_in_progress"] == 0, "the file is begun")
    assert not any("append-only" in found.sentence for found in await examine(server.url))
    redis.execute_command("ACL", "SETUSER", "admin", "on", ">secret", "allkeys", "allchannels", "+@all")
    redis.execute_command("ACL", "SETUSER", "default", "resetkeys", "~other:*")
    found = the(await examine(server.url.replace("redis://", "redis://admin:secret@")), "an append-only file")
    assert found.level == "problem"
    assert "(+@all ~other:*)" in found.sentence
