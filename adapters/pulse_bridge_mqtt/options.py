"""What an MQTT URL may say, checked before anything is connected."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, FilePath, field_validator
from pydantic_core import PydanticCustomError

from pulse_bridge.bus_url import BusOptions, BusUrl
from pulse_bridge.errors import ConfigError
from pulse_bridge_mqtt.topics import MAX_PREFIX_BYTES, is_slug

_WEEK_S: Final = 7 * 86_400
_TOPIC: Final = re.compile(r"[A-Za-z0-9_-]{1,40}(/[A-Za-z0-9_-]{1,40}){0,3}")
_NEVER_S: Final = 0xFFFF_FFFF
"""Source: MQTT 5 §3.1.2.11.2."""


@dataclass(frozen=True)
class Scheme:
    """How the bytes travel under one URL scheme."""

    port: int
    tls: bool
    websocket: bool = False


SCHEMES: Final = {
    "mqtt": Scheme(port=1883, tls=False),
    "mqtts": Scheme(port=8883, tls=True),
    "mqtt+ws": Scheme(port=80, tls=False, websocket=True),
    "mqtt+wss": Scheme(port=443, tls=True, websocket=True),
}
DEFAULT_WEBSOCKET_PATH: Final = "/mqtt"


class MqttOptions(BusOptions):
    """The query of an MQTT URL.

    Args:
        prefix: The first level of every topic.
        version: MQTT 5, or 3.1.1 for an old broker, which cannot say why it refuses something.
        keepalive_s: A silent connection is given up after about twice this; the broker sends the will after 1.5
            times this.
        tls_ca: PEM file of the authority that signed the broker's certificate; the system's where absent.
        tls_cert: PEM file of our own certificate, where the broker wants one; with `tls_key`.
        tls_insecure: Take any certificate of the broker. For trying things out.
        forget_after_s: A job's retained state is removed that long after it was done, error or gone.
        session_expiry_s: A broker keeps for a group what comes while its reader is away, for so long. With 3.1.1
            the broker decides.
        homeassistant: Announce hosts and jobs to Home Assistant.
        homeassistant_prefix: The first levels of its discovery topics.
        homeassistant_status: The topic of its birth message.
        group_store: File beside which a group's cursor and state are kept; the user's state folder where absent.
    """

    prefix: str = "pulse"
    version: Literal["5", "3.1.1"] = "5"
    keepalive_s: Annotated[int, Field(ge=5, le=65_535)] = 15
    tls_ca: FilePath | None = None
    tls_cert: FilePath | None = None
    tls_key: FilePath | None = None
    tls_insecure: bool = False
    forget_after_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = _WEEK_S
    session_expiry_s: Annotated[int, Field(ge=1, le=_NEVER_S)] = _WEEK_S
    homeassistant: bool = False
    homeassistant_prefix: str = "homeassistant"
    homeassistant_status: str = "homeassistant/status"
    group_store: Path | None = None

    @field_validator("homeassistant_prefix", "homeassistant_status")
    @classmethod
    def _check_topic(cls, value: str) -> str:
        if _TOPIC.fullmatch(value) is None:
            raise PydanticCustomError(
                "topic", "must be a topic of A-Z, a-z, 0-9, '_' and '-', its levels joined by '/'"
            )
        return value

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        if not is_slug(value, MAX_PREFIX_BYTES):
            raise PydanticCustomError(
                "prefix", "must be 1 to {limit} of a-z, 0-9, '_' and '-'", {"limit": MAX_PREFIX_BYTES}
            )
        return value

    @field_validator("group_store")
    @classmethod
    def _check_group_store(cls, value: Path | None) -> Path | None:
        if value is not None and (not value.name or value.is_dir()):
            raise PydanticCustomError("group_store", "must be the path of a file, not of a folder")
        return value


def read_options(url: BusUrl) -> MqttOptions:
    """Check a URL and give its options.

    Raises:
        ConfigError: Something in the URL is wrong; the sentence names it and has no secret in it.
    """
    scheme = SCHEMES[url.scheme]
    options = url.parse_options(MqttOptions)
    if not url.host:
        raise ConfigError(f"{url}: names no broker; write {url.scheme}://HOST")
    if url.path not in ("", "/") and not scheme.websocket:
        raise ConfigError(f"{url}: an MQTT URL has no path; for another topic prefix write ?prefix=NAME")
    if not scheme.tls and (options.tls_ca or options.tls_cert or options.tls_key or options.tls_insecure):
        raise ConfigError(f"{url}: the tls options need TLS; write {url.scheme}s://")
    if not options.homeassistant and options.model_fields_set & {"homeassistant_prefix", "homeassistant_status"}:
        raise ConfigError(f"{url}: homeassistant_prefix and homeassistant_status need homeassistant=true")
    if options.tls_key is not None and options.tls_cert is None:
        raise ConfigError(f"{url}: tls_key needs the certificate that it belongs to; add tls_cert=FILE")
    if url.resolve_password(options) is not None and url.username is None:
        raise ConfigError(f"{url}: a password needs a user name; write {url.scheme}://USER@HOST")
    return options
