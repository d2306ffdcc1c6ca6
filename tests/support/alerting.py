"""Runs the alerts on a fake clock, with a store that commits as a bus does, and a sink that takes everything."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

from pulse_bridge.bus import Batch
from pulse_bridge.clock import Instant
from pulse_bridge.event import Event, JobEvent
from pulse_bridge.testing import make_host_event, make_job_event
from pulse_bridge_alerts.notice import Message
from pulse_bridge_alerts.policy import Policy, Route, Rule
from pulse_bridge_alerts.subscriber import Alerting

START_UNIX_S = 1_790_000_000
ALL = (Route("all", ("phone",)),)


def make_policy(*rules: Rule, **changes: Any) -> Policy:
    """Give a policy with one route to one target, and only the named rules, if any."""
    if rules:
        changes["rules"] = frozenset(rules)
    return Policy(**{"routes": ALL, **changes})


class Sink:
    """A delivery that says at once that it is done, unless told to hold."""

    def __init__(self, started: list[Message]) -> None:
        self.started = started
        self.holds = False
        self._known: set[str] = set()
        self._finished: list[str] = []

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        yield

    def start(self, message: Message) -> None:
        if message.id not in self._known:
            self._known.add(message.id)
            self.started.append(message)
            self._finished.append(message.id)

    async def settle(self, limit_s: float) -> None:
        """Have nothing under way."""

    def withdraw(self) -> None:
        """Keep what was given: a test looks at it."""

    def take_finished(self) -> Sequence[str]:
        if self.holds:
            return []
        finished, self._finished = self._finished, []
        return finished


class Desk:
    """One group: its store outlives its replicas. `told` is everything that the sinks were ever given."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.now_s = 5000.0
        self.saved: dict[str, str] = {}
        self.told: list[Message] = []
        self.speaking: set[str] = set()
        self.commits: list[Mapping[str, str | None]] = []
        self.sink = Sink(self.told)
        self.alerting = Alerting(policy, lambda: self.sink)
        self._seq = 0
        self._stack = AsyncExitStack()

    @property
    def at(self) -> Instant:
        return Instant(self.now_s, START_UNIX_S + self.now_s)

    @property
    def wall_ms(self) -> int:
        return int((START_UNIX_S + self.now_s) * 1000)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def connect(self) -> None:
        await self._stack.enter_async_context(self.alerting.lifespan())
        await self.alerting.on_connect(dict(self.saved), self.at)

    async def reconnect(self) -> None:
        """Lose the connection and find it again, in the same process."""
        await self.alerting.on_disconnect("lost")
        await self.alerting.on_connect(dict(self.saved), self.at)

    async def restart(self, policy: Policy | None = None) -> None:
        """End the process and start another one on the same store."""
        await self._stack.aclose()
        self._stack = AsyncExitStack()
        self.policy = policy or self.policy
        self.sink = Sink(self.told)
        self.alerting = Alerting(self.policy, lambda: self.sink)
        await self.connect()

    def job(self, job: str = "a", state: str = "running", **changes: Any) -> JobEvent:
        """Make the next event of a job, seen now."""
        self._seq += 1
        status = {"stale": "error", "gone": "running"}.get(state, state)
        fields = {
            "job": job,
            "state": state,
            "status": status,
            "timestamp": int(START_UNIX_S + self.now_s),
            "observed_ms": self.wall_ms,
            "run": START_UNIX_S,
            **changes,
        }
        return make_job_event(self._seq, **fields)

    def host(self, host: str = "node1", **changes: Any) -> Event:
        self._seq += 1
        return make_host_event(self._seq, host=host, **{"observed_ms": self.wall_ms, **changes})

    async def give(self, *events: Event, snapshot: bool = False, commit: bool = True) -> None:
        """Give one batch, and commit what comes of it."""
        self.store(await self.alerting.on_batch(Batch(events, snapshot), self.at), commit=commit)
        if commit:
            await self.alerting.on_commit()

    async def begin(self, *events: Event) -> None:
        """Give the first snapshot, and one live word that ends it."""
        await self.give(*events, snapshot=True)
        await self.give(self.host())

    async def happens(self, job: str, *states: str) -> None:
        """Give a job's events one after the other, each in a batch of its own."""
        for state in states:
            await self.give(self.job(job, state))

    def store(self, changes: Mapping[str, str | None], *, commit: bool) -> None:
        if not commit:
            return
        self.commits.append(changes)
        for key, value in changes.items():
            if value is None:
                self.saved.pop(key, None)
            else:
                self.saved[key] = value

    async def tick(self) -> None:
        changes = await self.alerting.on_tick(self.at)
        if changes:
            self.store(changes, commit=True)
            await self.alerting.on_commit()

    async def wait(self, seconds: float, step_s: float = 0.5) -> None:
        """Let time pass, with ticks, and a sign of life of every speaking host each 10 s."""
        end_s = self.now_s + seconds
        speak_at_s = self.now_s
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + step_s)
            if self.now_s >= speak_at_s and self.speaking:
                await self.give(*(self.host(name) for name in sorted(self.speaking)))
                speak_at_s = self.now_s + 10
            await self.tick()

    async def stop(self) -> None:
        """End as the runtime does."""
        while changes := await self.alerting.on_stop(self.at):
            self.store(changes, commit=True)
            await self.alerting.on_commit()
        await self._stack.aclose()

    @property
    def words(self) -> list[str]:
        """What was told, a line a message: `open stale a b`, and its target where that is not the phone."""
        return [_words(message) for message in self.told]


def _words(message: Message) -> str:
    first = message.notices[0]
    assert all((notice.phase, notice.rule) == (first.phase, first.rule) for notice in message.notices)
    names = " ".join(notice.job or notice.host for notice in message.notices)
    target = "" if message.target == "phone" else f" @{message.target}"
    return f"{first.phase} {first.rule} {names}{target}"
