"""What `pulse-bridge doctor` finds out about a Redis: rights, memory, version, who is there, what was trimmed.

Everything is asked, and nothing is left behind: the rights to write are tried by one script on a key of its own,
which it deletes again before anybody can see it.
"""

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import AuthenticationError, NoPermissionError, NoScriptError, ResponseError

from pulse_bridge.doctor import Examination, Finding, as_sentence_and_remedy
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge_redis.channels import Channels, open_channels
from pulse_bridge_redis.connection import says_too_few_rights, unavailable
from pulse_bridge_redis.examine_checks import (
    Info,
    check_groups,
    check_host,
    check_memory,
    check_replay_user,
    check_rights,
    check_server,
    check_stream,
)
from pulse_bridge_redis.keys import Keys, Layout
from pulse_bridge_redis.options import Target

MAX_SCANS: Final = 50
"""So many steps a search for groups may take; a server with millions of other keys is not walked through."""

_NO_RIGHTS: Final = "NOPERM"
_FULL: Final = "OOM"

_TRY: Final = """\
-- KEYS: a stream and a hash and a text of our own, all deleted again
local refused = {}
local function try(name, ...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    table.insert(refused, name)
    table.insert(refused, reply.err)
  end
end
try('xadd', 'XADD', KEYS[1], 'MAXLEN', '~', '10', '*', 'a', 'b')
try('xrange', 'XRANGE', KEYS[1], '-', '+')
try('xrevrange', 'XREVRANGE', KEYS[1], '+', '-', 'COUNT', '1')
try('expire', 'EXPIRE', KEYS[1], '60')
try('hset', 'HSET', KEYS[2], 'a', 'b')
try('hsetnx', 'HSETNX', KEYS[2], 'a', 'b')
try('hget', 'HGET', KEYS[2], 'a')
try('hmget', 'HMGET', KEYS[2], 'a')
try('hscan', 'HSCAN', KEYS[2], '0')
try('hdel', 'HDEL', KEYS[2], 'a')
try('set', 'SET', KEYS[3], 'a', 'EX', '60')
try('get', 'GET', KEYS[3])
try('exists', 'EXISTS', KEYS[3])
try('del', 'DEL', KEYS[1], KEYS[2], KEYS[3])
return refused
"""


async def examine(target: Target, layout: Layout, examination: Examination) -> AsyncIterator[Finding]:
    """Look at a server, or at each node of a cluster.

    Raises:
        BusUnavailableError: There is no way in.
        ConfigError: The prefix is in use with another layout.
    """
    channels = await open_channels(target)
    try:
        await _knock(channels)
        yield examination.fine("the login works")
        if (stored := await _ask(channels, "HMGET", layout.meta, *layout.meta_fields)) is not None:
            layout.require(stored, str(target.url))
        user = await _own_name(channels, target)
        try:
            refused = await _try_rights(channels, target, layout, publishes=examination.publishes)
        except BusUnavailableError as error:
            if not error.refused:
                raise
            yield examination.problem(*as_sentence_and_remedy(error))
        else:
            for finding in check_rights(refused, user, layout, examination):
                yield finding
        default_user = _pairs(await _ask(channels, "ACL", "GETUSER", "default"))
        for info in await _infos(channels):
            for finding in (
                *check_server(info, examination),
                *check_memory(info, target.options, examination),
                *check_replay_user(info, default_user, examination),
            ):
                yield finding
        async for finding in _look_at_keys(channels, target, layout, examination):
            yield finding
    finally:
        await channels.close()


async def _knock(channels: Channels) -> None:
    """See that a Redis answers and wants no password that we do not have; a connection alone says neither.

    Raises:
        BusUnavailableError: It does not answer, or wants a login.
    """
    try:
        await channels.ask_each("PING", vital=False)
    except BusUnavailableError as error:
        if not error.refused or isinstance(error.__cause__, AuthenticationError):
            raise


async def _look_at_keys(
    channels: Channels, target: Target, layout: Layout, examination: Examination
) -> AsyncIterator[Finding]:
    keys = layout.of_host(examination.host)
    owner = await _ask(channels, "GET", keys.host(examination.host))
    for finding in check_host(None if owner is None else owner.decode(errors="replace"), examination):
        yield finding
    groups = await _groups(channels, layout)
    held = {name: await _ask(channels, "EXISTS", layout.all()[0].lease(name)) for name in groups}
    for number, partition in enumerate(layout.all()):
        stream = _pairs(await _ask(channels, "XINFO", "STREAM", partition.events, key=partition.events))
        if not stream:
            continue
        for finding in check_stream(partition, stream, target.options, examination):
            yield finding
        cursors = {name: fields.get(f"cursor:{number}") for name, fields in groups.items()}
        for finding in check_groups(cursors, held, stream, target.options, examination):
            yield finding


async def _ask(channels: Channels, *command: str, key: str | None = None) -> Any:  # noqa: ANN401 - what Redis answers
    """Ask what this user may not be allowed to ask; None where it is not."""
    channel = channels.of(command[1] if key is None else key)
    with suppress(BusUnavailableError):
        return await channel.ask(*command, vital=False)
    return None


async def _try_rights(channels: Channels, target: Target, layout: Layout, *, publishes: bool) -> dict[str, str]:
    """Give each right that is lacking to what Redis says.

    Raises:
        BusUnavailableError: It refuses for another reason, or the connection is lost.
    """
    keys = layout.all()[0]
    probe = f"{keys.root}:doctor:{secrets.token_hex(8)}"
    names = (f"{probe}:stream", f"{probe}:hash", f"{probe}:text")
    if not publishes:
        return await _try_reading(channels, keys)
    refused: dict[str, str] = {}
    for right, command in (
        ("eval", ("EVAL", _TRY, 3, *names)),
        ("evalsha", ("EVALSHA", "0" * 40, 1, names[0])),
    ):
        try:
            found = await channels.ask(*command, vital=False)
        except BusUnavailableError as error:
            if not isinstance(error.__cause__, NoScriptError):
                refused[right] = _refusal(error)
            continue
        words = [word.decode(errors="replace") for word in found]
        refused |= dict(zip(words[::2], words[1::2], strict=True))
    try:
        await channels.of(keys.events).ask("SCRIPT", "LOAD", "return 0", vital=False)
    except BusUnavailableError as error:
        refused["script|load"] = _refusal(error)
    for reason in refused.values():
        if not says_too_few_rights(reason) and _FULL not in reason:
            raise unavailable(ResponseError(reason), target)
    return refused


def _refusal(error: BusUnavailableError) -> str:
    """Give what Redis said, with the code that redis-py took off.

    Raises:
        BusUnavailableError: It said nothing: the connection is lost.
    """
    if not error.refused:
        raise error
    text = str(error.__cause__ or error)
    return f"{_NO_RIGHTS} {text}" if isinstance(error.__cause__, NoPermissionError) else text


async def _try_reading(channels: Channels, keys: Keys) -> dict[str, str]:
    refused = {}
    commands = {
        "hmget": ("HMGET", keys.state, "a"),
        "hgetall": ("HGETALL", f"{keys.root}:doctor"),
        "xrange": ("XRANGE", keys.events, "-", "+", "COUNT", "1"),
        "xrevrange": ("XREVRANGE", keys.events, "+", "-", "COUNT", "1"),
        "xread": ("XREAD", "COUNT", "1", "STREAMS", keys.events, "$"),
        "xinfo|stream": ("XINFO", "STREAM", keys.events),
    }
    for right, command in commands.items():
        try:
            await channels.of(keys.events).ask(*command, vital=False)
        except BusUnavailableError as error:
            reason = _refusal(error)
            if says_too_few_rights(reason):
                refused[right] = reason
    return refused


async def _own_name(channels: Channels, target: Target) -> str:
    name = None
    with suppress(BusUnavailableError):
        name = (await channels.ask_each("ACL", "WHOAMI", vital=False))[0]
    return name.decode(errors="replace") if isinstance(name, bytes) else target.url.username or "default"


async def _infos(channels: Channels) -> list[Info]:
    """Read INFO of each server; empty where this user may not."""
    try:
        return [Info.parse(text) for text in await channels.ask_each("INFO", vital=False)]
    except BusUnavailableError:
        return [Info({})]


async def _groups(channels: Channels, layout: Layout) -> dict[str, Mapping[str, str]]:
    """Find subscriber groups, as far as this user may search and the server is not too full."""
    start = layout.all()[0].group("")
    pattern = "".join(f"[{char}]" if char in "*?[" else char for char in start) + "*"
    cursor, names = b"0", list[str]()
    for _ in range(MAX_SCANS):
        found = None
        with suppress(BusUnavailableError):
            found = await channels.of(start).ask("SCAN", cursor, "MATCH", pattern, "COUNT", "1000", vital=False)
        if found is None:
            return {}
        cursor = found[0]
        names += [key.decode(errors="replace") for key in found[1]]
        if int(cursor) == 0:
            break
    groups: dict[str, Mapping[str, str]] = {}
    for name in sorted(set(names)):
        flat = await _ask(channels, "HGETALL", name)
        groups[name.removeprefix(start)] = _pairs(flat)
    return groups


def _pairs(flat: Any) -> dict[str, str]:  # noqa: ANN401 - what Redis answers
    """Make a mapping of names and values by turns; what is no text is left out."""
    if not isinstance(flat, list):
        return {}
    return dict(_text_pairs(flat))


def _text_pairs(flat: list[Any]) -> Iterator[tuple[str, str]]:
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        shown = value[0] if isinstance(value, list) and value else value  # of an entry its id
        yield (
            name.decode(errors="replace"),
            shown.decode(errors="replace") if isinstance(shown, bytes) else str(shown),
        )
