"""Messages to real HTTP sinks: each target for itself, in order, tried again, never lost and never shown."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pulse_bridge.clock import Instant
from pulse_bridge.errors import ConfigError
from pulse_bridge.event import to_json
from pulse_bridge.jsonl import read_events
from pulse_bridge.testing import SAMPLE_MS, make_job_event
from pulse_bridge_alerts import lane as lanes
from pulse_bridge_alerts.delivery import Delivery
from pulse_bridge_alerts.lane import Stamina
from pulse_bridge_alerts.notice import Message, Notice
from pulse_bridge_alerts.targets import Target, TargetKind, make_target
from pulse_bridge_alerts.undelivered import Undelivered
from tests.support.processes import free_port, wait_until
from tests.support.sink import Sink, running_sink

SECRET = "s3cr3t-T0KEN"


class Clock:
    """A clock that waits move, so that an hour of trying takes no time."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.waits_s: list[float] = []

    def read(self) -> Instant:
        return Instant(self.now_s, SAMPLE_MS / 1000 + self.now_s - 1000.0)

    async def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)

    def stamina(self, **changes: Any) -> Stamina:
        return Stamina(**{"timeout_s": 5.0, "sleep": self.sleep, "clock": self.read, **changes})


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as sink:
        yield sink


@pytest.fixture
def other() -> Iterator[Sink]:
    with running_sink() as sink:
        yield sink


@pytest.fixture
def clock() -> Clock:
    return Clock()


def target(url: str, name: str = "phone") -> Target:
    kind: TargetKind = "webhook" if url.startswith("http") else "notify"
    return make_target(name, kind, url, f"alerts: {kind}")


def message(number: int = 1, to: str = "phone", **changes: Any) -> Message:
    notice = Notice(
        incident=f"stale-{number}",
        phase="open",
        rule="stale",
        host="node1",
        job=f"job{number}",
        since_ms=SAMPLE_MS,
        at_ms=SAMPLE_MS,
        detail="no sign of life for 65 s",
        event=to_json(make_job_event(number, job=f"job{number}")),
    )
    return Message(f"m{number}", to, [notice._replace(**changes)])


@asynccontextmanager
async def delivering(tmp_path: Path, *targets: Target, stamina: Stamina | None = None) -> AsyncIterator[Delivery]:
    delivery = Delivery(targets, Undelivered(tmp_path / "state" / "undelivered.jsonl"), stamina=stamina)
    async with delivery.lifespan():
        yield delivery


async def finished(delivery: Delivery, count: int = 1) -> list[str]:
    found: list[str] = []

    def look() -> bool:
        found.extend(delivery.take_finished())
        return len(found) >= count

    await wait_until(look, f"{count} messages are done with")
    return found


def letters(tmp_path: Path) -> list[Any]:
    path = tmp_path / "state" / "undelivered.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


async def test_a_webhook_gets_the_json_with_the_message_s_id_as_its_key(tmp_path: Path, sink: Sink) -> None:
    async with delivering(tmp_path, target(sink.url(path=f"/{SECRET}?a=b"))) as delivery:
        delivery.start(message())
        assert await finished(delivery) == ["m1"]
    (request,) = sink.requests
    assert request.path == f"/{SECRET}?a=b"
    assert request.headers["Idempotency-Key"] == "m1"
    assert request.headers["Content-Type"] == "application/json"
    assert request.json["title"] == "ALERT job1 on node1: no sign of life"
    assert request.json["incidents"][0]["job"] == "job1"


async def test_apprise_delivers_to_a_url_of_its_own(tmp_path: Path, sink: Sink) -> None:
    async with delivering(tmp_path, target(sink.url("json"))) as delivery:
        delivery.start(message())
        assert await finished(delivery) == ["m1"]
    (body,) = sink.bodies()
    assert body["title"] == "ALERT job1 on node1: no sign of life"
    assert "Job: job1\nHost: node1\n" in body["message"]
    assert body["type"] == "failure"


@pytest.mark.parametrize("scheme", ["http", "json"])
async def test_a_sink_that_hangs_holds_up_no_other_and_not_the_end(
    tmp_path: Path, sink: Sink, other: Sink, scheme: str
) -> None:
    sink.hangs = True
    async with delivering(
        tmp_path, target(sink.url(scheme), "hanging"), target(other.url(scheme), "good")
    ) as delivery:
        for number in (1, 2):
            delivery.start(message(number, to="hanging"))
        for number in range(3, 6):
            delivery.start(message(number, to="good"))
        assert await finished(delivery, 3) == ["m3", "m4", "m5"]
        await wait_until(lambda: len(sink.requests) == 1, "the other one hangs")
    assert not letters(tmp_path)


@pytest.mark.parametrize(("scheme", "count"), [("http", 110), ("json", 40)])
async def test_hanging_targets_use_up_nothing_that_others_share(
    tmp_path: Path, sink: Sink, other: Sink, scheme: str, count: int
) -> None:
    sink.hangs = True
    hanging = [target(sink.url(scheme, f"/{number}"), f"t{number}") for number in range(count)]
    stamina = Stamina(timeout_s=30)
    async with delivering(tmp_path, *hanging, target(other.url(scheme), "good"), stamina=stamina) as delivery:
        for number in range(count):
            delivery.start(message(number, to=f"t{number}"))
        await wait_until(lambda: len(sink.requests) == count, "all hang at once")
        delivery.start(message(count, to="good"))
        assert await finished(delivery) == [f"m{count}"]
        assert await asyncio.to_thread(lambda: "free") == "free"


async def test_an_overdue_call_that_arrives_after_all_is_sent_once(
    tmp_path: Path, sink: Sink, clock: Clock
) -> None:
    sink.hangs = True
    stamina = clock.stamina(timeout_s=0.05)
    async with delivering(tmp_path, target(sink.url("json")), stamina=stamina) as delivery:
        delivery.start(message())
        await wait_until(lambda: bool(clock.waits_s), "the first attempt is overdue")
        sink.hangs = False
        sink.released.set()
        assert await finished(delivery) == ["m1"]
    assert len(sink.requests) == 1
    assert not letters(tmp_path)


async def test_a_service_has_one_thread_at_a_time_however_long_it_hangs(
    tmp_path: Path, sink: Sink, clock: Clock
) -> None:
    sink.hangs = True
    stamina = clock.stamina(timeout_s=0.02, give_up_after_s=10.0)
    async with delivering(tmp_path, target(sink.url("json")), stamina=stamina) as delivery:
        before = threading.active_count()
        for number in (1, 2, 3):
            delivery.start(message(number))
        assert await finished(delivery, 3) == ["m1", "m2", "m3"]
        assert threading.active_count() <= before + 2  # its own, and the sink's for it
    assert len(sink.requests) == 1
    assert [letter["reason"] for letter in letters(tmp_path)] == ["no answer within 0.02 s"] * 3


@pytest.mark.parametrize("scheme", ["http", "json"])
async def test_what_fails_is_tried_again_in_order(
    tmp_path: Path, sink: Sink, clock: Clock, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sink.statuses = [500, 503, 429, 408, 200]
    async with delivering(tmp_path, target(sink.url(scheme)), stamina=clock.stamina()) as delivery:
        delivery.start(message(1))
        delivery.start(message(2))
        assert await finished(delivery, 2) == ["m1", "m2"]
    titles = [body["title"].split()[1] for body in sink.bodies()]
    assert titles == ["job1"] * 5 + ["job2"]
    for wait_s, limit_s in zip(clock.waits_s, (1, 2, 4, 8), strict=True):
        assert 0 <= wait_s <= limit_s
    ours = [record for record in caplog.records if record.name.startswith("pulse_bridge")]
    assert [(record.levelname, record.getMessage()) for record in ours] == [
        ("WARNING", "a target does not take alerts; trying again"),
        ("INFO", "a target takes alerts again"),
    ]
    assert vars(ours[0])["reason"] == "it answered HTTP 500"


async def test_nobody_there_is_a_failure_like_any_other(tmp_path: Path, clock: Clock) -> None:
    port = free_port()
    targets = (
        target(f"http://127.0.0.1:{port}/{SECRET}", "hook"),
        target(f"json://127.0.0.1:{port}/{SECRET}", "service"),
    )
    async with delivering(tmp_path, *targets, stamina=clock.stamina(give_up_after_s=3.0)) as delivery:
        delivery.start(message(1, to="hook"))
        delivery.start(message(2, to="service"))
        await finished(delivery, 2)
    reasons = {letter["rejected_by"]: letter["reason"] for letter in letters(tmp_path)}
    assert reasons == {"hook": "it cannot be reached (ConnectError)", "service": "it cannot be reached"}


async def test_waits_double_to_five_minutes_and_end_after_an_hour(
    tmp_path: Path, sink: Sink, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    sink.statuses = [500]
    async with delivering(tmp_path, target(sink.url()), stamina=clock.stamina()) as delivery:
        delivery.start(message())
        await finished(delivery)
    assert clock.waits_s[:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert max(clock.waits_s) == 300
    assert 3600 <= clock.now_s - 1000 < 3600 + 300


async def test_a_sink_that_asks_for_more_time_gets_it(tmp_path: Path, sink: Sink, clock: Clock) -> None:
    sink.statuses = [429, 200]
    sink.headers = {"Retry-After": "77"}
    async with delivering(tmp_path, target(sink.url()), stamina=clock.stamina()) as delivery:
        delivery.start(message())
        await finished(delivery)
    assert clock.waits_s == [77]


@pytest.mark.parametrize("scheme", ["http", "json"])
async def test_a_refusal_is_not_tried_for_long(
    tmp_path: Path, sink: Sink, clock: Clock, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    statuses = [400, 401, 403, 404, 410]
    async with delivering(tmp_path, target(sink.url(scheme)), stamina=clock.stamina()) as delivery:
        for status in statuses:
            sink.statuses = [status]
            clock.waits_s.clear()
            delivery.start(message(status))
            await finished(delivery)
            assert clock.waits_s == [1, 2, 4, 8, 16]
    assert [letter["reason"] for letter in letters(tmp_path)] == [
        f"it answered HTTP {status}" for status in statuses
    ]


async def test_a_redirect_is_no_delivery(tmp_path: Path, sink: Sink, other: Sink, clock: Clock) -> None:
    sink.statuses = [302]
    sink.headers = {"Location": other.url()}
    async with delivering(tmp_path, target(sink.url()), stamina=clock.stamina(give_up_after_s=1.0)) as delivery:
        delivery.start(message())
        await finished(delivery)
    assert not other.requests
    assert letters(tmp_path)[0]["reason"] == "it answered HTTP 302"


async def test_what_is_given_up_is_kept_for_replay_and_said_once(
    tmp_path: Path, sink: Sink, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    sink.statuses = [500]
    host = message(3, job=None, event=None, rule="host-silent")
    async with delivering(tmp_path, target(sink.url()), stamina=clock.stamina(give_up_after_s=0.0)) as delivery:
        for each in (message(1), message(2), host):
            delivery.start(each)
        assert await finished(delivery, 3) == ["m1", "m2", "m3"]
    path = tmp_path / "state" / "undelivered.jsonl"
    assert list(read_events(path)) == [make_job_event(1, job="job1"), make_job_event(2, job="job2")]
    first, _, last = letters(tmp_path)
    alert = ("rejected_by", "reason", "alert", "incident", "rule", "phase", "detail")
    assert [first[name] for name in alert] == [
        "phone", "it answered HTTP 500", "m1", "stale-1", "stale", "open", "no sign of life for 65 s",
    ]  # fmt: skip
    assert (last["host"], last["job"], last["rule"]) == ("node1", None, "host-silent")
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.getMessage() for record in errors] == ["alerts cannot be delivered to a target; they are kept"]
    assert vars(errors[0])["undelivered"] == 1
    assert vars(errors[0])["target"] == "phone"


async def test_each_message_has_an_attempt_of_its_own_after_a_long_outage(
    tmp_path: Path, sink: Sink, clock: Clock
) -> None:
    sink.refused = {"m1"}
    async with delivering(tmp_path, target(sink.url()), stamina=clock.stamina()) as delivery:
        delivery.start(message(1))
        delivery.start(message(2))
        assert await finished(delivery, 2) == ["m1", "m2"]
    assert [letter["alert"] for letter in letters(tmp_path)] == ["m1"]


async def test_a_message_is_started_once_also_after_it_was_delivered(tmp_path: Path, sink: Sink) -> None:
    async with delivering(tmp_path, target(sink.url())) as delivery:
        for _ in range(3):
            delivery.start(message(1))
        assert await finished(delivery) == ["m1"]
        delivery.start(message(1))
        delivery.start(message(2))
        assert await finished(delivery) == ["m2"]
        assert delivery.take_finished() == []
    assert [body["id"] for body in sink.bodies()] == ["m1", "m2"]


async def test_a_target_that_is_no_more_keeps_its_messages(tmp_path: Path, sink: Sink) -> None:
    async with delivering(tmp_path, target(sink.url())) as delivery:
        delivery.start(message(1, to="former"))
        assert delivery.take_finished() == ["m1"]
    assert [letter["reason"] for letter in letters(tmp_path)] == ["there is no such target any more"]


async def test_too_many_that_wait_cost_the_oldest(
    tmp_path: Path, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "MAX_WAITING", 3)
    async with delivering(tmp_path, target(sink.url())) as delivery:
        for number in range(1, 6):
            delivery.start(message(number))
        assert set(await finished(delivery, 5)) == {"m1", "m2", "m3", "m4", "m5"}
    assert [letter["alert"] for letter in letters(tmp_path)] == ["m1", "m2"]
    assert [body["id"] for body in sink.bodies()] == ["m3", "m4", "m5"]


async def test_what_is_withdrawn_is_not_tried_again_until_it_is_given_anew(
    tmp_path: Path, sink: Sink, clock: Clock
) -> None:
    sink.statuses = [500]
    stamina = clock.stamina(sleep=asyncio.sleep, first_s=300.0)
    async with delivering(tmp_path, target(sink.url()), stamina=stamina) as delivery:
        delivery.start(message(1))
        delivery.start(message(2))
        await wait_until(lambda: len(sink.requests) == 1, "the first was refused and waits")
        delivery.withdraw()
        sink.statuses = [200]
        delivery.start(message(3))
        assert await finished(delivery) == ["m3"]
        delivery.start(message(1))
        assert await finished(delivery) == ["m1"]
    assert [body["id"] for body in sink.bodies()] == ["m1", "m3", "m1"]
    assert not letters(tmp_path)


async def test_what_is_being_sent_when_it_is_withdrawn_counts_if_it_arrives(tmp_path: Path, sink: Sink) -> None:
    sink.hangs = True
    async with delivering(tmp_path, target(sink.url())) as delivery:
        delivery.start(message(1))
        await wait_until(lambda: len(sink.requests) == 1, "it is on its way")
        delivery.withdraw()
        sink.released.set()
        assert await finished(delivery) == ["m1"]


async def test_what_is_being_sent_when_it_is_withdrawn_is_no_dead_letter_if_it_fails(
    tmp_path: Path, sink: Sink
) -> None:
    sink.hangs = True
    sink.statuses = [500, 200]
    async with delivering(tmp_path, target(sink.url())) as delivery:
        delivery.start(message(1))
        await wait_until(lambda: len(sink.requests) == 1, "it is on its way")
        delivery.withdraw()
        sink.released.set()
        await wait_until(lambda: not delivery._known, "it is forgotten")
        assert delivery.take_finished() == []
        delivery.start(message(1))
        assert await finished(delivery) == ["m1"]
    assert not letters(tmp_path)


async def test_the_end_leaves_what_waits_to_the_next_start(tmp_path: Path, sink: Sink, clock: Clock) -> None:
    sink.statuses = [500]
    stamina = clock.stamina(sleep=asyncio.sleep, first_s=300.0)
    async with delivering(tmp_path, target(sink.url()), stamina=stamina) as delivery:
        delivery.start(message())
        await wait_until(lambda: len(sink.requests) == 1, "it was refused once")
    assert not letters(tmp_path)
    assert delivery.take_finished() == []
    sink.statuses = [200]
    async with delivery.lifespan():
        delivery.start(message())
        assert await finished(delivery) == ["m1"]


async def test_what_is_being_sent_is_given_a_moment_to_arrive(tmp_path: Path, sink: Sink) -> None:
    sink.hangs = True
    async with delivering(tmp_path, target(sink.url())) as delivery:
        delivery.start(message(1))
        delivery.start(message(2))
        settled = asyncio.ensure_future(delivery.settle(5.0))
        await wait_until(lambda: len(sink.requests) == 1, "it is being sent")
        assert not settled.done()
        sink.released.set()
        await settled
        assert delivery.take_finished() == ["m1", "m2"]


async def test_what_waits_to_be_tried_again_or_hangs_is_not_waited_for(
    tmp_path: Path, sink: Sink, other: Sink, clock: Clock
) -> None:
    sink.statuses = [500]
    other.hangs = True
    stamina = clock.stamina(sleep=asyncio.sleep, first_s=300.0)
    targets = (target(sink.url()), target(other.url(), "tablet"))
    async with delivering(tmp_path, *targets, stamina=stamina) as delivery:
        delivery.start(message(1))
        delivery.start(message(2, to="tablet"))
        await wait_until(lambda: len(sink.requests) == len(other.requests) == 1, "both were tried")
        await asyncio.wait_for(delivery.settle(0.05), 2.0)
        assert delivery.take_finished() == []


async def test_a_message_that_cannot_be_sent_at_all_does_not_end_the_others(tmp_path: Path, sink: Sink) -> None:
    async with delivering(tmp_path, target(sink.url())) as delivery:
        delivery.start(message(1)._replace(notices=[]))
        delivery.start(message(2))
        assert await finished(delivery, 2) == ["m1", "m2"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"nosuch://{SECRET}/x", r"nosuch://\*\*\*"),
        (f"tgram://{SECRET}", r"tgram://\*\*\*"),
        (f"https://example.invalid/{SECRET}", r"https://\*\*\*.*a plain HTTP address is a webhook"),
    ],
)
async def test_a_url_that_apprise_does_not_know_is_refused_at_the_start(
    tmp_path: Path, url: str, shown: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(1)
    wrong = Target("phone", "notify", url, "alerts: notify (2nd)")
    with pytest.raises(
        ConfigError, match=rf"^alerts: notify \(2nd\): Apprise knows no service for {shown}"
    ) as error:
        async with delivering(tmp_path, wrong):
            pass
    assert not_shown(str(error.value), caplog, capfd)


def not_shown(text: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> bool:
    out, err = capfd.readouterr()
    values = "".join(str(vars(record)) for record in caplog.records)
    return SECRET not in text + caplog.text + values + out + err


async def test_no_secret_is_logged_or_kept_whatever_happens(
    tmp_path: Path, sink: Sink, clock: Clock, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(1)
    sink.statuses = [500, 403, 200, 301, 404]
    urls = [
        f"http://user:{SECRET}@127.0.0.1:{sink.port}/{SECRET}?k={SECRET}",
        f"json://user:{SECRET}@127.0.0.1:{sink.port}/{SECRET}?-k={SECRET}",
        f"http://127.0.0.1:{free_port()}/{SECRET}",
        f"json://127.0.0.1:{free_port()}/{SECRET}",
        f"http://{SECRET}.invalid/x",
    ]
    targets = [target(url, f"t{number}") for number, url in enumerate(urls)]
    async with delivering(tmp_path, *targets, stamina=clock.stamina(give_up_after_s=20.0)) as delivery:
        for number in range(len(urls)):
            for copy in (0, 100):
                delivery.start(message(number + copy, to=f"t{number}"))
        await finished(delivery, 2 * len(urls))
    assert any(SECRET in request.path for request in sink.requests)
    assert not_shown(json.dumps(letters(tmp_path)), caplog, capfd)
    # pytest itself attaches to Apprise's logger, which leads nowhere else.
    assert not {record.name.split(".")[0] for record in caplog.records} & {"httpx", "httpcore", "urllib3"}


async def test_the_loop_turns_while_libraries_are_loaded(tmp_path: Path) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.ensure_future(count())
    async with delivering(tmp_path, target("json://127.0.0.1/x"), target("http://127.0.0.1/x", "hook")):
        assert turns > 0
    counting.cancel()
