"""Servers filled by a training host, and what the dashboards get of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.grafana import Dashboard, Panel, interpolate_all
from tests.support.grafana_sources import ask_mqtt, ask_prometheus, ask_redis
from tests.support.grafana_transform import Frame, transform
from tests.support.mosquitto import MqttListener
from tests.support.processes import wait_until_blocking
from tests.support.prometheus import Prometheus
from tests.support.redis_server import RawRedis
from tests.support.sidecar_process import write_pulse

HOST: Final = "Node 1"
JOB: Final = "llm/run a"
VALUES: Final = {
    "prefix": "pulse",
    "host": HOST,
    "job": JOB,
    "levels": "+/+",
    "__rate_interval": "1m",
}


@dataclass(frozen=True)
class Cluster:
    """The servers, filled."""

    redis: RawRedis
    prometheus: Prometheus
    listener: MqttListener

    def ask(self, dashboard: Dashboard, panel: Panel) -> list[Frame]:
        """Give what a panel gets from its source."""
        values = VALUES
        if dashboard.source == "prometheus" and dashboard.kind == "all-jobs":
            values = VALUES | {"host": ".*"}
        queries = interpolate_all(dashboard.queries(panel), values)
        if dashboard.source == "prometheus":
            return ask_prometheus(self.prometheus, queries)
        (query,) = queries
        if dashboard.source == "mqtt":
            return ask_mqtt(self.listener.received, query)
        now_ms = time.time_ns() // 1_000_000
        return ask_redis(self.redis, query, now_ms - 6 * 3_600_000, now_ms + 1000)

    def show(self, dashboard: Dashboard, panel: Panel) -> list[Frame]:
        """Give what a panel shows."""
        return transform(self.ask(dashboard, panel), interpolate_all(panel.get("transformations", []), VALUES))


def train(jobs: Path, newest: Callable[[], dict[str, Any]]) -> None:
    """Write the status files of a few trainings, one of which goes on while it is watched.

    Args:
        newest: Gives the last event of the one that goes on.
    """
    now_s = int(time.time())
    others: dict[str, dict[str, Any]] = {
        "finished": {"status": "done", "epoch": 3.0},
        "failed": {"status": "error", "epoch": 0.0, "total_epochs": 0.0, "loss": 0.0, "message": "out of memory"},
        "hangs": {"timestamp": now_s - 70},
        "diverges": {"loss": float("nan")},
        "waits": {"status": "idle", "epoch": 0.0, "loss": 0.0},
    }
    for name, changes in others.items():
        write_pulse(jobs / name / "training_status.json", **changes)
    own = jobs / JOB / "training_status.json"
    own.parent.mkdir(parents=True)
    (own.parent / "training_context.json").write_text('{"profile": "lora"}', encoding="utf-8")
    for age_s, epoch, loss in ((40, 0.5, 0.9), (20, 1.0, 0.5), (0, 1.5, 0.342)):
        more = {"current_step": int(epoch * 100), "total_steps": 300, "learning_rate": 2e-5}
        write_pulse(own, epoch=epoch, loss=loss, message="step", timestamp=now_s - age_s, v2=more)

        def published(wanted: float = loss) -> bool:
            return newest().get("loss") == wanted

        wait_until_blocking(published, f"Redis has the loss {loss}")
    assert newest()["eta_s"] > 0
