"""Says for a relay which of its hosts are heard: a connection of its own for each, whose will is `offline`.

An entity of Home Assistant's follows `<prefix>/<host>/bridge`, which a host's own sidecar keeps where it publishes
itself. A relay speaks for many hosts, and a connection has one will. Were it the relay's, a host that fell silent
behind a living relay would be shown as alive; were there none, all would be once the relay is killed.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from paho.mqtt.client import MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from pulse_bridge.errors import BusError, BusUnavailableError
from pulse_bridge.event import Event, HostEvent
from pulse_bridge.fleet import SILENT_AFTER_S
from pulse_bridge.relay import first_of
from pulse_bridge_mqtt import reasons
from pulse_bridge_mqtt.connection import Connection
from pulse_bridge_mqtt.endpoint import OFFLINE, ONLINE

logger = logging.getLogger(__name__)

GOODBYE_TIMEOUT_S: Final = 1.0

OpenLine = Callable[[str], AbstractAsyncContextManager[Connection]]
"""Connects for a host, with its will."""


class HostLines:
    """The connections of the hosts that are heard.

    A line that is lost is opened anew by the next event of its host, which is no more than ten seconds away.

    Args:
        bridge: Gives the topic of a host.
    """

    def __init__(self, open_line: OpenLine, bridge: Callable[[str], str]) -> None:
        self._open_line = open_line
        self._bridge = bridge
        self._loop = asyncio.get_running_loop()
        self._heard_at: dict[str, float] = {}
        self._leaving: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._complained: set[str] = set()

    def hear(self, event: Event) -> None:
        """Note that a host speaks, or that it says it stops."""
        if isinstance(event, HostEvent) and event.stopping:
            self._leave(event.host)
            return
        self._heard_at[event.host] = self._loop.time()
        if event.host not in self._tasks:
            self._leaving[event.host] = asyncio.Event()
            self._tasks[event.host] = self._loop.create_task(self._hold(event.host))

    def on_tick(self, now_s: float) -> None:
        """Let go of the hosts that have fallen silent; `now_s` is the loop's clock."""
        for host in [host for host, at_s in self._heard_at.items() if now_s - at_s > SILENT_AFTER_S]:
            self._leave(host)

    async def close(self, *, goodbye: bool) -> None:
        """End every line.

        Args:
            goodbye: Say `offline` for each; else the broker does, by the wills.
        """
        tasks = list(self._tasks.values())
        for host in list(self._leaving):
            self._leave(host)
        if tasks and goodbye:
            await asyncio.wait(tasks, timeout=2 * GOODBYE_TIMEOUT_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _leave(self, host: str) -> None:
        self._heard_at.pop(host, None)
        if host in self._leaving:
            self._leaving[host].set()

    async def _hold(self, host: str) -> None:
        leaving = self._leaving[host]
        try:
            async with self._open_line(host) as connection:
                line = _Line(connection, self._bridge(host))
                await line.announce()
                self._complained.discard(host)
                await first_of(connection.wait_lost(), leaving.wait())
                with contextlib.suppress(TimeoutError, BusError):
                    async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                        await line.say_goodbye()
                connection.disconnect()
        except BusError as error:
            if host not in self._complained:
                self._complained.add(host)
                logger.warning(
                    "the broker cannot be told that a host is heard; trying again with its next event",
                    extra={"host": host, "reason": str(error)},
                )
        finally:
            del self._tasks[host], self._leaving[host]


class _Line:
    """One host's connection: says what is so, and says it again when an older connection's late will denies it."""

    def __init__(self, connection: Connection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._answer: asyncio.Future[None] | None = None
        self._leaving = False
        connection.set_handler(self)

    async def announce(self) -> None:
        """Say `online`.

        Raises:
            BusUnavailableError: It cannot be said.
        """
        await self._connection.subscribe([self._topic])
        await self._say(ONLINE)

    async def say_goodbye(self) -> None:
        """Say `offline`; with nothing unread in the socket, because a reset would overtake it."""
        self._leaving = True
        await self._connection.unsubscribe([self._topic])
        await self._say(OFFLINE)

    async def _say(self, payload: bytes) -> None:
        self._answer = self._connection.make_waiter()
        self._connection.publish(self._topic, payload, retain=True)
        await self._answer

    def on_ack(self, mid: int, reason: ReasonCode) -> None:  # noqa: ARG002 - the port's signature
        """Take the broker's answer."""
        answer = self._answer
        if answer is None or answer.done():
            return
        if reason.value >= reasons.FAILURE:
            answer.set_exception(BusUnavailableError(f"the broker refused to take {self._topic}: {reason}"))
        else:
            answer.set_result(None)

    def on_message(self, message: MQTTMessage) -> None:
        """Contradict a late will."""
        if message.payload == OFFLINE and not message.retain and not self._leaving:
            self._connection.publish(self._topic, ONLINE, retain=True)

    def on_tick(self, now_s: float) -> None:
        """Pass over the time: paho's keepalive finds a dead connection."""

    def on_lost(self, error: BusError) -> None:
        """Pass over the end: whoever waits is told."""
