"""The alerts as a subscriber: events in, what is to be stored out, and messages sent behind each commit."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar, Final, TypeVar

from pulse_bridge.bus import Batch
from pulse_bridge.clock import Instant
from pulse_bridge.doctor import Examination, Finding
from pulse_bridge.subscriber import Changes, Subscriber, SubscriberUrl
from pulse_bridge_alerts.budget import Budget
from pulse_bridge_alerts.config import read_alerts
from pulse_bridge_alerts.lookout import Lookout
from pulse_bridge_alerts.outbox import Deliverer, Outbox
from pulse_bridge_alerts.policy import Policy
from pulse_bridge_alerts.rehearsal import Rehearsal
from pulse_bridge_alerts.saved import (
    BEGUN,
    HOST,
    INCIDENT,
    JOB,
    OUT,
    STAMP,
    decode_host,
    decode_incident,
    decode_job,
    encode_incident,
)

logger = logging.getLogger(__name__)

TIDY_S: Final = 60.0
BASELINE_S: Final = 5.0
"""The first snapshot may come in parts; it is whole so long after the last, or with the first event behind it."""
SETTLE_S: Final = 2.0
"""At a stop, so long is waited for what is being sent; a sidecar gives its subscribers little more."""
YIELD_EVERY: Final = 500
"""A snapshot of thousands of jobs must not hold up the sidecar in whose loop this may run."""
KeptT = TypeVar("KeptT")


class Alerting(Subscriber):
    """Tells people what happened, once.

    Args:
        policy: What is told, to whom, and how often at most.
        make_delivery: Makes what sends messages; called once for each lifespan.
    """

    durable: ClassVar[bool] = True
    tick_s: ClassVar[float] = 0.2

    def __init__(self, policy: Policy, make_delivery: Callable[[], Deliverer]) -> None:
        self._policy = policy
        self._make_delivery = make_delivery
        self._delivery: Deliverer | None = None
        self._outbox = Outbox()
        self._budget = Budget(policy)
        self._lookout = Lookout(policy, self._budget)
        self._begun = False
        self._snapshot_at_s: float | None = None
        self._to_store: dict[str, str | None] = {}
        self._tidy_at_s = 0.0
        self._process = secrets.token_hex(6)
        self._given = self._stored = 0  # how often something was given to be stored, and that was stored
        self._found_stamps: set[str | None] = set()  # of other processes, in what was found stored

    def rehearse(self, say: Callable[[str], None]) -> None:
        """Tell nobody: say what would be told, and to whom; see `pulse_bridge.replay_subscribers`."""
        self._make_delivery = lambda: Rehearsal(say)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Hold the delivery.

        Raises:
            ConfigError: On entering; a target cannot be used.
        """
        delivery = self._make_delivery()
        async with delivery.lifespan():
            self._delivery = delivery
            try:
                yield
            finally:
                self._delivery = None

    async def on_connect(self, saved: Mapping[str, str], at: Instant) -> None:
        """Begin from what is stored; a bus that forgot it, or a part, is told again what this process knows."""
        self._collect_finished()
        if not self._begun or (BEGUN in saved and not self._is_older(saved)):
            await self._rebuild(saved, at)
            self._found_stamps.add(saved.get(STAMP))
        else:
            self._to_store |= {key: None for key in saved if key.startswith((JOB, HOST, INCIDENT, OUT))}
            self._lookout.store_all()
            self._outbox.store_all()
            self._to_store[BEGUN] = "1"
        self._lookout.connect(at.now_s)
        self._snapshot_at_s = None
        self._release()

    def _is_older(self, saved: Mapping[str, str]) -> bool:
        """Say whether something is stored that this process has stored over: the bus came back from an old dump.

        What another replica has stored is never older: its stamp was not seen before.
        """
        stamp = saved.get(STAMP)
        process, _, number = (stamp or "").partition("-")
        if process == self._process:
            return int(number) < self._stored
        return self._stored > 0 and stamp in self._found_stamps

    async def on_disconnect(self, reason: str) -> None:  # noqa: ARG002 - the port's signature
        """Stop trying to tell: another replica may have taken over, and would tell the same."""
        if self._delivery is not None:
            self._delivery.withdraw()

    async def _rebuild(self, saved: Mapping[str, str], at: Instant) -> None:
        self._begun = BEGUN in saved
        self._to_store = {}
        self._budget = Budget(self._policy)
        self._lookout = Lookout(self._policy, self._budget)
        self._outbox.rebuild(saved)
        for index, (key, text) in enumerate(saved.items()):
            if index % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            if key.startswith(INCIDENT):
                identity = key.removeprefix(INCIDENT)
                incident = self._read(key, lambda: decode_incident(identity, text, at))  # noqa: B023 - called at once
                if incident is not None:
                    self._budget.restore(incident, at)
            elif key.startswith(JOB):
                job = self._read(key, lambda: decode_job(text, at))  # noqa: B023 - called at once
                if job is not None:
                    self._lookout.restore_job(*job, at)
        for key, text in saved.items():
            if key.startswith(HOST):
                name = key.removeprefix(HOST)
                host = self._read(key, lambda: decode_host(name, text))  # noqa: B023 - called at once
                if host is not None:
                    self._lookout.restore_host(host, at)

    def _read(self, key: str, decode: Callable[[], KeptT]) -> KeptT | None:
        try:
            return decode()
        except ValueError as error:
            logger.warning(
                "what was stored cannot be read; going on without", extra={"key": key, "reason": str(error)}
            )
            self._to_store[key] = None
            return None

    async def on_batch(self, batch: Batch, at: Instant) -> Changes:
        """Fold the events in and give what changed."""
        if batch.snapshot:
            self._snapshot_at_s = at.now_s
        elif batch.events:
            self._begin()
        for index, event in enumerate(batch.events):
            if index % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)
            self._lookout.take(event, at, snapshot=batch.snapshot, baseline=not self._begun)
        return self._take_changes(at)

    def _begin(self) -> None:
        """Note that from now on everything is news."""
        if not self._begun:
            self._begun = True
            self._to_store[BEGUN] = "1"

    async def on_tick(self, at: Instant) -> Changes:
        """Notice silence and what became due, and remove what was delivered."""
        if self._snapshot_at_s is not None and at.now_s - self._snapshot_at_s >= BASELINE_S:
            self._begin()
        self._lookout.tick(at)
        if at.now_s >= self._tidy_at_s:
            self._tidy_at_s = at.now_s + TIDY_S
            self._lookout.tidy(at)
            self._budget.tidy(at)
        return self._take_changes(at)

    async def on_commit(self) -> None:
        """Send what is stored now."""
        self._stored = self._given
        self._release()

    async def on_stop(self, at: Instant) -> Changes:
        """Tell what still waits, and see what is being sent arrive: a sidecar that ends may have no next start."""
        changes = self._take_changes(at, hurry=True)
        if not changes and self._delivery is not None:
            await self._delivery.settle(SETTLE_S)
            changes = self._take_changes(at)
        if not changes and self._outbox:
            logger.warning(
                "not everything is told at the end; it is kept for the next start",
                extra={"messages": len(self._outbox)},
            )
        return changes

    def _take_changes(self, at: Instant, *, hurry: bool = False) -> Changes:
        self._outbox.put(self._budget.due(at, self._lookout.fleet.jobs, hurry=hurry))
        self._collect_finished()
        changes = self._to_store
        self._to_store = {}
        changes |= self._lookout.take_changes(at)
        for identity in self._budget.changed:
            incident = self._budget.incidents.get(identity)
            changes[INCIDENT + identity] = encode_incident(incident, at) if incident else None
        self._budget.changed.clear()
        changes |= self._outbox.take_changes()
        if changes:
            self._given += 1
            changes[STAMP] = f"{self._process}-{self._given}"
        return changes

    def _collect_finished(self) -> None:
        if self._delivery is not None:
            self._outbox.finish(self._delivery.take_finished())

    def _release(self) -> None:
        if self._delivery is not None:
            self._outbox.release(self._delivery)


class AlertsSubscriber(Alerting):
    """`alerts?…`: as configured.

    Raises:
        ConfigError: An option or the file is wrong.
    """

    def __init__(self, url: SubscriberUrl) -> None:
        alerts = read_alerts(url)
        super().__init__(alerts.policy, alerts.make_delivery)
        self._targets = alerts.targets

    def examine(self, examination: Examination) -> AsyncIterator[Finding]:
        """Tell whether each target can be sent to; see `pulse_bridge.doctor`."""
        from pulse_bridge_alerts.examine import examine  # noqa: PLC0415 - nothing else needs it

        return examine(self._targets, examination)
