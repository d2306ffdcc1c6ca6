"""What a person is told, and how often: with real servers, a real HTTP sink, and faults in between."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from pulse_bridge.writer import write_error_status, write_running_status
from tests.support.logged_process import LoggedProcess
from tests.support.mosquitto import Mosquitto
from tests.support.processes import wait_until_blocking
from tests.support.redis_server import RedisServer
from tests.support.sidecar_process import SidecarProcess, write_pulse
from tests.support.sink import Sink, running_sink
from tests.support.trainer import Trainer

pytestmark = pytest.mark.slow

SILENT_WITHIN_S = 45.0
STALE_WITHIN_S = 65.0
HANDOVER_WITHIN_S = 15.0


class Told(NamedTuple):
    """One thing that was told: of what, and how."""

    rule: str
    phase: str
    host: str
    job: str | None


def told(sink: Sink) -> list[Told]:
    """Give all that a sink was told, in order."""
    return [
        Told(body["rule"], body["phase"], incident["host"], incident["job"])
        for body in sink.bodies()
        for incident in body["incidents"]
    ]


def ids(sink: Sink) -> Counter[str]:
    return Counter(body["id"] for body in sink.bodies())


def alerts(folder: Path, source: str, sink: Sink, *options: str, log: str = "alerts.log") -> LoggedProcess:
    """Make an alerts subscriber on a bus that tells a sink."""
    text = "&".join([f"alerts?webhook={sink.url()}", *options])
    return LoggedProcess(["subscribe", text, "--from", source], folder / log, state_folder=folder / "state")


@contextmanager
def started(process: LoggedProcess) -> Iterator[LoggedProcess]:
    with process:
        process.wait_for_message("connected")
        yield process


def settle(redis_server: RedisServer, group: str = "alerts") -> None:
    """Wait until a group has begun and everything that was to be told is told and noted."""

    def settled() -> bool:
        with redis_server.client() as client:
            fields = client.hkeys(f"pulse:group:{group}")
        return "saved:begun" in fields and not any(field.startswith("saved:out:") for field in fields)

    wait_until_blocking(settled, "the group has begun and has nothing to tell")


def status(sidecar: SidecarProcess, job: str) -> Path:
    """Give a job's file, in a folder that is there."""
    folder = sidecar.jobs / job
    folder.mkdir(exist_ok=True)
    return folder / "training_status.json"


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", appendonly=True, config=[("appendfsync", "always")]) as server:
        yield server


def test_a_dead_sidecar_a_frozen_trainer_and_a_clean_end_are_told_as_they_are(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    for name in ("mosquitto", "alpha", "beta", "gamma", "on-redis", "on-mqtt"):
        (tmp_path / name).mkdir()
    with ExitStack() as stack:
        enter = stack.enter_context
        broker = enter(Mosquitto(tmp_path / "mosquitto"))
        urls = [redis_server.url, f"mqtt://127.0.0.1:{broker.port}"]
        alpha, beta, gamma = (
            enter(SidecarProcess(tmp_path / name, urls, host=name)) for name in ("alpha", "beta", "gamma")
        )
        trainers = {
            name: enter(Trainer(status(sidecar, "run"))) for name, sidecar in (("alpha", alpha), ("beta", beta))
        }
        sinks = [enter(running_sink()), enter(running_sink())]
        for url, sink, name in zip(urls, sinks, ("on-redis", "on-mqtt"), strict=True):
            enter(started(alerts(tmp_path / name, url, sink)))
        settle(redis_server)

        with Trainer(status(gamma, "short"), epochs=1) as short:
            short.process.wait()
        for sink in sinks:
            wait_until_blocking(lambda s=sink: bool(told(s)), "the end is told")  # type: ignore[misc]
        assert gamma.stop() == 0

        trainers["beta"].pause()
        paused_at_s = time.monotonic()
        alpha.kill()
        silent = Told("host-silent", "open", "alpha", None)
        for sink in sinks:
            rest_s = paused_at_s + SILENT_WITHIN_S - time.monotonic()
            wait_until_blocking(lambda s=sink: silent in told(s), "the silence is told", rest_s)  # type: ignore[misc]
        alpha.start()
        stale = Told("stale", "open", "beta", "run")
        for sink in sinks:
            rest_s = paused_at_s + STALE_WITHIN_S - time.monotonic()
            wait_until_blocking(lambda s=sink: stale in told(s), "the stale job is told", rest_s)  # type: ignore[misc]
        trainers["beta"].resume()
        closed = {stale._replace(phase="close"), silent._replace(phase="close")}
        for sink in sinks:
            wait_until_blocking(lambda s=sink: closed <= set(told(s)), "both ends are told")  # type: ignore[misc]
        settle(redis_server)
        expected = [Told("done", "open", "gamma", "short"), silent, silent._replace(phase="close"), stale]
        expected.append(stale._replace(phase="close"))
        for sink in sinks:
            assert Counter(told(sink)) == Counter(expected)


def test_sixty_four_jobs_that_go_stale_at_once_are_two_messages_and_two_when_they_are_back(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    names = [f"job{number}" for number in range(64)]
    with running_sink() as sink, SidecarProcess(tmp_path, [redis_server.url]) as sidecar:
        for name in names:
            write_running_status(str(status(sidecar, name)), 1.0, 3.0, 0.5)
        wait_until_blocking(lambda: len(redis_server.stream()) >= 64, "all are there")
        with started(alerts(tmp_path, redis_server.url, sink, "group_s=3")):
            settle(redis_server)
            for name in names:
                write_pulse(status(sidecar, name), timestamp=int(time.time()) - 70, message="frozen")
            wait_until_blocking(lambda: len(told(sink)) >= 64, "all 64 are told")
            for name in names:
                write_pulse(status(sidecar, name), message="back")
            wait_until_blocking(lambda: len(told(sink)) >= 128, "all 64 ends are told")
            settle(redis_server)
    phases = [(body["rule"], body["phase"]) for body in sink.bodies()]
    assert Counter(phases) in (
        Counter({("stale", "open"): opened, ("stale", "close"): closed}) for opened in (1, 2) for closed in (1, 2)
    )
    assert Counter(told(sink)) == Counter(
        Told("stale", phase, "node1", name) for phase in ("open", "close") for name in names
    )


def test_a_restart_of_subscriber_or_broker_tells_nothing_that_is_known(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with running_sink() as sink, SidecarProcess(tmp_path, [redis_server.url]) as sidecar:
        write_error_status(str(status(sidecar, "before")), "was so before")
        wait_until_blocking(lambda: bool(redis_server.stream()), "it is there")
        subscriber = alerts(tmp_path, redis_server.url, sink, "group_s=1")
        with started(subscriber):
            settle(redis_server)
            write_error_status(str(status(sidecar, "a")), "CUDA out of memory")
            wait_until_blocking(lambda: bool(told(sink)), "the first failure is told")
            settle(redis_server)
            redis_server.restart()
            subscriber.wait_for_message("connected", 2)
            subscriber.kill()
            subscriber.launch()
            subscriber.wait_for_message("connected", 3)
            assert subscriber.stop() == 0
            write_error_status(str(status(sidecar, "b")), "while nobody looked")
            subscriber.launch()
            wait_until_blocking(lambda: len(told(sink)) >= 2, "what happened meanwhile is told")
            settle(redis_server)
            assert subscriber.stop() == 0
    assert told(sink) == [Told("error", "open", "node1", "a"), Told("error", "open", "node1", "b")]
    assert "CUDA out of memory" in sink.bodies()[0]["body"]


def test_of_two_replicas_the_second_takes_over_and_no_incident_is_untold_or_told_twice(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        sink = stack.enter_context(running_sink())
        sidecar = stack.enter_context(SidecarProcess(tmp_path, [redis_server.url]))
        replicas = [alerts(tmp_path, redis_server.url, sink, "group_s=0", log=f"{name}.log") for name in "ab"]
        stack.enter_context(replicas[0])
        settle(redis_server)
        stack.enter_context(replicas[1])
        replicas[1].wait_for_message("standing by: another replica has the group")
        for round_ in range(2):
            active, standby = replicas[round_ % 2], replicas[(round_ + 1) % 2]
            incident = Told("error", "open", "node1", f"job{round_}")
            write_error_status(str(status(sidecar, f"job{round_}")), "broken")
            wait_until_blocking(lambda: incident in told(sink), "the opening is told")  # noqa: B023 - awaited here
            settle(redis_server)
            active.kill()
            write_running_status(str(status(sidecar, f"job{round_}")), 1.0, 3.0, 0.5)
            closing = incident._replace(phase="close")
            wait_until_blocking(
                lambda: closing in told(sink),  # noqa: B023 - awaited here
                "the other replica tells the closing",
                HANDOVER_WITHIN_S,
            )
            settle(redis_server)
            before = len(active.messages("standing by: another replica has the group"))
            active.launch()
            active.wait_for_message("standing by: another replica has the group", before + 1)
            assert standby.process.poll() is None
    expected = [Told("error", phase, "node1", f"job{n}") for n in range(2) for phase in ("open", "close")]
    assert told(sink) == expected
    assert set(ids(sink).values()) == {1}


def test_a_replica_killed_at_any_moment_leaves_nothing_untold_and_repeats_only_under_the_same_id(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        sink = stack.enter_context(running_sink())
        sidecar = stack.enter_context(SidecarProcess(tmp_path, [redis_server.url]))
        subscriber = stack.enter_context(started(alerts(tmp_path, redis_server.url, sink, "group_s=0")))
        settle(redis_server)
        for number in range(2):
            write_error_status(str(status(sidecar, f"job{number}")), "broken")
            wait_until_blocking(lambda: len(ids(sink)) > number, "it has reached the sink")  # noqa: B023 - awaited here
            subscriber.kill()  # between the sink's answer and the commit, perhaps
            subscriber.launch()
        wait_until_blocking(lambda: len(set(told(sink))) >= 2, "all are told")
        settle(redis_server)
    assert set(told(sink)) == {Told("error", "open", "node1", f"job{number}") for number in range(2)}
    assert len(ids(sink)) == 2


def test_a_sink_that_hangs_does_not_hold_up_the_other(redis_server: RedisServer, tmp_path: Path) -> None:
    with (
        running_sink() as hanging,
        running_sink() as sink,
        SidecarProcess(tmp_path, [redis_server.url]) as sidecar,
    ):
        hanging.hangs = True
        both = alerts(tmp_path, redis_server.url, hanging, f"webhook={sink.url()}", "timeout_s=60", "group_s=0")
        with started(both):
            settle(redis_server)
            for number in range(3):
                write_error_status(str(status(sidecar, f"job{number}")), "broken")
                wait_until_blocking(lambda: len(told(sink)) > number, "the other is told", 2.0)  # noqa: B023 - awaited here
            wait_until_blocking(lambda: len(hanging.requests) == 1, "the first hangs with its first message")
            hanging.hangs = False
            hanging.released.set()
            wait_until_blocking(lambda: len(told(hanging)) == 3, "it has them all in the end, in order")
    assert told(hanging) == told(sink)


def test_the_last_words_of_a_sidecar_that_ends_by_itself_are_told_before_it_ends_and_once(tmp_path: Path) -> None:
    with running_sink() as sink:
        options = ["--exit-when-done", "--with", f"alerts?webhook={sink.url()}"]
        sidecar = SidecarProcess(tmp_path, options=options)
        for job in ("first", "second"):
            write_running_status(status(sidecar, job), 1, 3, 0.5)
        with sidecar:
            sidecar.wait_for_message("connected")
            for job in ("first", "second"):
                write_error_status(status(sidecar, job), "out of memory")
            assert sidecar.wait() == 0
            assert {one.job for one in told(sink)} == {"first", "second"}
            sidecar.start()
            assert sidecar.wait() == 0
        assert len(told(sink)) == 2
