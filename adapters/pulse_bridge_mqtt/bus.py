"""The MQTT bus."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from pulse_bridge.bus import Presence, Query
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.doctor import Examination, Finding
from pulse_bridge.errors import ConfigError, HistoryUnsupportedError
from pulse_bridge.event import Event
from pulse_bridge.group_store import read_saved
from pulse_bridge_mqtt.connection import Connection, open_connection
from pulse_bridge_mqtt.consumer import Habits, MqttConsumer
from pulse_bridge_mqtt.cursor import Cursor
from pulse_bridge_mqtt.endpoint import OFFLINE, Endpoint, Identity
from pulse_bridge_mqtt.group import open_group, store_path
from pulse_bridge_mqtt.options import SCHEMES, read_options
from pulse_bridge_mqtt.publisher import MqttPublisher
from pulse_bridge_mqtt.reading import read_retained
from pulse_bridge_mqtt.tls import build_context
from pulse_bridge_mqtt.topics import Topics


class MqttBus:
    """A broker that an MQTT URL names. Nothing is connected before `publisher` or `consumer` is entered.

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
        self._habits = Habits()

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
            if presence is not None and self._endpoint.options.homeassistant:
                self._announce_with(publisher, connection, presence)
            try:
                await publisher.start()
                yield publisher
            finally:
                await publisher.finish()

    @asynccontextmanager
    async def consumer(self, group: str | None) -> AsyncIterator[MqttConsumer]:
        """Connect to read; see the port, and `group.py` for what a group is here.

        Raises:
            ConfigError: Another reader holds the group, here or elsewhere.
        """
        if group is not None:
            async with open_group(self._endpoint, self._topics, group, self._habits) as consumer:
                yield consumer
            return
        reader = secrets.token_hex(5)
        identity = Identity(client_id=self._topics.reader_client_id(reader), reads=True)
        async with open_connection(self._endpoint, identity) as connection:
            yield MqttConsumer(
                connection,
                self._topics,
                reader,
                cursor=Cursor(reader),
                resumes=False,
                store=None,
                habits=self._habits,
                shown=str(self),
            )
            connection.disconnect()

    async def saved(self, group: str) -> Mapping[str, str]:
        """Give what a group's last commit stored on this machine, whoever holds it; see `pulse_bridge.saved`.

        Raises:
            BusUnavailableError: It cannot be read now.
        """
        return read_saved(store_path(self._endpoint), group)

    def examine(self, examination: Examination) -> AsyncIterator[Finding]:
        """Tell what is wrong with the broker, or could become so; see `pulse_bridge.doctor`."""
        from pulse_bridge_mqtt.examine import examine  # noqa: PLC0415 - nothing else needs it

        return examine(self._endpoint, self._topics, examination)

    def history(self, query: Query) -> AsyncIterator[Event]:  # noqa: ARG002 - the port's signature
        """Refuse: MQTT keeps the last event of each job and no more.

        Raises:
            HistoryUnsupportedError: Always.
        """
        raise HistoryUnsupportedError(
            f"{self}: MQTT keeps what is so and no past events; 'pulse-bridge watch' and 'record' follow it from"
            " now on, the past is in the sidecar's journal (journal:///PATH) or in Redis"
        )

    def _identify(self, presence: Presence | None) -> Identity:
        if presence is None or presence.host is None:
            return Identity()
        return self._identify_host(presence.host, presence.owner)

    def _identify_host(self, host: str, owner: str) -> Identity:
        return Identity(
            client_id=self._topics.client_id(host, owner),
            will_topic=self._topics.bridge(host),
            will_payload=OFFLINE,
        )

    def _announce_with(self, publisher: MqttPublisher, connection: Connection, presence: Presence) -> None:
        # Imported here, because most publish without Home Assistant.
        from pulse_bridge_mqtt.announcer import Announcer  # noqa: PLC0415
        from pulse_bridge_mqtt.homeassistant import Discovery  # noqa: PLC0415
        from pulse_bridge_mqtt.host_lines import HostLines  # noqa: PLC0415

        def open_line(host: str) -> AbstractAsyncContextManager[Connection]:
            return open_connection(self._endpoint, self._identify_host(host, presence.owner))

        options = self._endpoint.options
        announcer = Announcer(
            connection,
            self._topics,
            Discovery(self._topics, options.homeassistant_prefix),
            birth_topic=options.homeassistant_status,
            host=presence.host,
            publisher=publisher,
            read=partial(read_retained, self._endpoint, self._topics),
            lines=HostLines(open_line, self._topics.bridge) if presence.host is None else None,
            shown=str(self),
        )
        publisher.announce_with(announcer)
