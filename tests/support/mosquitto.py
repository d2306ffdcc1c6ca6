"""A real mosquitto, and a listener that records what it delivers."""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import trustme
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.support.processes import (
    WAIT_S,
    Server,
    free_port,
    listens,
    require_binary,
    wait_until,
    wait_until_blocking,
)


class Mosquitto(Server):
    """A mosquitto that listens on 127.0.0.1 only.

    Args:
        folder: For its configuration, log and data.
        port: A free one where None.
        persistence: Keep retained messages over a clean restart (and, by `autosave_on_changes`, a crash).
        extra_lines: Further lines of the configuration file, those of the listener included.
        websocket_lines: Those of a second listener, for websockets, on `websocket_port`; None for no such. It is
            never the only one, because mosquitto 2.0.11 ends with an error without one for plain MQTT.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        persistence: bool = False,
        anonymous: bool = True,
        extra_lines: Iterable[str] = (),
        websocket_lines: Iterable[str] | None = None,
    ) -> None:
        port = free_port() if port is None else port
        configuration = folder / f"mosquitto-{port}.conf"
        lines = [
            "user root",  # started as root it would drop to a user that cannot read the test's files
            f"listener {port} 127.0.0.1",
            f"allow_anonymous {'true' if anonymous else 'false'}",
            "log_dest stderr",
            "log_type all",
        ]
        if persistence:
            data = folder / f"mosquitto-{port}-data"
            data.mkdir(exist_ok=True)
            lines += ["persistence true", f"persistence_location {data}/", "autosave_on_changes true"]
            lines += ["autosave_interval 1"]
        lines += extra_lines
        self.websocket_port: int | None = None
        if websocket_lines is not None:
            self.websocket_port = free_port()
            # Without the domain libwebsockets listens on all addresses.
            lines += [f"listener {self.websocket_port} 127.0.0.1", "protocol websockets", "socket_domain ipv4"]
            lines += websocket_lines
        configuration.write_text("\n".join([*lines, ""]))
        command = [require_binary("mosquitto"), "-c", str(configuration)]
        super().__init__(command, port, folder / f"mosquitto-{port}.log")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self) -> None:
        super().start()
        port = self.websocket_port
        if port is not None:
            wait_until_blocking(lambda: listens(port), f"mosquitto listens on {port}")


class Authority:
    """A certificate authority with the files that a broker and its clients need.

    Attributes:
        ca: Its own certificate.
        client: A client's certificate and key, in one file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))
        self.client = self._issue("client")

    def server_lines(self, name: str) -> list[str]:
        """Give the lines of a listener that shows a certificate for this name."""
        pem = self._issue(name)
        return [f"cafile {self.ca}", f"certfile {pem}", f"keyfile {pem}"]

    def _issue(self, name: str) -> Path:
        pem = self._folder / f"{name}.pem"
        self._authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(pem))
        return pem


class Received(NamedTuple):
    """One delivered message, as a subscriber sees it."""

    topic: str
    payload: bytes
    retain: bool
    qos: int


class MqttListener:
    """Records what a broker delivers on some filters, in order. On entering, its subscriptions are in force.

    Args:
        retain_as_published: Show the publisher's retain flag on live messages too (MQTT 5 only).
        reconnect: Connect and subscribe again after a restart of the broker, with paho's own loop.
    """

    def __init__(
        self,
        port: int,
        filters: Sequence[str] = ("#",),
        *,
        version: str = "5",
        retain_as_published: bool = False,
        reconnect: bool = False,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self.port = port
        five = version == "5"
        protocol = MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=protocol, reconnect_on_failure=reconnect)
        self._client.reconnect_delay_set(1, 1)
        if username is not None:
            self._client.username_pw_set(username, password)
        self._subscribed = threading.Event()
        options = SubscribeOptions(qos=1, retainAsPublished=retain_as_published)
        self._filters: list[Any] = [(name, options if five else 1) for name in filters]
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self.port)
        self._client.loop_start()
        assert self._subscribed.wait(WAIT_S), "the listener could not subscribe"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        opened = self._client.socket()
        if opened is not None:
            opened.close()

    def on(self, topic: str) -> list[Received]:
        """Give what came on one topic so far."""
        return [message for message in list(self.received) if message.topic == topic]

    def payloads(self, topic: str) -> list[bytes]:
        """Give the payloads that came on one topic so far."""
        return [message.payload for message in self.on(topic)]

    async def wait_for(self, count: int, topic: str | None = None) -> list[Received]:
        """Wait for at least `count` messages, on one topic or in all, and give them."""

        def got() -> list[Received]:
            return list(self.received) if topic is None else self.on(topic)

        await wait_until(lambda: len(got()) >= count, f"{count} messages on {topic or 'any topic'}: {got()}")
        return got()

    def _on_connect(self, client: Client, _userdata: object, _flags: object, _reason: object, _p: object) -> None:
        self.connections += 1
        client.subscribe(self._filters)

    def _on_subscribe(self, *_: object) -> None:
        self._subscribed.set()

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self.received.append(Received(message.topic, bytes(message.payload), message.retain, message.qos))


def retained(port: int, filters: Sequence[str] = ("#",), version: str = "5") -> dict[str, bytes]:
    """Give what a broker has retained: topic to payload, as a late joiner gets it."""
    mark = "test/mark"
    with MqttListener(port, [*filters, mark], version=version) as listener:
        # The mark is published after SUBACK, and mosquitto delivers in order.
        listener._client.publish(mark, b"", 1).wait_for_publish(WAIT_S)
        done = threading.Event()
        while not listener.on(mark):
            assert not done.wait(0.005)
        return {message.topic: message.payload for message in listener.received if message.retain}
