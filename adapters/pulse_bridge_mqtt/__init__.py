"""MQTT as a bus: `mqtt://`, `mqtts://`, and over websockets `mqtt+ws://`, `mqtt+wss://`."""

from pulse_bridge_mqtt.bus import MqttBus

__all__ = ["MqttBus"]
