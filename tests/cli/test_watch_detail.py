"""One job by itself: what is so, what is wrong, its loss as a curve, and what happened."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest
from rich.cells import cell_len

from pulse_bridge.cli.watch_detail import draw_job
from pulse_bridge.cli.watch_past import MAX_POINTS, Past, Pasts
from pulse_bridge.cli.watch_scene import Scene
from pulse_bridge.cli.watch_screen import PLAIN, Size, as_text
from pulse_bridge.cli.watch_state import Browse
from pulse_bridge.cli.watch_words import Link
from pulse_bridge.clock import Instant
from pulse_bridge.event import Event, JobEvent
from pulse_bridge.fleet import Fleet
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event

NOW_S = SAMPLE_MS / 1000 + 60
KEY = ("node1", "a")


def event(seq: int, **changes: Any) -> JobEvent:
    return make_job_event(seq, job="a", **{"observed_ms": SAMPLE_MS + seq * 1000, **changes})


def scene_of(*events: Event, past: Past | None = None) -> Scene:
    fleet, pasts = Fleet(), Pasts()
    for each in events:
        fleet.apply(each, Instant(59.0, each.observed_ms / 1000))
        if isinstance(each, JobEvent):
            pasts.add(each)
    return Scene(fleet, Instant(60.0, NOW_S), past=past or pasts.of(KEY))


SIZE = Size(100, 40)


def draw(scene: Scene, size: Size = SIZE, **chosen: Any) -> list[str]:
    browse = Browse(page="job", selected=KEY, **chosen)
    return as_text(draw_job(scene, browse, [KEY], size, zone=UTC).frame)


def fact(lines: Sequence[str], label: str) -> str:
    (found,) = (line[10:] for line in lines if line.startswith(f"{label} "))
    return found


def test_what_is_so_is_said_in_full() -> None:
    run = int(NOW_S) - 3700
    lines = draw(scene_of(event(1, loss=0.2, run=run), event(2, loss=0.342, run=run, epoch=1.6, eta_s=600.0)))
    assert lines[0] == "node1/a  ▶ running"
    assert "50.0 %  epoch 1.6/3  step 150/800" in fact(lines, "progress")
    assert fact(lines, "loss") == "0.3420  lowest 0.2000 at epoch 1.5  learning rate 2e-05"
    assert fact(lines, "time left").startswith("9 min 02 s, until 1")
    assert "1 h 01 min ago" in fact(lines, "run")
    assert fact(lines, "labels") == "profile=TRIZ Engineer"
    assert fact(lines, "message") == "épique ✓ step 150/800"
    assert fact(lines, "host") == "node1: the sidecar spoke 58 s ago"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"state": "stale", "timestamp": int(NOW_S) - 95}, "No sign of life from the training for 1 min 35 s"),
        ({"state": "error", "message": "CUDA\x1b[2J out of memory"}, "It failed: CUDA\\x1b[2J out of memory"),
        ({"state": "error", "message": ""}, "It failed: it left no message"),
        ({"state": "gone"}, "Its status file is gone."),
        ({"loss": None, "diverged": True}, "The loss is NaN or infinite: the training has diverged."),
    ],
)
def test_what_is_wrong_is_said_in_words(changes: dict[str, Any], sentence: str) -> None:
    assert draw(scene_of(event(1, **changes)))[1].startswith(sentence)


def test_what_is_only_the_last_known_is_said_to_be() -> None:
    stopped = draw(scene_of(event(1), make_host_event(2, stopping=True, observed_ms=SAMPLE_MS + 2000)))
    assert stopped[:2] == ["node1/a  ▶ running?", "Its sidecar was stopped: this is the last known."]
    away = draw(replace(scene_of(event(1)), link=Link(connected=False, reason="gone")))
    assert "We are not connected to the bus: this is the last known." in away
    done = draw(scene_of(event(1, state="done"), make_host_event(2, stopping=True)))
    assert not any("last known" in line for line in done)


def is_braille(char: str) -> bool:
    return 0x2800 < ord(char) < 0x2900


def test_the_loss_of_the_run_is_a_curve_with_a_logarithmic_scale_on_demand() -> None:
    events = [event(n, epoch=n / 10, loss=10.0 / n) for n in range(1, 31)]
    lines = draw(scene_of(*events))
    assert "loss" in lines
    assert sum(any(map(is_braille, line)) for line in lines) > 8
    assert any(line.startswith("        10 │") for line in lines)
    assert any(line.endswith("epoch 3") for line in lines)
    logarithmic = draw(scene_of(*events), log=True)
    assert "loss, logarithmic" in logarithmic
    assert logarithmic != lines
    plain = draw(replace(scene_of(*events), glyphs=PLAIN))
    assert any("*" in line for line in plain)


def test_only_the_newest_run_is_drawn() -> None:
    past = Past()
    past.add(event(1, run=1, epoch=2.0, loss=5.0))
    past.add(event(2, run=2, epoch=0.1, loss=9.0))
    past.add(event(3, run=2, epoch=0.2, loss=8.0))
    assert past.curve.points == [(0.1, 9.0), (0.2, 8.0)]
    assert past.lowest == (0.2, 8.0)


def test_a_curve_of_a_long_run_keeps_its_shape_in_bounded_room() -> None:
    past = Past()
    for n in range(1, 10 * MAX_POINTS):
        past.add(event(n, epoch=n / 100, loss=float(n)))
    points = past.curve.points
    assert MAX_POINTS / 2 - 1 <= len(points) <= MAX_POINTS
    assert points[0][1] < 20
    assert points[-1][1] > 10 * MAX_POINTS - 20
    gaps = {round(b[1] - a[1]) for a, b in itertools.pairwise(points)}
    assert max(gaps) <= 2 * min(gaps)


def test_heartbeats_add_no_point_and_a_failure_s_zeros_are_none() -> None:
    past = Past()
    past.add(event(1, epoch=1, loss=1.0))
    past.add(event(2, epoch=1, loss=1.0, kind="heartbeat"))
    past.add(event(3, epoch=0, loss=0, state="error"))
    assert past.curve.points == [(1.0, 1.0)]


def test_what_happened_is_listed_newest_first_and_mere_progress_is_left_out() -> None:
    events = [
        event(1, message="begun"),
        *(event(n, epoch=n / 10) for n in range(2, 20)),
        event(20, state="stale", kind="stale"),
        event(21, kind="recovered", message="back"),
        event(22, loss=None, diverged=True, message="boom"),
        event(23, state="error", message="out of memory"),
        event(24, run=1_790_000_900, message="again"),
        event(25, state="done", message="fine"),
        event(26, state="gone"),
    ]
    lines = draw(scene_of(*events))
    at = next(number for number, line in enumerate(lines) if line.startswith("what happened"))
    assert [line[9:] for line in lines[at + 1 :] if line.startswith(("0", "1", "2"))] == [
        "- its file is gone",
        "✓ done: fine",
        "▶ a run began: again",
        "✗ error: out of memory",
        "▶ the loss is NaN or infinite: boom",
        "▶ alive again: back",
        "! stale",
        "▶ running when first seen: begun",
    ]


def test_events_beyond_the_screen_are_scrolled_to_and_no_further() -> None:
    events = [event(n, state="stale" if n % 2 else "running") for n in range(1, 60)]
    scene = scene_of(*events)
    drawn = draw_job(scene, Browse(page="job", selected=KEY, scroll=999), [KEY], Size(80, 24), zone=UTC)
    assert "stale when first seen" in as_text(drawn.frame)[-2]
    assert drawn.browse.scroll < 59


def test_how_far_back_it_reaches_is_said() -> None:
    scene = scene_of(event(1))
    assert any(line.startswith("what happened since ") for line in draw(scene))
    assert scene.past is not None
    scene.past.asked = True
    assert "what happened, as far as the bus keeps it" in draw(scene)
    scene.past.why = "this bus keeps no past"
    assert "what happened; this bus keeps no past" in draw(scene)


def past_of(*numbers: int) -> Past:
    past = Past()
    for n in numbers:
        past.add(event(n, epoch=n, loss=n))
    return past


def test_what_comes_while_the_past_is_read_is_added_once() -> None:
    pasts = Pasts()
    pasts.add(event(3, epoch=3, loss=3))
    pasts.put(KEY, past_of(1, 2, 3), [event(n, epoch=n, loss=n) for n in (3, 4)])
    assert [x for x, _ in pasts.of(KEY).curve.points] == [1, 2, 3, 4]
    assert pasts.of(KEY).asked


def test_a_past_that_was_not_read_to_its_end_takes_nothing_of_what_was_seen() -> None:
    pasts = Pasts()
    for n in (8, 9):
        pasts.add(event(n, epoch=n, loss=n))
    read = past_of(1, 2, 3)
    read.why = "it is long"
    pasts.put(KEY, read, [event(9, epoch=9, loss=9)])
    past = pasts.of(KEY)
    assert [x for x, y in past.curve.points if math.isfinite(y)] == [1, 2, 3, 8, 9]
    assert math.isnan(past.curve.points[3][1]), "what lies between is not known"
    assert past.lowest == (1.0, 1.0)
    assert past.why == "it is long"
    pasts.add(event(10, epoch=10, loss=0.5))
    assert pasts.of(KEY).lowest == (10.0, 0.5)


def test_of_an_earlier_run_only_what_happened_stays_where_the_past_was_not_read_to_its_end() -> None:
    pasts = Pasts()
    pasts.add(event(8, epoch=1, loss=8, run=1_790_000_900))
    read = past_of(1, 2, 3)
    read.why = "it is long"
    pasts.put(KEY, read, [])
    assert pasts.of(KEY).curve.points == [(1, 8)]
    assert len(pasts.of(KEY).moments) == 2


def test_a_past_that_cannot_be_read_leaves_what_was_seen() -> None:
    pasts = Pasts()
    pasts.add(event(8, epoch=8, loss=8))
    read = Past(why="it cannot be read")
    pasts.put(KEY, read, [])
    assert pasts.of(KEY).curve.points == [(8, 8)]
    assert pasts.of(KEY).why == "it cannot be read"


@pytest.mark.parametrize("width", [10, 20, 40, 80, 200])
@pytest.mark.parametrize("height", [2, 5, 12, 24, 60])
def test_every_size_is_kept(width: int, height: int) -> None:
    long: dict[str, Any] = {"message": "漢字 " * 99, "labels": {"a": "b" * 300}}
    events = [event(n, loss=float(n), state="error", **long) for n in range(1, 9)]
    scene = replace(scene_of(*events, make_host_event(99)), notes=["n" * 300] * 3)
    frame = draw_job(scene, Browse(page="job", selected=KEY), [KEY], Size(width, height)).frame
    assert len(frame) == height
    for row in frame:
        assert all(piece.x + piece.width <= width for piece in row)
        assert all(cell_len(piece.text) == piece.width for piece in row)


def test_a_job_that_is_not_known_is_no_mistake() -> None:
    assert "this job is not known any more" in draw(Scene(Fleet(), Instant(0, NOW_S)))


@pytest.mark.parametrize("unix_s", [0, 2**53, -(2**62)])
def test_a_run_from_beyond_the_calendar_is_no_mistake(unix_s: int) -> None:
    assert "began" in fact(draw(scene_of(event(1, run=unix_s))), "run")
