"""Delivers messages: each target in order and in a task of its own, until it has them or they are given up."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import tzinfo
from typing import Final

from pulse_bridge_alerts.lane import Lane, Stamina
from pulse_bridge_alerts.notice import Message
from pulse_bridge_alerts.outgoing import Outgoing, make_outgoing
from pulse_bridge_alerts.senders import open_senders
from pulse_bridge_alerts.sending import Sender
from pulse_bridge_alerts.targets import Target
from pulse_bridge_alerts.template import Composer
from pulse_bridge_alerts.text import compose
from pulse_bridge_alerts.undelivered import Undelivered

_REMEMBERED_IDS: Final = 10_000

OpenSenders = Callable[[Sequence[Target], float], AbstractAsyncContextManager[Mapping[str, Sender]]]


class Delivery:
    """Takes messages and says which are done with.

    Args:
        targets: All of them, with names of their own.
        undelivered: Keeps what is given up.
        composer: Words a message.
        stamina: How long one is tried.
        zone: Of the times in a text; None for the one of this machine.
        open_senders: Makes the senders.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        undelivered: Undelivered,
        *,
        composer: Composer = compose,
        stamina: Stamina | None = None,
        zone: tzinfo | None = None,
        open_senders: OpenSenders = open_senders,
    ) -> None:
        self._targets = targets
        self._undelivered = undelivered
        self._composer = composer
        self._stamina = stamina or Stamina()
        self._zone = zone
        self._open_senders = open_senders
        self._lanes: dict[str, Lane] = {}
        self._known: OrderedDict[str, None] = OrderedDict()
        self._finished: list[str] = []

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Hold the connections and the tasks; what is under way at the end is told again after the next start.

        Raises:
            ConfigError: On entering; a target's URL is wrong, or the extra is not installed.
        """
        async with self._open_senders(self._targets, self._stamina.timeout_s) as senders:
            self._lanes = {
                target.name: Lane(
                    target,
                    senders[target.name],
                    word=self._word,
                    finish=self._finish,
                    forget=self._forget,
                    undelivered=self._undelivered,
                    stamina=self._stamina,
                )
                for target in self._targets
            }
            tasks = [asyncio.ensure_future(lane.run()) for lane in self._lanes.values()]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._lanes = {}
                self._known.clear()

    def start(self, message: Message) -> None:
        """Begin to deliver in the background. A message that is under way or was finished lately is left alone."""
        if message.id in self._known:
            return
        self._known[message.id] = None
        lane = self._lanes.get(message.target)
        if lane is None:
            self._undelivered.add(message, "there is no such target any more")
            self._finish(message)
        else:
            lane.add(message)

    def withdraw(self) -> None:
        """Stop trying: another replica may be at it from now on. What is still to be told is given anew."""
        for lane in self._lanes.values():
            lane.withdraw()

    async def settle(self, limit_s: float) -> None:
        """Give what is being sent a moment to arrive; what waits to be tried again is not waited for."""
        waits = [asyncio.ensure_future(lane.wait_at_rest()) for lane in self._lanes.values()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=limit_s)
            for wait in late:
                wait.cancel()

    def take_finished(self) -> Sequence[str]:
        """Give the ids of the messages that were delivered, or given up and kept, since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def _finish(self, message: Message) -> None:
        self._finished.append(message.id)
        self._known.move_to_end(message.id)
        while len(self._known) > _REMEMBERED_IDS:
            self._known.popitem(last=False)

    def _forget(self, message: Message) -> None:
        self._known.pop(message.id, None)

    def _word(self, message: Message) -> Outgoing:
        now_ms = int(self._stamina.clock().wall_s * 1000)
        return make_outgoing(message, self._composer(message, now_ms, self._zone))
