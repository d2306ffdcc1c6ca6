"""A Home Assistant, a broker and a sidecar, and what a person sees there of a job."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.homeassistant.home import HomeAssistant
from tests.support.mosquitto import Mosquitto
from tests.support.processes import wait_until_blocking
from tests.support.sidecar_process import SidecarProcess, write_pulse

SEEN_S = 30.0
"""Home Assistant looks for a lost broker every ten seconds."""
SETTINGS = """
[jobs."silent*"]
stale_after_s = 3
"""
_ON_OFF = frozenset({"problem", "running", "connectivity"})


class House:
    """Runs the sidecar `node1`, whose jobs called `silent…` are stale after three seconds."""

    def __init__(self, folder: Path, broker: Mosquitto, home: HomeAssistant) -> None:
        self.broker = broker
        self.home = home
        self._folder = folder
        self.sidecar = self.make_sidecar("node1")

    def __enter__(self) -> Self:
        self.sidecar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sidecar.__exit__(kind, error, trace)

    def make_sidecar(self, host: str, query: str = "") -> SidecarProcess:
        """Give a sidecar that is not started yet."""
        folder = self._folder / host
        folder.mkdir()
        url = f"mqtt://127.0.0.1:{self.broker.port}?homeassistant=true{query}"
        return SidecarProcess(folder, [url], host=host, settings=SETTINGS)

    def write(self, job: str, *, sidecar: SidecarProcess | None = None, **changes: Any) -> None:
        """Write a job's status file; the fields not named are those of a run half way through."""
        write_pulse((sidecar or self.sidecar).jobs / job / "training_status.json", **changes)

    def await_states(self, device: str, **states: str) -> None:
        """Wait until entities of a device are in these states.

        Args:
            device: As it begins the entity ids, e.g. `node1_job`.
            states: By entity, e.g. `status="running"`.
        """
        wanted = {_entity_id(device, name): state for name, state in states.items()}
        got: dict[str, Any] = {}

        def reached() -> bool:
            found = self.home.states()
            got.update((name, found.get(name, {}).get("state")) for name in wanted)
            return got == wanted

        try:
            wait_until_blocking(reached, "entities", SEEN_S)
        except AssertionError:
            assert got == wanted, self.home.log.read_text()[-2000:]
            raise

    def attributes(self, device: str, name: str) -> dict[str, Any]:
        """Give an entity's attributes."""
        found: dict[str, Any] = self.home.states()[_entity_id(device, name)]["attributes"]
        return found


def _entity_id(device: str, name: str) -> str:
    return f"{'binary_sensor' if name in _ON_OFF else 'sensor'}.{device}_{name}"
