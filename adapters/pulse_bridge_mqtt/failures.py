"""What went wrong, in the words and the sort of error that a user and the relay can act on."""

import asyncio
import ssl
from typing import Any

from paho.mqtt.client import WebsocketConnectionError
from paho.mqtt.reasoncodes import ReasonCode

from pulse_bridge.errors import BusError, BusUnavailableError, HostTakenError
from pulse_bridge_mqtt import reasons
from pulse_bridge_mqtt.endpoint import Endpoint


def unreachable(endpoint: Endpoint, error: OSError | ValueError) -> BusUnavailableError:
    """Say why no socket could be opened; a ValueError is a host name that cannot be one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return BusUnavailableError(
            f"{endpoint}: the broker's certificate is not accepted ({error.verify_message}); name the authority "
            f"that signed it with tls_ca=FILE, and the broker by a name that it was made for",
            refused=True,
        )
    if isinstance(error, ssl.SSLError):
        return BusUnavailableError(f"{endpoint}: no TLS connection: {error.reason or error}", refused=True)
    if endpoint.tls and isinstance(error, ConnectionResetError):  # what a broker does that expected plain MQTT
        return BusUnavailableError(f"{endpoint}: no TLS connection: {error.strerror}; is this the port for TLS?")
    if isinstance(error, WebsocketConnectionError):
        return BusUnavailableError(
            f"{endpoint}: no websocket at {endpoint.websocket_path}; is this the port, and the path, for them?"
        )
    if isinstance(error, TimeoutError):
        return BusUnavailableError(f"{endpoint}: no answer to the attempt to connect")
    reason = (isinstance(error, OSError) and error.strerror) or error
    return BusUnavailableError(f"{endpoint}: cannot connect: {reason}", refused=isinstance(error, ValueError))


def closed_unanswered(endpoint: Endpoint) -> BusUnavailableError:
    """Say what a connection that ends before CONNACK may mean."""
    return BusUnavailableError(
        f"{endpoint}: the broker closed the connection without an answer; it may want TLS, a client certificate, "
        "or ?version=3.1.1"
    )


def refused_by_broker(endpoint: Endpoint, reason: ReasonCode) -> BusUnavailableError:
    """Say what a CONNACK that says no means."""
    remedy = "; try ?version=3.1.1" if reason.value == reasons.UNSUPPORTED_VERSION else ""
    return BusUnavailableError(
        f"{endpoint}: the broker refused the connection: {reason}{remedy}",
        refused=reason.value in reasons.REFUSING,
    )


def ended_by_broker(endpoint: Endpoint, reason: ReasonCode, *, for_host: bool) -> BusError:
    """Say what a DISCONNECT from the broker means; `for_host` says that we speak in the name of a host."""
    if reason.value == reasons.SESSION_TAKEN_OVER:
        sentence = f"{endpoint}: another client has connected with this one's client id"
        return HostTakenError(sentence) if for_host else BusUnavailableError(sentence)
    return BusUnavailableError(
        f"{endpoint}: the broker ended the connection: {reason}", refused=reason.value in reasons.REFUSING
    )


def renew(error: BusError) -> BusError:
    """Give an error of the same sort and words to raise once more, without the traceback of the first time."""
    copy: BusError
    if isinstance(error, BusUnavailableError):
        copy = BusUnavailableError(str(error), refused=error.refused)
    else:
        copy = type(error)(str(error))
    copy.__cause__ = error.__cause__
    return copy


def fail(waiter: "asyncio.Future[Any]", error: BusError) -> None:
    """Fail a future that perhaps nobody waits for any more."""
    if not waiter.done():
        waiter.set_exception(renew(error))
        waiter.exception()  # counts as looked at: the loss itself is reported by `wait_lost`
