"""Ways in: passwords, limited users, TLS, Unix sockets."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from redis.exceptions import NoPermissionError

import pulse_bridge_redis
from pulse_bridge.bus import Bus, Presence, Query, open_bus
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge.event import Event, EventId
from pulse_bridge.testing import PRESENCE, make_host_event, make_job_event
from pulse_bridge_redis import RedisBus, presence
from tests.support.processes import free_port, short_folder, wait_until
from tests.support.redis_server import RawRedis, RedisServer, running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path / "redis")) as server:
        yield server


@pytest.fixture
def redis(server: RedisServer) -> Iterator[RawRedis]:
    with server.client() as client:
        yield client


def make_bus(url: str) -> RedisBus:
    return RedisBus(BusUrl.parse(url))


async def publish_and_read(bus: Bus) -> list[Event]:
    async with bus.publisher(PRESENCE) as publisher:
        assert not await publisher.publish([make_job_event(1)])
    return [event async for event in bus.history(Query())]


async def test_a_wrong_password_is_a_refusal_and_heals_once_the_file_is_right(
    server: RedisServer, redis: RawRedis, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("old-secret\n")
    bus = make_bus(f"{server.url}?password_file={secret}")
    redis.config_set("requirepass", "new-secret")
    with pytest.raises(BusUnavailableError, match="refused the login") as caught:
        await publish_and_read(bus)
    assert caught.value.refused
    assert "old-secret" not in str(caught.value)
    secret.unlink()
    with pytest.raises(BusUnavailableError, match="cannot be read") as caught:
        await publish_and_read(bus)
    assert caught.value.refused
    secret.write_text("new-secret\n")
    assert await publish_and_read(bus) == [make_job_event(1)]


async def test_a_missing_password_is_a_refusal(server: RedisServer, redis: RawRedis) -> None:
    redis.config_set("requirepass", "secret")
    with pytest.raises(BusUnavailableError, match="refused the login") as caught:
        await publish_and_read(make_bus(server.url))
    assert caught.value.refused


async def test_a_password_in_the_url_is_used_and_never_shown(server: RedisServer, redis: RawRedis) -> None:
    redis.config_set("requirepass", "s3cret")
    bus = make_bus(f"redis://:s3cret@127.0.0.1:{server.port}")
    assert await publish_and_read(bus) == [make_job_event(1)]
    assert "s3cret" not in str(bus) + repr(bus)


def documented_acl() -> list[str]:
    found = re.search(r"ACL SETUSER (pulse .*?)\n\n", str(pulse_bridge_redis.__doc__), re.DOTALL)
    assert found
    return found[1].split()


async def test_the_documented_acl_user_may_do_all_that_is_needed_and_nothing_else(
    server: RedisServer, redis: RawRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis.execute_command("ACL", "SETUSER", *documented_acl())
    redis.execute_command("ACL", "LOG", "RESET")
    monkeypatch.setattr(presence, "REFRESH_S", 0.01)
    url = f"redis://pulse:SECRET@127.0.0.1:{server.port}/2?partitions=2"
    bus = make_bus(url)
    with server.client(db=2) as second:
        async with bus.publisher(PRESENCE) as publisher:
            old = make_job_event(1, job="old", state="done", observed_ms=1_000)
            await publisher.publish([old, make_job_event(2, observed_ms=5_000), make_host_event(3, stopping=True)])
            await publisher.publish([make_job_event(4, observed_ms=1_000)])
            assert await publisher.resume(EventId("contract", 9)) == EventId("contract", 4)
            (state,) = second.keys("pulse:*:state")
            await wait_until(lambda: not second.hexists(state, "node1/old"), "the old job is swept")
        assert len([event async for event in bus.history(Query())]) == 4
        with server.client(db=2, username="pulse", password="SECRET") as limited:
            for command in (["GET", "other"], ["FLUSHALL"], ["KEYS", "*"], ["CONFIG", "GET", "*"]):
                with pytest.raises(NoPermissionError):
                    limited.execute_command(*command)
    refused = {entry["object"] for entry in redis.acl_log()}
    assert refused <= {"other", "flushall", "keys", "config|get", "client|setinfo"}


async def test_too_few_rights_are_a_refusal_that_says_where_to_look(server: RedisServer, redis: RawRedis) -> None:
    acl = [word for word in documented_acl() if word != "+xadd"]
    redis.execute_command("ACL", "SETUSER", *acl)
    bus = make_bus(f"redis://pulse:SECRET@127.0.0.1:{server.port}")
    with pytest.raises(BusUnavailableError, match="too few rights") as caught:
        await publish_and_read(bus)
    assert caught.value.refused
    redis.execute_command("ACL", "SETUSER", "pulse", "-script|load")
    with pytest.raises(BusUnavailableError, match="too few rights"):
        await publish_and_read(bus)
    with pytest.raises(BusUnavailableError, match="too few rights"):
        await publish_and_read(make_bus(f"redis://pulse:SECRET@127.0.0.1:{server.port}?prefix=other"))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, issued in (("server", authority.issue_cert("127.0.0.1")), ("client", authority.issue_cert("me@x"))):
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
    return folder


async def test_tls_with_our_own_authority_and_a_client_certificate(tmp_path: Path, certificates: Path) -> None:
    tls_port = free_port()
    server = RedisServer(
        tmp_path / "tls",
        config=[
            ("tls-port", str(tls_port)),
            ("tls-cert-file", str(certificates / "server.pem")),
            ("tls-key-file", str(certificates / "server.key")),
            ("tls-ca-cert-file", str(certificates / "ca.pem")),
            ("tls-auth-clients", "yes"),
        ],
    )
    url = f"rediss://127.0.0.1:{tls_port}"
    own = f"tls_cert={certificates}/client.pem&tls_key={certificates}/client.key"
    with running(server):
        assert await publish_and_read(make_bus(f"{url}?tls_ca={certificates}/ca.pem&{own}")) == [make_job_event(1)]
        assert len(await publish_and_read(make_bus(f"{url}?tls_insecure=true&{own}"))) == 1
        with pytest.raises(BusUnavailableError, match="certificate"):
            await publish_and_read(make_bus(f"{url}?tls_ca={certificates}/other-ca.pem&{own}"))
        with pytest.raises(BusUnavailableError):
            await publish_and_read(make_bus(f"{url}?tls_ca={certificates}/ca.pem"))


async def test_a_unix_socket_and_its_database() -> None:
    with short_folder() as folder:
        path = folder / "r.sock"
        with running(RedisServer(folder, config=[("unixsocket", str(path))])) as server:
            bus = make_bus(f"redis+unix://{path}?db=2")
            assert await publish_and_read(bus) == [make_job_event(1)]
            with server.client(db=2) as redis:
                assert redis.xlen("pulse:events") == 1
                redis.config_set("requirepass", "secret")
            with pytest.raises(BusUnavailableError, match="refused the login") as caught:
                await publish_and_read(make_bus(f"redis+unix://:wrong@{path}"))
            assert caught.value.refused


async def test_every_connection_is_closed_in_the_end(server: RedisServer) -> None:
    bus = make_bus(server.url)
    for presence_ in (PRESENCE, Presence(None, "relay"), None):
        async with bus.publisher(presence_) as publisher:
            await publisher.publish([make_job_event(1)])
    await wait_until(lambda: not server.clients(), "all are closed")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://h?prefix=much-too-long-a-prefix", "option 'prefix'.*12"),
        ("redis://h?prefix=a:b", "option 'prefix'.*A-Z"),
        ("redis://h?prefix=", "option 'prefix'"),
        ("redis://h?partitions=0", "option 'partitions'"),
        ("redis://h?partitions=1025", "option 'partitions'"),
        ("redis://h?maxlen=many", "option 'maxlen'"),
        ("redis://h?forget_after_s=0", "option 'forget_after_s'"),
        ("redis://h?max_len=1", "unknown option 'max_len'; known are: db, forget_after_s, job_expire_s"),
        ("redis://h/zero", "'zero' is no database; write its number, as in redis://HOST/2"),
        ("redis://h/1?db=2", "names the database twice"),
        ("redis://", "names no host; write redis://localhost"),
        ("redis+unix://run/redis.sock", "with three slashes"),
        ("redis+unix://", "with three slashes"),
        ("redis://h?tls_ca=/x", "tls_ca has no effect without TLS; write rediss://"),
        ("rediss://h?tls_ca=/not/there.pem", "tls_ca: /not/there.pem cannot be used"),
        ("rediss://h?tls_cert=/not/there.pem", "tls_cert: /not/there.pem cannot be used"),
        ("rediss://h?tls_key=/x", "tls_key needs tls_cert"),
        ("redis://h?password_env=PULSE_NOT_SET", "PULSE_NOT_SET is not set"),
        ("redis://h?password_file=/not/there", "password file /not/there cannot be read"),
    ],
)
def test_a_wrong_url_is_one_sentence_before_anything_is_connected(url: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make_bus(url)


def test_the_bus_is_found_by_its_schemes() -> None:
    assert "PULSE_NOT_SET" not in os.environ
    for url in ("redis://h", "rediss://h", "redis+unix:///run/redis.sock"):
        bus = open_bus(url)
        assert isinstance(bus, RedisBus)
        assert bus.name == "redis"
