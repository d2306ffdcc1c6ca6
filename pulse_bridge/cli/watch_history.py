"""The past of one job from the bus, read aside: the journal and a recording are read without a pause."""

import asyncio
import glob
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, NamedTuple, cast

from pulse_bridge.bus import Bus, Query
from pulse_bridge.cli.watch_rows import JobKey
from pulse_bridge.errors import BusError, ConfigError, HistoryUnsupportedError
from pulse_bridge.event import Event, JobEvent
from pulse_bridge.threads import run_in_daemon_thread

READ_S: Final = 15.0
"""A bus that takes longer to be read is read no further."""

READING: Final = "the bus is being asked for what was before"
_KINDS: Final = ("change", "stale", "recovered", "gone")


class History(NamedTuple):
    """What a bus had.

    Args:
        events: In the order of the bus.
        why: It is not all; says why, in words.
    """

    events: list[JobEvent]
    why: str = ""


async def read_job(bus: Bus, key: JobKey) -> History:
    """Read the past of a job in a thread of its own; who is cancelled waits for it no longer."""
    given_up = threading.Event()
    query = Query(hosts=(glob.escape(key[0]),), jobs=(glob.escape(key[1]),), kinds=_KINDS)
    try:
        return await run_in_daemon_thread(lambda: asyncio.run(_read(bus, query, given_up)))
    finally:
        given_up.set()


async def _read(bus: Bus, query: Query, given_up: threading.Event) -> History:
    end_s = time.monotonic() + READ_S
    found: list[JobEvent] = []
    try:
        async with aclosing(cast("AsyncGenerator[Event]", bus.history(query))) as events:
            async for event in events:
                if isinstance(event, JobEvent):
                    found.append(event)
                if given_up.is_set() or time.monotonic() > end_s:
                    return History(found, "the past is long and was not read to its end")
    except HistoryUnsupportedError:
        return History(found, "this bus keeps no past: only what was seen since watch began")
    except (BusError, ConfigError) as error:
        return History(found, f"the past cannot be read now: {error}")
    return History(found)
