"""The past of one job from the bus, read aside: it can be long, and the journal is read without a pause."""

import asyncio
import glob
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, cast

from pulse_bridge.bus import Bus, Query
from pulse_bridge.cli.watch_past import Past
from pulse_bridge.cli.watch_rows import JobKey
from pulse_bridge.errors import BusError, ConfigError, HistoryUnsupportedError
from pulse_bridge.event import Event, JobEvent
from pulse_bridge.threads import run_in_daemon_thread

READ_S: Final = 15.0
"""A bus that takes longer to be read is read no further."""

READING: Final = "the bus is being asked for what was before"
_KINDS: Final = ("change", "stale", "recovered", "gone")
_LOOK_S: Final = 0.1
"""How soon a reading ends that nobody waits for any more."""


async def read_job(bus: Bus, key: JobKey) -> Past:
    """Read the past of a job in a thread of its own, which ends soon after who waits for it is cancelled.

    Returns:
        What the bus had; if that is not all, its `why` says so.
    """
    given_up = threading.Event()
    query = Query(hosts=(glob.escape(key[0]),), jobs=(glob.escape(key[1]),), kinds=_KINDS)
    try:
        return await run_in_daemon_thread(lambda: asyncio.run(_read(bus, query, given_up)))
    finally:
        given_up.set()


async def _read(bus: Bus, query: Query, given_up: threading.Event) -> Past:
    """Read until the end, or until the time is up or nobody waits, even where nothing is found for long."""
    past = Past()
    end_s = time.monotonic() + READ_S
    reading = asyncio.ensure_future(_read_into(past, bus, query))
    while not reading.done() and not given_up.is_set() and time.monotonic() < end_s:
        await asyncio.wait({reading}, timeout=_LOOK_S)
    reading.cancel()
    await asyncio.wait({reading})
    past.why = "the past is long and was not read to its end" if reading.cancelled() else reading.result()
    return past


async def _read_into(past: Past, bus: Bus, query: Query) -> str:
    """Take in what a bus has; says why that is not all, or nothing."""
    try:
        async with aclosing(cast("AsyncGenerator[Event]", bus.history(query))) as events:
            async for event in events:
                if isinstance(event, JobEvent):
                    past.add(event)
    except HistoryUnsupportedError:
        return "this bus keeps no past: only what was seen since watch began"
    except (BusError, ConfigError) as error:
        return f"the past cannot be read now: {error}"
    return ""
