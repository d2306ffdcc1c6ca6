"""Publishing on one connection, and the timer that belongs to it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, NoReturn

from pulse_bridge.bus import Presence, Rejection
from pulse_bridge.errors import BusError, BusUnavailableError
from pulse_bridge.event import Event, EventId, HostEvent
from pulse_bridge_redis import presence as host_key
from pulse_bridge_redis.channel import Channel
from pulse_bridge_redis.channels import Channels, open_channels
from pulse_bridge_redis.keys import Keys, Layout
from pulse_bridge_redis.options import RedisOptions, Target
from pulse_bridge_redis.packing import pack
from pulse_bridge_redis.script import PUBLISH, Bounds, pack_run, read_answer, split_rejections, split_runs
from pulse_bridge_redis.sweep import INTERVAL_S, sweep

logger = logging.getLogger(__name__)

MAX_BATCH_EVENTS: Final = 256
_GOODBYE_S: Final = 2.0


class RedisPublisher:
    """The `Publisher` of one connection.

    Args:
        sha: The publishing script's SHA1.
        retain: Keep each job's last event in the state hash.
        told: Keys that have been warned about; outlives the connection.
        shown: The destination, without a secret.
    """

    max_batch_events = MAX_BATCH_EVENTS

    def __init__(
        self,
        channels: Channels,
        layout: Layout,
        bounds: Bounds,
        sha: str,
        *,
        retain: bool,
        told: set[str],
        shown: str,
    ) -> None:
        self.stopping = False
        self._channels = channels
        self._layout = layout
        self._bounds = bounds
        self._sha = sha
        self._retain = retain
        self._told = told
        self._shown = shown
        self._sent: dict[str, int] = {}

    async def resume(self, acked: EventId | None) -> EventId | None:
        """Say which of the producer's events Redis has, never after `acked`."""
        if acked is None:
            return None
        # A producer's events may be of several hosts, and so in several partitions: what all have counts.
        replies = await asyncio.gather(
            *(self._channels.ask("GET", keys.seq(acked.producer)) for keys in self._layout.all())
        )
        try:
            stored = [int(reply) for reply in replies if reply is not None]
        except ValueError as error:
            raise BusUnavailableError(
                f"{self._shown}: the seq of {acked.producer} is no number; use another prefix", refused=True
            ) from error
        return EventId(acked.producer, min(acked.seq, *stored)) if stored else None

    def publish(self, events: Sequence[Event]) -> asyncio.Future[Sequence[Rejection]]:
        """Write a batch to the socket now; the future resolves when Redis has it."""
        rejections: Sequence[Rejection] = ()
        try:
            packed = self._pack(events)
        except ValueError:
            events, rejections = split_rejections(events)
            packed = self._pack(events)
        if not packed:
            # Nothing to say, but this result too comes behind those of earlier calls: so ask anything.
            meta = self._layout.meta
            return self._channels.of(meta).send(pack("EXISTS", meta), lambda _: rejections)
        self.stopping = self.stopping or any(isinstance(event, HostEvent) and event.stopping for event in events)
        finish = partial(self._finish, rejections)
        sent = [channel.send(b"".join(parts), finish, replies=len(parts)) for channel, parts in packed.items()]
        return sent[0] if len(sent) == 1 else asyncio.ensure_future(_all_of(sent))

    async def wait_lost(self) -> NoReturn:
        """Wait until the connection is lost, and raise why."""
        await self._channels.wait_lost()

    def _pack(self, events: Sequence[Event]) -> dict[Channel, list[bytes]]:
        packed: dict[Channel, list[bytes]] = {}
        sent = dict(self._sent)
        for run in split_runs(events, self._layout):
            # The script looks for what this connection sent before where it keeps that partition's seq.
            seq_key = run.keys.seq(run.producer)
            parts = packed.setdefault(self._channels.of(seq_key), [])
            parts.append(pack_run(self._sha, run, sent.get(seq_key, 0), self._bounds, retain=self._retain))
            sent[seq_key] = max(sent.get(seq_key, 0), *(event.id.seq for event in run.events))
        self._sent = sent
        return packed

    def _finish(self, rejections: Sequence[Rejection], reply: Any) -> Sequence[Rejection]:  # noqa: ANN401 - RESP
        failures = read_answer(reply)
        if failures is not None and failures.key not in self._told:
            self._told.add(failures.key)
            logger.warning(
                "a key beside the events cannot be written; the events themselves are there",
                extra={"key": failures.key, "reason": failures.reason, "failures": failures.failures},
            )
        return rejections


@asynccontextmanager
async def open_publisher(
    target: Target, layout: Layout, presence: Presence | None, told: set[str], now: Callable[[], float] = time.time
) -> AsyncIterator[RedisPublisher]:
    """Connect, check the layout, take the host's key, and publish.

    Args:
        now: Unix seconds.
    """
    channels = await open_channels(target)
    try:
        (sha, *_), _ = await asyncio.gather(
            channels.ask_each("SCRIPT", "LOAD", PUBLISH), _write_layout(channels, layout, target)
        )
        options = target.options
        bounds = Bounds(options.maxlen, options.job_maxlen, options.job_expire_s, options.seq_expire_s)
        publisher = RedisPublisher(
            channels,
            layout,
            bounds,
            sha.decode(),
            retain=presence is not None,
            told=told,
            shown=str(target.url),
        )
        if presence is not None:
            await _announce(channels, layout, presence, target, now)
        yield publisher
        if presence is not None and publisher.stopping:
            await _say_goodbye(channels, layout, presence)
    finally:
        await channels.close()


async def _all_of(results: Sequence[asyncio.Future[Sequence[Rejection]]]) -> Sequence[Rejection]:
    """Wait for every node; the rejections are the batch's, and each says the same."""
    return (await asyncio.gather(*results))[0]


async def _write_layout(channels: Channels, layout: Layout, target: Target) -> None:
    for field, value in layout.meta_fields.items():
        channels.ask("HSETNX", layout.meta, field, value)
    layout.require(await channels.ask("HMGET", layout.meta, *layout.meta_fields), str(target.url))


async def _announce(
    channels: Channels, layout: Layout, presence: Presence, target: Target, now: Callable[[], float]
) -> None:
    """Take the host's key, and start what a sidecar or relay does now and then."""
    if presence.host is None:
        swept = layout.all()
    else:
        keys = layout.of_host(presence.host)
        hold = partial(host_key.hold, channels.ask, keys, presence, shown=str(target.url))
        await hold(held=presence.held)
        channels.start(_keep_host_key(hold))
        swept = [keys]
    channels.start(_sweep_hourly(partial(channels.ask, vital=False), layout, swept, target.options, now))


async def _keep_host_key(hold: Callable[..., Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(host_key.REFRESH_S)
        await hold(held=True)


async def _sweep_hourly(
    ask: host_key.Ask, layout: Layout, swept: Sequence[Keys], options: RedisOptions, now: Callable[[], float]
) -> None:
    await asyncio.sleep(host_key.REFRESH_S)  # first things first after a connect
    while True:
        for keys in swept:
            try:
                await sweep(ask, layout.meta, keys, now_s=int(now()), forget_after_s=options.forget_after_s)
            except BusUnavailableError as error:
                # Nothing that is published depends on it.
                logger.warning("old jobs were not swept", extra={"key": keys.state, "reason": str(error)})
        await asyncio.sleep(INTERVAL_S)


async def _say_goodbye(channels: Channels, layout: Layout, presence: Presence) -> None:
    keys = layout.of_host(presence.host or "")
    try:
        async with asyncio.timeout(_GOODBYE_S):
            await host_key.release(channels.ask, keys, presence)
    except (BusError, TimeoutError):
        logger.debug("the host key is left to expire", exc_info=True)
