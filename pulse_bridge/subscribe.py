"""Several subscribers side by side on one bus: what `pulse-bridge subscribe` and `run --with` run.

Each has a connection, a cursor and a task of its own, so that one that hangs, raises or is slow changes nothing
for the others.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pulse_bridge.bus import Bus
from pulse_bridge.errors import ConfigError
from pulse_bridge.event import EventId
from pulse_bridge.jsonl import DeadLetters
from pulse_bridge.reconnect import Backoff
from pulse_bridge.subscriber import SubscriberUrl, open_subscriber
from pulse_bridge.subscription import STOP_S, Subscription

CATCH_UP_S: Final = 1.0
"""How long a clean end waits for subscribers to come to the last event."""


def open_subscriptions(
    texts: Sequence[str],
    bus: Bus,
    *,
    shown: str,
    dead_letters: Path,
    backoff: Backoff | None = None,
    stop_s: float = STOP_S,
) -> list[Subscription]:
    """Make the subscribers that texts name; nothing is started yet.

    Args:
        shown: The bus for a person, without a secret.
        dead_letters: The file for events that a subscriber cannot take.
        stop_s: How long a verb at hand may go on after a stop.

    Raises:
        ConfigError: A text is wrong, or two subscribers would share a cursor.
    """
    found: dict[str, Subscription] = {}
    for text in texts:
        url = SubscriberUrl.parse(text)
        subscriber = open_subscriber(url)
        if url.group in found:
            raise ConfigError(
                f"{url}: a subscriber with the name {url.group!r} is there already: leave one out, or give it"
                " a name of its own with '?name=…'"
            )
        found[url.group] = Subscription(
            subscriber,
            bus,
            name=url.group,
            shown=shown,
            letters=DeadLetters(dead_letters),
            backoff=backoff,
            stop_s=stop_s,
        )
    return list(found.values())


async def run_subscriptions(subscriptions: Sequence[Subscription], stop: asyncio.Event) -> None:
    """Run them side by side until told to stop, or until every one of them is lost.

    Raises:
        ConfigError: At the start of one of them: a person must act.
        BusError: At the start: this bus cannot be read.
    """
    tasks = [asyncio.ensure_future(subscription.run(stop)) for subscription in subscriptions]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def catch_up(subscriptions: Sequence[Subscription], last: EventId) -> None:
    """Give subscribers a moment to come to the last event."""
    waits = [asyncio.ensure_future(subscription.catch_up(last)) for subscription in subscriptions]
    if waits:
        _, late = await asyncio.wait(waits, timeout=CATCH_UP_S)
        for wait in late:
            wait.cancel()
