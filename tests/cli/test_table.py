"""The list fits any terminal, and says what is so without colour."""

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.cells import cell_len

from pulse_bridge.cli.table import draw_table, last_rows
from pulse_bridge.cli.watch_columns import draw_bar
from pulse_bridge.cli.watch_scene import Drawn, Scene
from pulse_bridge.cli.watch_screen import PLAIN, Size, as_text
from pulse_bridge.cli.watch_state import Browse, press
from pulse_bridge.cli.watch_words import Link
from pulse_bridge.clock import Instant
from pulse_bridge.event import STATES, Event
from pulse_bridge.fleet import Fleet
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event

NOW_MS = SAMPLE_MS + 5000
WIDE = Size(160, 30)


def scene_of(*events: Event, now_ms: int = NOW_MS) -> Scene:
    fleet = Fleet()
    for event in events:
        fleet.apply(event, Instant(0.0, event.observed_ms / 1000))
    return Scene(fleet, Instant((now_ms - SAMPLE_MS) / 1000, now_ms / 1000))


def draw(scene: Scene, size: Size = WIDE, browse: Browse | None = None) -> list[str]:
    return as_text(draw_table(scene, browse or Browse(), size).frame)


def row_of(lines: Sequence[str], name: str) -> str:
    (found,) = (line for line in lines if line[2:].startswith(name))
    return found


def test_each_state_is_told_apart_by_word_and_symbol() -> None:
    lines = draw(
        scene_of(*(make_job_event(seq, job=f"{state}!", state=state) for seq, state in enumerate(STATES, 1)))
    )
    shown = {state: row_of(lines, f"{state}!").removeprefix("> ").split()[1:3] for state in STATES}
    symbols = {"idle": "○", "running": "▶", "stale": "!", "done": "✓", "error": "✗", "gone": "-"}
    assert shown == {state: [symbol, state] for state, symbol in symbols.items()}


def test_a_terminal_without_unicode_gets_plain_symbols() -> None:
    scene = replace(scene_of(make_job_event(job="a" * 99, message="plain")), glyphs=PLAIN)
    lines = draw(scene)
    assert "> running" in row_of(lines, "a")
    assert "\n".join(lines).isascii()


def test_what_is_shown_of_a_job() -> None:
    event = make_job_event(job="llm/a", timestamp=NOW_MS // 1000 - 83, eta_s=65.0, loss=0.342)
    line = row_of(draw(scene_of(event)), "llm/a")
    for text in ["50.0 %", "1.5/3", "0.3420", "1 min 00 s", "1 min 23 s ago", "épique", "profile=TRIZ"]:
        assert text in line


def test_a_timestamp_from_the_future_is_no_negative_age() -> None:
    assert " 0 s ago" in row_of(draw(scene_of(make_job_event(job="a", timestamp=NOW_MS // 1000 + 500))), "a")


def test_zero_epochs_are_0_percent_and_never_nan() -> None:
    event = make_job_event(job="a", epoch=0, total_epochs=0, progress=0, loss=0, message="")
    line = row_of(draw(scene_of(event)), "a")
    assert "0.0 %" in line
    assert "nan" not in line.lower()


def test_a_diverged_loss_says_so() -> None:
    assert " NaN " in row_of(draw(scene_of(make_job_event(job="a", loss=None, diverged=True))), "a")


@pytest.mark.parametrize(("percent", "full"), [(0, 0), (50, 6), (99.9, 11), (100, 12)])
def test_the_bar_is_full_only_when_all_is_done(percent: float, full: int) -> None:
    assert draw_bar(percent, 12, ("#", ".")) == "#" * full + "." * (12 - full)


@pytest.mark.parametrize(
    ("host_event", "now_ms", "sentence"),
    [
        (make_host_event(9), NOW_MS, "node1: the sidecar spoke 4 s ago"),
        (make_host_event(9), NOW_MS + 40_000, "node1: the sidecar is silent, for 44 s now; states are last known"),
        (
            make_host_event(9, stopping=True),
            NOW_MS,
            "node1: the sidecar was stopped 4 s ago; states are last known",
        ),
    ],
)
def test_what_the_sidecar_does_is_said_above_its_jobs(host_event: Event, now_ms: int, sentence: str) -> None:
    lines = draw(scene_of(make_job_event(1, job="a"), host_event, now_ms=now_ms))
    assert lines[2].startswith(sentence)
    is_last_known = "last known" in sentence
    assert ("(last known)" in row_of(lines, "a")) == is_last_known
    assert ("running?" in row_of(lines, "a")) == is_last_known


def test_a_host_that_was_silent_before_anybody_looked_is_shown_so_at_once() -> None:
    fleet = Fleet()
    for event in (make_job_event(1), make_host_event(2)):
        fleet.apply(event, Instant(0.0, NOW_MS / 1000), snapshot=True)
    assert "spoke" in draw(Scene(fleet, Instant(0.5, SAMPLE_MS / 1000 + 20)))[2]
    assert "silent" in draw(Scene(fleet, Instant(0.5, SAMPLE_MS / 1000 + 40)))[2]


def test_without_a_connection_nobody_is_called_silent_and_everything_is_the_last_known() -> None:
    scene = scene_of(make_job_event(1, job="a"), make_job_event(2, job="b", state="done"), now_ms=NOW_MS + 300_000)
    away = Link(connected=False, reason="Connection refused", since_s=NOW_MS / 1000, again=True)
    lines = draw(replace(scene, link=away))
    assert not any("silent" in line for line in lines)
    assert "running?" in row_of(lines, "a")
    assert "✓ done " in row_of(lines, "b")
    assert "not connected, for 5 min 00 s now; everything is last known: Connection refused" in lines


def test_after_a_connection_is_back_a_host_has_its_time_to_speak() -> None:
    scene = scene_of(make_job_event(1, job="a"), now_ms=NOW_MS + 300_000)
    scene.fleet.connect(scene.at.now_s)
    lines = draw(replace(scene, link=Link(again=True)))
    assert "not heard yet since we are connected again" in lines[2]
    assert "running?" in row_of(lines, "a")
    later = replace(scene, link=Link(again=True), at=Instant(scene.at.now_s + 31, scene.at.wall_s + 31))
    assert "silent" in draw(later)[2]


def test_the_result_of_a_finished_job_stays_known_without_a_sidecar() -> None:
    lines = draw(scene_of(make_job_event(1, state="done", status="done"), make_host_event(2, stopping=True)))
    assert not any("last known" in line for line in lines)


def test_lag_malformed_and_dropped_are_said() -> None:
    lines = draw(scene_of(make_job_event(1), make_host_event(2, dropped=4)))
    assert "; 3 events not yet at redis; 1 files are no PULSE; 4 events dropped; 1 running" in lines[2]


def test_jobs_stand_under_their_hosts_or_in_one_list_with_the_host_named() -> None:
    scene = scene_of(make_job_event(1, job="a"), make_job_event(2, job="b", host="node2"))
    grouped = draw(scene)
    assert [line[2:3] if line[0] in " >" else line[:5] for line in grouped[2:6]] == ["node1", "a", "node2", "b"]
    flat = draw(scene, browse=Browse(grouped=False))
    assert [line[2:9] for line in flat[2:4]] == ["node1/a", "node2/b"]


def test_in_one_list_only_hosts_that_are_not_well_are_spoken_of() -> None:
    events = [make_job_event(seq, job="a", host=f"node{seq}") for seq in range(1, 9)]
    well = [make_host_event(seq, host=f"node{seq}", malformed=0, lag={}) for seq in range(11, 15)]
    ill = [make_host_event(seq, host=f"node{seq}") for seq in range(21, 26)]
    lines = draw(scene_of(*events, *well, *ill), browse=Browse(grouped=False))
    assert [line[:6] for line in lines if "the sidecar" in line] == ["node21", "node22", "node23"]
    assert "and 2 more hosts with something to say" in lines


def test_the_sorted_column_is_marked() -> None:
    scene = scene_of(make_job_event(1, job="a"))
    assert "loss▲" in draw(scene, browse=Browse(order="loss"))[1]
    assert "loss▼" in draw(scene, browse=Browse(order="loss", backwards=True))[1]
    assert "updated▼" in draw(scene, browse=Browse(order="updated"))[1]


def test_the_selected_job_is_marked_by_a_character_too() -> None:
    scene = scene_of(make_job_event(1, job="a"), make_job_event(2, job="b"))
    browse = press(Browse(), "j", draw_table(scene, Browse(), WIDE).listed, 10)
    assert [line[0] for line in draw(scene, browse=browse)[3:5]] == [" ", ">"]
    assert [line[0] for line in draw(replace(scene, keys=False), browse=browse)[3:5]] == [" ", " "]


@pytest.mark.parametrize("width", [10, 20, 30, 40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("height", [2, 3, 5, 8, 24])
@pytest.mark.parametrize("grouped", [False, True])
def test_every_size_is_kept(width: int, height: int, *, grouped: bool) -> None:
    events = [make_job_event(seq, job=f"{seq}漢字" * 30, message="m" * 300) for seq in range(1, 40)]
    scene = replace(
        scene_of(*events, make_host_event(99)),
        notes=["n" * 300] * 9,
        title="redis://" + "x" * 50,
        link=Link(connected=False, reason="r" * 300),
    )
    for browse in (Browse(grouped=grouped), Browse(words="漢", typing=True, order="loss", grouped=grouped)):
        frame = draw_table(scene, browse, Size(width, height)).frame
        assert len(frame) == height
        for row in frame:
            assert all(piece.x + piece.width <= width for piece in row)
            assert all(cell_len(piece.text) == piece.width for piece in row)


@pytest.mark.parametrize(
    ("width", "titles"), [(40, "job state % loss"), (80, "job state % epoch loss ETA updated")]
)
def test_a_narrow_terminal_has_the_columns_that_matter(width: int, titles: str) -> None:
    lines = draw(scene_of(make_job_event(1, job="a")), Size(width, 20))
    assert lines[1].split() == titles.split()
    assert "▶ running" in row_of(lines, "a")


MANY = [make_job_event(seq, job=f"job{seq:04}") for seq in range(1, 1001)]


def visible(drawn: Drawn) -> list[str]:
    return re.findall(r"\bjob\d{4}\b", "\n".join(as_text(drawn.frame)))


@pytest.mark.parametrize("grouped", [False, True])
def test_the_list_scrolls_with_the_cursor_over_a_thousand_jobs(*, grouped: bool) -> None:
    scene, browse, seen = scene_of(*MANY), Browse(grouped=grouped), set()
    while True:
        drawn = draw_table(scene, browse, Size(80, 24))
        names = visible(drawn)
        assert f"job{drawn.browse.index + 1:04}" in names
        assert not grouped or any(line.startswith("node1:") for line in as_text(drawn.frame))
        seen.update(names)
        browse = press(drawn.browse, "pgdn", drawn.listed, drawn.page_rows)
        if browse == drawn.browse:
            break
    assert len(seen) == 1000
    up = press(browse, "home", drawn.listed, drawn.page_rows)
    assert visible(draw_table(scene, up, Size(80, 24)))[0] == "job0001"


def test_what_is_off_the_screen_is_counted() -> None:
    assert draw(scene_of(*MANY), Size(80, 24))[-1].endswith("1 of 1000")
    assert "1000 jobs on 1 host: 1000 running" in draw(scene_of(*MANY), Size(80, 24))[0]


def test_what_stays_at_the_end_fits_the_screen_and_counts_the_rest() -> None:
    lines = as_text(last_rows(scene_of(*MANY), Browse(), Size(80, 24)))
    assert len(lines) <= 24
    shown = sum(line[2:5] == "job" and line[5:9].isdigit() for line in lines)
    assert f"and {1000 - shown} more jobs" in lines
    few = as_text(last_rows(scene_of(*MANY[:3]), Browse(), Size(80, 24)))
    assert [line[2:9] for line in few[2:5]] == ["job0001", "job0002", "job0003"]
    assert not any("more jobs" in line for line in few)


def test_no_jobs_are_said_to_be_none() -> None:
    assert "no jobs yet" in draw(scene_of())
    assert "no job matches 'zzz'" in draw(scene_of(make_job_event()), browse=Browse(words="zzz"))
