"""What is wrong with a Redis server, from what it said: pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pulse_bridge.doctor import Examination, Finding, count, format_bytes
from pulse_bridge_redis.cursor import Cursor, parse_entry_id
from pulse_bridge_redis.keys import Keys, Layout
from pulse_bridge_redis.options import RedisOptions

OLDEST: Final = (6, 2)

EVENT_BYTES: Final = 300
"""About so much memory one entry of the stream of all events takes (measured, Redis 7.0)."""

_NEARLY_FULL: Final = 0.9
_NEARLY_TRIMMED: Final = 0.5
_HELD: Final[Mapping[int | None, str]] = {
    None: "",
    0: "; nobody holds its lease",
    1: "; its lease is held, it runs",
}
_EVICTS_ALL: Final = "allkeys"
_EVICTS_NOTHING: Final = "noeviction"


@dataclass(frozen=True)
class Info:
    """What INFO tells; empty where this user may not ask."""

    fields: Mapping[str, str]

    @classmethod
    def parse(cls, text: bytes | str) -> "Info":
        """Read the reply. Source: Redis commands, INFO."""
        lines = (text.decode(errors="replace") if isinstance(text, bytes) else text).splitlines()
        pairs = (line.partition(":") for line in lines if not line.startswith("#"))
        return cls({name: value for name, colon, value in pairs if colon})

    def number(self, name: str) -> int:
        """Give a number, 0 where it is not told."""
        text = self.fields.get(name, "")
        return int(text) if text.isdigit() else 0


def check_server(info: Info, examination: Examination) -> Iterator[Finding]:
    """Judge version, role and disk."""
    if not info.fields:
        yield examination.fine(
            "this user may not ask for INFO, so version, memory and eviction are not looked at (+info allows it)"
        )
        return
    version = info.fields.get("valkey_version") or info.fields.get("redis_version", "")
    name = "Valkey" if "valkey_version" in info.fields else "Redis"
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if parts and parts < OLDEST:
        yield examination.problem(
            f"it is {name} {version}, and what is published needs 6.2 or newer", "install a newer one, or Valkey"
        )
    else:
        yield examination.fine(f"it is {name} {version}")
    if info.fields.get("role") == "slave":
        yield examination.problem(
            "it is a replica, which takes no writes",
            "name the primary, or reach it by redis+sentinel://HOST/NAME",
        )
    for field, what in (("rdb_last_bgsave_status", "snapshot"), ("aof_last_write_status", "append-only file")):
        if info.fields.get(field) == "err":
            yield examination.problem(
                f"it could not write its last {what} to its disk, and may refuse writes (MISCONF)",
                "free its disk or mend its rights; its log says why",
            )


def check_memory(info: Info, options: RedisOptions, examination: Examination) -> Iterator[Finding]:
    """Judge how much memory there is, and what becomes of keys once it is used up."""
    if not info.fields:
        return
    limit_bytes, used_bytes = info.number("maxmemory"), info.number("used_memory")
    policy = info.fields.get("maxmemory_policy", _EVICTS_NOTHING)
    if limit_bytes == 0:
        yield examination.fine("its memory has no limit (maxmemory 0), and nothing is evicted")
        return
    if policy.startswith(_EVICTS_ALL):
        yield examination.problem(
            f"it evicts any key once {format_bytes(limit_bytes)} are used (maxmemory-policy {policy}): whole"
            " streams and the places of subscribers go, and nobody is told",
            "set maxmemory-policy noeviction, or give pulse-bridge a Redis of its own",
        )
    elif policy != _EVICTS_NOTHING:
        yield examination.advice(
            f"it evicts keys that expire once {format_bytes(limit_bytes)} are used (maxmemory-policy {policy}):"
            " the streams of jobs, and the sign that a sidecar is alive",
            "set maxmemory-policy noeviction, or raise maxmemory above what is needed",
        )
    wanted_bytes = options.maxlen * EVENT_BYTES
    if used_bytes > _NEARLY_FULL * limit_bytes:
        yield examination.problem(
            f"its memory is nearly used up: {format_bytes(used_bytes)} of {format_bytes(limit_bytes)} (maxmemory)",
            "raise maxmemory, or keep less: ?maxlen= and ?job_maxlen=",
        )
    elif limit_bytes < wanted_bytes:
        yield examination.advice(
            f"its memory is limited to {format_bytes(limit_bytes)} (maxmemory), and {options.maxlen} events"
            f" (maxlen) alone take about {format_bytes(wanted_bytes)}",
            f"raise maxmemory, or write ?maxlen={max(1, limit_bytes // EVENT_BYTES // 4)}",
        )
    else:
        yield examination.fine(
            f"it uses {format_bytes(used_bytes)} of {format_bytes(limit_bytes)} (maxmemory), policy {policy}"
        )


def check_replay_user(
    info: Info, default_user: Mapping[str, object], examination: Examination
) -> Iterator[Finding]:
    """Judge whether the server can read its own append-only file back, which it does as the user `default`.

    Args:
        default_user: What ACL GETUSER tells; empty where this user may not ask.

    Source: github.com/redis/redis/issues/14541; seen on Redis 7.0.
    """
    if info.fields.get("aof_enabled") != "1" or not default_user:
        return
    rights = " ".join(str(default_user.get(name, "")) for name in ("commands", "keys"))
    if rights != "+@all ~*":
        yield examination.problem(
            "it keeps an append-only file, which it reads back at its start as the user 'default', and that user"
            f" may not do everything ({rights.strip()}): what we publish is then skipped in silence, and lost",
            "give 'default' its rights and switch it off: ACL SETUSER default off resetpass allkeys +@all",
        )


def check_rights(
    refused: Mapping[str, str], user: str, layout: Layout, examination: Examination
) -> Iterator[Finding]:
    """Judge what was refused.

    Args:
        refused: Right, as an ACL rule names it, to what Redis said.
        user: Who we are there.
    """
    if any("OOM" in reason for reason in refused.values()):
        yield examination.problem(
            "it takes no writes, for its memory is used up (OOM)", "raise maxmemory, or keep less: ?maxlen="
        )
        return
    if any("keys" in reason for reason in refused.values()):
        yield examination.problem(
            f"the user {user!r} may not use keys that begin with {layout.prefix!r}",
            f"ACL SETUSER {user} ~{layout.prefix}:*",
        )
        return
    if refused:
        rights = " ".join(f"+{right}" for right in refused)
        what = "publish" if examination.publishes else "read"
        yield examination.problem(
            f"the user {user!r} may not do all that it takes to {what}: {', '.join(refused)}",
            f"ACL SETUSER {user} {rights}",
        )
        return
    yield examination.fine(
        f"the user {user!r} may {'publish' if examination.publishes else 'read'} under {layout.prefix!r}"
    )


def check_host(owner: str | None, examination: Examination) -> Iterator[Finding]:
    """Judge who speaks in the name of this host.

    Args:
        owner: What the host's key holds; None where there is none, or it may not be read.
    """
    if not examination.publishes:
        return
    if examination.running and owner is None:
        yield examination.problem(
            f"the sidecar runs on this machine and gives no sign of life here as host {examination.host!r}",
            "see its log: it may be told another destination, or be refused",
        )
    elif owner is not None and owner != examination.owner:
        yield examination.problem(
            f"another sidecar publishes here as host {examination.host!r}"
            + (", and the one on this machine has left" if examination.running else ""),
            "give each sidecar a name of its own with --host",
        )
    elif examination.running:
        yield examination.fine(f"the sidecar of this machine publishes here as host {examination.host!r}")


def check_stream(
    keys: Keys, stream: Mapping[str, str], options: RedisOptions, examination: Examination
) -> Iterator[Finding]:
    """Say how far back the stream reaches.

    Args:
        stream: What XINFO STREAM tells.
    """
    length, first = int(stream.get("length", "0")), stream.get("first-entry", "None")
    if not length or "-" not in first:
        return
    span_s = examination.wall_s - parse_entry_id(first)[0] / 1000
    full = length >= options.maxlen
    trimmed = f"; older ones are trimmed (maxlen {options.maxlen})" if full else ""
    yield examination.fine(f"{keys.events} holds {length} events of the last {_span(span_s)}{trimmed}")


def check_groups(
    cursors: Mapping[str, str | None],
    held: Mapping[str, int | None],
    stream: Mapping[str, str],
    options: RedisOptions,
    examination: Examination,
) -> Iterator[Finding]:
    """Judge how far subscribers are behind, whether trimming has overtaken them, and say whether they run.

    Args:
        cursors: Group to its cursor in this stream, None where it has none.
        held: Group to whether somebody holds its lease, None where this user may not know.
    """
    added, length = int(stream.get("entries-added", "0")), int(stream.get("length", "0"))
    first, last = stream.get("first-entry", "None"), stream.get("last-generated-id", "0-0")
    for name, text in sorted(cursors.items()):
        try:
            cursor = Cursor.parse(text) if text else None
        except ValueError:
            continue
        if cursor is None:
            continue
        runs = _HELD[held.get(name)]
        if cursor.entry_id >= parse_entry_id(last):
            yield examination.fine(f"the subscriber {name!r} has read everything{runs}")
            continue
        behind = added - cursor.added if cursor.added is not None and added else length
        if behind > length and "-" in first and cursor.entry_id < parse_entry_id(first):
            yield examination.problem(
                f"the subscriber {name!r} is {count(behind, 'event')} behind, and {behind - length} of them were"
                f" trimmed before it read them{runs}",
                f"start it again, and write ?maxlen={2 * behind} or more where the sidecar publishes",
            )
        elif behind > _NEARLY_TRIMMED * options.maxlen:
            yield examination.advice(
                f"the subscriber {name!r} is {count(behind, 'event')} behind, and {options.maxlen} are kept{runs}",
                "start it again before they are trimmed, or write a larger ?maxlen= where the sidecar publishes",
            )
        else:
            yield examination.fine(f"the subscriber {name!r} is {count(behind, 'event')} behind{runs}")


def _span(seconds: float) -> str:
    hours = max(0.0, seconds) / 3600
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours"  # noqa: PLR2004 - two days
