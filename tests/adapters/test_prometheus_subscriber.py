"""The subscriber as its port is called, over HTTP, and scraped by a real Prometheus."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import pulse_bridge_prometheus.subscriber as subscriber_module
from pulse_bridge.bus import Batch
from pulse_bridge.clock import Instant
from pulse_bridge.errors import ConfigError
from pulse_bridge.event import Event
from pulse_bridge.subscriber import SubscriberUrl
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event
from pulse_bridge_prometheus import RULES_FILE, PrometheusSubscriber
from tests.adapters.test_prometheus_metrics import HOSTILE, HOSTILE_HOST
from tests.support.processes import free_port, wait_until_async
from tests.support.prometheus import Answer, Prometheus, check_metrics, get


class Served:
    """A subscriber that listens, on a clock that the test sets."""

    def __init__(self, **options: str) -> None:
        self.port = free_port()
        self.now = Instant(1000.0, SAMPLE_MS / 1000)
        query = "&".join(f"{name}={value}" for name, value in {"port": str(self.port), **options}.items())
        self.subscriber = PrometheusSubscriber(SubscriberUrl.parse(f"prometheus?{query}"), clock=lambda: self.now)

    def sleep(self, seconds: float) -> None:
        self.now = Instant(self.now.now_s + seconds, self.now.wall_s + seconds)

    async def connect(self, *snapshot: Event) -> None:
        await self.subscriber.on_connect({}, self.now)
        await self.give(*snapshot, snapshot=True)

    async def give(self, *events: Event, snapshot: bool = False, lost: int = 0) -> None:
        assert await self.subscriber.on_batch(Batch(events, snapshot, lost), self.now) == {}

    async def get(self, path: str, **headers: str) -> Answer:
        return await asyncio.to_thread(get, self.port, path, **headers)

    async def lines(self) -> list[str]:
        answer = await self.get("/metrics")
        assert answer.status == 200
        return [line for line in answer.text.splitlines() if not line.startswith("#")]

    async def health(self) -> tuple[int, dict[str, Any]]:
        answer = await self.get("/healthz")
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(answer.text)


@asynccontextmanager
async def serving(**options: str) -> AsyncIterator[Served]:
    served = Served(**options)
    async with served.subscriber.lifespan():
        yield served


LOSS = 'pulse_loss{host="node1",training_job="llm/run a"}'


# The port


async def test_a_connection_begins_with_a_snapshot_and_goes_on_with_what_comes() -> None:
    async with serving() as served:
        await served.connect(make_job_event(1), make_host_event(2))
        assert "pulse_bridge_up 1.0" in await served.lines()
        await served.give(make_job_event(3))
        lines = await served.lines()
        assert f"{LOSS} 0.375" in lines
        assert 'pulse_host_up{host="node1"} 1.0' in lines


async def test_what_was_received_is_counted_once_and_a_snapshot_not_at_all() -> None:
    async with serving() as served:
        await served.connect(make_job_event(1))
        for _ in range(2):  # a batch may be given again
            await served.give(make_job_event(2), make_job_event(3, kind="heartbeat"), make_host_event(4))
        await served.give(lost=7)
        lines = await served.lines()
        for kind, count in {"change": 1, "heartbeat": 1, "host": 1, "stale": 0}.items():
            assert f'pulse_bridge_events_received_total{{kind="{kind}"}} {count}.0' in lines
        assert "pulse_bridge_events_missed_total 7.0" in lines


async def test_nothing_is_shown_of_the_past_while_the_bus_is_away() -> None:
    async with serving() as served:
        await served.connect()
        await served.give(make_job_event(1), make_host_event(2))
        await served.subscriber.on_disconnect("the broker is away")
        lines = await served.lines()
        assert "pulse_bridge_up 0.0" in lines
        assert not [line for line in lines if "node1" in line]
        assert await served.health() == (
            503,
            {"status": "unavailable", "reason": "not connected to the bus: the broker is away"},
        )
        await served.subscriber.on_connect({}, served.now)
        assert not [line for line in await served.lines() if "node1" in line], "not before the snapshot"
        await served.give(make_host_event(2), make_job_event(3), snapshot=True)
        assert f"{LOSS} 0.375" in await served.lines()


async def test_what_a_snapshot_does_not_name_is_forgotten() -> None:
    async with serving() as served:
        await served.connect()
        await served.give(make_job_event(1), make_job_event(2, job="b"), make_job_event(3, job="c", host="node2"))
        await served.give(make_job_event(2, job="b"), snapshot=True)
        lines = await served.lines()
        assert [line for line in lines if line.startswith("pulse_loss")] == [
            'pulse_loss{host="node1",training_job="b"} 0.25'
        ]
        assert not [line for line in lines if "node2" in line]


async def test_health_tells_how_it_stands() -> None:
    async with serving() as served:
        assert (await served.health())[1]["reason"] == "not connected to the bus yet"
        await served.subscriber.on_connect({}, served.now)
        assert (await served.health())[1]["reason"] == "connected, but the bus has not told yet what is so"
        await served.give(snapshot=True)
        await served.give(make_job_event(1))
        assert await served.health() == (200, {"status": "ok", "hosts_heard": 1, "jobs": 1})
        served.sleep(31)
        assert await served.health() == (
            503,
            {"status": "unavailable", "reason": "connected, but the one host fell silent"},
        )


async def test_what_is_shown_no_more_is_not_kept() -> None:
    async with serving(keep_finished_s="60", keep_silent_s="600") as served:
        await served.connect()
        await served.give(make_job_event(1), make_job_event(2, job="over", state="done"), make_host_event(3))
        served.sleep(59)
        await served.subscriber.on_tick(served.now)
        assert [line for line in await served.lines() if line.startswith("pulse_loss")], "the result"
        served.sleep(2)
        await served.subscriber.on_tick(served.now)
        assert [job for _, job in served.subscriber._fleet.jobs] == ["llm/run a"]
        assert 'pulse_host_up{host="node1"} 0.0' in await served.lines()
        served.sleep(540)
        await served.subscriber.on_tick(served.now)
        assert not served.subscriber._fleet.jobs
        assert not served.subscriber._fleet.hosts


def test_it_keeps_no_cursor() -> None:
    assert PrometheusSubscriber.durable is False


# HTTP


async def test_each_path_answers_as_its_clients_expect() -> None:
    async with serving() as served:
        await served.connect(*HOSTILE, HOSTILE_HOST)
        plain = await served.get("/metrics")
        assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert check_metrics(plain.text) == ""
        asked = await served.get("/metrics", Accept="application/openmetrics-text;version=1.0.0")
        assert asked.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert asked.text.endswith("# EOF\n")
        some = await served.get("/metrics?name[]=pulse_bridge_up")
        assert [line for line in some.text.splitlines() if not line.startswith("#")] == ["pulse_bridge_up 1.0"]
        assert (await served.get("/metrics", method="POST")).status == 405
        assert (await served.get("/")).status == 404


async def test_a_loop_that_hangs_is_a_failed_scrape_and_not_old_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber_module, "ANSWER_S", 0.05)
    async with serving() as served:
        await served.connect()
        answers: list[Answer] = []
        thread = threading.Thread(
            target=lambda: answers.extend(get(served.port, path) for path in ("/metrics", "/healthz"))
        )
        thread.start()
        thread.join(20)  # in the loop's own thread: it answers nothing meanwhile
        assert [answer.status for answer in answers] == [503, 503]
        assert all("the event loop has not answered for 0.05 s" in answer.text for answer in answers)
        assert (await served.get("/healthz")).status == 200, "and is well again by itself"


async def test_clients_that_say_nothing_or_leave_hold_up_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    async with serving() as served:
        await served.connect()
        silent = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(20)]
        try:
            for one in silent[:10]:
                one.sendall(b"GET /metrics HTTP/1.1\r\n")
            assert (await served.get("/healthz")).status == 200
        finally:
            for one in silent:
                one.close()
    assert capfd.readouterr().err == ""


async def test_the_port_is_free_again_behind_the_block_and_the_name_may_be_one() -> None:
    served = Served(bind="localhost")
    for _ in range(2):
        async with served.subscriber.lifespan():
            assert (await served.get("/healthz")).status == 503
    with pytest.raises(OSError, match="refused"):
        get(served.port, "/healthz")


# What only a person can put right


async def test_a_port_in_use_is_one_sentence() -> None:
    async with serving() as served:
        with pytest.raises(ConfigError) as caught:
            async with served.subscriber.lifespan():
                pass
    assert str(caught.value) == (
        f"prometheus?port={served.port}: port {served.port} of 127.0.0.1 is in use by another program;"
        " choose another with port=NUMBER"
    )


@pytest.mark.parametrize("bind", ["192.0.2.1", "no-such-host.invalid"])
async def test_an_address_that_is_not_ours_is_one_sentence(bind: str) -> None:
    with pytest.raises(ConfigError, match=rf"this machine has no address '{bind}' to listen on"):
        async with Served(bind=bind).subscriber.lifespan():
            pass


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("prometheus?port=0", "option 'port'"),
        ("prometheus?port=x", "option 'port'"),
        ("prometheus?bind=", "names no subscriber|option 'bind'"),
        ("prometheus?keep_finished_s=0", "option 'keep_finished_s'"),
        ("prometheus?keep_silent_s=inf", "option 'keep_silent_s'"),
        ("prometheus?prot=1", "unknown option 'prot'; known are: .*port"),
    ],
)
def test_a_wrong_option_is_named(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        PrometheusSubscriber(SubscriberUrl.parse(text))


# A real Prometheus


async def until_query(prometheus: Prometheus, expression: str) -> list[tuple[dict[str, str], float]]:
    """Wait until an expression has a sample, and give them."""
    found: list[tuple[dict[str, str], float]] = []

    async def has_some() -> bool:
        found[:] = await asyncio.to_thread(prometheus.query, expression)
        return bool(found)

    await wait_until_async(has_some, f"Prometheus has {expression}; it says {prometheus.targets()}")
    return found


async def test_a_real_prometheus_reads_every_value_and_its_rules_fire(tmp_path: Path) -> None:
    stale = make_job_event(7, job="hangs", state="stale", kind="stale", host="node2")
    async with serving() as served:
        live: Sequence[Event] = (*HOSTILE, HOSTILE_HOST, stale, make_job_event(8, loss=0.375))
        await served.connect()
        await served.give(*live)
        prometheus = Prometheus(tmp_path, [served.port], [RULES_FILE])
        await asyncio.to_thread(prometheus.start)
        try:
            (sample,) = await until_query(prometheus, 'pulse_loss{training_job="llm/run a"}')
            assert sample[1] == 0.375
            assert sample[0].items() >= {"host": "node1", "job": "pulse"}.items()
            names = {labels.get("training_job") for labels, _ in prometheus.query("pulse_epoch")}
            assert {"ж" * 300, "hangs", "# HELP x\n# TYPE"} <= names
            (alert,) = await until_query(prometheus, 'ALERTS{alertname="PulseJobStale"}')
            assert alert[0].items() >= {"host": "node2", "training_job": "hangs"}.items()
            await served.subscriber.on_disconnect("the broker is away")
            await until_query(prometheus, "pulse_bridge_up == 0")
            assert prometheus.query("pulse_loss") == [], "what was is not taken for what is"
        finally:
            await asyncio.to_thread(prometheus.end)


def test_the_path_of_the_rules_is_printed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pulse_bridge_prometheus"], capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == RULES_FILE
    assert RULES_FILE.is_file()
