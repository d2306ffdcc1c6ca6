"""Which broker, and who we are there."""

from dataclasses import dataclass
from typing import NamedTuple

from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge_mqtt.options import SCHEMES, MqttOptions


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
    """

    client_id: str | None = None
    will_topic: str | None = None
    will_payload: bytes = b""
