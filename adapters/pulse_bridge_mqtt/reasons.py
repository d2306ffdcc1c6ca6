"""What the reason codes of a broker ask of us. Source: MQTT 5 §2.4.

A 3.1.1 broker's few codes are read as their MQTT 5 equivalents, as paho gives them.
"""

from typing import Final

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

FAILURE: Final = 0x80
"""The first code that says no. Source: MQTT 5 §2.4."""

UNSUPPORTED_VERSION: Final = 0x84
NOT_AUTHORIZED: Final = 0x87
SESSION_TAKEN_OVER: Final = 0x8E
QUOTA_EXCEEDED: Final = 0x97

PACKET_TOO_LARGE: Final = 0x95

REJECTING: Final = frozenset({0x90, PACKET_TOO_LARGE, 0x99})
"""Topic name invalid, packet too large, payload format invalid: the same message can never be taken."""

REFUSING: Final = frozenset(
    {
        UNSUPPORTED_VERSION,
        0x85,  # client identifier not valid
        0x86,  # bad user name or password
        NOT_AUTHORIZED,
        0x8A,  # banned
        0x8C,  # bad authentication method
        QUOTA_EXCEEDED,
        0x98,  # administrative action
        0x9A,  # retain not supported
        0x9B,  # QoS not supported
        0x9C,  # use another server
        0x9D,  # server moved
    }
)
"""The broker knows us and says no until a person changes something: retry at the slow end."""


def accept_too_large_in_puback() -> None:
    """Let paho read a PUBACK with 0x95, which mosquitto sends for a message above its `message_size_limit`.

    MQTT 5 §3.4.2.1 does not list the code for PUBACK, so paho takes it for a malformed packet and ends the
    connection: one event that is too large would be sent anew on every connection and stop all behind it.
    """
    packets = ReasonCode.names[PACKET_TOO_LARGE]["Packet too large"]
    if PacketTypes.PUBACK not in packets:
        packets.append(PacketTypes.PUBACK)
