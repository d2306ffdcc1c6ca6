"""`watch --from` on real brokers, over the end and return of the broker."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from subprocess import Popen
from threading import Thread

import pytest

from tests.support.command import Home
from tests.support.mosquitto import Mosquitto
from tests.support.processes import WAIT_S
from tests.support.redis_server import RedisServer


class Lines:
    """What a process prints, line by line, with an end to waiting."""

    def __init__(self, process: "Popen[bytes]") -> None:
        self._found: SimpleQueue[str] = SimpleQueue()
        Thread(target=self._read, args=(process,), daemon=True).start()

    def _read(self, process: "Popen[bytes]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._found.put(line.decode())

    def next(self) -> str:
        return self._found.get(timeout=WAIT_S)

    @property
    def is_empty(self) -> bool:
        return self._found.empty()


def write(home: Home, job: str, *arguments: str) -> None:
    path = home.folder / "runs" / job / "training_status.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    assert home.run("write", *arguments, "--path", str(path), "--total-epochs", "3").code == 0


@contextmanager
def broker(name: str, folder: Path) -> Iterator[tuple[RedisServer | Mosquitto, str]]:
    if name == "redis":
        with RedisServer(folder) as redis:
            yield redis, redis.url
    else:
        folder.mkdir()
        with Mosquitto(folder) as mosquitto:
            yield mosquitto, f"mqtt://127.0.0.1:{mosquitto.port}"


@pytest.mark.parametrize("name", ["redis", "mqtt"])
def test_jobs_on_a_broker_are_shown_and_after_its_return_only_what_is_news(name: str, home: Home) -> None:
    write(home, "a", "running", "--epoch", "1.5", "--loss", "0.3")
    (home.folder / "pulse-bridge.toml").write_text("reconnect_max_s = 1\n")
    with (
        broker(name, home.folder / name) as (server, url),
        home.started("run", "runs", "--to", url),
        home.started("watch", "--from", url) as watch,
    ):
        lines = Lines(watch)
        assert "node1/a  change     running   50.0 %" in lines.next()
        server.restart()
        write(home, "b", "running", "--epoch", "0.3", "--loss", "0.5")
        assert "node1/b  change     running   10.0 %" in lines.next()
        write(home, "a", "done", "--loss", "0.1")
        assert "node1/a  change     done     100.0 %" in lines.next()
        assert lines.is_empty
