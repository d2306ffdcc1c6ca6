"""One way to look at what a subscriber of Redis or of MQTT sees."""

import json
from pathlib import Path
from typing import Any, Protocol, Self

from tests.support.mosquitto import Mosquitto, MqttListener
from tests.support.redis_server import RedisServer


class Viewer(Protocol):
    """A real broker with a subscriber."""

    url: str

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def events(self) -> list[dict[str, Any]]:
        """Give what came so far, as the subscriber's own parser reads it."""


def job_events(viewer: Viewer, job: str | None = None) -> list[dict[str, Any]]:
    """Give the job events that came so far, of one job or of all."""
    return [event for event in viewer.events() if event["kind"] != "host" and job in {None, event["job"]}]


class RedisViewer:
    """Redis, read through its stream."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.server = RedisServer(folder / "redis", **options)
        self.url = f"redis://127.0.0.1:{self.server.port}"

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.end()

    def events(self) -> list[dict[str, Any]]:
        return [_typed(fields) for fields in self.server.stream()]


class MqttViewer:
    """MQTT, read by a listener that was there from the start."""

    def __init__(self, folder: Path) -> None:
        (folder / "mosquitto").mkdir(parents=True, exist_ok=True)
        self.server = Mosquitto(folder / "mosquitto")
        self.url = f"mqtt://127.0.0.1:{self.server.port}"
        self.listener = MqttListener(self.server.port)

    def __enter__(self) -> Self:
        self.server.start()
        self.listener.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.__exit__()
        self.server.end()

    def events(self) -> list[dict[str, Any]]:
        topics = ("/state", "/host")
        return [json.loads(got.payload) for got in list(self.listener.received) if got.topic.endswith(topics)]


def _typed(fields: dict[str, str]) -> dict[str, Any]:
    """Read numbers as Grafana's Redis source does: what looks like one is one."""

    def value(text: str) -> Any:
        try:
            return int(text)
        except ValueError:
            try:
                return float(text)
            except ValueError:
                return text

    return {name: value(text) for name, text in fields.items()}
