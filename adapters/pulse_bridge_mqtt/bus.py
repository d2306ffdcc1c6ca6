"""The MQTT bus."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from pulse_bridge.bus import Consumer, Presence, Query
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusError, ConfigError, HistoryUnsupportedError
from pulse_bridge.event import Event
from pulse_bridge_mqtt.connection import open_connection
from pulse_bridge_mqtt.endpoint import Endpoint, Identity
from pulse_bridge_mqtt.options import SCHEMES, read_options
from pulse_bridge_mqtt.publisher import OFFLINE, MqttPublisher
from pulse_bridge_mqtt.tls import build_context
from pulse_bridge_mqtt.topics import Topics


class MqttBus:
    """A broker that a `mqtt://` or `mqtts://` URL names. Nothing is connected before `publisher` is entered.

    Raises:
        ConfigError: The URL or a file that it names is wrong.
    """

    name = "mqtt"

    def __init__(self, url: BusUrl) -> None:
        options = read_options(url)
        if SCHEMES[url.scheme].tls:
            try:
                build_context(options)
            except OSError as error:
                raise ConfigError(f"{url}: the TLS files cannot be used: {error}") from None
        self._endpoint = Endpoint(url, options)
        self._topics = Topics(options.prefix)
        self._older_owners: set[str] = set()

    def __repr__(self) -> str:
        return f"MqttBus({str(self)!r})"

    def __str__(self) -> str:
        return str(self._endpoint)

    @asynccontextmanager
    async def publisher(self, presence: Presence | None) -> AsyncIterator[MqttPublisher]:
        """Connect to publish; see the port, and `MqttPublisher.finish` for the way it ends."""
        async with open_connection(self._endpoint, self._identify(presence)) as connection:
            publisher = MqttPublisher(
                connection,
                self._topics,
                presence,
                older_owners=self._older_owners,
                forget_after_s=self._endpoint.options.forget_after_s,
                shown=str(self),
            )
            try:
                await publisher.start()
                yield publisher
            finally:
                await publisher.finish()

    def consumer(self, group: str | None) -> AbstractAsyncContextManager[Consumer]:  # noqa: ARG002 - none yet
        """Refuse: nothing is read from MQTT yet."""
        return _Unreadable(f"{self}: pulse-bridge cannot read from MQTT yet; read the journal, or Redis")

    def history(self, query: Query) -> AsyncIterator[Event]:  # noqa: ARG002 - the port's signature
        """Refuse: MQTT keeps the last event of each job and no more.

        Raises:
            HistoryUnsupportedError: Always.
        """
        raise HistoryUnsupportedError(
            f"{self}: MQTT keeps no past events; take them from the sidecar's journal (journal:///PATH) "
            "or from Redis"
        )

    def _identify(self, presence: Presence | None) -> Identity:
        if presence is None or presence.host is None:
            return Identity()
        return Identity(
            client_id=self._topics.client_id(presence.host, presence.owner),
            will_topic=self._topics.bridge(presence.host),
            will_payload=OFFLINE,
        )


class _Unreadable(AbstractAsyncContextManager[Consumer]):
    """A connection to read on that cannot be entered."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence

    async def __aenter__(self) -> Consumer:
        raise BusError(self._sentence)

    async def __aexit__(self, *_: object) -> None:
        """Leave what was never entered."""
