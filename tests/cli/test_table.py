"""The table fits any terminal, and says what is so without colour."""

import io

import pytest
from rich.console import Console

from pulse_bridge.bus import Batch
from pulse_bridge.cli.table import FleetTable
from pulse_bridge.clock import Instant
from pulse_bridge.event import STATES, Event
from pulse_bridge.fleet import Fleet
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event

NOW_MS = SAMPLE_MS + 5000


def draw(
    *events: Event, width: int = 160, height: int = 30, now_ms: int = NOW_MS, encoding: str = "utf-8"
) -> list[str]:
    fleet = Fleet()
    for event in Batch(events, snapshot=True).events:
        fleet.apply(event, Instant(0.0, event.observed_ms / 1000))
    at = Instant((now_ms - SAMPLE_MS) / 1000, now_ms / 1000)
    return render(fleet, at, width=width, height=height, encoding=encoding)


def render(fleet: Fleet, at: Instant, *, width: int = 160, height: int = 30, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    console = Console(file=file, width=width, height=height, color_system=None, force_terminal=True)
    console.print(FleetTable(fleet, at))
    file.flush()
    return raw.getvalue().decode(encoding).splitlines()


def test_each_state_is_told_apart_by_word_and_symbol() -> None:
    lines = draw(*(make_job_event(seq, job=state, state=state) for seq, state in enumerate(STATES, start=1)))
    shown = {line.split()[2]: line.split()[1] for line in lines[1:7]}
    assert shown == {"idle": "○", "running": "▶", "stale": "!", "done": "✓", "error": "✗", "gone": "-"}


def test_a_terminal_without_unicode_gets_plain_symbols() -> None:
    lines = draw(make_job_event(job="a", message="plain"), encoding="ascii")
    assert "> running" in lines[1]


def test_what_is_shown_of_a_job() -> None:
    (_, line, *_) = draw(make_job_event(job="llm/a", timestamp=NOW_MS // 1000 - 83, eta_s=65.0, loss=0.342))
    for text in ["llm/a", "50.0 %", "1.5/3", "0.3420", "1 min 00 s", "1 min 23 s ago", "épique", "profile=TRIZ"]:
        assert text in line


def test_a_timestamp_from_the_future_is_no_negative_age() -> None:
    assert " 0 s ago" in draw(make_job_event(timestamp=NOW_MS // 1000 + 500))[1]


def test_zero_epochs_are_0_percent_and_never_nan() -> None:
    line = draw(make_job_event(epoch=0, total_epochs=0, progress=0, loss=0, message=""))[1]
    assert "0.0 %" in line
    assert "nan" not in line.lower()


def test_a_diverged_loss_says_so() -> None:
    assert " NaN " in draw(make_job_event(loss=None, diverged=True))[1]


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
def test_what_the_sidecar_does_is_said(host_event: Event, now_ms: int, sentence: str) -> None:
    lines = draw(make_job_event(1, job="a"), host_event, now_ms=now_ms)
    assert any(line.startswith(sentence) for line in lines)
    assert ("(last known)" in lines[1]) == ("last known" in sentence)


def test_a_host_that_was_silent_before_anybody_looked_is_shown_so_at_once() -> None:
    fleet = Fleet()
    for event in (make_job_event(1), make_host_event(2)):
        fleet.apply(event, Instant(0.0, NOW_MS / 1000), snapshot=True)
    assert "spoke" in render(fleet, Instant(0.5, SAMPLE_MS / 1000 + 20))[-1]
    assert "silent" in render(fleet, Instant(0.5, SAMPLE_MS / 1000 + 40))[-1]


def test_the_result_of_a_finished_job_stays_known_without_a_sidecar() -> None:
    lines = draw(make_job_event(1, state="done", status="done"), make_host_event(2, stopping=True))
    assert not any("last known" in line for line in lines)


def test_lag_malformed_and_dropped_are_said() -> None:
    lines = draw(make_job_event(1), make_host_event(2, dropped=4))
    assert "; 3 events not yet at redis; 1 files are no PULSE; 4 events dropped" in lines[-1]


def test_the_host_is_named_where_there_are_several() -> None:
    lines = draw(make_job_event(1, job="a"), make_job_event(2, job="a", host="node2"))
    assert [line.split()[0] for line in lines[1:3]] == ["node1/a", "node2/a"]


def test_what_goes_on_stands_above_what_is_over() -> None:
    lines = draw(
        make_job_event(1, job="a", state="gone"),
        make_job_event(2, job="b", state="done"),
        make_job_event(3, job="c"),
    )
    assert [line.split()[0] for line in lines[1:4]] == ["c", "b", "a"]


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 100, 120, 200])
def test_every_width_is_kept_and_shows_the_state(width: int) -> None:
    lines = draw(make_job_event(1, job="漢字" * 30, message="m" * 300), make_host_event(2), width=width)
    assert all(len(line.replace("漢", "漢 ").replace("字", "字 ")) <= width for line in lines)
    assert "▶ running" in lines[1]


def test_what_there_is_no_room_for_is_counted() -> None:
    lines = draw(*(make_job_event(seq, job=f"job{seq}") for seq in range(1, 51)), height=20)
    assert len(lines) < 20
    shown = sum(line.startswith("job") for line in lines[1:])
    assert f"and {50 - shown} more jobs" in "\n".join(lines)


def test_no_jobs_are_said_to_be_none() -> None:
    assert draw()[0].strip() == "no jobs yet"
