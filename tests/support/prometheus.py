"""A real Prometheus of the test's own, its tool, and a plain scrape."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tests.support.processes import Server, free_port, require_binary, wait_until_blocking


class Answer(NamedTuple):
    """What a GET gave."""

    status: int
    headers: Mapping[str, str]
    text: str


def get(port: int, path: str, *, method: str = "GET", **headers: str) -> Answer:
    """Ask a server of 127.0.0.1; a header's `_` stands for its `-`."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read().decode())
    finally:
        connection.close()


def check_metrics(text: str) -> str:
    """Let promtool judge an exposition; gives what it complains of, empty if nothing."""
    done = subprocess.run(
        [promtool(), "check", "metrics"], input=text.encode(), capture_output=True, timeout=60, check=False
    )
    return (done.stdout + done.stderr).decode() if done.returncode or done.stderr else ""


def promtool() -> str:
    """Give the path of promtool, which comes with Prometheus."""
    require_binary("prometheus")
    return require_binary("promtool")


class Prometheus(Server):
    """A Prometheus that scrapes ports of 127.0.0.1 twice a second.

    Args:
        folder: For its configuration, log and data.
        targets: The ports.
        rule_files: Loaded and evaluated twice a second.
    """

    def __init__(self, folder: Path, targets: Sequence[int], rule_files: Sequence[Path] = ()) -> None:
        port = free_port()
        configuration = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(path) for path in rule_files],
            "scrape_configs": [
                {"job_name": "pulse", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in targets]}]}
            ],
        }
        file = folder / "prometheus.yml"
        file.write_text(json.dumps(configuration))  # JSON is YAML
        command = [
            require_binary("prometheus"),
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'prometheus-data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        super().__init__(command, port, folder / "prometheus.log")

    def start(self) -> None:
        """Start and wait until it says that it is ready."""
        super().start()
        wait_until_blocking(lambda: get(self.port, "/-/ready").status == 200, "Prometheus is ready")

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Give the labels and value of each sample that an expression has now; none while it refuses."""
        found: Any = json.loads(get(self.port, f"/api/v1/query?{urlencode({'query': expression})}").text)
        return [(sample["metric"], float(sample["value"][1])) for sample in found["data"]["result"]]

    def targets(self) -> list[dict[str, Any]]:
        """Give what it knows of each target, `health` and `lastError` among it."""
        found: Any = json.loads(get(self.port, "/api/v1/targets").text)
        return list(found["data"]["activeTargets"])
