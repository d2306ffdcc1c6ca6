"""A host's name on one connection: says that its sidecar is here, and finds out when a newer one is."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from paho.mqtt.client import MQTTMessage

from pulse_bridge.bus import Presence
from pulse_bridge.errors import BusError, HostTakenError
from pulse_bridge.event import HostEvent
from pulse_bridge_mqtt import reasons
from pulse_bridge_mqtt.connection import Connection
from pulse_bridge_mqtt.endpoint import OFFLINE, ONLINE
from pulse_bridge_mqtt.mark import Mark
from pulse_bridge_mqtt.topics import Topics

GOODBYE_TIMEOUT_S: Final = 1.0


class HostName:
    """The name that a sidecar publishes under.

    Args:
        older_owners: See `MqttPublisher`.
        send: Sends a retained message in the publisher's turn.
        shown: The destination for sentences, without a secret.
    """

    def __init__(
        self,
        connection: Connection,
        topics: Topics,
        host: str,
        presence: Presence,
        *,
        older_owners: set[str],
        send: Callable[[str, bytes], Awaitable[object]],
        shown: str,
    ) -> None:
        self._connection = connection
        self._bridge = topics.bridge(host)
        self._events = topics.host(host)
        self.host = host
        self._presence = presence
        self._older_owners = older_owners
        self._send = send
        self._shown = shown
        self._mark: Mark | None = None
        self._leaving = False

    @property
    def filters(self) -> list[str]:
        """What stays subscribed."""
        return [self._events, self._bridge]

    async def take(self) -> bool:
        """Say `online`, and give whether what is said in this name can be heard.

        Raises:
            BusUnavailableError: The connection is lost.
            HostTakenError: A newer sidecar has the name.
        """
        codes = await self._connection.subscribe(self.filters)
        self._mark = Mark(self._connection)
        self._send(self._bridge, ONLINE)
        return await self._mark.wait() and all(code.value < reasons.FAILURE for code in codes)

    async def leave(self, more_filters: Sequence[str]) -> None:
        """Say `offline`, if that can be done soon.

        Args:
            more_filters: What else is subscribed.
        """
        self._leaving = True
        with contextlib.suppress(TimeoutError, BusError):
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                # First, so that nothing unread is in the socket when it closes: the reset that this causes can
                # overtake the goodbye.
                await self._connection.unsubscribe([*self.filters, *more_filters])
                await self._send(self._bridge, OFFLINE)

    def hear(self, message: MQTTMessage) -> bool:
        """Take a message that says `online` or `offline` of the host; False if it is another."""
        if self._mark is not None:
            self._mark.hear()
        if message.topic != self._bridge:
            return False
        if message.retain:
            return True
        if message.payload == ONLINE:
            if self._mark is not None:
                self._mark.reach()
        elif message.payload == OFFLINE and not self._leaving:
            self._send(self._bridge, ONLINE)  # the late will of an older connection
        return True

    def check_owner(self, topic: str, event: HostEvent, *, retained: bool) -> None:
        """Leave for good when a newer sidecar speaks in this host's name."""
        owner = event.owner
        if topic != self._events or owner == self._presence.owner or owner in self._older_owners:
            return
        if retained and not self._presence.held:
            self._older_owners.add(owner)
            return
        self._connection.lose(
            HostTakenError(
                f"{self._shown}: a newer sidecar publishes as host {self.host!r}, so this one stops publishing "
                f"there; give each its own --host"
            )
        )
