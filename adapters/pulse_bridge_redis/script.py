"""The script that publishes a batch, and its arguments: pure.

A batch is one EVALSHA for each run of events of one producer and one partition. The script makes publishing
safe to repeat: an event whose seq is not above the producer's is there already. The entries of the others come
first and then their seq; what is beside them comes after, where an error is only counted, so that a key of the
wrong type neither blocks nor doubles an entry. A job's state is written once a run, because nobody can see what
is between: the calls out of Lua are what a batch costs.

It also refuses a batch that would leave a gap. Two batches are in flight; if the first was refused (no memory,
say) and the second was taken, the first would count as "there already" when it is sent again. So each batch says
which seq this connection sent before it, and the script answers FORGOTTEN if Redis does not have that one. A
server that lost its data while connected is found in the same way.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from pulse_bridge.bus import Rejection
from pulse_bridge.event import Event, HostEvent, JobEvent, to_text_fields, to_text_fields_and_json
from pulse_bridge_redis.keys import Keys, Layout, state_field
from pulse_bridge_redis.packing import Word, pack

MAX_FIELDS: Final = 1000
"""The most fields of one event; Lua's stack holds some 8,000 values."""

CHART_FIELDS: Final = ("state", "epoch", "total_epochs", "loss", "progress", "eta_s", "step", "learning_rate")
"""What a job's own stream holds."""


def _chart_values() -> Iterator[str]:
    """Give Lua words for each name and where its value stands: the text form has a job event's own order."""
    for name in CHART_FIELDS:
        yield f"'{name}', ARGV[entry + {2 * JobEvent._fields.index(name) + 1}]"


PUBLISH: Final = """\
-- KEYS: events, seq, state, then the streams of the jobs
-- ARGV: seq sent before; expiry of seq (s); maxlen; job maxlen; job expiry (s); number of jobs;
--   for each job: its newest seq, its state field, its state or '';
--   for each event: seq, index of its job or 0, number of texts, the entry as such texts,
--     and for a job's event: id's ms or ''
local sent, seq_expire_s, maxlen = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local job_maxlen, job_expire_s, jobs = ARGV[4], ARGV[5], tonumber(ARGV[6])
local before = tonumber(redis.call('GET', KEYS[2]) or '0')
if sent > before then
  return redis.error_reply('FORGOTTEN seq ' .. ARGV[1] .. ' is not there')
end

local function error_of(reply)
  return type(reply) == 'table' and reply.err
end

local function each_event(visit)
  local at = 7 + 3 * jobs
  while at <= #ARGV do
    local job, beside = tonumber(ARGV[at + 1]), at + 3 + tonumber(ARGV[at + 2])
    if not visit(tonumber(ARGV[at]), job, at + 3, beside) then return end
    at = beside
    if job > 0 then at = at + 1 end
  end
end

local last, added, refusal = before, 0, nil
each_event(function(seq, job, entry, beside)
  if seq <= last then return true end
  local reply = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', maxlen, '*', unpack(ARGV, entry, beside - 1))
  if error_of(reply) then
    refusal = reply
    return false
  end
  last, added = seq, added + 1
  return true
end)
if added > 0 then
  redis.call('SET', KEYS[2], string.format('%.0f', last), 'EX', seq_expire_s)
end
if refusal then return refusal end

local failures, failed_key, failure = 0, '', ''
local function note(key, reply)
  if error_of(reply) then
    failures, failed_key, failure = failures + 1, key, reply.err
  end
end

local function id_above_the_last(key)
  local newest = redis.pcall('XREVRANGE', key, '+', '-', 'COUNT', 1)
  if error_of(newest) or not newest[1] then return '*' end
  local ms, number = string.match(newest[1][1], '^(%d+)-(%d+)$')
  return ms .. '-' .. string.format('%.0f', number + 1)
end

-- A job's entry has the same fields in the same places always, so the chart's are found by their place.
local function add_to_job(key, id, entry)
  return redis.pcall('XADD', key, 'MAXLEN', '~', job_maxlen, id,
    @CHART@)
end

last = before
each_event(function(seq, job, entry, beside)
  if seq <= last then return true end
  last = seq
  if job > 0 and ARGV[beside] ~= '' then
    local key = KEYS[3 + job]
    local reply = add_to_job(key, ARGV[beside] .. '-' .. string.format('%.0f', seq), entry)
    local why = error_of(reply)
    if why and string.find(why, 'equal or smaller', 1, true) then
      reply = add_to_job(key, id_above_the_last(key), entry)
    end
    note(key, reply)
  end
  return true
end)
for job = 1, jobs do
  local at = 4 + 3 * job
  if tonumber(ARGV[at]) > before then
    if ARGV[at + 2] ~= '' then
      note(KEYS[3], redis.pcall('HSET', KEYS[3], ARGV[at + 1], ARGV[at + 2]))
    end
    note(KEYS[3 + job], redis.pcall('EXPIRE', KEYS[3 + job], job_expire_s))
  end
end
return {added, failures, failed_key, failure}
""".replace("@CHART@", ", ".join(_chart_values()))

_NO_JOB: Final = 0
_NOTHING_RETAINED: Final = ""
_NO_ENTRY: Final = ""


@dataclass(frozen=True)
class Bounds:
    """How much is kept: entries, and seconds."""

    maxlen: int
    job_maxlen: int
    job_expire_s: int
    seq_expire_s: int


class Run(NamedTuple):
    """Consecutive events of one producer in one partition."""

    keys: Keys
    producer: str
    events: Sequence[Event]


class SideFailures(NamedTuple):
    """What did not work beside the entries of a run: how often, and the last of them."""

    failures: int
    key: str
    reason: str


def split_runs(events: Sequence[Event], layout: Layout) -> list[Run]:
    """Split a batch where the producer or the partition changes; order is kept."""
    runs: list[Run] = []
    start = 0
    for index, event in enumerate(events):
        keys = layout.of_host(event.host)
        if runs and runs[-1].producer == event.id.producer and runs[-1].keys is keys:
            continue
        if runs:
            runs[-1] = runs[-1]._replace(events=events[start:index])
        runs.append(Run(keys, event.id.producer, events))
        start = index
    if runs:
        runs[-1] = runs[-1]._replace(events=events[start:])
    return runs


def pack_run(sha: str, run: Run, sent_seq: int, bounds: Bounds, *, retain: bool) -> bytes:
    """Pack a run as one EVALSHA.

    Args:
        sha: The script's SHA1 as SCRIPT LOAD gave it.
        sent_seq: The highest seq of this producer that this connection has sent before, 0 for none.
        retain: Keep each job's last event in the state hash.

    Raises:
        ValueError: An event cannot be written as text; `split_rejections` finds it.
    """
    newest: dict[tuple[str, str], tuple[int, str]] = {}
    places: dict[tuple[str, str], int] = {}
    arguments: list[Word] = []
    for event in run.events:
        fields, state_json = to_text_fields_and_json(event)
        if len(fields) > MAX_FIELDS:
            raise ValueError(f"an event has more than {MAX_FIELDS} fields")
        if isinstance(event, HostEvent):
            arguments += (event.id.seq, _NO_JOB, 2 * len(fields))
            arguments += chain.from_iterable(fields.items())
            continue
        job = (event.host, event.job)
        newest[job] = (event.id.seq, state_json if retain else _NOTHING_RETAINED)
        arguments += (event.id.seq, places.setdefault(job, len(places) + 1), 2 * len(fields))
        arguments += chain.from_iterable(fields.items())
        arguments.append(_NO_ENTRY if event.kind == "heartbeat" else event.observed_ms)
    names = (run.keys.events, run.keys.seq(run.producer), run.keys.state, *(run.keys.job(*job) for job in newest))
    head: list[Word] = [sent_seq, bounds.seq_expire_s, bounds.maxlen, bounds.job_maxlen, bounds.job_expire_s]
    head.append(len(newest))
    for job, (seq, state_json) in newest.items():
        head += (seq, state_field(*job), state_json)
    return pack("EVALSHA", sha, len(names), *names, *head, *arguments)


def split_rejections(events: Sequence[Event]) -> tuple[list[Event], list[Rejection]]:
    """Part the events that can never be written from the others; both in order."""
    good: list[Event] = []
    rejections: list[Rejection] = []
    for event in events:
        reason = _why_not(event)
        if reason is None:
            good.append(event)
        else:
            rejections.append(Rejection(event, reason))
    return good, rejections


def _why_not(event: Event) -> str | None:
    fields = to_text_fields(event)
    if len(fields) > MAX_FIELDS:
        return f"it has {len(fields):,} fields; Redis takes at most {MAX_FIELDS:,} of an event: give fewer labels"
    for name, value in fields.items():
        try:
            (name + value).encode()
        except UnicodeEncodeError:
            return f"its {name} is no Unicode text (a file name of another encoding, say): {value!r:.80}"
    if isinstance(event, JobEvent) and not all(
        math.isfinite(number)
        for number in (
            event.epoch,
            event.total_epochs,
            event.loss,
            event.progress,
            event.eta_s,
            event.learning_rate,
        )
        if number is not None
    ):
        return "one of its numbers is not finite"
    return None


def read_answer(reply: object) -> SideFailures | None:
    """Read the script's reply.

    Returns:
        What failed beside the entries, or None.
    """
    if not isinstance(reply, list) or len(reply) != 4:  # noqa: PLR2004 - the script's last line
        raise ValueError(f"the publishing script answered {reply!r:.80}")
    _, failures, key, reason = reply
    return SideFailures(failures, key.decode(), reason.decode()) if failures else None
