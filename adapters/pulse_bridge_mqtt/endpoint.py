"""Which broker, and who we are there."""

from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import quote

from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge_mqtt.options import DEFAULT_WEBSOCKET_PATH, SCHEMES, MqttOptions

ONLINE: Final = b"online"
OFFLINE: Final = b"offline"
"""What stands on `<prefix>/<host>/bridge`."""


@dataclass(frozen=True)
class Endpoint:
    """A broker as a URL names it; shown as the URL without its secret."""

    url: BusUrl
    options: MqttOptions

    @property
    def host(self) -> str:
        """The broker's name or address."""
        return self.url.host

    @property
    def port(self) -> int:
        """The broker's TCP port."""
        return self.url.port or SCHEMES[self.url.scheme].port

    @property
    def tls(self) -> bool:
        """The bytes travel inside TLS."""
        return SCHEMES[self.url.scheme].tls

    @property
    def websocket_path(self) -> str | None:
        """The path to ask for where the bytes travel inside a websocket, None where they do not."""
        if not SCHEMES[self.url.scheme].websocket:
            return None
        return quote(self.url.path, safe="/:+,;=~") or DEFAULT_WEBSOCKET_PATH

    @property
    def version_5(self) -> bool:
        """We speak MQTT 5, not 3.1.1."""
        return self.options.version == "5"

    def password(self) -> str | None:
        """Find the password anew.

        Raises:
            BusUnavailableError: It is not there now. It was when the program started, so it is being changed.
        """
        try:
            return self.url.resolve_password(self.options)
        except ConfigError as error:
            raise BusUnavailableError(str(error), refused=True) from error

    def __str__(self) -> str:
        return str(self.url)


class Identity(NamedTuple):
    """How we introduce ourselves in CONNECT.

    Args:
        client_id: None lets the broker give one.
        will_topic: Where the broker says `will_payload`, retained, when we vanish; None for no will.
        reads: We acknowledge ourselves what is delivered to us, and so say how much may be on its way.
        expiry_s: Go on with the session that the broker has, if it has one, and have it kept for so many seconds
            after the connection (3.1.1: for as long as the broker likes). None: begin anew and leave nothing.
    """

    client_id: str | None = None
    will_topic: str | None = None
    will_payload: bytes = b""
    reads: bool = False
    expiry_s: int | None = None
