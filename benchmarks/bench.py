"""Figures of the whole way, from a training's `os.replace` to a subscriber, with the journal on.

    uv run python benchmarks/bench.py latency     # one file, ten writes a second, to Redis and to MQTT
    uv run python benchmarks/bench.py burst       # 5,000 writes to one file at 1,000 a second
    uv run python benchmarks/bench.py fleet       # 100 files, ten writes a second each, for five seconds
    uv run python benchmarks/bench.py subscribe   # 100,000 events in Redis, to a subscriber that counts

It starts redis-server and mosquitto itself, on free loopback ports.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import hiredis
import redis
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

sys.path.insert(0, str(Path(__file__).parent.parent))
from pulse_bridge.bus import Batch, Bus, open_bus
from pulse_bridge.clock import Instant
from pulse_bridge.event import EventId
from pulse_bridge.jsonl import DeadLetters
from pulse_bridge.subscribe import run_subscriptions
from pulse_bridge.subscriber import NOTHING, Changes, Subscriber
from pulse_bridge.subscription import Subscription
from pulse_bridge.testing import make_job_event
from pulse_bridge_redis.packing import pack
from tests.support.mosquitto import Mosquitto
from tests.support.redis_server import RedisServer

WAIT_S = 10.0


def write_pulse(path: Path, index: int, total: int) -> int:
    """Replace the status file as the report's writer does; gives the monotonic ns at which that was done."""
    pulse = {
        "status": "running",
        "epoch": index / total,
        "total_epochs": 1.0,
        "loss": 1.0 / (index + 1),
        "message": str(index),
        "timestamp": int(time.time()),
    }
    temporary = f"{path}.tmp"
    Path(temporary).write_text(json.dumps(pulse, indent=2), encoding="utf-8")
    os.replace(temporary, path)
    return time.monotonic_ns()


def read_redis(port: int, ready: Connection, count: int) -> None:
    """Follow the stream until the last index; sends index to monotonic ns at which the socket had it."""
    replies: Any = hiredis.Reader(encoding="utf-8")
    seen: dict[int, int] = {}
    last = "0"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        ready.send(None)
        while not (count - 1 in seen or ready.poll()):
            connection.sendall(pack("XREAD", "BLOCK", "500", "STREAMS", "pulse:events", last))
            reply: Any = False
            while reply is False:  # incomplete
                received = connection.recv(1 << 20)
                now = time.monotonic_ns()
                replies.feed(received)
                reply = replies.gets()
            for _, entries in reply or []:
                for entry_id, flat in entries:
                    last = entry_id
                    fields = dict(zip(flat[::2], flat[1::2], strict=True))
                    if fields["kind"] == "change":
                        seen.setdefault(int(fields["message"]), now)
    ready.send(seen)


def read_mqtt(port: int, ready: Connection, count: int) -> None:
    """Receive state messages until the last index; sends index to monotonic ns at which the socket had it."""
    seen: dict[int, int] = {}
    client: Any = mqtt.Client(CallbackAPIVersion.VERSION2)
    now = 0

    def on_message(_client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        event = json.loads(message.payload)
        if event["kind"] == "change" and not message.retain:
            seen.setdefault(int(event["message"]), now)

    client.on_message = on_message
    client.on_subscribe = lambda *_: ready.send(None)
    client.connect("127.0.0.1", port)
    client.subscribe("pulse/+/+/state", qos=0)
    while not (count - 1 in seen or ready.poll()):
        readable, _, _ = select.select([client.socket()], [], [], 0.5)
        now = time.monotonic_ns()
        if readable:
            client.loop_read()
        client.loop_misc()
        if client.want_write():
            client.loop_write()
    ready.send(seen)


@contextmanager
def reader(target: Callable[[int, Connection, int], None], port: int, count: int) -> Iterator[Connection]:
    """Run a subscriber in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=target, args=(port, theirs, count))
    process.start()
    ours.recv()
    try:
        yield ours
    finally:
        process.join(WAIT_S)
        process.kill()


@contextmanager
def sidecar(folder: Path, urls: Sequence[str]) -> Iterator[None]:
    """Run the sidecar on a folder."""
    command = [sys.executable, "-m", "pulse_bridge", "run", str(folder / "jobs"), "--host", "bench"]
    command += ["--journal", str(folder / "journal.db"), *(part for url in urls for part in ("--to", url))]
    with (folder / "sidecar.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
        try:
            deadline = time.monotonic() + WAIT_S
            while b"watching" not in (text := (folder / "sidecar.log").read_bytes()) or text.count(
                b'"connected"'
            ) < len(urls):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the sidecar did not start: {text.decode()}")
                time.sleep(0.05)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(WAIT_S)


def take(connection: Connection) -> dict[int, int]:
    """Take a subscriber's result; after `WAIT_S` what it has by then."""
    if not connection.poll(WAIT_S):
        connection.send(None)
    result: dict[int, int] = connection.recv()
    return result


def pace(count: int, rate_hz: float, write: Callable[[int], int]) -> list[int]:
    """Call `write` at a steady rate."""
    begin = time.monotonic()
    written = []
    for index in range(count):
        while (wait_s := begin + index / rate_hz - time.monotonic()) > 0:
            time.sleep(wait_s)
        written.append(write(index))
    return written


def latency(folder: Path, count: int, buses: str) -> None:
    """Print the time from `os.replace` to each subscriber."""
    with servers(folder) as (redis_port, mqtt_port):
        urls = {"redis": f"redis://127.0.0.1:{redis_port}", "mqtt": f"mqtt://127.0.0.1:{mqtt_port}"}
        job = folder / "jobs" / "training_status.json"
        job.parent.mkdir()
        for names in [[name] for name in buses.split(",")] + ([buses.split(",")] if "," in buses else []):
            for leftover in (job, *folder.glob("journal.db*")):
                leftover.unlink(missing_ok=True)
            redis.Redis(port=redis_port).flushall()
            with sidecar(folder, [urls[name] for name in names]):
                targets = {"redis": (read_redis, redis_port), "mqtt": (read_mqtt, mqtt_port)}
                readers = {name: reader(*targets[name], count) for name in names}
                connections = {name: context.__enter__() for name, context in readers.items()}
                time.sleep(0.5)
                written = pace(count, 10, lambda index: write_pulse(job, index, count))
                for name, connection in connections.items():
                    report(f"{name} (of {'+'.join(names)})", written, take(connection))
                for context in readers.values():
                    context.__exit__(None, None, None)


def report(name: str, written: Sequence[int], seen: dict[int, int]) -> None:
    times_ms = sorted((seen[index] - at) / 1e6 for index, at in enumerate(written) if index in seen)
    cuts = statistics.quantiles(times_ms, n=100)
    print(
        f"{name:24} {len(times_ms)}/{len(written)} seen   median {cuts[49]:.2f} ms   p90 {cuts[89]:.2f} ms"
        f"   p99 {cuts[98]:.2f} ms   max {times_ms[-1]:.2f} ms",
        flush=True,
    )


@contextmanager
def servers(folder: Path) -> Iterator[tuple[int, int]]:
    """Start both brokers."""
    for name in ("redis", "mosquitto"):
        (folder / name).mkdir()
    with RedisServer(folder / "redis") as redis_server, Mosquitto(folder / "mosquitto") as broker:
        yield redis_server.port, broker.port


def burst(folder: Path, files: int, count: int, rate_hz: float, bus: str) -> None:
    """Print how many of many states arrive. The subscriber is light, so that it takes no time from the sidecar."""
    with servers(folder) as (redis_port, mqtt_port):
        port = redis_port if bus == "redis" else mqtt_port
        for index in range(files):
            (folder / "jobs" / f"job{index}").mkdir(parents=True)
        subscribe = count_redis if bus == "redis" else count_mqtt
        with sidecar(folder, [f"{bus}://127.0.0.1:{port}"]), subscribe(port, folder / "arrived") as arrived:
            writer = multiprocessing.get_context("spawn").Process(
                target=write_many, args=(folder / "jobs", files, count, rate_hz)
            )
            writer.start()
            writer.join()
            deadline = time.monotonic() + WAIT_S
            while str(count - 1) not in arrived() and time.monotonic() < deadline:
                time.sleep(0.1)
            seen = arrived()
        print(
            f"{bus:6} {files} file(s), {rate_hz:.0f} writes/s in all: {len(seen)} of {count} arrived", flush=True
        )


@contextmanager
def count_redis(port: int, _file: Path) -> Iterator[Callable[[], set[str]]]:
    """Give a function that tells which messages are in the stream."""
    client: Any = redis.Redis(port=port, decode_responses=True)
    yield lambda: {fields["message"] for _, fields in client.xrange("pulse:events") if fields["kind"] == "change"}


@contextmanager
def count_mqtt(port: int, file: Path) -> Iterator[Callable[[], set[str]]]:
    """Run mosquitto_sub and give a function that tells which messages it has received."""
    command = ["mosquitto_sub", "-p", str(port), "-q", "1", "-t", "pulse/+/+/state"]
    with file.open("wb") as output:
        process = subprocess.Popen(command, stdout=output)
        time.sleep(0.5)
        try:
            yield lambda: {
                event["message"]
                for event in map(json.loads, file.read_text().splitlines())
                if event["kind"] == "change"
            }
        finally:
            process.terminate()
            process.wait(WAIT_S)


def write_many(folder: Path, files: int, count: int, rate_hz: float) -> None:
    """Write to the files in turn."""
    paths = [folder / f"job{index}" / "training_status.json" for index in range(files)]
    began = time.monotonic()
    pace(count, rate_hz, lambda index: write_pulse(paths[index % files], index, count))
    print(f"       written in {time.monotonic() - began:.2f} s", flush=True)


class Counter(Subscriber):
    """Counts events.

    Args:
        count: So many are waited for.
    """

    def __init__(self, count: int) -> None:
        self.enough = asyncio.Event()
        self.left = count

    async def on_batch(self, batch: Batch, at: Instant) -> Changes:  # noqa: ARG002 - the port's signature
        """Count."""
        self.left -= len(batch.events)
        return NOTHING

    async def on_commit(self) -> None:
        """Say so once all that is waited for is stored."""
        if self.left <= 0:
            self.enough.set()


def subscribe(folder: Path, count: int) -> None:
    """Print how many events a second a durable subscriber takes from Redis, each batch committed."""
    (folder / "redis").mkdir()
    with RedisServer(folder / "redis") as server:
        bus = open_bus(f"redis://127.0.0.1:{server.port}?maxlen={2 * count}")
        asyncio.run(count_events(bus, folder, 0))  # a group's first start has no backlog, only a snapshot
        asyncio.run(fill(bus, count))
        taken_s = asyncio.run(count_events(bus, folder, count))
        print(f"{count} events in {taken_s:.2f} s: {count / taken_s:,.0f} events/s", flush=True)


async def fill(bus: Bus, count: int) -> None:
    """Publish events of a hundred jobs."""
    async with bus.publisher(None) as publisher:
        size = publisher.max_batch_events
        for start in range(0, count, size):
            await publisher.publish(
                [
                    make_job_event(index + 1, id=EventId("bench", index + 1), job=f"job{index % 100}")
                    for index in range(start, min(count, start + size))
                ]
            )


async def count_events(bus: Bus, folder: Path, count: int) -> float:
    """Run a subscriber until it has had so many events; gives the seconds from its start to its last commit."""
    counter = Counter(count)
    letters = DeadLetters(folder / "dead.jsonl")
    subscription = Subscription(counter, bus, name="bench", shown="redis", letters=letters)
    began = time.monotonic()
    await run_subscriptions([subscription], counter.enough)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["latency", "burst", "fleet", "subscribe"])
    parser.add_argument("--count", type=int, default=None, help="writes, or events")
    parser.add_argument("--bus", default="redis,mqtt")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where files and journal lie, to try other disks"
    )
    arguments = parser.parse_args()
    if arguments.what == "subscribe":
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            subscribe(Path(name), arguments.count or 100_000)
        return
    for bus in [arguments.bus] if arguments.what == "latency" else arguments.bus.split(","):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            if arguments.what == "latency":
                latency(Path(name), arguments.count or 300, bus)
            elif arguments.what == "burst":
                burst(Path(name), 1, arguments.count or 5000, 1000, bus)
            else:
                burst(Path(name), 100, arguments.count or 5000, 1000, bus)


if __name__ == "__main__":
    main()
