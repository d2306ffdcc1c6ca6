"""A real Home Assistant: a process of its own in a folder of its own, set up through its REST API as a user does.

Source: developers.home-assistant.io, "REST API" and "Authentication API"; the onboarding and the config flow are
those that the frontend uses.
"""

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support.processes import free_port, wait_until_blocking

START_S = 90.0
_LOG_LINE = re.compile(r"^\S+ \S+ (?P<level>[A-Z]+) \([^)]*\) \[(?P<logger>[^\]]+)\] (?P<text>.*)")
_OURS = re.compile(r"^homeassistant\.(components\.(mqtt|sensor|binary_sensor|automation|blueprint)|helpers)")
_ITS_OWN = re.compile(
    # A broker that ends is told of, whoever is connected to it.
    r"Error returned from MQTT server: The connection was lost"
    r"|Failed to connect to MQTT server"
    # When it removes a device, it clears the configuration itself, and hears that as a second removal (measured
    # with 2025.4 and 2026.2).
    r"|No device components to cleanup for"
)
_CONFIGURATION = """\
homeassistant:
  name: Test
http:
  server_host: 127.0.0.1
  server_port: {port}
automation: !include automations.yaml
"""


class HomeAssistant:
    """Starts, and is set up, on entering.

    Args:
        python: The Python that has the package `homeassistant`.
        folder: For its configuration and log.
    """

    def __init__(self, python: str, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "console.log"
        self._python = python
        self._port = free_port()
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=30)
        self._token = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "configuration.yaml").write_text(_CONFIGURATION.format(port=self._port))
        (self.folder / "automations.yaml").write_text("[]\n")
        self.launch()
        wait_until_blocking(lambda: self._answers("/api/onboarding"), "its API answers", START_S)
        self._onboard()
        self._wait_until_running()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._http.close()

    # The process

    def launch(self) -> None:
        """Start the process and wait for nothing."""
        command = [self._python, "-m", "homeassistant", "-c", str(self.folder), "--skip-pip"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self) -> None:
        """End as a user's restart does, with everything saved."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(START_S)
        self._process = None

    def start(self) -> None:
        """Start again what was stopped, until it says that it runs."""
        self.launch()
        self._wait_until_running()

    # What it says

    @property
    def version(self) -> str:
        return str(self.get("/api/config")["version"])

    def get(self, path: str) -> Any:
        """Read from the REST API."""
        answer = self._http.get(path)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: object) -> Any:
        """Write to the REST API."""
        answer = self._http.post(path, json=body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def delete(self, path: str) -> Any:
        """Delete by the REST API."""
        answer = self._http.delete(path)
        answer.raise_for_status()
        return answer.json()

    def states(self) -> dict[str, dict[str, Any]]:
        """Give every entity's state object by entity id."""
        return {each["entity_id"]: each for each in self.get("/api/states")}

    def ask(self, *commands: dict[str, Any]) -> list[Any]:
        """Say commands to the websocket API and give the results.

        Raises:
            AssertionError: One failed.
        """
        url = f"ws://127.0.0.1:{self._port}/api/websocket"
        question = json.dumps({"url": url, "token": self._token, "commands": commands})
        script = Path(__file__).with_name("ask.py")
        ran = subprocess.run(
            [self._python, str(script)], input=question.encode(), stdout=subprocess.PIPE, timeout=60, check=True
        )
        answers = json.loads(ran.stdout)
        for command, answer in zip(commands, answers, strict=True):
            assert answer["success"], f"{command}: {answer}"
        return [answer["result"] for answer in answers]

    def complaints(self) -> list[str]:
        """Give what it logged as a warning or an error since its first start, of which we can be the reason.

        That is: from MQTT and the platforms whose entities we have, from templates, and whatever names us.
        """
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            parts = _LOG_LINE.match(line)
            if parts is None or parts["level"] not in {"WARNING", "ERROR", "CRITICAL"}:
                continue
            if _ITS_OWN.search(parts["text"]):
                continue
            if _OURS.match(parts["logger"]) or "pulse" in parts["text"].lower():
                found.append(line)
        return found

    def entities(self) -> dict[str, str]:
        """Give the entity id of each entity that came by MQTT, by its unique id; disabled ones too."""
        (found,) = self.ask({"type": "config/entity_registry/list"})
        ours = [entity for entity in found if entity["platform"] == "mqtt"]
        assert len({entity["unique_id"] for entity in ours}) == len(ours)
        return {entity["unique_id"]: entity["entity_id"] for entity in ours}

    def devices(self) -> dict[str, dict[str, Any]]:
        """Give each device that came by MQTT, by its name."""
        (found,) = self.ask({"type": "config/device_registry/list"})
        ours = [device for device in found if device["identifiers"][0][0] == "mqtt"]
        assert len({device["name"] for device in ours}) == len(ours)
        return {device["name"]: device for device in ours}

    def notifications(self) -> list[tuple[str, str]]:
        """Give title and message of each notification on its page, the oldest first."""
        (found,) = self.ask({"type": "persistent_notification/get"})
        found.sort(key=lambda each: each["created_at"])
        return [(each["title"], each["message"]) for each in found]

    # Setting up

    def connect_to_broker(self, port: int) -> None:
        """Add the MQTT integration by its config flow."""
        flow = self.post("/api/config/config_entries/flow", {"handler": "mqtt", "show_advanced_options": False})
        done = self.post(
            f"/api/config/config_entries/flow/{flow['flow_id']}", {"broker": "127.0.0.1", "port": port}
        )
        assert done["type"] == "create_entry", done

    def _onboard(self) -> None:
        client = str(self._http.base_url)
        user = {"name": "t", "username": "t", "password": "t-t-t-t-t", "client_id": client, "language": "en"}
        code = self.post("/api/onboarding/users", user)["auth_code"]
        grant = {"grant_type": "authorization_code", "code": code, "client_id": client}
        answer = self._http.post("/auth/token", data=grant)
        answer.raise_for_status()
        self._token = answer.json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {self._token}"
        self.post("/api/onboarding/core_config", {})
        self.post("/api/onboarding/analytics", {})
        self.post("/api/onboarding/integration", {"client_id": client, "redirect_uri": f"{client}/"})

    def _wait_until_running(self) -> None:
        wait_until_blocking(self._runs, "Home Assistant runs", START_S)

    def _runs(self) -> bool:
        return self._answers("/api/config") and bool(self.get("/api/config")["state"] == "RUNNING")

    def _answers(self, path: str) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended: {self.log.read_text()[-3000:]}"
        try:
            return self._http.get(path).is_success
        except httpx.TransportError:
            return False
