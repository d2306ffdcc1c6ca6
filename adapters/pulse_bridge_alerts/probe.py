"""Sends one test message to each target, all at once, and gathers what came of it."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from pulse_bridge_alerts.outgoing import make_test
from pulse_bridge_alerts.senders import open_senders
from pulse_bridge_alerts.sending import Sender, SendError
from pulse_bridge_alerts.targets import Target


class Answer(NamedTuple):
    """What came of one sending.

    Args:
        reason: Why it did not arrive; None if it did.
    """

    target: Target
    reason: str | None


async def probe(targets: Sequence[Target], timeout_s: float) -> list[Answer]:
    """Send to each target once.

    Args:
        timeout_s: For each sending.

    Raises:
        ConfigError: A target's URL is wrong, or the extra is not installed.
    """
    async with open_senders(targets, timeout_s) as senders:
        return list(await asyncio.gather(*(_try(target, senders[target.name]) for target in targets)))


async def _try(target: Target, sender: Sender) -> Answer:
    try:
        await sender.send(make_test(f"test-{secrets.token_hex(6)}", target.name))
    except SendError as error:
        return Answer(target, error.reason)
    return Answer(target, None)
