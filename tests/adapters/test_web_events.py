"""The event stream, over real HTTP: what a viewer is told, and that a slow one costs nobody anything."""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from pulse_bridge.event import JobEvent
from pulse_bridge.journal import open_journal
from pulse_bridge.testing import make_host_event, make_job_event
from pulse_bridge_web import board, connection, frames
from pulse_bridge_web.connection import HIGH_WATER_BYTES, Connection
from pulse_bridge_web.pieces import PIECE_BYTES
from tests.support.processes import wait_until
from tests.support.scripted_source import ScriptedSource
from tests.support.web import Page, following, jobs_of, open_viewer, serving


def job(seq: int, name: str = "a", **changes: Any) -> JobEvent:
    return make_job_event(seq, job=name, **changes)


# What a viewer is told


async def test_a_viewer_gets_a_snapshot_at_once_and_then_what_changes() -> None:
    async with serving(job(1), job(2, "b"), make_host_event(3)) as page, page.events() as events:
        first = await events.next()
        assert first.kind == "snapshot"
        assert jobs_of(first.data["jobs"]) == ["a", "b"]
        assert first.data["jobs"][0]["spark"] == [[1.5, 0.125]]
        assert first.data == {**await page.json("/api/jobs"), "now": first.data["now"]}
        await page.give(job(4, "b", epoch=2))
        told = await events.next()
        assert told.kind == "update"
        assert set(told.data) == {"now", "jobs", "hosts", "removed", "hosts_removed"}
        changed = {view["job"]: view for view in told.data["jobs"]}
        assert changed["b"]["epoch"] == 2
        assert changed["b"]["hearing"] == "heard"
        assert "spark" not in changed["b"], "the page adds the point itself"
        assert [host["hearing"] for host in told.data["hosts"]] == ["heard"]


async def test_a_viewer_that_comes_to_an_empty_bus_is_told_that_it_is_empty() -> None:
    async with serving() as page, page.events() as events:
        told = await events.next()
        assert (told.kind, told.data["jobs"], told.data["hosts"]) == ("snapshot", [], [])
        await page.give(job(1))
        assert jobs_of((await events.next()).data["jobs"]) == ["a"]


async def test_many_changes_between_two_frames_are_one_with_the_newest_state() -> None:
    async with serving(job(1)) as page, page.events() as events:
        await events.next()
        for seq in range(2, 502):
            await page.give(job(seq))
        told = await events.until_job("a", id="contract-501")
        assert jobs_of(told.data["jobs"]) == ["a"]
        await page.give(job(502))
        assert (await events.next()).data["jobs"][0]["id"] == "contract-502", (
            "nothing of the past is still to come"
        )


async def test_a_host_that_falls_silent_is_told_with_its_jobs() -> None:
    async with serving() as page, page.events() as events:
        await events.next()
        await page.give(job(1), make_host_event(2))
        await events.until_job("a", hearing="heard")
        await page.sleep(31)
        told = await events.until_job("a", hearing="silent")
        assert told.data["hosts"][0]["hearing"] == "silent"


async def test_a_job_that_is_let_go_of_is_told_as_removed() -> None:
    async with serving(job(1, state="done", status="done"), make_host_event(2)) as page, page.events() as events:
        await events.next()
        await page.sleep(8 * 86_400)
        while not (told := await events.next()).data["removed"]:
            pass
        assert told.data["removed"] == [["node1", "a"]]
        assert (await page.get("/api/jobs/node1/a")).status_code == 404


async def test_a_host_that_is_let_go_of_is_told_as_removed_and_no_more_once_it_is_back() -> None:
    async with serving(make_host_event(1, host="node2"), job(2)) as page, page.events() as events:
        first = await events.next()
        assert {host["host"] for host in first.data["hosts"]} == {"node1", "node2"}
        await page.sleep(8 * 86_400)
        while not (told := await events.next()).data["hosts_removed"]:
            pass
        assert sorted(told.data["hosts_removed"]) == ["node1", "node2"]
        assert told.data["removed"] == [["node1", "a"]]
        await page.give(make_host_event(3, host="node2"))
        async with page.events(last_event_id=first.id) as late:
            told = await late.next()
            assert told.data["hosts_removed"] == ["node1"]
            assert [host["host"] for host in told.data["hosts"]] == ["node2"]


async def test_a_viewer_that_is_too_slow_for_the_memory_of_removals_gets_everything_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(board, "_REMOVALS_KEPT", 3)
    over = [job(seq, f"j{seq}", state="done", status="done") for seq in range(1, 9)]
    async with serving(*over, make_host_event(9)) as page:
        hub = page.hub
        viewer = hub.join(None, packed=False)
        assert await hub.next(viewer) is not None
        page.now = page.now._replace(wall_s=page.now.wall_s + 8 * 86_400)
        await page.give(job(10, "new", observed_ms=int(page.now.wall_s * 1000)))
        await page.sleep(60)
        content = await hub.next(viewer)
        assert content is not None
        assert b"event: snapshot" in content
        assert b'"new"' in content
        assert b'"j1"' not in content, "it would else be shown for ever"
        assert viewer.position == page.subscriber.board.change


async def test_a_lost_bus_is_told_and_its_return_begins_with_a_new_snapshot() -> None:
    async with serving(job(1)) as page, page.events() as events:
        await events.next()
        await page.subscriber.on_disconnect("the broker is away")
        told = await events.next()
        assert told.kind == "connection"
        assert told.data == {"connected": False, "reason": "not connected to the bus: the broker is away"}
        async with page.events() as late:
            shown = await late.next()
            assert shown.data["connected"] is False
            assert jobs_of(shown.data["jobs"]) == ["a"], "as last known"
        await page.connect(job(2), job(3, "b"))
        while (told := await events.next()).kind != "snapshot":
            assert told.kind == "connection"
        assert told.data["connected"] is True
        assert jobs_of(told.data["jobs"]) == ["a", "b"]
        assert "gap" not in told.data


async def test_a_viewer_to_whom_nothing_happens_is_told_so() -> None:
    page = Page()
    page.hub._keep_alive_s = 0.05
    async with page.subscriber.lifespan(), page.client:
        await page.connect(job(1))
        for encoding in ("gzip", "identity"):
            async with page.events(accept_encoding=encoding) as events:
                await events.next()
                while (await events.next()).kind != "ping":
                    pass


async def test_a_tick_that_changes_nothing_is_no_news_and_does_not_keep_the_sign_of_life_back() -> None:
    page = Page()
    async with page.subscriber.lifespan(), page.client:
        await page.connect(job(1))
        await page.sleep(0.5)
        page.hub._news.clear()
        before = page.subscriber.board.change
        await page.sleep(0.5)
        assert page.subscriber.board.change == before
        assert not page.hub._news.is_set()


async def test_compressed_or_not_the_stream_says_the_same() -> None:
    async with (
        serving(job(1)) as page,
        page.events(accept_encoding="gzip") as packed,
        page.events(accept_encoding="identity") as plain,
    ):
        assert packed.response.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.response.headers
        for seq in range(1, 5):
            ours = (await packed.until_job("a", id=f"contract-{seq}")).data["jobs"]
            theirs = (await plain.until_job("a", id=f"contract-{seq}")).data["jobs"]
            assert ours == theirs
            await page.give(job(seq + 1))


# Going on


async def test_a_viewer_that_comes_back_is_told_what_changed_meanwhile_and_nothing_else() -> None:
    async with serving(job(1), job(2, "b")) as page:
        await page.give(make_host_event(3))
        async with page.events() as events:
            told = await events.next()
            while page.subscriber.board.position(told.id) != page.subscriber.board.change:
                told = await events.next()
        await page.give(job(4, "b", epoch=2), job(5, "b", epoch=3), job(6, "c"))
        async with page.events(last_event_id=told.id) as events:
            missed = await events.next()
        assert missed.kind == "update"
        assert {view["job"]: view["id"] for view in missed.data["jobs"]} == {"b": "contract-5", "c": "contract-6"}


async def test_a_viewer_that_missed_nothing_is_told_nothing() -> None:
    async with serving(job(1)) as page:
        async with page.events() as events:
            told = await events.next()
        async with page.events(last_event_id=told.id) as events:
            await page.give(job(2))
            told = await events.next()
            assert told.kind == "update"
            assert told.data["jobs"][0]["id"] == "contract-2"


@pytest.mark.parametrize("strange", ["another-17", "nonsense", "contract-1"])
async def test_a_viewer_that_cannot_go_on_is_told_that_there_is_a_gap(strange: str) -> None:
    async with serving(job(1)) as page, page.events(last_event_id=strange) as events:
        told = await events.next()
        assert told.kind == "snapshot"
        assert told.data["gap"] is True
        assert jobs_of(told.data["jobs"]) == ["a"]


async def test_a_viewer_from_before_a_reconnect_gets_the_new_snapshot() -> None:
    async with serving(job(1)) as page:
        async with page.events() as events:
            told = await events.next()
        await page.subscriber.on_disconnect("lost")
        await page.connect(job(2), job(3, "b"))
        async with page.events(last_event_id=told.id) as events:
            told = await events.next()
        assert told.kind == "snapshot"
        assert jobs_of(told.data["jobs"]) == ["a", "b"]


# Fan-out


async def test_there_is_one_subscription_however_many_viewers(tmp_path: Path) -> None:
    source = ScriptedSource()
    source.put(job(1))
    bus: Any = source
    async with following(bus, tmp_path) as page:

        async def look(seen: asyncio.Event) -> None:
            async with page.events() as events:
                await events.until_job("a", id="contract-1")
                seen.set()
                await events.until_job("a", id="contract-2")

        signs = [asyncio.Event() for _ in range(30)]
        looking = [asyncio.create_task(look(sign)) for sign in signs]
        await asyncio.gather(*(sign.wait() for sign in signs))
        assert len(page.hub.viewers) == 30
        source.put(job(2))
        await asyncio.gather(*looking)
        assert source.groups == [None]
        await wait_until(lambda: not page.hub.viewers, "those who left are forgotten")


async def test_a_frame_is_made_once_for_all_who_know_as_much() -> None:
    async with serving(job(1)) as page:
        hub = page.hub
        made: list[int] = []
        since = hub._maker.since

        async def counted(change: int) -> Any:
            made.append(change)
            return await since(change)

        hub._maker.since = counted  # type: ignore[method-assign]  # looked at while it works
        viewers = [hub.join(None, packed=number % 2 == 0) for number in range(40)]
        first = await asyncio.gather(*(hub.next(viewer) for viewer in viewers))
        assert len({id(content) for content in first}) == 2, "one compressed and one that is not"
        waiting = [asyncio.create_task(hub.next(viewer)) for viewer in viewers]
        await wait_until(lambda: all(viewer.waiting for viewer in viewers), "all wait")
        await page.give(job(2))
        told = await asyncio.gather(*waiting)
        assert len({id(content) for content in told}) == 2
        assert len(made) == 1


async def test_a_large_frame_is_compressed_once_for_all_who_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[int] = []
    pack = frames.pack

    def counted(text: bytes) -> bytes:
        packed.append(len(text))
        return pack(text)

    monkeypatch.setattr(frames, "pack", counted)
    async with serving(*(job(seq, f"j{seq}") for seq in range(1, 100))) as page:
        viewers = [page.hub.join(None, packed=True) for _ in range(50)]
        told = await asyncio.gather(*(page.hub.next(viewer) for viewer in viewers))
        assert len({id(content) for content in told}) == 1
        assert len(packed) == 1


async def test_late_viewers_at_many_positions_need_few_frames_and_miss_nothing() -> None:
    async with serving(job(1, "j0")) as page:
        hub, known = page.hub, page.subscriber.board
        made: list[int] = []
        since = hub._maker.since

        async def counted(change: int) -> Any:
            made.append(change)
            return await since(change)

        hub._maker.since = counted  # type: ignore[method-assign]  # looked at while it works
        positions = []
        for seq in range(2, 202):
            await page.give(job(seq, f"j{seq}"))
            positions.append(known.change)
        viewers = []
        for position in positions[:-1]:
            viewer = hub.join(known.version(position), packed=False)
            assert viewer.position == position
            viewers.append(viewer)
        told = await asyncio.gather(*(hub.next(viewer) for viewer in viewers))
        assert len(made) <= 12
        for number, content in enumerate(told):
            assert content is not None
            missed = {f'"j{seq}"'.encode() for seq in range(number + 3, 202)}
            assert all(name in content for name in missed)


# Many jobs


async def longest_step_ms(work: Awaitable[object]) -> float:
    """Do some work, and tell for how long others on the event loop had to wait for their turn at most."""
    longest = 0.0
    working = asyncio.ensure_future(work)
    before = time.perf_counter()
    while not working.done():
        await asyncio.sleep(0)
        longest, before = max(longest, time.perf_counter() - before), time.perf_counter()
    await working
    return longest * 1000


async def test_others_are_told_while_ten_thousand_jobs_are_put_into_a_snapshot(
    capsys: pytest.CaptureFixture[str],
) -> None:
    many = [job(seq, f"j{seq}", host=f"node{seq % 100}") for seq in range(1, 10_001)]
    async with serving(*many) as page:
        hub, known = page.hub, page.subscriber.board
        hub._frame_s = 0.0
        quick = hub.join(known.version(known.change), packed=False)
        told = asyncio.create_task(hub.next(quick))
        making = asyncio.create_task(hub.next(hub.join(None, packed=True)))
        await wait_until(lambda: quick.waiting is not None, "it waits")
        await page.give(job(10_001, "news", host="node1"))
        content = await told
        assert content is not None
        assert b'"job":"news"' in content
        assert not making.done(), "others had their turn"
        await making
        took_ms = await longest_step_ms(hub.next(hub.join(None, packed=True)))
        with capsys.disabled():
            print(f"\na snapshot of 10,000 jobs: others waited for {took_ms:.1f} ms at most")  # noqa: T201 - a figure


async def test_what_changes_while_a_snapshot_is_made_is_in_it_or_comes_behind_it() -> None:
    many = [job(seq, f"j{seq}") for seq in range(1, 2001)]
    async with serving(*many) as page:
        hub = page.hub
        viewer = hub.join(None, packed=False)
        making = asyncio.create_task(hub.next(viewer))
        for seq in range(2001, 2011):
            await asyncio.sleep(0)
            await page.give(job(seq, f"j{seq - 2000}", epoch=2), job(seq + 100, f"j{4001 - seq}", epoch=2))
        assert not making.done(), "it was made meanwhile"
        first = await making
        assert first is not None
        known = {view["job"]: view["id"] for view in json.loads(first.split(b"data: ")[1])["jobs"]}
        assert len(known) == 2000
        second = await hub.next(viewer)
        assert second is not None
        known |= {view["job"]: view["id"] for view in json.loads(second.split(b"data: ")[1])["jobs"]}
        board = page.subscriber.board
        views = [json.loads(board.view_job(key, spark=False) or b"") for key in board.fleet.jobs]
        assert known == {view["job"]: view["id"] for view in views}


async def test_others_have_their_turn_while_a_large_snapshot_is_taken_which_is_told_once_it_is_whole() -> None:
    page = Page()
    known = page.subscriber.board
    async with page.subscriber.lifespan(), page.client:
        await page.subscriber.on_connect({}, page.now)
        taking = asyncio.create_task(page.give(*(job(seq, f"j{seq}") for seq in range(1, 2001)), snapshot=True))
        partly = 0
        while not taking.done():
            await asyncio.sleep(0)
            if 0 < len(known.fleet.jobs) < 2000:
                partly += 1
                assert not known.connected
        await taking
        assert partly >= 5
        assert known.connected
        async with page.events() as events:
            assert len((await events.next()).data["jobs"]) == 2000


async def test_a_long_answer_comes_whole_in_pieces() -> None:
    long = [job(seq, f"j{seq}", message=str(seq) * 200) for seq in range(1, 2001)]
    async with serving(*long) as page:
        plain = await page.get("/api/jobs", accept_encoding="identity")
        assert len(plain.content) > 4 * PIECE_BYTES
        assert int(plain.headers["content-length"]) == len(plain.content)
        packed = await page.get("/api/jobs", accept_encoding="gzip")
        assert plain.json()["jobs"] == packed.json()["jobs"]
        assert (await page.client.head("/api/jobs")).content == b""


async def test_a_client_that_does_not_fetch_a_long_answer_is_sent_off(
    monkeypatch: pytest.MonkeyPatch, connections: list[Connection]
) -> None:
    monkeypatch.setattr(connection, "ANSWER_S", 0.3)
    long = [job(seq, f"j{seq}", message="x" * 4000) for seq in range(1, 2001)]
    async with serving(*long) as page:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", page.port))
            slow.sendall(b"GET /api/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await wait_until(lambda: bool(connections), "it is taken")
            async with asyncio.timeout(20):
                await connections[0]._lost.wait()


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """Every connection that the server ever took."""
    taken: list[Connection] = []
    take = Connection.connection_made

    def note(self: Connection, transport: asyncio.Transport) -> None:
        taken.append(self)
        take(self, transport)

    monkeypatch.setattr(Connection, "connection_made", note)
    return taken


async def test_a_slow_viewer_gets_the_newest_state_later_and_slows_nobody(connections: list[Connection]) -> None:
    jobs = [f"job-{number}" for number in range(100)]
    letters = "0123456789abcdefghijklmnopqrstuvwxyz"

    def states(turn: int) -> list[JobEvent]:
        return [
            job(turn * 100 + number, name, message=letters[turn % 36] * 4000, step=turn)
            for number, name in enumerate(jobs, start=1)
        ]

    async with serving(*states(0)) as page, page.events() as quick:
        with open_viewer(page.port, 4096) as slow:
            await quick.next()
            await wait_until(lambda: len(page.hub.viewers) == 2, "both look")
            sizes = []
            for turn in range(1, 13):
                await page.give(*states(turn))
                await quick.until_job(jobs[-1], step=turn)
                sizes.append(max(taken.transport.get_write_buffer_size() for taken in connections))
            frame_bytes = 100 * 4500
            assert max(sizes) <= frame_bytes + HIGH_WATER_BYTES, "what it does not take is no queue"
            assert sum(sizes) > 0, "it is slow"
            await page.sleep(31)
            await quick.until_job(jobs[-1], hearing="silent")
            text = await asyncio.to_thread(_read_until, slow, b'"hearing":"silent"')
        turns = [turn for turn in range(13) if f'"step":{turn},'.encode() in text]
        assert turns[-1] == 12, "it gets the newest state"
        assert len(turns) < 12, "and not each one before"


def _read_until(viewer: socket.socket, what: bytes) -> bytes:
    viewer.settimeout(20)
    text = b""
    while what not in text:
        part = viewer.recv(1_000_000)
        assert part, "it was cut off"
        text += part
    return text


async def test_a_viewer_that_takes_nothing_is_dropped_and_nobody_else() -> None:
    async with serving(drop_s=0.3) as page, page.events() as quick:
        await quick.next()
        with open_viewer(page.port, 4096):
            await wait_until(lambda: len(page.hub.viewers) == 2, "both look")
            seq = 0
            while len(page.hub.viewers) == 2:
                seq += 1
                await page.give(
                    *(job(seq * 100 + number, f"j{number}", message="x" * 4000) for number in range(100))
                )
                await quick.until_job("j99", id=f"contract-{seq * 100 + 99}")
            await page.give(job(10**6, "last"))
            await quick.until_job("last")


async def test_a_viewer_that_leaves_is_forgotten() -> None:
    async with serving(job(1)) as page:
        async with page.events() as events:
            await events.next()
            assert len(page.hub.viewers) == 1
        await wait_until(lambda: not page.hub.viewers, "nobody looks")


async def test_the_end_of_the_server_ends_every_stream() -> None:
    page = Page()
    async with page.client:
        async with page.subscriber.lifespan():
            await page.connect(job(1))
            response = page.client.stream("GET", "/events")
            stream = await response.__aenter__()
            lines = stream.aiter_lines()
            while not (await anext(lines)).startswith("data"):
                pass
        async with asyncio.timeout(5):
            assert [line async for line in lines if line] == []
        await response.__aexit__(None, None, None)
    assert not page.hub.viewers


async def test_a_frame_that_cannot_be_made_is_said_and_the_next_one_is() -> None:
    async with serving(job(1)) as page, page.events() as events:
        await events.next()
        since = page.hub._maker.since

        async def fail(change: int) -> Any:
            page.hub._maker.since = since  # type: ignore[method-assign]  # the mistake is made once
            raise ValueError(f"no frame since {change}")

        page.hub._maker.since = fail  # type: ignore[method-assign]  # a mistake of ours
        await page.give(job(2))
        await wait_until(lambda: page.hub._waves is not None and page.hub._waves.done(), "it failed")
        with pytest.raises(ValueError, match="no frame since"):
            await page.sleep(1)
        await page.sleep(1)
        await events.until_job("a", id="contract-2")


# A real bus


async def test_what_a_sidecar_writes_into_its_journal_comes_to_the_viewer(tmp_path: Path) -> None:
    path = tmp_path / "node1.db"
    with open_journal(path) as journal:
        journal.append([job(1), make_host_event(2)])
        async with following(f"journal://{path}", tmp_path) as page, page.events() as events:
            told = await events.next()
            assert jobs_of(told.data["jobs"]) == ["a"]
            assert told.data["source"] == f"journal://{path}"
            journal.append([job(3, "llm/b", state="stale", status="error", kind="stale")])
            told = await events.until_job("llm/b", state="stale")
            assert told.kind == "update"
