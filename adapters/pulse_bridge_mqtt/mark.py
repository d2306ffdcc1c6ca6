"""A message of our own that comes back behind everything the broker had to send before it."""

import asyncio
from typing import Any, Final

from pulse_bridge_mqtt.connection import Connection

QUIET_S: Final = 1.0
"""So long without a message is taken for the end of the retained ones where our own message does not come back."""


class Mark:
    """Tells when all retained messages are there.

    MQTT has no word for the end of the retained messages. But a broker queues them when it takes SUBSCRIBE, so
    what we publish after its SUBACK comes behind them. Measured with mosquitto 2.0.11 over 20,000 retained
    messages and a queue that drops nothing, both versions: always the last. It must be QoS 1 as they are: at QoS 0
    it overtakes those that wait for the in-flight window. An account that may not publish, or not hear itself,
    gets no mark; a period without any message then says the same, later.
    """

    def __init__(self, connection: Connection) -> None:
        self._reached: asyncio.Future[Any] = connection.make_waiter()
        self._heard_messages = 0

    def hear(self) -> None:
        """Note that a message came, whichever."""
        self._heard_messages += 1

    def reach(self) -> None:
        """Note that the mark came back."""
        if not self._reached.done():
            self._reached.set_result(None)

    async def wait(self) -> bool:
        """Wait for the mark as long as messages come; ten thousand retained ones take two seconds.

        Returns:
            Whether it came back; False after `QUIET_S` without any message.

        Raises:
            BusUnavailableError: The connection is lost.
        """
        while not self._reached.done():
            heard = self._heard_messages
            await asyncio.wait([self._reached], timeout=QUIET_S)
            if heard == self._heard_messages and not self._reached.done():
                return False
        await self._reached  # fails if the connection was lost
        return True
