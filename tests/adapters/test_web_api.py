"""What a program reads, over real HTTP."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pulse_bridge.bus import open_bus
from pulse_bridge.event import JobEvent, format_time
from pulse_bridge.journal import open_journal
from pulse_bridge.testing import HOSTILE_NAMES, PRESENCE, SAMPLE_MS, make_host_event, make_job_event
from pulse_bridge_web.files import FOLDER
from tests.support.processes import wait_until
from tests.support.redis_server import RedisServer
from tests.support.web import ask_raw, following, jobs_of, serving

RUN = 1_790_000_000


def job(seq: int, name: str = "a", **changes: Any) -> JobEvent:
    return make_job_event(seq, job=name, **changes)


# The present


async def test_every_job_and_host_is_listed_as_the_fleet_knows_them() -> None:
    async with serving(job(1, "b", loss=None, diverged=True), job(2, "a"), make_host_event(3)) as page:
        found = await page.json("/api/jobs")
        assert set(found) == {"connected", "reason", "now", "source", "version", "hosts", "jobs"}
        assert (found["connected"], found["reason"], found["source"]) == (True, None, "no bus")
        assert jobs_of(found["jobs"]) == ["a", "b"]
        assert "loss" not in found["jobs"][1]
        assert found["jobs"][0]["hearing"] == "unheard"
        assert found["hosts"] == [
            {
                "host": "node1",
                "hearing": "unheard",
                "last_seen": format_time(SAMPLE_MS + 3),
                "version": "0.1.0",
                "stopping": False,
                "malformed": 1,
                "dropped": 0,
                "lag": {"redis": 3},
            }
        ]


async def test_a_job_is_asked_for_by_host_and_name_with_its_sparkline() -> None:
    async with serving(job(1, "llm/run a")) as page:
        await page.give(job(2, "llm/run a", epoch=2, loss=0.25))
        for path in ("/api/jobs/node1/llm/run%20a", "/api/jobs/node1/llm%2Frun%20a"):
            found = await page.json(path)
            assert (found["job"], found["epoch"], found["hearing"]) == ("llm/run a", 2, "heard")
            assert found["spark"] == [[1.5, 0.125], [2, 0.25]]


DOTS = (".", "..", ".~", "..~", "..~~")
NAMES = (
    *HOSTILE_NAMES,
    *DOTS,
    *("...", "~", "a~", "x/history", "history", "a//b", "/a", "a/", "é/../ü", "../x", "/..", "./."),
    *("50%", "%2F", "%252e", "%ff", "a?b=c", "a#b", "a;b", "a+b c", "\\", "://", "@", "日本語", "e\u0301"),
)


def written(name: str) -> str:
    """Write a name as one segment of a path, as the API's description says."""
    return quote(f"{name}~" if re.fullmatch(r"\.\.?~*", name) else name, safe="")


@pytest.mark.parametrize("host", ["nöde 1", "..", ".~", "50%?#", "a;b"])
async def test_any_name_is_a_job_that_can_be_asked_for(host: str) -> None:
    events = [job(seq, name, host=host) for seq, name in enumerate(NAMES, start=1)]
    async with serving(*events) as page:
        for name in NAMES:
            path = f"/api/jobs/{written(host)}/{written(name)}"
            found = await page.json(path)
            assert (found["host"], found["job"]) == (host, name)
            past = await page.json(f"{path}/history")
            reason = "no bus is known here to ask for the past"
            assert past == {"events": [], "complete": False, "reason": reason, "kept": False}
            assert (await page.get(f"/jobs/{written(host)}/{written(name)}")).status_code == 200


async def test_the_past_of_any_name_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "node1.db"
    with open_journal(path) as journal:
        journal.append([job(seq, name, host="..") for seq, name in enumerate(NAMES, start=1)])
    async with following(f"journal://{path}", tmp_path) as page:
        for name in NAMES:
            past = await page.json(f"/api/jobs/{written('..')}/{written(name)}/history")
            assert [event["job"] for event in past["events"]] == [name]


async def test_a_browser_writes_the_same_addresses(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    module = tmp_path / "address.mjs"
    module.write_bytes((FOLDER / "address.js").read_bytes())
    script = (
        "import { apiAddress } from './address.mjs';"
        "const [names, base] = JSON.parse(process.argv[1]);"
        "console.log(JSON.stringify(names.map("
        "(name) => new URL(apiAddress(name.replaceAll('/', '_'), name), base))));"
    )
    asked = json.dumps([NAMES, "http://127.0.0.1/"])
    out = await asyncio.to_thread(
        subprocess.check_output, [node, "--input-type=module", "-e", script, asked], cwd=tmp_path
    )
    addresses = [address.removeprefix("http://127.0.0.1") for address in json.loads(out)]
    async with serving(
        *(job(seq, name, host=name.replace("/", "_")) for seq, name in enumerate(NAMES, 1))
    ) as page:
        for name, address in zip(NAMES, addresses, strict=True):
            request = f"GET {address} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            body = (await ask_raw(page.port, request.encode())).partition(b"\r\n\r\n")[2]
            assert json.loads(body).get("job") == name, address


@pytest.mark.parametrize("path", ["node1/b", "node2/a", "node1", "node1/", "/a", "%ff/%ff"])
async def test_a_job_that_is_not_there_is_said_to_be_not_there(path: str) -> None:
    async with serving(job(1)) as page:
        answer = await page.get(f"/api/jobs/{path}")
        assert answer.status_code == 404
        assert answer.json() == {"error": "there is no such job: its address is api/jobs/HOST/JOB"}


async def test_an_address_that_is_none_is_answered_with_a_sentence() -> None:
    async with serving() as page:
        for path in ("/nothing", "/api", "/%61pi/jobs"):
            answer = await page.get(path)
            assert answer.status_code == 404
            assert answer.json() == {"error": "there is nothing here: openapi.json tells what there is"}


async def test_health_is_whether_what_is_shown_is_the_present() -> None:
    async with serving() as page:
        assert await page.json("/healthz") == {"ok": True, "reason": None}
        await page.subscriber.on_disconnect("the broker is away")
        answer = await page.get("/healthz")
        assert answer.status_code == 503
        assert answer.json() == {"ok": False, "reason": "not connected to the bus: the broker is away"}
        await page.subscriber.on_connect({}, page.now)
        assert (await page.get("/healthz")).status_code == 503, "not before the snapshot"
        await page.give(snapshot=True)
        assert (await page.get("/healthz")).status_code == 200


async def test_a_large_answer_is_compressed_for_who_takes_it() -> None:
    async with serving(*(job(seq, f"j{seq}") for seq in range(1, 50))) as page:
        packed = await page.get("/api/jobs", accept_encoding="br, gzip")
        plain = await page.get("/api/jobs", accept_encoding="gzip;q=0, identity")
        assert packed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert packed.json() == plain.json()
        assert len(plain.content) > 10 * int(packed.headers["content-length"])


async def test_everything_is_read_only() -> None:
    async with serving(job(1)) as page:
        for path in ("/", "/api/jobs", "/api/jobs/node1/a", "/events", "/healthz", "/static/x.js"):
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                answer = await page.client.request(method, path)
                assert answer.status_code == 405, (method, path)
        head = await page.client.head("/events")
        assert (head.status_code, head.content) == (200, b"")
        assert (await page.client.head("/api/jobs")).status_code == 200


# The past


@pytest.fixture
def journal(tmp_path: Path) -> str:
    """A journal with the past of a job, and of others beside it; gives its URL."""
    path = tmp_path / "node1.db"
    with open_journal(path) as written:
        written.append(
            [
                *(
                    job(seq, "llm/a", run=RUN, epoch=seq, observed_ms=SAMPLE_MS + seq * 1000)
                    for seq in range(1, 11)
                ),
                job(11, "llm/a", kind="heartbeat", run=RUN, epoch=10, observed_ms=SAMPLE_MS + 11_000),
                job(12, "llm/b", run=RUN, observed_ms=SAMPLE_MS + 12_000),
                job(13, "llm/a", host="node2", run=RUN, observed_ms=SAMPLE_MS + 13_000),
                job(14, "llm/[ab]", run=RUN, observed_ms=SAMPLE_MS + 14_000),
                make_host_event(15, observed_ms=SAMPLE_MS + 15_000),
                job(16, "llm/a", run=RUN + 60, epoch=0.5, observed_ms=SAMPLE_MS + 16_000),
            ]
        )
    return f"journal://{path}"


def epochs(past: Any) -> list[float]:
    return [event["epoch"] for event in past["events"]]


async def test_the_past_of_a_job_is_its_changes_oldest_first(journal: str, tmp_path: Path) -> None:
    async with following(journal, tmp_path) as page:
        past = await page.json("/api/jobs/node1/llm/a/history")
        assert epochs(past) == [*range(1, 11), 0.5]
        assert (past["complete"], past["reason"]) == (True, None)
        assert {(event["host"], event["job"]) for event in past["events"]} == {("node1", "llm/a")}
        assert "hearing" not in past["events"][0], "exactly the event"


async def test_the_past_is_asked_for_by_time_run_number_and_kind(journal: str, tmp_path: Path) -> None:
    since, until = format_time(SAMPLE_MS + 3000), format_time(SAMPLE_MS + 6000)
    async with following(journal, tmp_path) as page:
        for query, expected in {
            f"since={since}&until={until}": [3, 4, 5],
            f"since={(SAMPLE_MS + 3000) // 1000 + 1}&until={until}": [4, 5],
            f"since={since.replace('Z', '+00:00')}&limit=2&run={RUN}": [9, 10],
            f"run={RUN + 60}": [0.5],
            "run=5": [],
            "limit=3": [9, 10, 0.5],
            f"run={RUN}&heartbeats=true&limit=2": [10, 10],
            f"run={RUN}&heartbeats=false&limit=1": [10],
        }.items():
            assert epochs(await page.json(f"/api/jobs/node1/llm/a/history?{query}")) == expected, query


async def test_the_past_comes_from_redis_too(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as redis:
        bus = open_bus(f"redis://127.0.0.1:{redis.port}")
        async with bus.publisher(PRESENCE) as publisher:
            await publisher.publish([job(seq, epoch=seq) for seq in range(1, 4)])
        async with following(bus, tmp_path) as page:
            past = await page.json("/api/jobs/node1/a/history")
            assert (epochs(past), past["complete"]) == ([1, 2, 3], True)
            redis.kill()
            past = await page.json("/api/jobs/node1/a/history")
            assert past["reason"].startswith("the past cannot be read now: ")
            await wait_until(lambda: not page.subscriber.board.connected, "it notices")
            assert (await page.get("/healthz")).status_code == 503


async def test_what_is_left_out_of_the_past_is_said(journal: str, tmp_path: Path) -> None:
    async with following(journal, tmp_path) as page:
        past = await page.json("/api/jobs/node1/llm/a/history?limit=3")
        assert past["complete"] is False
        assert past["reason"].startswith("only the last 3 events: ask for those before with until=")


async def test_a_name_with_a_pattern_in_it_is_a_name(journal: str, tmp_path: Path) -> None:
    async with following(journal, tmp_path) as page:
        past = await page.json("/api/jobs/node1/llm/%5Bab%5D/history")
        assert [event["job"] for event in past["events"]] == ["llm/[ab]"]
        assert (await page.json("/api/jobs/node*/llm/a/history"))["events"] == []


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("since=yesterday", "since= is an instant such as 2026-01-02T03:04:05Z, or Unix seconds"),
        ("until=2026-01-02T03:04:05", "until= is an instant such as 2026-01-02T03:04:05Z, or Unix seconds"),
        ("run=x", "run= is a whole number"),
        ("limit=0", "limit= is a whole number from 1 to 20000"),
        ("limit=20001", "limit= is a whole number from 1 to 20000"),
        ("heartbeats=maybe", "heartbeats= is true or false"),
    ],
)
async def test_a_wrong_question_is_answered_with_a_sentence(query: str, sentence: str) -> None:
    async with serving(job(1)) as page:
        answer = await page.get(f"/api/jobs/node1/a/history?{query}")
        assert answer.status_code == 400
        assert answer.json() == {"error": sentence}


async def test_a_bus_that_keeps_no_past_says_so_in_words() -> None:
    async with serving(job(1), bus=open_bus("mqtt://user:hunter2@127.0.0.1:1")) as page:
        past = await page.json("/api/jobs/node1/a/history")
        assert (past["events"], past["complete"], past["kept"]) == ([], False, False)
        assert "MQTT keeps what is so and no past events" in past["reason"]
        assert "hunter2" not in past["reason"]
        assert "hunter2" not in (await page.json("/api/jobs"))["source"]


async def test_a_journal_that_cannot_be_read_is_said_in_words(tmp_path: Path) -> None:
    async with serving(job(1), bus=open_bus(f"journal://{tmp_path}/none.db")) as page:
        past = await page.json("/api/jobs/node1/a/history")
        assert past["reason"].startswith("the past cannot be read now: there is no journal")
        assert past["kept"], "it may come"


async def test_sparklines_go_on_over_a_restart_of_the_page(tmp_path: Path) -> None:
    path = tmp_path / "node1.db"
    with open_journal(path) as written:
        written.append([job(seq, epoch=seq, loss=seq, observed_ms=int(time.time() * 1000)) for seq in range(1, 5)])
    async with following(f"journal://{path}", tmp_path) as page, page.events() as events:
        while len((told := await events.next()).data["jobs"][0].get("spark", ())) < 4:
            assert told.kind == "snapshot"
        assert told.data["jobs"][0]["spark"] == [[1, 1], [2, 2], [3, 3], [4, 4]]


# The description

_EXPLORE_S = os.environ.get("PULSE_BRIDGE_EXPLORE_S")
EXPLORATION = (
    ("--max-examples", "100000", "--max-time", _EXPLORE_S)
    if _EXPLORE_S
    else ("--max-examples", "10", "--generation-deterministic", "--max-time", "7")
)
"""With PULSE_BRIDGE_EXPLORE_S=120 the API is tried for two minutes, each time with something else."""


async def test_the_openapi_document_is_true(journal: str, tmp_path: Path) -> None:
    async with following(journal, tmp_path, base_path="/pulse") as page:
        document = await page.json("/openapi.json")
        assert document["servers"] == [{"url": "/pulse"}]
        # Of a job that is there, too; what is made up never is.
        for path in ("/api/jobs/{host}/{job}", "/api/jobs/{host}/{job}/history"):
            for parameter, example in zip(
                document["paths"][path]["get"]["parameters"], ("node1", "llm/a"), strict=False
            ):
                parameter["example"] = example
        file = tmp_path / "openapi.json"
        file.write_text(json.dumps(document))
        told = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", str(file)),
            *("--url", f"http://127.0.0.1:{page.port}/pulse"),
            *("--exclude-path", "/events"),  # it never ends
            *EXPLORATION,
            *("--phases", "examples,coverage,fuzzing", "--warnings", "off", "--no-color"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
        )
        out, _ = await told.communicate()
        assert told.returncode == 0, out.decode()[-6000:]
        assert "4 selected" in out.decode()
