"""MQTT as a bus: `mqtt://` and `mqtts://`."""

from pulse_bridge_mqtt.bus import MqttBus

__all__ = ["MqttBus"]
