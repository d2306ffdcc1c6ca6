"""Figures of the page's event stream: many viewers of many jobs that change all the time.

    uv run python benchmarks/bench_web.py           # 1,000 viewers, 1,000 jobs, two changes a second each
    uv run python benchmarks/bench_web.py --jobs 10000 --viewers 200 --seconds 60
    uv run python benchmarks/bench_web.py --plain   # viewers that take nothing compressed

The server is a process of its own, as `pulse-bridge subscribe web` is; the viewers are sockets of another one. The
age of a viewer's newest state is measured where it is greatest: at the moment before the next frame comes.
"""

import argparse
import asyncio
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from pulse_bridge.bus import Batch, Consumer
from pulse_bridge.event import Event, JobEvent, parse_time
from pulse_bridge.jsonl import DeadLetters
from pulse_bridge.subscriber import SubscriberUrl
from pulse_bridge.subscription import Subscription
from pulse_bridge.testing import make_host_event, make_job_event
from pulse_bridge_web import WebSubscriber
from tests.support.processes import wait_until

BATCH_S = 0.02
WARM_UP_S = 5.0


class Busy:
    """A bus on which every job changes twice a second, a few each 20 ms."""

    name = "busy"

    def __init__(self, jobs: int) -> None:
        self.saved: Mapping[str, str] = {}
        self._jobs = jobs
        self._seq = 0

    def __str__(self) -> str:
        return "busy://"

    @asynccontextmanager
    async def consumer(self, group: str | None) -> AsyncIterator[Consumer]:  # noqa: ARG002 - the port's signature
        """Let it be read."""
        yield self

    def _change(self, number: int) -> JobEvent:
        self._seq += 1
        return make_job_event(
            self._seq,
            host=f"node{number % 50}",
            job=f"llm/run-{number:04}",
            epoch=round(self._seq / 7e5, 4),
            loss=round(3 / (1 + self._seq / 1e4), 6),
            message=f"epoch {self._seq / 7e5:.1f}/3, step {self._seq % 800}/800",
            step=self._seq % 800,
            observed_ms=int(time.time() * 1000),
        )

    async def batches(self) -> AsyncIterator[Batch]:
        """Give what changes as it does."""
        hosts: list[Event] = [make_host_event(number + 1, host=f"node{number}") for number in range(50)]
        self._seq = 100
        yield Batch([*hosts, *map(self._change, range(self._jobs))], snapshot=True)
        begun_s = time.monotonic()
        given = 0
        while True:
            due = int((time.monotonic() - begun_s) * 2 * self._jobs)
            yield Batch([self._change(number % self._jobs) for number in range(given, due)], snapshot=False)
            given = due
            await asyncio.sleep(BATCH_S)

    async def commit(self, changes: Mapping[str, str | None] = {}) -> None:
        """Keep nothing."""


async def serve(jobs: int, pipe: Connection) -> None:
    subscriber = WebSubscriber(SubscriberUrl.parse("web?port=0"))
    bus: Any = Busy(jobs)
    with tempfile.TemporaryDirectory() as folder:
        letters = DeadLetters(Path(folder) / "dead.jsonl")
        subscription = Subscription(subscriber, bus, name="web", shown="busy", letters=letters)
        stop = asyncio.Event()
        running = asyncio.create_task(subscription.run(stop))
        await wait_until(lambda: bool(subscriber.address), "it listens")
        pipe.send(int(subscriber.address.rstrip("/").rpartition(":")[2]))
        await asyncio.to_thread(pipe.recv)  # the viewers are there, and warm
        used = time.process_time()
        begun_s = time.monotonic()
        late: list[float] = []
        told = asyncio.ensure_future(asyncio.to_thread(pipe.recv))
        while not told.done():
            before_s = time.monotonic()
            await asyncio.sleep(0.001)
            late.append(time.monotonic() - before_s - 0.001)
        load = (time.process_time() - used) / (time.monotonic() - begun_s)
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pipe.send((peak_kib / 1024, load, late))
        stop.set()
        await running


def serve_in_process(jobs: int, pipe: Connection) -> None:
    asyncio.run(serve(jobs, pipe))


@dataclass(eq=False)
class Viewers:
    """What all of them know together: the same bytes need be read but once."""

    packed: bool
    ages_s: list[float] = field(default_factory=list)
    frames: int = 0
    received_bytes: int = 0
    connected: int = 0
    dropped: int = 0
    counting: bool = False
    done: bool = False
    seen: dict[bytes, float] = field(default_factory=dict)

    def newest_s(self, frame: bytes) -> float:
        """Give the newest `observed_at` in a frame, Unix seconds; 0 where there is none."""
        found = self.seen.get(frame)
        if found is None:
            text = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame) if self.packed else frame
            times = [part[:24] for part in text.split(b'"observed_at":"')[1:]]
            found = parse_time(max(times).decode()) / 1000 if times else 0.0
            if len(self.seen) > 50:
                self.seen.clear()
            self.seen[frame] = found
        return found


class ViewerSocket(asyncio.Protocol):
    """One viewer: takes HTTP chunks, each of which is a frame."""

    def __init__(self, viewers: Viewers) -> None:
        self._viewers = viewers
        self._buffer = bytearray()
        self._begun = False
        self._newest_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        accept = "gzip" if self._viewers.packed else "identity"
        transport.write(f"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {accept}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        """Take frames out of what came."""
        viewers = self._viewers
        viewers.received_bytes += len(data)
        self._buffer += data
        if not self._begun:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 200"), bytes(head)
            self._begun = True
            self._buffer = rest
            viewers.connected += 1
        while (end_of_size := self._buffer.find(b"\r\n")) > 0:
            size = int(self._buffer[:end_of_size], 16)
            begin = end_of_size + 2
            if len(self._buffer) < begin + size + 2:
                return
            frame = bytes(self._buffer[begin : begin + size])
            del self._buffer[: begin + size + 2]
            self._take(frame)

    def _take(self, frame: bytes) -> None:
        if frame.startswith((b"\x1f\x8b", b"retry", b": ")):
            return
        viewers = self._viewers
        newest_s = viewers.newest_s(frame)
        if not newest_s:
            return
        if viewers.counting and self._newest_s:
            viewers.ages_s.append(time.time() - self._newest_s)
            viewers.frames += 1
        self._newest_s = newest_s

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Count it where it was not our doing."""
        self._viewers.dropped += not self._viewers.done


async def look(port: int, options: argparse.Namespace, pipe: Connection) -> None:
    viewers = Viewers(packed=not options.plain)
    loop = asyncio.get_running_loop()
    transports = []
    for _ in range(options.viewers):
        transport, _ = await loop.create_connection(lambda: ViewerSocket(viewers), "127.0.0.1", port)
        transports.append(transport)
    await wait_until(lambda: viewers.connected == options.viewers, "all are let in", timeout_s=120)
    await asyncio.sleep(WARM_UP_S)
    pipe.send("warm")
    viewers.counting, viewers.received_bytes = True, 0
    await asyncio.sleep(options.seconds)
    viewers.counting, viewers.done = False, True
    pipe.send("done")
    peak_mib, load, late = await asyncio.to_thread(pipe.recv)
    print(f"{options.viewers} viewers, {options.jobs} jobs changing twice a second, {options.seconds:g} s")
    print(f"  age of the newest state of each viewer, s: {spread(viewers.ages_s)}")
    print(f"  frames a second to each viewer: {viewers.frames / options.viewers / options.seconds:.2f}")
    print(f"  received: {viewers.received_bytes / options.seconds / 1e6:.1f} MB/s")
    print(f"  dropped viewers: {viewers.dropped}")
    print(f"  server: peak memory {peak_mib:.0f} MiB, {100 * load:.0f} % of one core")
    print(f"  server: others on its event loop wait, s: {spread(late)}")
    for transport in transports:
        transport.abort()


def spread(values: list[float]) -> str:
    ordered = sorted(values)
    p99 = ordered[int(len(ordered) * 0.99)]
    return f"p50 {statistics.median(ordered):.4f}  p99 {p99:.4f}  max {ordered[-1]:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--plain", action="store_true", help="viewers take nothing compressed")
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    server = context.Process(target=serve_in_process, args=(options.jobs, theirs), daemon=True)
    server.start()
    asyncio.run(look(ours.recv(), options, ours))
    server.join(10)


if __name__ == "__main__":
    main()
