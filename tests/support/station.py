"""The page as a user runs it: a sidecar on a folder, its buses, and a page on each of them that keeps history."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.logged_process import LoggedProcess
from tests.support.processes import free_port, wait_until_blocking
from tests.support.redis_server import RedisServer
from tests.support.sidecar_process import SidecarProcess, write_pulse

BUSES = ("redis", "journal")


@dataclass(frozen=True)
class Station:
    """A sidecar on a folder, and a page that reads one of its buses.

    Args:
        jobs: What stands before each job's name, so that tests which share a station do not see each other's jobs.
    """

    sidecar: SidecarProcess
    server: LoggedProcess
    url: str
    jobs: str = ""

    def name(self, job: str) -> str:
        """Give a job's whole name."""
        return self.jobs + job

    def write(self, job: str, **changes: object) -> None:
        """Write a job's status file."""
        write_pulse(self.sidecar.jobs / self.name(job) / "training_status.json", **changes)

    def write_all(self, job: str, *pulses: Mapping[str, object]) -> None:
        """Write status files one behind the other, each as soon as the sidecar has taken the one before."""
        for pulse in pulses:
            self.write(job, **pulse)
            wait_until_blocking(lambda pulse=pulse: self._has(job, pulse), f"the journal has {pulse}")  # type: ignore[misc]

    def _has(self, job: str, pulse: Mapping[str, object]) -> bool:
        return any(
            event.job == self.name(job) and event.message == pulse["message"]
            for event in self.sidecar.journalled()
        )


@contextmanager
def open_stations(folder: Path, *, host: str = "node1") -> Iterator[dict[str, Station]]:
    """Start a sidecar that publishes to Redis, a page on Redis, and one on the sidecar's journal."""
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder / "redis")).url
        sidecar = stack.enter_context(SidecarProcess(folder, [redis], host=host))
        stations = {}
        for bus, url in zip(BUSES, (redis, f"journal://{sidecar.journal}"), strict=True):
            port = free_port()
            server = LoggedProcess(
                ["subscribe", f"web?port={port}", "--from", url],
                folder / f"{bus}.log",
                state_folder=folder / f"state-{bus}",
            )
            stations[bus] = Station(sidecar, stack.enter_context(server), f"http://127.0.0.1:{port}/")
        for station in stations.values():
            station.server.wait_for_message("serving the page")
        yield stations


def just_now(*, seconds_ago: float = 0.0) -> int:
    """Give an instant as the files have it, in Unix seconds."""
    return int(time.time() - seconds_ago)
