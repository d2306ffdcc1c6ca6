"""Forgetting: jobs that ended long ago, and those of hosts long dead, leave the state hash.

Any sidecar does it for all, one scan an hour among them. It goes in small pages, each of which waits its turn
behind what is being published, and it removes a field only if it still reads as it did.
"""

import logging
from collections.abc import Mapping
from typing import Final

from pulse_bridge.errors import EventFormatError
from pulse_bridge.event import FINISHED_STATES, JobEvent, from_json
from pulse_bridge_redis.keys import Keys
from pulse_bridge_redis.presence import Ask

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 3600
PAGE_FIELDS: Final = 20
"""Parsing so many takes some 0.4 ms, which is how long a live event may wait for it."""

# A stamp from the future comes from a clock that was wrong, and binds nobody.
_CLAIM: Final = """\
local swept_at, now = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0'), tonumber(ARGV[2])
if swept_at and math.abs(now - swept_at) < tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""
_REMOVE: Final = """\
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
"""


async def sweep(ask: Ask, meta_key: str, keys: Keys, *, now_s: int, forget_after_s: int) -> int:
    """Forget what is old enough, unless another sidecar did within the hour.

    Args:
        meta_key: The hash with the time of the last sweep.
        now_s: Unix seconds.

    Returns:
        The number of jobs forgotten.
    """
    if not await ask("EVAL", _CLAIM, 1, meta_key, keys.swept_field, now_s, INTERVAL_S):
        return 0
    before_ms = (now_s - forget_after_s) * 1000
    alive: dict[str, bool] = {}
    forgotten = 0
    cursor = b"0"
    while True:
        cursor, flat = await ask("HSCAN", keys.state, cursor, "COUNT", PAGE_FIELDS)
        page = dict(zip(flat[::2], flat[1::2], strict=True))
        for field, event in _old(page, before_ms).items():
            if event.state not in FINISHED_STATES and await _is_alive(ask, keys, event.host, alive):
                continue
            forgotten += await ask("EVAL", _REMOVE, 1, keys.state, field, page[field])
        if cursor == b"0":
            break
    if forgotten:
        logger.info("forgot jobs that ended long ago", extra={"key": keys.state, "jobs": forgotten})
    return forgotten


def _old(page: Mapping[bytes, bytes], before_ms: int) -> dict[bytes, JobEvent]:
    """Find the jobs whose last event is old; what is no event of ours is left alone."""
    found: dict[bytes, JobEvent] = {}
    for field, text in page.items():
        try:
            event = from_json(text)
        except EventFormatError:
            continue
        if isinstance(event, JobEvent) and event.observed_ms <= before_ms:
            found[field] = event
    return found


async def _is_alive(ask: Ask, keys: Keys, host: str, known: dict[str, bool]) -> bool:
    if host not in known:
        known[host] = bool(await ask("EXISTS", keys.host(host)))
    return known[host]
